//! A roll-out through a real gateway: devices are told by signed orders, their evidence decides, and the gateway is killed in between.

use super::*;

/// What the gateway wants a device to do, as far as it waits there.
fn waiting(gateway: &Gateway, device: &str) -> Result<Vec<String>> {
    let shown = gateway.json(&["device", "posture", device])?;
    let waiting = shown["waiting"].as_array().cloned().unwrap_or_default();
    Ok(waiting
        .iter()
        .filter_map(|it| it["what"].as_str().map(str::to_owned))
        .collect())
}

/// The device says which system runs, and whether something is wrong.
fn runs(device: &Device, number: u64, system: u64, wrong: bool) -> Result<()> {
    let mut evidence = evidence(device, number, wrong, None);
    evidence.posture.profile_version = 2;
    evidence.system = Some(system.to_string());
    // It did everything that it was told.
    evidence.done = if number > 1 { u64::MAX } else { 0 };
    says(device, &signed(&evidence, device, device)?)
}

fn state(gateway: &Gateway, wanted: &str) -> Result<Value> {
    eventually(
        &format!("the roll-out is {wanted}"),
        Duration::from_secs(30),
        || {
            // Its exit code says that it halted by itself.
            let output = gateway.command(&["--json", "rollout", "status"]).output()?;
            let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            Ok((shown["state"] == wanted).then_some(shown))
        },
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn a_roll_out_survives_its_gateway_halts_by_itself_and_goes_on_when_told() -> Result<()> {
    if tools_are_missing() {
        return Ok(());
    }
    let mut gateway = Gateway::with_probe()?;
    let text =
        fs_err::read_to_string(stockade_e2e::tools::root().join("tests/profiles/probe.toml"))?;
    let text = text.replace("version = 1", "version = 2")
        + "\n[updates]\nsource = \"https://updates.example.org/probe\"\nmax-age = \"30d\"\nsecurity-within = \"72h\"\nslots = { kind = \"rauc\" }\n";
    let profile = gateway.folder().join("probe-2.toml");
    fs_err::write(&profile, text)?;
    gateway.install(&profile)?;
    let mut fleet = Vec::new();
    for id in ["d1", "d2", "d3"] {
        let device = gateway.enrol("probe", id)?;
        runs(&device, 1, 11, false)?;
        fleet.push(device);
    }
    let heard = |gateway: &Gateway| {
        eventually("evidence of all", Duration::from_secs(30), || {
            let all = ["d1", "d2", "d3"].into_iter().all(|id| {
                gateway
                    .json(&["device", "posture", id])
                    .is_ok_and(|it| it["number"] == 1)
            });
            Ok(all.then_some(()))
        })
    };
    heard(&gateway)?;
    gateway.cli(&[
        "rollout",
        "start",
        "--model",
        "probe",
        "--version",
        "12",
        "--stages",
        "1%,100%",
        "--wait",
        "0s",
    ])?;
    let told = |gateway: &Gateway| -> Result<Vec<usize>> {
        let mut told = Vec::new();
        for number in 0..3 {
            if waiting(gateway, &format!("d{}", number + 1))?
                .iter()
                .any(|it| it == "update the system")
            {
                told.push(number);
            }
        }
        Ok(told)
    };
    let first = eventually("somebody is told", Duration::from_secs(30), || {
        Ok(told(&gateway)?.first().copied())
    })?;
    ensure!(
        told(&gateway)?.len() == 1,
        "one in a hundred of three is one"
    );

    gateway.kill()?;
    gateway.up()?;
    let port = gateway.address("mqtt")?.port();
    for it in &mut fleet {
        it.port = port;
    }
    ensure!(told(&gateway)? == [first], "what was started goes on");
    // It comes up with the version, and with something badly wrong.
    runs(&fleet[first], 2, 12, true)?;
    let halted = state(&gateway, "halted")?;
    let why = halted["why"].as_str().unwrap_or_default();
    ensure!(
        halted["by_itself"] == true && why.contains("credentials/default-password"),
        "{halted}"
    );
    ensure!(
        told(&gateway)?.iter().all(|it| *it == first),
        "nobody else was told"
    );
    gateway.event("an alarm", |event| {
        event["outcome"] == "alarm"
            && event["reason"]
                .as_str()
                .unwrap_or_default()
                .contains("halted by itself")
    })?;

    runs(&fleet[first], 3, 12, false)?;
    gateway.cli(&[
        "rollout",
        "resume",
        "1",
        "--reason",
        "the password was the installer's",
    ])?;
    // It shows how it stands since then.
    runs(&fleet[first], 4, 12, false)?;
    let others: Vec<usize> = (0..3).filter(|it| *it != first).collect();
    eventually("the others are told", Duration::from_secs(30), || {
        Ok((told(&gateway)? == others).then_some(()))
    })?;
    for it in others {
        runs(&fleet[it], 2, 12, false)?;
    }
    let done = state(&gateway, "done")?;
    ensure!(done["current"] == 3 && done["behind"] == 0, "{done}");
    Ok(())
}
