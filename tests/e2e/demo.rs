//! `stockade up --demo`, as a newcomer meets it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use stockade_e2e::Gateway;
use stockade_e2e::tools::{eventually, finish, root, stockade, succeed, text, without};

const PATIENCE: Duration = Duration::from_secs(40);

/// Waits for a line with all these words.
fn line(gateway: &Gateway, words: &[&str]) -> Result<String> {
    eventually(&words.join(" … "), PATIENCE, || {
        let said = gateway.said();
        let line = said
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        Ok(line.map(str::to_owned))
    })
}

/// The programs a process started that still run.
fn children(process: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs_err::read_dir(format!("/proc/{process}/task"))? {
        let list = thread?.path().join("children");
        // A thread may have ended since it was listed.
        let list = fs_err::read_to_string(list).unwrap_or_default();
        found.extend(
            list.split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    Ok(found)
}

#[test]
fn up_says_what_a_newcomer_needs() -> Result<()> {
    if without(&["openssl"]) {
        return Ok(());
    }
    let gateway = Gateway::demo()?;
    for face in ["console", "est", "mqtt"] {
        line(&gateway, &[&gateway.address(face)?.to_string()])?;
    }
    let password = line(&gateway, &["one-time password "])?;
    let (_, password) = password.split_once("one-time password ").context("none")?;
    assert!(password.len() >= 16, "a short password: {password}");
    // The fingerprint is that of the certificate which devices are handed.
    let print = succeed(std::process::Command::new("openssl").args([
        "x509",
        "-noout",
        "-fingerprint",
        "-sha256",
        "-in",
        &gateway.data().join("ca.pem").display().to_string(),
    ]))?;
    let (_, print) = print.trim().split_once('=').context("no fingerprint")?;
    line(&gateway, &["CA", print])?;
    // The command it prints adds a device as it stands.
    let add = line(&gateway, &[" device add --data ", "porch"])?;
    let told = succeed(std::process::Command::new("sh").args(["-c", &add]))?;
    assert!(told.contains("one-time code"), "{told}");
    assert_eq!(gateway.state("porch")?, "pending");
    Ok(())
}

/// Waits for a record of the data set.
fn stored(gateway: &Gateway, schema: &str) -> Result<()> {
    let query = [
        "vault",
        "query",
        "--schema",
        schema,
        "--purpose",
        "operation",
    ];
    eventually(&format!("a record of {schema}"), PATIENCE, || {
        let stored = gateway.json(&query)?;
        let records = stored["records"].as_array();
        Ok(records.is_some_and(|all| !all.is_empty()).then_some(()))
    })
}

#[test]
fn devices_are_admitted_or_refused_each_with_its_control_and_end_with_ctrl_c() -> Result<()> {
    let mut gateway = Gateway::demo()?;
    // The honest camera: in, its telemetry stored, a command heard.
    line(
        &gateway,
        &["admitted", "comms", "demo-camera", "connects with MQTT 5"],
    )?;
    line(
        &gateway,
        &["admitted", "demo-camera", "cam-2/demo-camera/motion"],
    )?;
    stored(&gateway, "motion")?;
    eventually("the camera's command", PATIENCE, || {
        let log = fs_err::read_to_string(gateway.data().join("demo/demo-camera.log"))?;
        Ok(log
            .contains("command on cam-2/demo-camera/command")
            .then_some(()))
    })?;
    // The one whose profile does not allow what it publishes.
    line(
        &gateway,
        &[
            "refused",
            "comms",
            "demo-thermostat",
            "its profile allows only",
        ],
    )?;
    // The old one: refused, with the version it offered.
    line(
        &gateway,
        &[
            "refused",
            "protocols",
            "127.0.0.13",
            "offered TLS 1.1 at most",
        ],
    )?;
    line(
        &gateway,
        &[
            "refused",
            "protocols",
            "127.0.0.13",
            "offered TLS 1.0 at most",
        ],
    )?;
    // The constrained one: in by the key of its label, its readings stored, a command heard.
    line(
        &gateway,
        &["admitted", "comms", "demo-soil", "connects over the link"],
    )?;
    stored(&gateway, "soil")?;
    eventually("the sensor's command", PATIENCE, || {
        let log = fs_err::read_to_string(gateway.data().join("demo/demo-soil.log"))?;
        Ok(log.contains("told: ").then_some(()))
    })?;
    let devices = children(gateway.process())?;
    assert_eq!(devices.len(), 5, "a process a device, one for the street");
    gateway.stop()?;
    eventually("no device runs any more", PATIENCE, || {
        let runs = |device: &u32| std::path::Path::new(&format!("/proc/{device}")).exists();
        Ok((!devices.iter().any(runs)).then_some(()))
    })
}

#[test]
fn a_street_of_meters_gives_aggregates_and_a_release_and_one_of_them_speaks_for_all() -> Result<()>
{
    let gateway = Gateway::demo()?;
    let asked = line(&gateway, &["vault release", "--dry-run"])?;
    let aggregate = line(&gateway, &["vault stat", "--epsilon 1"])?;
    let sh = |command: &str| {
        std::process::Command::new("sh")
            .args(["-c", command])
            .output()
    };
    // The commands that it prints give an answer as they stand, once all forty have sent the day before.
    eventually("a day of forty meters", PATIENCE, || {
        let stored = gateway.json(&["vault", "query"])?;
        let sent = stored["meter"]["stored"].as_u64().unwrap_or(0);
        Ok((sent >= 960).then_some(()))
    })?;
    let release = text(&sh(&asked)?);
    assert!(release.contains("it would pass"), "{release}");
    let answer = text(&sh(&aggregate)?);
    assert!(answer.contains("epsilon 1,"), "{answer}");
    // Under a tenth of the draw of a home would be an answer of noise alone: the mean is 0.3 kWh, give or take 0.15.
    let first = answer.lines().nth(2).context("no answer")?;
    let mean: f64 = first
        .split_whitespace()
        .next()
        .context("no mean")?
        .parse()?;
    assert!((0.1..0.6).contains(&mean), "{answer}");
    let said = gateway.said();
    assert!(
        said.contains("admitted  comms        demo-meter-01"),
        "{said}"
    );
    assert!(!said.contains("demo-meter-02 "), "{said}");
    Ok(())
}

#[test]
fn the_camera_is_quarantined_for_its_faults_mends_them_and_is_released() -> Result<()> {
    let gateway = Gateway::demo()?;
    let camera = "demo-camera";
    for words in [
        "does not hold: credentials/default-password",
        "quarantined by its evidence: credentials/default-password",
        "connects with MQTT 5, in quarantine",
        "in quarantine it may publish to",
        "done, 4 of 4",
        "holds now: credentials/default-password",
        "released from quarantine",
    ] {
        line(&gateway, &[camera, words])?;
    }
    let shadow = gateway.data().join("demo/demo-camera/root/etc/shadow");
    let mended = fs_err::read_to_string(&shadow)?;
    // The faults are back when it is taken back, and gone when the operator has it mended.
    let state = |wanted: &str| {
        eventually(wanted, PATIENCE, || {
            Ok((gateway.state(camera)? == wanted).then_some(()))
        })
    };
    gateway.cli(&["device", "command", camera, "undo"])?;
    state("quarantined")?;
    assert_ne!(fs_err::read_to_string(&shadow)?, mended);
    gateway.cli(&["device", "command", camera, "apply"])?;
    state("active")?;
    line(&gateway, &[camera, "done, 4 of 4", "by the gateway"])?;
    let shown = gateway.json(&["device", "posture", camera])?;
    assert_eq!(shown["posture"], "good", "{shown}");
    Ok(())
}

#[test]
fn a_second_demo_finds_its_devices_enrolled_and_prints_no_password_again() -> Result<()> {
    let mut gateway = Gateway::demo()?;
    line(
        &gateway,
        &["admitted", "demo-camera", "connects with MQTT 5"],
    )?;
    let shown = |gateway: &Gateway| gateway.json(&["device", "show", "demo-camera"]);
    let before = shown(&gateway)?["certificate"].clone();
    assert!(before["fingerprint"].is_string(), "{before}");
    gateway.stop()?;
    gateway.up()?;
    eventually("the camera connects again", PATIENCE, || {
        let twice = gateway
            .said()
            .matches("demo-camera      connects with MQTT 5")
            .count()
            >= 2;
        Ok(twice.then_some(()))
    })?;
    assert_eq!(shown(&gateway)?["certificate"], before, "it enrolled anew");
    assert_eq!(gateway.said().matches("one-time password").count(), 1);
    line(&gateway, &["password lost?", "admin reset-password --data"])?;
    gateway.stop()
}

#[test]
fn live_lines_have_colours_on_a_terminal_only_where_they_are_welcome() -> Result<()> {
    if without(&["script"]) {
        return Ok(());
    }
    let shown = |environment: &str| -> Result<String> {
        let gateway = Gateway::prepared("")?;
        // Until somebody is admitted, and no longer. `script` notes this very command, too.
        let shown = gateway.folder().join("shown");
        let up = format!(
            "{environment} {} --data {} up --demo --config {} & up=$!\n\
             until grep -q admi[t]ted {}; do kill -0 $up && sleep 0.1 || exit; done; kill -INT $up; wait $up",
            stockade()?.display(),
            gateway.data().display(),
            gateway.folder().join("stockade.toml").display(),
            shown.display()
        );
        let mut terminal = std::process::Command::new("script");
        terminal
            .current_dir(root())
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .args(["-qefc", &up])
            .arg(&shown);
        Ok(text(&finish(&mut terminal, PATIENCE)?))
    };
    // That there are colours to be switched off is seen first.
    let coloured = shown("")?;
    assert!(coloured.contains("\u{1b}[32madmitted"), "{coloured:?}");
    for unwelcome in ["NO_COLOR=1", "TERM=dumb"] {
        let plain = shown(unwelcome)?;
        assert!(
            plain.contains("admitted") && !plain.contains('\u{1b}'),
            "{plain:?}"
        );
    }
    Ok(())
}
