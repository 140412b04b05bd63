//! Which versions of TLS the gateway speaks, asked by openssl.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use stockade_e2e::tools::{finish, text, without};
use stockade_e2e::{Device, Gateway};

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
    // AEAD and ECDHE only: a CBC suite alone is refused.
    let mut weak = Command::new("openssl");
    weak.args([
        "s_client",
        "-tls1_2",
        "-brief",
        "-cipher",
        "ECDHE-ECDSA-AES128-SHA256",
    ]);
    weak.args(["-connect", &format!("127.0.0.1:{}", device.port)]);
    let output = finish(&mut weak, Duration::from_secs(15))?;
    assert!(
        !output.status.success(),
        "a CBC suite was accepted: {}",
        text(&output)
    );
    Ok(())
}

#[test]
fn a_client_without_a_certificate_gets_no_answer_to_connect() -> Result<()> {
    if without(&["openssl", "mosquitto_pub"]) {
        return Ok(());
    }
    let gateway = Gateway::start()?;
    let port = gateway.address("mqtt")?.port().to_string();
    let mut command = Command::new("mosquitto_pub");
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "--insecure",
        "--tls-use-os-certs",
    ]);
    command.args(["-t", "a", "-m", "b", "-q", "1"]);
    let output = finish(&mut command, Duration::from_secs(15))?;
    assert!(!output.status.success());
    Ok(())
}
