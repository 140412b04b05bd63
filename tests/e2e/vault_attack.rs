//! The vault attacked from outside: at its doors, through its files, and by killing it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use stockade_e2e::tools::{eventually, finish, pause, root, succeed, text, without};
use stockade_e2e::{Device, Gateway};

const PATIENCE: Duration = Duration::from_secs(20);
const TOOLS: [&str; 3] = ["openssl", "curl", "mosquitto_pub"];

/// Sends a record; true when the gateway took responsibility for it.
fn send(device: &Device, payload: &str) -> Result<bool> {
    let topic = format!("probe/{}/reading", device.id);
    let output = device.publish("mqttv5", "1", &topic, payload)?;
    Ok(output.status.success() && !text(&output).contains("failed"))
}

/// A gateway with two devices that have sent a record each.
fn stage(settings: &str) -> Result<(Gateway, [Device; 2])> {
    let gateway = Gateway::start_with(settings)?;
    let profile = fs_err::read_to_string(root().join("tests/profiles/probe.toml"))?;
    let file = gateway.folder().join("probe.toml");
    let bounded = profile.replace(
        r#"{ use = "keep" }"#,
        r#"{ use = "keep", range = [-40, 60] }"#,
    );
    fs_err::write(
        &file,
        format!(
            "{bounded}budget = {{ epsilon = \"5\", per = \"7d\" }}\nrelease = {{ k = 2, l = 1 }}\n"
        ),
    )?;
    gateway.install(&file)?;
    let devices = [
        gateway.enrol("probe", "porch")?,
        gateway.enrol("probe", "hall")?,
    ];
    for device in &devices {
        ensure!(
            send(device, r#"{"celsius":21.5}"#)?,
            "a record was not taken"
        );
    }
    eventually("the records", PATIENCE, || {
        Ok((stored(&gateway, "porch")? == 1 && stored(&gateway, "hall")? == 1).then_some(()))
    })?;
    Ok((gateway, devices))
}

/// How many records the vault has of a device.
fn stored(gateway: &Gateway, device: &str) -> Result<usize> {
    Ok(gateway.cli(&["vault", "export", device])?.lines().count())
}

/// What an address answers to a token: the status, and the body.
fn ask(gateway: &Gateway, token: &str, path: &str, more: &[&str]) -> Result<(u16, String)> {
    let url = format!("https://{}{path}", gateway.address("console")?);
    let mut curl = Command::new("curl");
    curl.args([
        "-s",
        "-g",
        "--path-as-is",
        "-w",
        "\n%{http_code}",
        "--cacert",
    ])
    .arg(gateway.data().join("ca.pem"))
    .arg(url)
    .args(more);
    if !token.is_empty() {
        curl.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    let said = text(&finish(&mut curl, PATIENCE)?);
    let (body, status) = said.rsplit_once('\n').context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// The same for a JSON body.
fn post(gateway: &Gateway, token: &str, path: &str, body: &Value) -> Result<(u16, String)> {
    let body = body.to_string();
    let more = [
        "-H",
        "content-type: application/json",
        "--data-binary",
        &body,
    ];
    ask(gateway, token, path, &more)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one door after the other")]
fn each_door_is_closed_to_who_may_not_and_says_nothing_of_what_is_behind_it() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let (mut gateway, _) = stage("[log]\nlevel = \"trace\"\n")?;
    let token = |name: &str, role: &str| -> Result<String> {
        let told = gateway.json(&["token", "add", name, "--role", role])?;
        Ok(told["token"].as_str().context("no token")?.to_owned())
    };
    let (ana, rev) = (token("ana", "analyst")?, token("rev", "auditor")?);
    let own = token("mine", "subject:porch")?;
    let records = "/api/v1/vault/records?schema=reading&purpose=operation";

    // One device's token, for another device: the same words, whether there is one or not.
    let mut refused = Vec::new();
    for other in [
        "hall",
        "nosuch",
        "Porch",
        "porch%00",
        "porch%2f..%2fhall",
        "porch%20",
        "",
        "hall&model=probe",
    ] {
        let path = format!("/api/v1/vault/export?device={other}");
        refused.push(ask(&gateway, &own, &path, &[])?);
    }
    for other in ["hall", "nosuch"] {
        let body = json!({ "device": other, "reason": "x" });
        refused.push(post(&gateway, &own, "/api/v1/vault/erase", &body)?);
    }
    refused.dedup();
    ensure!(refused.len() == 1 && refused[0].0 == 403, "{refused:?}");
    assert_eq!(
        ask(&gateway, &own, "/api/v1/vault/export?device=%70orch", &[])?.0,
        200
    );

    let twice = format!("Authorization: Bearer {rev}");
    for (token, path, more, status) in [
        ("", records, &[][..], 401),
        ("stockade_AAAA", records, &[], 401),
        (&ana, records, &["-H", &twice], 401),
        (&own, records, &[], 403),
        (&rev, records, &[], 403),
        (&ana, records, &[], 200),
        (&ana, &format!("{records}&device=hall"), &[], 403),
        (&ana, &format!("{records}&device=nosuch"), &[], 403),
        (
            &own,
            "/api/v1/vault/export?device=hall&device=porch",
            &[],
            400,
        ),
        (&ana, "/api/v1/vault/counters", &[], 403),
        (&rev, "/api/v1/vault/counters", &[], 200),
        (&ana, "/api/v1/vault/budgets", &[], 200),
        (&ana, "/api/v1/vault/log", &[], 403),
        (&ana, "/api/v1/vault/log/checkpoint", &[], 403),
        (&rev, "/api/v1/vault/log/..%2f..%2froot.key", &[], 404),
        (&rev, "/api/v1/vault/log/%2e%2e/%2e%2e/keyring", &[], 404),
        (
            &rev,
            "/api/v1/vault/log/tile/63/x999/x999/x999/x999/x999/x999/999",
            &[],
            404,
        ),
        (
            &rev,
            "/api/v1/vault/log?from=18446744073709551615&limit=18446744073709551615",
            &[],
            200,
        ),
        (
            &ana,
            "/api/v1/vault/export?device=porch",
            &["-H", "X-HTTP-Method-Override: POST"],
            403,
        ),
        (&own, "/api/v1/vault/erase", &["-X", "TRACE"], 405),
        (
            &ana,
            "/api/v1/vault/records?schema=reading&purpose=op%0d%0aforged%1b[31m",
            &[],
            403,
        ),
        (
            &ana,
            "/api/v1/vault/records?schema=forged-set&purpose=forged-purpose",
            &[],
            200,
        ),
    ] {
        let (got, said) = ask(&gateway, token, path, more)?;
        ensure!(got == status, "{path} {more:?}: {got} {said}");
    }

    let release = |key: &str, value: Value| json!({ "schema": "reading", key: value });
    for (path, body, status) in [
        ("release", release("k", json!(0)), 400),
        ("release", release("k", json!(1)), 400),
        // Two devices are fewer than an analyst is told of.
        ("release", release("k", json!(1_000_000_000)), 400),
        ("release", release("k", json!(u64::MAX)), 422),
        ("release", release("t", json!(1e308)), 400),
        ("release", release("t", json!(-1)), 400),
        ("release", release("suppress", json!(-1e308)), 400),
        (
            "release",
            json!({ "schema": "reading", "from": "2027-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z" }),
            400,
        ),
        ("erase", json!({ "device": "porch", "reason": "x" }), 403),
    ] {
        let (got, said) = post(&gateway, &ana, &format!("/api/v1/vault/{path}"), &body)?;
        ensure!(got == status, "{body}: {got} {said}");
    }
    let stat = |question: &str, epsilon: &str| {
        let body = json!({ "schema": "reading", "question": question, "epsilon": epsilon });
        post(&gateway, &ana, "/api/v1/vault/stat", &body)
    };
    for epsilon in [
        "0",
        "-1",
        "NaN",
        "inf",
        "1e308",
        "0.0009",
        "10.000001",
        "99999999999999999999999999",
        "0.1\r\n",
    ] {
        let (status, said) = stat("count", epsilon)?;
        ensure!(status == 400, "{epsilon:?}: {status} {said}");
    }
    assert_eq!(stat("count", "10")?.0, 429);
    for question in [
        "count from 2027-01-01 to 2026-01-01",
        "count from 0000-01-01 to 9999-12-31",
        "count per 1s from 2000-01-01 to 2026-12-31",
        "count per 18446744073709551615d",
        "histogram celsius by 0",
        "histogram celsius by 0.0000001",
        "count where celsius > -170141183460469231731687303715884105728",
        "count by device",
        "count\r\nforged",
        &"count ".repeat(15_000),
    ] {
        let (status, said) = stat(question, "0.001")?;
        ensure!(status == 400, "{question:.40}: {status} {said}");
    }
    let budgets = gateway.json(&["vault", "stat", "--budget"])?;
    assert_eq!(budgets["budgets"][0]["spent"], 0.0, "{budgets}");

    // Another source by its own word is the same one; who has a token is not kept out.
    let guesses = (0..8).map(|number| {
        let source = format!("X-Forwarded-For: 192.0.2.{number}");
        Ok(ask(
            &gateway,
            &format!("stockade_{number}"),
            records,
            &["-H", &source],
        )?
        .0)
    });
    let guesses: Vec<u16> = guesses.collect::<Result<_>>()?;
    ensure!(guesses.ends_with(&[429, 429]), "{guesses:?}");
    assert_eq!(ask(&gateway, &ana, records, &[])?.0, 200);

    let socket = fs_err::metadata(gateway.data().join("admin.sock"))?;
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let log = gateway.cli(&["--json", "vault", "log"])?;
    let said = gateway.said();
    for planted in ["forged", "porch", "hall", "nosuch"] {
        ensure!(
            !log.contains(planted),
            "{planted} is in the vault's log: {log}"
        );
    }
    let bare = |token: &str| token.trim_start_matches("stockade_").to_owned();
    for secret in [
        "forged".to_owned(),
        "panicked".to_owned(),
        bare(&ana),
        bare(&rev),
        bare(&own),
    ] {
        ensure!(!said.contains(&secret), "{secret} was printed: {said}");
    }
    gateway.stop()
}

#[test]
fn no_payload_stops_the_vault_and_no_time_a_device_claims_gets_around_its_bounds() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let (mut gateway, [porch, _]) = stage("")?;
    let (deep, many) = (
        format!(r#"{{"celsius":{}{}}}"#, "[".repeat(200), "]".repeat(200)),
        format!(
            "{{{}}}",
            (0..60)
                .map(|n| format!(r#""f{n}":1"#))
                .collect::<Vec<_>>()
                .join(",")
        ),
    );
    for payload in [
        r#"{"celsius":NaN}"#,
        r#"{"celsius":1e999}"#,
        r#"{"celsius":1,"celsius":2}"#,
        "null",
        "\u{b9}\u{ff}",
        &deep,
    ] {
        ensure!(send(&porch, payload)?, "not taken: {payload}");
    }
    for payload in [
        r#"{"celsius":1e308}"#,
        r#"{"celsius":-1e308,"time":1e308}"#,
        r#"{"celsius":7,"device":"hall"}"#,
        r#"{"celsius":7,"time":"9999-12-31T23:59:59Z"}"#,
        r#"{"celsius":7,"time":-9223372036854775808}"#,
        &many,
    ] {
        ensure!(send(&porch, payload)?, "not taken: {payload}");
    }
    let counted = eventually("all are counted", PATIENCE, || {
        let sets = gateway.json(&["vault", "query"])?;
        let refused = sets["reading"]["refused"].as_object();
        let refused = refused.map(|all| all.values().filter_map(Value::as_u64).sum::<u64>());
        let done = refused == Some(6) && sets["reading"]["stored"] == 8;
        Ok(done.then_some(sets))
    });
    counted.with_context(|| {
        gateway
            .cli(&["--json", "vault", "query"])
            .unwrap_or_default()
    })?;
    // What a device says of another is its own.
    assert_eq!(stored(&gateway, "hall")?, 1);
    gateway.cli(&[
        "vault",
        "stat",
        "--schema",
        "reading",
        "mean celsius",
        "--epsilon",
        "0.1",
    ])?;
    gateway.cli(&["vault", "risk", "reading"])?;
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    gateway.stop()
}

/// `up` must refuse, soon, and name the file.
fn is_refused(gateway: &Gateway, what: &str, names: &str) -> Result<()> {
    let config = gateway.folder().join("stockade.toml").display().to_string();
    let output = finish(&mut gateway.command(&["up", "--config", &config]), PATIENCE)?;
    let said = text(&output);
    ensure!(
        output.status.code() == Some(2) && said.contains(names) && !said.contains("panicked"),
        "{what}: {} {said}",
        output.status
    );
    Ok(())
}

fn copied(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs_err::remove_dir_all(to)?;
    }
    succeed(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}

#[test]
fn one_bit_in_any_file_of_the_vaults_own_is_named_and_so_is_one_that_is_gone() -> Result<()> {
    if without(&TOOLS) {
        return Ok(());
    }
    let (mut gateway, _) = stage("")?;
    gateway.stop()?;
    let (data, good) = (gateway.data(), gateway.folder().join("good"));
    copied(&data, &good)?;
    let entries = fs_err::read_dir(data.join("vault/log/tile/entries/000.p"))?;
    let partial = entries.last().context("no entries")??.file_name();
    let partial = partial.to_string_lossy();
    for (file, names) in [
        ("vault/root.key", "root key"),
        ("vault/keyring", "keyring"),
        ("vault/log.key", "log"),
        ("vault/log/checkpoint", "log/checkpoint"),
        (&format!("vault/log/tile/0/000.p/{partial}"), "log/tile/"),
        (
            &format!("vault/log/tile/entries/000.p/{partial}"),
            "log/tile/entries/",
        ),
    ] {
        let path = data.join(file);
        let whole = fs_err::read(&path)?;
        let mut other = whole.clone();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        fs_err::write(&path, other)?;
        is_refused(&gateway, &format!("a bit of {file}"), names)?;
        fs_err::write(&path, &whole[..middle])?;
        is_refused(&gateway, &format!("half of {file}"), names)?;
        fs_err::remove_file(&path)?;
        is_refused(&gateway, &format!("no {file}"), "")?;
        copied(&good, &data)?;
    }
    fs_err::set_permissions(
        data.join("vault/root.key"),
        PermissionsExt::from_mode(0o644),
    )?;
    is_refused(&gateway, "a root key for all to read", "chmod 600")?;
    copied(&good, &data)?;
    fs_err::remove_dir_all(data.join("vault/log"))?;
    is_refused(&gateway, "no log", "an old copy was put in its place")?;
    copied(&good, &data)?;
    gateway.up()?;
    assert_eq!(stored(&gateway, "porch")?, 1);
    gateway.stop()
}

/// Marsaglia's xorshift: the same numbers each time.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn killed_at_any_moment_the_vault_loses_nothing_acknowledged_and_gives_no_budget_back() -> Result<()>
{
    if without(&TOOLS) {
        return Ok(());
    }
    let (mut gateway, mut devices) = stage("")?;
    let (mut seed, mut acknowledged, mut spent) = (0x5eed_0008_u64, 1, 0.0);
    for round in 0..20_u32 {
        let question = format!("count where celsius > {round}");
        let place = gateway
            .folder()
            .join(format!("backup-{round}"))
            .display()
            .to_string();
        let operation: &[&str] = match round % 5 {
            0 => &[
                "vault",
                "stat",
                "--schema",
                "reading",
                &question,
                "--epsilon",
                "0.1",
            ],
            1 => &["vault", "erase", "hall", "--reason", "x", "--yes"],
            2 => &["vault", "rotate-keys"],
            3 => &["vault", "release", "reading"],
            _ => &["vault", "backup", &place],
        };
        let [porch, hall] = &devices;
        if stored(&gateway, "hall")? == 0 {
            ensure!(send(hall, r#"{"celsius":1}"#)?, "not taken");
        }
        acknowledged += usize::from(send(porch, r#"{"celsius":2}"#)?);
        eventually("what was sent before", PATIENCE, || {
            let there =
                stored(&gateway, "porch")? >= acknowledged && stored(&gateway, "hall")? == 1;
            Ok(there.then_some(()))
        })?;
        let mut running = gateway.command(operation);
        let running = std::thread::spawn(move || finish(&mut running, PATIENCE));
        pause(Duration::from_millis(10 + next(&mut seed) % 40));
        gateway.kill()?;
        let output = running
            .join()
            .map_err(|_| anyhow::anyhow!("it panicked"))??;
        gateway.up()?;
        for device in &mut devices {
            device.port = gateway.address("mqtt")?.port();
        }

        let what = format!("round {round}, {operation:?}: {}", text(&output));
        let checked = gateway.json(&["vault", "fsck"]).context(what.clone())?;
        ensure!(checked["found"] == json!([]), "{what}: {checked}");
        ensure!(stored(&gateway, "porch")? == acknowledged, "{what}");
        let left = stored(&gateway, "hall")?;
        let erased = operation[1] == "erase" && output.status.success();
        ensure!(left <= usize::from(!erased), "{what}: {left} are left");
        let budgets = gateway.json(&["vault", "stat", "--budget"])?;
        let now = budgets["budgets"][0]["spent"]
            .as_f64()
            .context("no budget")?;
        let paid = operation[1] != "stat" || !output.status.success() || now > spent;
        ensure!(
            now >= spent && paid,
            "{what}: {spent} was spent, and {now} is"
        );
        spent = now;
    }
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    gateway.stop()
}
