//! A stream of released rows from real devices: out within the delay, over a kill, to whoever may read.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stockade_e2e::tools::{eventually, finish, succeed, text};
use stockade_e2e::{Device, Gateway};

/// The sensitive field says whose a row is, so that it can be judged.
const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Stockade"
model = "meter"
version = 1
class = "linux"
[comms]
key = "file"
certificate-life = "7d"
[[comms.publish]]
topic = "meter/${device}/power"
max-bytes = 512
schema = "power"
[[comms.publish]]
topic = "meter/${device}/visits"
max-bytes = 512
schema = "visits"
[data.power]
rooms = { use = "keep", role = "quasi", range = [0, 20] }
who = { use = "keep", role = "sensitive" }
[vault.power]
release = { k = 5, l = 3, t = "1", delay = "8s" }
[data.visits]
account = { use = "token" }
note = { use = "seal", readers = ["owner"] }
[vault.visits]
purposes = ["repair"]
"#;
const DELAY: Duration = Duration::from_secs(8);
const DEVICES: usize = 12;

/// One record of each device, all at once.
fn round(devices: &[Device]) -> Result<()> {
    let sent = devices.iter().enumerate().map(|(number, device)| {
        let topic = format!("meter/{}/power", device.id);
        let message = format!(r#"{{"rooms": {number}, "who": "m{number}"}}"#);
        let mut command = device.mosquitto(
            "mosquitto_pub",
            "mqttv5",
            &["-q", "1", "-t", &topic, "-m", &message],
        );
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    });
    for child in sent.collect::<Result<Vec<_>, _>>()? {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "a record was not taken");
    }
    Ok(())
}

/// The rows, once there are so many.
fn rows(gateway: &Gateway, count: usize) -> Result<Vec<Value>> {
    eventually("released rows", Duration::from_secs(30), || {
        let told = gateway.cli(&["--json", "vault", "stream", "read", "power"])?;
        let rows: Vec<Value> = told
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        Ok((rows.len() >= count).then_some(rows))
    })
}

/// Who is in each class: the rows of one time that look alike.
fn classes(rows: &[Value]) -> BTreeSet<BTreeSet<String>> {
    let class = |row: &Value| {
        (
            row["released"].to_string(),
            row["fields"]["rooms"].to_string(),
        )
    };
    let all: BTreeSet<_> = rows.iter().map(class).collect();
    all.into_iter()
        .map(|of| {
            let alike = rows.iter().filter(|row| class(row) == of);
            alike.map(|row| row["fields"]["who"].to_string()).collect()
        })
        .collect()
}

/// By the commands of `vault reader` and `vault reveal`, and what they end with.
fn what_a_token_stands_for_is_shown_and_a_sealed_note_is_for_its_reader(
    gateway: &Gateway,
    device: &Device,
) -> Result<()> {
    let none = gateway.cli(&["vault", "reader", "list"])?;
    ensure!(none.contains("no readers"), "{none}");
    let mut openssl = Command::new("openssl");
    openssl.current_dir(gateway.folder());
    openssl.args(["genpkey", "-algorithm", "X25519", "-out", "owner.key"]);
    succeed(&mut openssl)?;
    let mut openssl = Command::new("openssl");
    openssl.current_dir(gateway.folder());
    openssl.args(["pkey", "-in", "owner.key", "-pubout", "-out", "owner.pub"]);
    succeed(&mut openssl)?;
    gateway.cli(&["vault", "reader", "add", "owner", "--key", "owner.pub"])?;
    let all = gateway.json(&["vault", "reader", "list"])?;
    assert_eq!(all["readers"][0]["reader"], "owner", "{all}");

    let message = r#"{"account": "ana-17", "note": "the key is under the mat"}"#;
    let topic = format!("meter/{}/visits", device.id);
    let sent = device.publish("mqttv5", "1", &topic, message)?;
    ensure!(sent.status.success(), "a visit was not taken");
    let query = [
        "vault",
        "query",
        "--schema",
        "visits",
        "--purpose",
        "repair",
    ];
    let record = eventually("a visit", Duration::from_secs(10), || {
        let told = gateway.json(&query);
        Ok(told.ok().and_then(|told| {
            let fields = told["records"][0]["fields"].clone();
            fields.is_object().then_some(fields)
        }))
    })?;
    let shown = record.to_string();
    ensure!(record["note"].is_object(), "{record}");
    ensure!(
        !shown.contains("ana-17") && !shown.contains("mat"),
        "{record}"
    );
    let token = record["account"].as_str().context("no token")?;
    let reveal = |device: &str, purpose: &str| -> Result<(Option<i32>, String)> {
        let mut asked = gateway.command(&["vault", "reveal", device, "--value", token]);
        asked.args([
            "--schema",
            "visits",
            "--field",
            "account",
            "--purpose",
            purpose,
        ]);
        let output = finish(&mut asked, Duration::from_secs(20))?;
        Ok((output.status.code(), text(&output).trim().to_owned()))
    };
    assert_eq!(
        reveal(&device.id, "repair")?,
        (Some(0), "\"ana-17\"".to_owned())
    );
    let (code, said) = reveal("meter-1", "repair")?;
    ensure!(
        code == Some(1) && said.contains("nothing stands behind it"),
        "{said}"
    );
    let (code, said) = reveal(&device.id, "curiosity")?;
    ensure!(
        code == Some(2) && said.contains("it allows repair"),
        "{said}"
    );

    gateway.cli(&["vault", "reader", "remove", "owner"])?;
    let mut again = gateway.command(&["vault", "reader", "remove", "owner"]);
    let again = finish(&mut again, Duration::from_secs(20))?;
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    Ok(())
}

#[test]
fn rows_of_real_devices_leave_within_the_delay_and_over_a_kill_with_the_same_others() -> Result<()>
{
    let mut gateway = Gateway::start()?;
    let profile = gateway.folder().join("meter.toml");
    fs_err::write(&profile, PROFILE)?;
    gateway.install(&profile)?;
    let devices = (0..DEVICES)
        .map(|number| gateway.enrol("meter", &format!("meter-{number}")))
        .collect::<Result<Vec<_>>>()?;
    round(&devices)?;
    eventually("a data set", Duration::from_secs(30), || {
        let on = gateway.cli(&["vault", "stream", "on", "power"]);
        Ok(on.ok().filter(|said| said.contains("is on")))
    })?;

    let sent = Instant::now();
    round(&devices)?;
    let all_sent = sent.elapsed();
    // While they wait.
    what_a_token_stands_for_is_shown_and_a_sealed_note_is_for_its_reader(&gateway, &devices[0])?;
    let first = rows(&gateway, DEVICES)?;
    // The clock of a row runs from when the vault has it.
    let took = sent.elapsed();
    ensure!(
        took <= DELAY + all_sent + Duration::from_secs(5),
        "{took:?}"
    );
    ensure!(took >= DELAY / 2, "nothing left at once: {took:?}");
    let groups = classes(&first);
    ensure!(groups.iter().all(|group| group.len() >= 5), "{groups:?}");

    // They wait when the gateway is killed, and leave when it is back.
    round(&devices)?;
    eventually("waiting rows", Duration::from_secs(5), || {
        let told = gateway.json(&["vault", "stream", "status"])?;
        Ok((told["streams"][0]["waiting"] == DEVICES).then_some(()))
    })?;
    gateway.kill()?;
    gateway.up()?;
    let all = rows(&gateway, 2 * DEVICES)?;
    ensure!(all[..DEVICES] == first[..], "what left stays as it was");
    assert_eq!(classes(&all[DEVICES..]), groups, "the same groups");
    let numbers: Vec<u64> = all
        .iter()
        .filter_map(|row| row["number"].as_u64())
        .collect();
    ensure!(numbers.iter().copied().eq(1..=24), "{numbers:?}");

    let csv = gateway.cli(&["vault", "stream", "read", "power", "--after", "20"])?;
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("number,released,rooms,who"));
    assert_eq!(lines.count(), 4);
    let status = gateway.cli(&["vault", "stream", "off", "power"])?;
    ensure!(
        status.contains("is off. Its last row is number 24."),
        "{status}"
    );
    let log = succeed(&mut gateway.command(&["--json", "vault", "log"]))?;
    let log: Value = serde_json::from_str(&log)?;
    let entries = log["entries"].as_array().context("no entries")?;
    let switched = entries
        .iter()
        .filter(|entry| entry.to_string().contains(r#""action":"stream""#));
    assert_eq!(switched.count(), 2);
    Ok(())
}
