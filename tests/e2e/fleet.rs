//! What an operator decides takes effect on sessions that are open.

use std::time::{Duration, Instant};

use anyhow::Result;
use stockade_e2e::session::Connection;
use stockade_e2e::tools::{eventually, text, without};
use stockade_e2e::{Device, Gateway};
use stockade_load::wire::Five;

/// How soon an operator's word must be felt.
const SOON: Duration = Duration::from_secs(1);

fn tools_are_missing() -> bool {
    without(&["openssl", "curl", "mosquitto_pub"])
}

/// How long after `command` the open session of the device ends.
fn ends_after(gateway: &Gateway, device: &Device, command: &[&str]) -> Result<Duration> {
    let (mut connection, _) = Connection::resume(device, &device.id, Five(true))?;
    connection.subscribe("probe/+/report", 1)?;
    let started = Instant::now();
    gateway.cli(command)?;
    // The command's own start is not the gateway's doing.
    let asked = Instant::now().min(started + SOON);
    loop {
        match connection.packet(Duration::from_secs(10)) {
            Err(_) => return Ok(asked.elapsed()),
            Ok(None) => anyhow::bail!("the session is open ten seconds later"),
            Ok(Some(_)) => {}
        }
    }
}

#[test]
fn revoke_ends_an_open_session_within_a_second_and_for_ever() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let took = ends_after(&gateway, &device, &["device", "revoke", "porch"])?;
    assert!(took < SOON, "the session lived on for {took:?}");
    assert_eq!(gateway.state("porch")?, "revoked");
    let output = device.publish("mqttv5", "1", "probe/porch/report", "still here")?;
    assert!(!output.status.success(), "a revoked device was admitted");
    Ok(())
}

#[test]
fn quarantine_takes_effect_on_an_open_session_and_release_ends_it() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let took = ends_after(
        &gateway,
        &device,
        &["device", "quarantine", "porch", "--reason", "looks odd"],
    )?;
    assert!(took < SOON, "the session lived on for {took:?}");
    assert_eq!(gateway.state("porch")?, "quarantined");
    let shown = gateway.cli(&["device", "show", "porch"])?;
    assert!(shown.contains("looks odd"), "{shown}");
    let output = device.publish("mqttv5", "1", "probe/porch/report", "anyone?")?;
    assert!(
        text(&output).to_lowercase().contains("not authorized"),
        "{}",
        text(&output)
    );
    let output = device.publish("mqttv5", "1", "stockade/porch/posture", "mended")?;
    assert!(
        output.status.success(),
        "the repair set is closed: {}",
        text(&output)
    );
    gateway.cli(&["device", "release", "porch"])?;
    let output = device.publish("mqttv5", "1", "probe/porch/report", "back")?;
    assert!(
        output.status.success() && !text(&output).contains("failed"),
        "{}",
        text(&output)
    );
    Ok(())
}

#[test]
fn a_device_that_keeps_breaking_its_profile_is_quarantined_by_itself() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::start_with("[quarantine]\nbreaches-per-minute = 3\n")?;
    gateway.install(&stockade_e2e::tools::root().join("tests/profiles/probe.toml"))?;
    let device = gateway.enrol("probe", "porch")?;
    for _ in 0..6 {
        device.publish("mqttv5", "1", "probe/hall/report", "not mine")?;
    }
    eventually("the quarantine", Duration::from_secs(20), || {
        Ok((gateway.state("porch")? == "quarantined").then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_device_added_and_a_state_survive_a_kill() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let mut gateway = Gateway::with_probe()?;
    gateway.enrol("probe", "porch")?;
    gateway.cli(&["device", "quarantine", "porch"])?;
    gateway.kill()?;
    gateway.up()?;
    assert_eq!(gateway.state("porch")?, "quarantined");
    Ok(())
}
