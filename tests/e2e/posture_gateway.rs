//! Evidence, events and commands, with openssl's keys and mosquitto as the device, and the gateway killed while it judges.

mod rollout;

use std::convert::Infallible;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use stockade_api::signed::{Command, Evidence, Order};
use stockade_controls::engine::{Posture, RuleState, Severity, Standard};
use stockade_e2e::tools::{eventually, finish, pause, succeed, text, without};
use stockade_e2e::{Device, Gateway};
use stockade_profile::VerifyingKey;

const PATIENCE: Duration = Duration::from_secs(30);

fn tools_are_missing() -> bool {
    without(&["openssl", "curl", "mosquitto_pub", "mosquitto_sub"])
}

fn evidence(device: &Device, number: u64, wrong: bool, nonce: Option<String>) -> Evidence {
    let rule = RuleState {
        rule: "credentials/default-password".to_owned(),
        state: if wrong {
            Standard::Broken
        } else {
            Standard::Passed
        },
        severity: wrong.then_some(Severity::Critical),
        count: u32::from(wrong),
        says: if wrong {
            vec!["account `guest`".to_owned()]
        } else {
            Vec::new()
        },
    };
    Evidence {
        form: Evidence::FORM,
        device: device.id.clone(),
        number,
        at: 1_790_000_000,
        nonce,
        done: 0,
        agent: "0.1.0".to_owned(),
        system: None,
        posture: Posture {
            form: 1,
            model: "probe".to_owned(),
            profile_version: 1,
            at: 1_790_000_000,
            rules: vec![rule],
        },
        attestation: None,
    }
}

/// Signed by the key of `by`, as if by that of `named`.
fn signed(evidence: &Evidence, named: &Device, by: &Device) -> Result<Vec<u8>> {
    let certificate = CertificateDer::from_pem_file(&named.certificate)?;
    let fingerprint = digest(&SHA256, &certificate);
    let key = PrivatePkcs8KeyDer::from_pem_file(&by.key)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der())
        .ok()
        .context("openssl's key is not of P-256")?;
    let sign = |bytes: &[u8]| {
        let signature = key.sign(&SystemRandom::new(), bytes);
        Ok::<_, Infallible>(signature.map(|it| it.as_ref().to_vec()).unwrap_or_default())
    };
    let Ok(message) = evidence.sign_with(fingerprint.as_ref().try_into()?, sign);
    Ok(message)
}

/// `device` publishes bytes to its posture topic; they are acknowledged when this returns.
fn says(device: &Device, message: &[u8]) -> Result<()> {
    let file = device.key.with_extension("message");
    fs_err::write(&file, message)?;
    let (topic, file) = (
        format!("stockade/{}/posture", device.id),
        file.display().to_string(),
    );
    let arguments = ["-q", "1", "-t", &topic, "-f", &file];
    let output = finish(
        &mut device.mosquitto("mosquitto_pub", "mqttv5", &arguments),
        Duration::from_secs(15),
    )?;
    ensure!(output.status.success(), "{}", text(&output));
    Ok(())
}

fn refused(gateway: &Gateway, why: &str) -> Result<()> {
    gateway.event(why, |event| {
        let reason = event["reason"].as_str().unwrap_or_default();
        event["outcome"] == "refused" && reason.contains("posture refused") && reason.contains(why)
    })?;
    Ok(())
}

fn signer(gateway: &Gateway, device: &Device) -> Result<VerifyingKey> {
    let url = format!(
        "https://{}/.well-known/stockade/signer",
        gateway.address("est")?
    );
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--cacert"])
        .arg(&device.ca)
        .arg(&url);
    Ok(VerifyingKey::from_pem(&succeed(&mut curl)?)?)
}

#[test]
fn forged_foreign_and_replayed_evidence_is_refused_and_told() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let (porch, attic) = (
        gateway.enrol("probe", "porch")?,
        gateway.enrol("probe", "attic")?,
    );
    let first = signed(&evidence(&porch, 1, false, None), &porch, &porch)?;
    says(&porch, &first)?;
    eventually("the posture shows", PATIENCE, || {
        let shown = gateway
            .json(&["device", "posture", "porch"])
            .unwrap_or_default();
        Ok((shown["posture"] == "good").then_some(()))
    })?;
    for (message, why) in [
        (first.clone(), "is not above the last one, 1"),
        (
            signed(&evidence(&porch, 2, false, None), &porch, &attic)?,
            "the signature is wrong",
        ),
        (
            signed(&evidence(&porch, 3, false, None), &attic, &attic)?,
            "not the device's own",
        ),
        (
            signed(&evidence(&attic, 4, false, None), &porch, &porch)?,
            "it is of another device",
        ),
        (b"all is well".to_vec(), "can not be read"),
    ] {
        says(&porch, &message)?;
        refused(&gateway, why)?;
    }
    let shown = gateway.json(&["device", "posture", "porch"])?;
    ensure!(shown["number"] == 1, "{shown}");
    Ok(())
}

#[test]
fn a_gateway_killed_while_it_judges_quarantines_all_the_same_and_fresh_evidence_ends_it()
-> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let mut gateway = Gateway::with_probe()?;
    let porch = gateway.enrol("probe", "porch")?;
    says(
        &porch,
        &signed(&evidence(&porch, 1, true, None), &porch, &porch)?,
    )?;
    // Acknowledged, and so on disk; judged or not.
    gateway.kill()?;
    gateway.up()?;
    let porch = Device {
        port: gateway.address("mqtt")?.port(),
        ..porch
    };
    eventually("the quarantine", PATIENCE, || {
        Ok((gateway.state("porch")? == "quarantined").then_some(()))
    })?;
    let shown = gateway.cli(&["device", "show", "porch"])?;
    ensure!(
        shown.contains("credentials/default-password: account `guest`"),
        "{shown}"
    );

    // Mended, it says; the gateway wants to hear it again, and asks when the device is there.
    says(
        &porch,
        &signed(&evidence(&porch, 2, false, None), &porch, &porch)?,
    )?;
    let key = signer(&gateway, &porch)?;
    let topic = "stockade/porch/repair";
    let mut sub = porch.mosquitto(
        "mosquitto_sub",
        "mqttv5",
        &["-C", "1", "-W", "20", "-q", "1", "-t", topic, "-F", "%x"],
    );
    let waits = sub.stdout(Stdio::piped()).spawn()?;
    pause(Duration::from_secs(1));
    gateway.cli(&["device", "command", "porch", "assess"])?;
    // The question may have been asked already: it is sent again with whatever changes.
    gateway.cli(&["device", "command", "porch", "upnp-off"])?;
    let output = waits.wait_with_output()?;
    let hex = String::from_utf8(output.stdout)?;
    let bytes = hex
        .trim()
        .as_bytes()
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    let command = Command::verify(&bytes.collect::<Result<Vec<u8>>>()?, &[key])?;
    ensure!(command.device == "porch");
    let Order::AssessNow { nonce } = command.order else {
        anyhow::bail!("the gateway asked for {:?} first", command.order);
    };
    ensure!(gateway.state("porch")? == "quarantined");
    let mut answer = evidence(&porch, 3, false, Some(nonce));
    answer.done = command.number;
    says(&porch, &signed(&answer, &porch, &porch)?)?;
    eventually("the release", PATIENCE, || {
        Ok((gateway.state("porch")? == "active").then_some(()))
    })?;
    let shown: Value = gateway.json(&["device", "posture", "porch"])?;
    let waiting = shown["waiting"].as_array().cloned().unwrap_or_default();
    ensure!(
        waiting.len() == 1 && waiting[0]["what"] == "switch UPnP off",
        "{shown}"
    );
    Ok(())
}
