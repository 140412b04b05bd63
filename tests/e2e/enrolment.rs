//! openssl and curl enrol a device; nobody else gets in.

use anyhow::{Context as _, Result};
use stockade_e2e::tools::{succeed, text, without};
use stockade_e2e::{Device, Gateway};

const TOOLS: [&str; 3] = ["openssl", "curl", "mosquitto_pub"];

#[test]
fn openssl_and_curl_enrol_a_device_and_it_may_publish() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let output = device.publish("mqttv5", "1", "probe/porch/report", "hello")?;
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(gateway.state("porch")?, "active");
    Ok(())
}

#[test]
fn the_commands_that_device_add_prints_enrol_it_as_they_stand() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let told = gateway.cli(&["device", "add", "--model", "probe", "porch"])?;
    let start = told.find("  openssl req").context("no commands")?;
    let commands = told.get(start..).unwrap_or_default();
    let folder = gateway.folder();
    fs_err::copy(gateway.data().join("ca.pem"), folder.join("ca.pem"))?;
    let mut shell = std::process::Command::new("sh");
    succeed(shell.current_dir(folder).args(["-ec", commands]))?;
    let device = Device {
        id: "porch".to_owned(),
        key: folder.join("porch.key"),
        certificate: folder.join("porch.pem"),
        ca: folder.join("ca.pem"),
        port: gateway.address("mqtt")?.port(),
    };
    let output = device.publish("mqttv5", "1", "probe/porch/report", "hello")?;
    assert!(output.status.success(), "{}", text(&output));
    Ok(())
}

#[test]
fn the_certificate_names_the_device_by_its_spiffe_id() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let mut look = std::process::Command::new("openssl");
    look.args(["x509", "-noout", "-ext", "subjectAltName", "-in"])
        .arg(&device.certificate);
    let names = succeed(&mut look)?;
    assert!(
        names.contains("URI:spiffe://stockade.local/device/probe/porch"),
        "{names}"
    );
    Ok(())
}

#[test]
fn a_code_works_once() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let invitation = Device::invite(&gateway, "probe", "porch")?;
    let device = Device::prepare(&gateway, "porch", &invitation)?;
    let user = format!("porch:{}", invitation.code);
    device.request(&gateway, "simpleenroll", &["-u", &user])?;
    // The same key again is the same device whose answer got lost; any other key is somebody else.
    let thief = Device::prepare(&gateway, "porch", &invitation)?;
    let (status, _) = thief.post(&gateway, "simpleenroll", &["-u", &user])?;
    assert_eq!(status, 401, "the code was taken again, for another key");
    Ok(())
}

#[test]
fn a_wrong_code_and_a_code_of_another_device_are_refused() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let invitation = Device::invite(&gateway, "probe", "porch")?;
    let other = Device::invite(&gateway, "probe", "garden")?;
    let device = Device::prepare(&gateway, "porch", &invitation)?;
    for code in ["AAAA-AAAA-AAAA-AAAA", other.code.as_str()] {
        let (status, _) =
            device.post(&gateway, "simpleenroll", &["-u", &format!("porch:{code}")])?;
        assert_eq!(status, 401, "{code} was taken");
    }
    Ok(())
}

#[test]
fn guesses_are_slowed_down() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let invitation = Device::invite(&gateway, "probe", "porch")?;
    let device = Device::prepare(&gateway, "porch", &invitation)?;
    let mut seen = Vec::new();
    for _ in 0..40 {
        let (status, _) = device.post(
            &gateway,
            "simpleenroll",
            &["-u", "porch:AAAA-AAAA-AAAA-AAAA"],
        )?;
        seen.push(status);
        if status == 429 {
            return Ok(());
        }
    }
    panic!("forty guesses in a row were all heard: {seen:?}");
}

#[test]
fn a_certificate_is_renewed_over_mutual_tls_and_the_new_one_works() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let before = fs_err::read_to_string(&device.certificate)?;
    let identity = device.as_curl();
    let identity: Vec<&str> = identity.iter().map(String::as_str).collect();
    device.request(&gateway, "simplereenroll", &identity)?;
    assert_ne!(
        before,
        fs_err::read_to_string(&device.certificate)?,
        "the certificate is the old one"
    );
    let output = device.publish("mqttv5", "1", "probe/porch/report", "renewed")?;
    assert!(output.status.success(), "{}", text(&output));
    Ok(())
}

#[test]
fn a_certificate_of_another_authority_is_refused() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let ours = Gateway::with_probe()?;
    let theirs = Gateway::with_probe()?;
    let device = ours.enrol("probe", "porch")?;
    let mut stranger = theirs.enrol("probe", "porch")?;
    stranger.port = device.port;
    stranger.ca = device.ca.clone();
    let output = stranger.publish("mqttv5", "1", "probe/porch/report", "let me in")?;
    assert!(
        !output.status.success(),
        "a foreign certificate was admitted"
    );
    Ok(())
}
