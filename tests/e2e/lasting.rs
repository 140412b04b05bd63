//! What lasts over a restart, and what a newer profile changes at once.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::version::TLS12;
use stockade_e2e::session::Connection;
use stockade_e2e::tools::{eventually, finish, root, text, without};
use stockade_e2e::{Device, Gateway};
use stockade_load::wire::{self, Five};

/// For what must not come.
const SOON: Duration = Duration::from_secs(1);
/// For what must come, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn tools_are_missing() -> bool {
    without(&["openssl", "curl", "mosquitto_pub"])
}

/// Publishes at QoS 1, which must be accepted.
fn publish(from: &Device, topic: &str, message: &str, more: &[&str]) -> Result<()> {
    let mut arguments = vec!["-d", "-q", "1", "-t", topic, "-m", message];
    arguments.extend(more);
    let output = finish(
        &mut from.mosquitto("mosquitto_pub", "mqttv5", &arguments),
        Duration::from_secs(15),
    )?;
    let said = text(&output);
    assert!(
        output.status.success() && !said.contains("failed"),
        "{said}"
    );
    Ok(())
}

/// The payload of the next message, if one comes in time.
fn next_message(connection: &mut Connection, patience: Duration) -> Result<Option<String>> {
    while let Some((first, body)) = connection.packet(patience)? {
        if first >> 4 == wire::PUBLISH {
            let (identifier, payload) = wire::published(Five(true), first, &body)?;
            if let Some(identifier) = identifier {
                let mut answer = Vec::new();
                wire::acknowledge(wire::PUBACK, identifier, &mut answer);
                connection.send(&answer)?;
            }
            return Ok(Some(String::from_utf8_lossy(payload).into_owned()));
        }
    }
    Ok(None)
}

#[test]
fn a_second_up_finds_devices_sessions_messages_and_records_as_they_were() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let mut gateway = Gateway::with_probe()?;
    let (porch, mut hall) = (
        gateway.enrol("probe", "porch")?,
        gateway.enrol("probe", "hall")?,
    );
    gateway.enrol("probe", "attic")?;
    gateway.cli(&["device", "quarantine", "attic", "--reason", "dusty"])?;
    gateway.cli(&["device", "add", "--model", "probe", "cellar"])?;
    let (mut sleeper, _) = Connection::resume(&hall, "hall", Five(true))?;
    sleeper.subscribe("probe/porch/report", 1)?;
    drop(sleeper);
    publish(&porch, "probe/porch/report", "kept", &["--retain"])?;
    publish(&porch, "probe/porch/report", "while you slept", &[])?;
    publish(&porch, "probe/porch/reading", r#"{"celsius":21.5}"#, &[])?;
    let records = || {
        gateway.json(&[
            "vault",
            "query",
            "--schema",
            "reading",
            "--purpose",
            "operation",
        ])
    };
    eventually("the record", PATIENCE, || {
        Ok(records()?.to_string().contains("21.5").then_some(()))
    })?;
    // Counters are written once a second, and at the stop.
    let before = (gateway.json(&["device", "list"])?, records()?);
    for device in before.0["devices"].as_array().context("no devices")? {
        let heard_of = ["porch", "hall"].iter().any(|id| device["id"] == **id);
        assert_eq!(heard_of, !device["last_seen"].is_null(), "{device}");
    }

    gateway.stop()?;
    gateway.up()?;
    let after = (
        gateway.json(&["device", "list"])?,
        gateway.json(&[
            "vault",
            "query",
            "--schema",
            "reading",
            "--purpose",
            "operation",
        ])?,
    );
    let lasting = |mut list: serde_json::Value| {
        for device in list["devices"].as_array_mut().into_iter().flatten() {
            // The minute is a minute of this process.
            device["violations_last_minute"] = 0.into();
        }
        list
    };
    assert_eq!((lasting(before.0), before.1), (lasting(after.0), after.1));
    assert_eq!(gateway.said().matches("one-time password").count(), 1);

    hall.port = gateway.address("mqtt")?.port();
    let (mut awake, present) = Connection::resume(&hall, "hall", Five(true))?;
    assert!(present, "the session is gone");
    for waited in ["kept", "while you slept"] {
        assert_eq!(next_message(&mut awake, PATIENCE)?.as_deref(), Some(waited));
    }
    assert_eq!(next_message(&mut awake, SOON)?, None);
    let (mut fresh, _) = Connection::resume(&hall, "hall/fresh", Five(true))?;
    fresh.subscribe("probe/porch/report", 1)?;
    assert_eq!(
        next_message(&mut fresh, PATIENCE)?.as_deref(),
        Some("kept"),
        "the retained message"
    );
    Ok(())
}

#[test]
fn a_newer_profile_reaches_open_and_stored_sessions() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let porch = gateway.enrol("probe", "porch")?;
    let (hall, attic) = (
        gateway.enrol("probe", "hall")?,
        gateway.enrol("probe", "attic")?,
    );
    let (mut open, _) = Connection::resume(&hall, "hall", Five(true))?;
    open.subscribe("probe/+/report", 1)?;
    let (mut stored, _) = Connection::resume(&attic, "attic", Five(true))?;
    stored.subscribe("probe/+/report", 1)?;
    drop(stored);
    publish(&porch, "probe/porch/report", "before", &[])?;
    assert_eq!(
        next_message(&mut open, PATIENCE)?.as_deref(),
        Some("before")
    );

    let narrower = fs_err::read_to_string(root().join("tests/profiles/probe.toml"))?
        .replace("version = 1", "version = 2")
        .replace("[[comms.subscribe]]\ntopic = \"probe/+/report\"\n", "");
    let file = gateway.folder().join("narrower.toml");
    fs_err::write(&file, narrower)?;
    gateway.install(&file)?;
    publish(&porch, "probe/porch/report", "after", &[])?;
    // Closed or silent, both are fine; the message must not come.
    if let Ok(got) = next_message(&mut open, SOON * 2) {
        assert_eq!(got, None, "an open session still receives");
    }
    let (mut back, _) = Connection::resume(&attic, "attic", Five(true))?;
    let got = next_message(&mut back, SOON * 2)?;
    assert_eq!(
        got, None,
        "a stored session still receives, even what waited for it"
    );
    // The session itself works: what the profile still allows comes through.
    back.subscribe("probe/attic/command", 1)?;
    gateway.cli(&["publish", "probe/attic/command", "blink"])?;
    assert_eq!(next_message(&mut back, PATIENCE)?.as_deref(), Some("blink"));
    Ok(())
}

#[test]
fn tls_1_2_needs_the_operator_and_the_profile() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::start_with("[protocols]\ntls = [\"1.2\", \"1.3\"]\n")?;
    gateway.install(&root().join("tests/profiles/probe.toml"))?;
    let porch = gateway.enrol("probe", "porch")?;
    let attempt = || Connection::resume_over(&[&TLS12], &porch, "porch", Five(true)).map(drop);
    let refused = attempt().expect_err("the profile allows TLS 1.3 only");
    // MQTT 5 §3.2.2.2: 0x87, not authorized.
    assert!(format!("{refused:#}").contains("0x87"), "{refused:#}");
    gateway.event("why it was refused", |event| {
        let event = event.to_string();
        event.contains("porch") && event.contains("TLS 1.2") && event.contains("protocols")
    })?;
    let both = fs_err::read_to_string(root().join("tests/profiles/probe.toml"))?
        .replace("version = 1", "version = 2")
        .replace("tls = [\"1.3\"]", "tls = [\"1.2\", \"1.3\"]");
    let file = gateway.folder().join("both.toml");
    fs_err::write(&file, both)?;
    gateway.install(&file)?;
    attempt()
}
