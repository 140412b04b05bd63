//! What a handshake may ask for: our application protocol or none, and never to go on where an earlier one ended.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use stockade_e2e::tools::{finish, text, without};
use stockade_e2e::{Device, Gateway};

/// `openssl s_client` as the device, held open for a second so that what comes after the handshake is seen.
fn client(device: &Device, arguments: &str) -> Result<String> {
    let script = format!(
        "sleep 1 | openssl s_client -connect 127.0.0.1:{} -CAfile {} -cert {} -key {} {arguments}",
        device.port,
        device.ca.display(),
        device.certificate.display(),
        device.key.display(),
    );
    let mut shell = Command::new("sh");
    Ok(text(&finish(
        shell.args(["-c", &script]),
        Duration::from_secs(20),
    )?))
}

#[test]
fn only_our_application_protocol_or_none_is_spoken() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let said = client(&device, "-alpn mqtt,http/1.1")?;
    assert!(said.contains("ALPN protocol: mqtt"), "{said}");
    let said = client(&device, "")?;
    assert!(said.contains("Verify return code: 0"), "{said}");
    assert!(!said.contains("SSL alert number"), "{said}");
    // no_application_protocol (RFC 7301 §3.2)
    let said = client(&device, "-alpn http/1.1,h2")?;
    assert!(said.contains("SSL alert number 120"), "{said}");
    gateway.event("what was asked for", |event| {
        event["outcome"] == "refused"
            && event["control"] == "protocols"
            && event["reason"].to_string().contains("`http/1.1`, `h2`")
    })?;
    Ok(())
}

#[test]
fn no_session_can_be_kept_for_later() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    for face in ["mqtt", "est", "console"] {
        let at = Device {
            port: gateway.address(face)?.port(),
            ..device.clone()
        };
        let session = gateway.folder().join(format!("{face}.session"));
        let said = client(&at, &format!("-sess_out {}", session.display()))?;
        assert!(said.contains("Verify return code: 0"), "{face}: {said}");
        assert!(!session.exists(), "{face} gave out a ticket: {said}");
    }
    Ok(())
}
