//! MQTT clients of other makers, both versions of the protocol, within and against the profile.

use std::time::Duration;

use anyhow::Result;
use stockade_e2e::tools::{finish, script, succeed, text, without};
use stockade_e2e::{Device, Gateway};

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

fn tools_are_missing() -> bool {
    without(&["openssl", "curl", "mosquitto_pub"])
}

/// `mosquitto_sub` of one message, publishing once it listens; what it got.
fn passed_on(
    from: &Device,
    to: &Device,
    version: &str,
    qos: &str,
    message: &str,
) -> Result<String> {
    let topic = format!("probe/{}/report", from.id);
    let arguments = ["-q", qos, "-t", &topic, "-C", "1", "-W", "20"];
    let listening = to.listens(version, &arguments)?;
    let output = from.publish(version, qos, &topic, message)?;
    assert!(output.status.success(), "{}", text(&output));
    Ok(listening.got()?.concat())
}

#[test]
fn mosquitto_publishes_and_receives_at_every_qos_in_both_versions() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let (from, to) = (
        gateway.enrol("probe", "porch")?,
        gateway.enrol("probe", "hall")?,
    );
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let message = format!("{version} at {qos}");
            assert_eq!(passed_on(&from, &to, version, qos, &message)?, message);
        }
    }
    Ok(())
}

#[test]
fn paho_publishes_and_receives_at_every_qos_in_both_versions() -> Result<()> {
    if without(&["openssl", "curl", "paho-mqtt"]) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    for version in ["3.1.1", "5"] {
        let said = succeed(
            script("paho_client.py")?
                .args([version, &device.port.to_string(), &device.id])
                .args([&device.ca, &device.certificate, &device.key]),
        )?;
        assert_eq!(said.trim(), "ok", "paho, MQTT {version}");
    }
    Ok(())
}

#[test]
fn paho_asks_and_is_answered_shares_a_subscription_and_leaves_a_will() -> Result<()> {
    if without(&["openssl", "curl", "paho-mqtt"]) {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let (asker, helper) = (
        gateway.enrol("probe", "porch")?,
        gateway.enrol("probe", "hall")?,
    );
    let mut client = script("paho_features.py")?;
    client.arg(asker.port.to_string()).arg(&asker.ca);
    for device in [&asker, &helper] {
        client
            .arg(&device.id)
            .args([&device.certificate, &device.key]);
    }
    assert_eq!(succeed(&mut client)?.trim(), "ok");
    gateway.event("the will that was refused", |event| {
        let event = event.to_string();
        event.contains("will") && event.contains("porch") && event.contains("refused")
    })?;
    Ok(())
}

#[test]
fn a_topic_outside_the_profile_is_refused_and_recorded() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let (porch, hall) = (
        gateway.enrol("probe", "porch")?,
        gateway.enrol("probe", "hall")?,
    );
    let topic = "probe/hall/report";
    let listening = hall.listens("mqttv5", &["-q", "1", "-t", topic, "-C", "1", "-W", "4"])?;
    let output = porch.publish("mqttv5", "1", topic, "as if from hall")?;
    // MQTT 5 §3.4.2.1: 0x87.
    assert!(
        text(&output).to_lowercase().contains("not authorized"),
        "{}",
        text(&output)
    );
    assert_eq!(listening.got()?, [""; 0], "it was delivered");
    gateway.event("the refusal", |event| {
        let event = event.to_string();
        event.contains("porch") && event.contains(topic) && event.contains("comms")
    })?;
    Ok(())
}

#[test]
fn a_filter_that_matches_more_than_the_profile_allows_is_refused() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    for filter in [
        "#",
        "probe/#",
        "probe/+/+",
        "+/+/report",
        "probe/hall/command",
    ] {
        let mut listen = device.mosquitto(
            "mosquitto_sub",
            "mqttv5",
            &["-q", "1", "-t", filter, "-C", "1", "-W", "3"],
        );
        let output = finish(&mut listen, Duration::from_secs(15))?;
        let said = text(&output).to_lowercase();
        assert!(
            said.contains("denied") || said.contains("not authorized"),
            "{filter} was granted: {said}"
        );
    }
    Ok(())
}

#[test]
fn a_message_larger_than_the_profile_allows_is_refused() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let fits = device.publish("mqttv5", "1", "probe/porch/report", &"x".repeat(4096))?;
    assert!(
        fits.status.success() && !text(&fits).contains("failed"),
        "{}",
        text(&fits)
    );
    let output = device.publish("mqttv5", "1", "probe/porch/report", &"x".repeat(4097))?;
    let said = text(&output).to_lowercase();
    assert!(
        !output.status.success() || said.contains("failed") || said.contains("too large"),
        "it was taken: {said}"
    );
    Ok(())
}

#[test]
fn a_client_id_of_another_device_is_refused_and_a_slot_of_its_own_is_not() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let publish = ["-q", "1", "-t", "probe/porch/report", "-m", "hi"];
    for (client_id, admitted) in [
        ("hall", false),
        ("porch/app", true),
        ("porch", true),
        ("porch/", false),
    ] {
        let mut command = device.mosquitto("mosquitto_pub", "mqttv5", &publish);
        // The last one given counts.
        command.args(["-i", client_id]);
        let output = finish(&mut command, Duration::from_secs(15))?;
        assert_eq!(
            output.status.success(),
            admitted,
            "client id `{client_id}`: {}",
            text(&output)
        );
    }
    Ok(())
}

#[test]
fn telemetry_arrives_in_the_vault_treated() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let gateway = Gateway::with_probe()?;
    let device = gateway.enrol("probe", "porch")?;
    let reading =
        r#"{"device":"porch","celsius":21.5,"owner-email":"ada@example.org","extra":"unnamed"}"#;
    let output = device.publish("mqttv5", "1", "probe/porch/reading", reading)?;
    assert!(output.status.success(), "{}", text(&output));
    let stored = stockade_e2e::tools::eventually("the record", Duration::from_secs(20), || {
        let text = gateway.cli(&[
            "--json",
            "vault",
            "query",
            "--schema",
            "reading",
            "--purpose",
            "operation",
        ])?;
        Ok(text.contains("21.5").then_some(text))
    })?;
    for absent in ["ada@example.org", "unnamed", "porch"] {
        assert!(!stored.contains(absent), "`{absent}` was stored: {stored}");
    }

    // Its person has it handed out, and erased.
    let exported = gateway.cli(&["vault", "export", "porch"])?;
    assert_eq!(exported.lines().count(), 1, "{exported}");
    let erase = ["vault", "erase", "porch", "--reason", "ticket-17"];
    let refused = finish(&mut gateway.command(&erase), Duration::from_secs(20))?;
    assert!(text(&refused).contains("add --yes"), "{}", text(&refused));
    let erased = gateway.cli(&[&erase[..], &["--yes"]].concat())?;
    for said in [
        "Erased porch: 1 record in 1 block, and its keys.",
        "Epoch 2 is current, and epoch 1 destroyed; keys wrapped anew: 0.",
        "Proof: entries ",
    ] {
        assert!(erased.contains(said), "{erased}");
    }
    assert_eq!(gateway.cli(&["vault", "export", "porch"])?, "");
    let again = gateway.cli(&["vault", "erase", "porch", "--reason", "x", "--yes"])?;
    assert!(again.contains("has nothing of porch"), "{again}");
    let rotated = gateway.cli(&["vault", "rotate-keys"])?;
    assert!(rotated.starts_with("Epoch 3 is current"), "{rotated}");
    let log = gateway.cli(&["--json", "vault", "log"])?;
    for said in ["\"erase\"", "\"rotate-keys\"", "ticket-17"] {
        assert!(log.contains(said), "{log}");
    }
    assert!(!log.contains("porch"), "the log names no device: {log}");
    Ok(())
}

/// What is sent and must be in no file of the gateway.
const PLANTED: [&str; 5] = [
    "planted-kept-value",
    "planted-dropped@example.org",
    "planted-unnamed",
    "planted-retained",
    "planted-last-will",
];

fn planted_in(folder: &std::path::Path) -> Result<Vec<String>> {
    let (mut found, mut todo, mut bytes) = (Vec::new(), vec![folder.to_owned()], 0);
    while let Some(folder) = todo.pop() {
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                todo.push(entry.path());
            } else if kind.is_file() {
                let content = fs_err::read(entry.path())?;
                bytes += content.len();
                let is_in = |text: &&str| {
                    content
                        .windows(text.len())
                        .any(|part| part == text.as_bytes())
                };
                let name = entry.path().display().to_string();
                found.extend(
                    PLANTED
                        .iter()
                        .filter(|text| is_in(text))
                        .map(|text| format!("{text} in {name}")),
                );
            }
        }
    }
    assert!(bytes > 10_000, "only {bytes} bytes to look at");
    Ok(found)
}

/// What waits for the device in a session that outlives its connection.
fn listen(device: &Device, more: &[&str]) -> Result<String> {
    let arguments = ["-c", "-q", "1", "-t", "probe/+/report", "-W", "15"];
    let mut command = device.mosquitto("mosquitto_sub", "mqttv311", &arguments);
    succeed(command.args(more))
}

#[test]
fn a_stolen_data_directory_and_the_loudest_log_show_nothing_that_devices_sent() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let mut gateway = Gateway::start_with("[log]\nlevel = \"trace\"\n")?;
    gateway.install(&stockade_e2e::tools::root().join("tests/profiles/probe.toml"))?;
    let (mut porch, mut hall) = (
        gateway.enrol("probe", "porch")?,
        gateway.enrol("probe", "hall")?,
    );
    // A session that outlives its connection: what comes is queued for it.
    listen(&hall, &["-E"])?;
    let report = "probe/porch/report";
    let will = [
        "--will-topic",
        report,
        "--will-payload",
        "planted-last-will",
    ];
    let retained = ["-q", "1", "-r", "-t", report, "-m", "planted-retained"];
    succeed(
        porch
            .mosquitto("mosquitto_pub", "mqttv311", &retained)
            .args(will),
    )?;
    let reading = r#"{"celsius":"planted-kept-value","owner-email":"planted-dropped@example.org","extra":"planted-unnamed"}"#;
    let output = porch.publish("mqttv5", "1", "probe/porch/reading", reading)?;
    assert!(output.status.success(), "{}", text(&output));
    let asked = [
        "--json",
        "vault",
        "query",
        "--schema",
        "reading",
        "--purpose",
        "operation",
    ];
    stockade_e2e::tools::eventually("the record", Duration::from_secs(20), || {
        let text = gateway.cli(&asked)?;
        Ok(text.contains("planted-kept-value").then_some(()))
    })?;
    // While it runs, while it is killed, and after it has ended in order.
    assert_eq!(planted_in(&gateway.data())?, [""; 0]);
    gateway.kill()?;
    assert_eq!(planted_in(&gateway.data())?, [""; 0]);
    gateway.up()?;
    gateway.stop()?;
    assert_eq!(planted_in(&gateway.data())?, [""; 0]);
    let log = gateway.said();
    assert!(log.contains("DEBUG stockade"), "the log is not loud: {log}");
    for planted in PLANTED {
        assert!(!log.contains(planted), "{planted} is in the log");
    }
    // It was all there.
    gateway.up()?;
    for device in [&mut porch, &mut hall] {
        device.port = gateway.address("mqtt")?.port();
    }
    assert!(listen(&hall, &["-C", "1"])?.contains("planted-retained"));
    assert!(gateway.cli(&asked)?.contains("planted-kept-value"));
    the_broker_forgets_what_is_erased(&mut gateway, porch, hall)?;
    gateway.stop()
}

/// The broker has nothing of it either, now and after it was killed.
fn the_broker_forgets_what_is_erased(
    gateway: &mut Gateway,
    mut porch: Device,
    mut hall: Device,
) -> Result<()> {
    let report = "probe/porch/report";
    let erase = |gateway: &Gateway, device: &str| {
        gateway.cli(&["vault", "erase", device, "--reason", "x", "--yes"])
    };
    let output = porch.publish("mqttv5", "1", report, "planted-for-hall")?;
    assert!(output.status.success(), "{}", text(&output));
    let erased = erase(gateway, "porch")?;
    assert!(
        erased.contains("\nThe broker forgot 0 sessions, 0 wills, ")
            && erased.contains(" and 1 retained message.\n")
            && !erased.contains(" 0 waiting messages")
            && !erased.contains("others still need"),
        "{erased}"
    );
    gateway.kill()?;
    gateway.up()?;
    porch.port = gateway.address("mqtt")?.port();
    hall.port = porch.port;
    let nothing = "forgot 0 sessions, 0 wills, 0 waiting messages and 0 retained messages.";
    let again = erase(gateway, "porch")?;
    assert!(again.contains(nothing), "{again}");
    // The other device's session is still there, and gets what comes now.
    let output = porch.publish("mqttv5", "1", report, "fresh")?;
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(listen(&hall, &["-C", "1"])?.trim(), "fresh");
    // A device has its keys from its enrolment on, although it sent nothing for the vault.
    let erased = erase(gateway, "hall")?;
    assert!(
        erased.starts_with(
            "Erased hall: 0 records in 0 blocks, and its keys.\nThe broker forgot 1 session"
        ),
        "{erased}"
    );
    Ok(())
}
