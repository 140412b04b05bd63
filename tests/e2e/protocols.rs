//! Which versions of TLS the gateway speaks, asked by openssl.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::Result;
use rustls::NamedGroup;
use serde_json::Value;
use stockade_e2e::session::Connection;
use stockade_e2e::tools::{finish, text, without};
use stockade_e2e::{Device, Gateway};
use stockade_load::wire::Five;

/// `openssl s_client` with one version, able to offer what today's defaults no longer allow.
fn offer(version: &str, port: u16, device: Option<&Device>) -> Result<Output> {
    offer_from("127.0.0.1", version, port, device)
}

fn offer_from(source: &str, version: &str, port: u16, device: Option<&Device>) -> Result<Output> {
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        version,
        "-brief",
        "-connect",
        &format!("127.0.0.1:{port}"),
    ]);
    command.args([
        "-cipher",
        "ALL:@SECLEVEL=0",
        "-bind",
        &format!("{source}:0"),
    ]);
    if let Some(device) = device {
        command
            .arg("-CAfile")
            .arg(&device.ca)
            .arg("-cert")
            .arg(&device.certificate)
            .arg("-key")
            .arg(&device.key);
    }
    finish(&mut command, Duration::from_secs(15))
}

fn mentions(event: &Value, words: &[&str]) -> bool {
    let text = event.to_string();
    words.iter().all(|word| text.contains(word))
}

#[test]
fn the_probe_can_see_tls_1_3() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let output = offer("-tls1_3", device.port, Some(&device))?;
    assert!(text(&output).contains("TLSv1.3"), "{}", text(&output));
    Ok(())
}

#[test]
fn old_versions_are_refused_with_protocol_version_and_recorded() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let port = gateway.address("mqtt")?.port();
    // Each from an address of its own: from one, the second refusal of a kind within ten seconds goes into a sum.
    let offers = [
        ("-tls1", "1.0", "127.0.0.2"),
        ("-tls1_1", "1.1", "127.0.0.3"),
        ("-tls1_2", "1.2", "127.0.0.4"),
    ];
    for (version, name, source) in offers {
        let output = offer_from(source, version, port, None)?;
        let said = text(&output);
        assert!(!output.status.success(), "TLS {name} was spoken: {said}");
        // RFC 8446 §6.2: protocol_version (70).
        assert!(
            said.contains("alert protocol version"),
            "TLS {name} was refused in other words: {said}"
        );
        gateway.event(&format!("an event about TLS {name}"), |event| {
            mentions(event, &["protocols", name, source])
        })?;
    }
    Ok(())
}

#[test]
fn enrolment_and_console_refuse_old_versions_too() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let gateway = Gateway::start()?;
    for face in ["est", "console"] {
        let port = gateway.address(face)?.port();
        for version in ["-tls1", "-tls1_1"] {
            let output = offer(version, port, None)?;
            assert!(
                !output.status.success(),
                "{face} speaks {version}: {}",
                text(&output)
            );
        }
        let output = offer("-tls1_3", port, None)?;
        assert!(
            text(&output).contains("TLSv1.3"),
            "{face} does not speak TLS 1.3: {}",
            text(&output)
        );
    }
    Ok(())
}

#[test]
fn tls_1_2_is_spoken_only_where_the_configuration_allows_it() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let gateway = Gateway::start_with("[protocols]\ntls = [\"1.2\", \"1.3\"]\n")?;
    gateway.install(&stockade_e2e::tools::root().join("tests/profiles/probe.toml"))?;
    let device = gateway.enrol("probe", "porch")?;
    let output = offer("-tls1_2", device.port, Some(&device))?;
    assert!(text(&output).contains("TLSv1.2"), "{}", text(&output));
    // AEAD and ECDHE only: a CBC suite alone is refused, and one that is fine shows that it is the suite.
    for (suite, taken) in [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", true),
        ("ECDHE-ECDSA-AES128-SHA256", false),
        ("ECDHE-ECDSA-AES256-SHA", false),
    ] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-tls1_2", "-brief", "-cipher", suite]);
        command.args(["-connect", &format!("127.0.0.1:{}", device.port)]);
        command.arg("-CAfile").arg(&device.ca);
        command.arg("-cert").arg(&device.certificate);
        command.arg("-key").arg(&device.key);
        let output = finish(&mut command, Duration::from_secs(15))?;
        let said = text(&output);
        assert_eq!(output.status.success(), taken, "{suite}: {said}");
        assert!(
            taken || said.contains("alert handshake failure"),
            "{suite}: {said}"
        );
    }
    Ok(())
}

#[test]
fn a_client_without_a_certificate_is_refused_and_recorded() -> Result<()> {
    if without(&["openssl", "curl", "mosquitto_pub"]) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let publish = |identity: &[&str]| -> Result<Output> {
        let mut command = Command::new("mosquitto_pub");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &device.port.to_string(),
            "-i",
            "porch",
        ]);
        command.arg("--cafile").arg(&device.ca).args(identity);
        command.args(["-t", "probe/porch/report", "-m", "b", "-q", "1"]);
        finish(&mut command, Duration::from_secs(15))
    };
    let (certificate, key) = (
        device.certificate.display().to_string(),
        device.key.display().to_string(),
    );
    let output = publish(&["--cert", &certificate, "--key", &key])?;
    assert!(output.status.success(), "with one: {}", text(&output));
    assert!(!publish(&[])?.status.success(), "without one");
    gateway.event("the refusal", |event| {
        mentions(event, &["refused", "credentials", "no device certificate"])
    })?;
    Ok(())
}

#[test]
fn a_client_that_knows_it_gets_the_key_exchange_that_outlasts_quantum_computers() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let (connection, _) = Connection::resume(&device, "porch", Five(true))?;
    assert_eq!(connection.key_exchange(), Some(NamedGroup::X25519MLKEM768));
    Ok(())
}
