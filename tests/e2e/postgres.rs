//! The whole gateway with its state in `PostgreSQL`.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use stockade_e2e::Gateway;
use stockade_e2e::tools::{eventually, text, without};
use stockade_store::suite::Cluster;

const PATIENCE: Duration = Duration::from_secs(20);

/// The readings that are stored, as numbers.
fn readings(gateway: &Gateway) -> Result<Vec<f64>> {
    let asked = [
        "vault",
        "query",
        "--purpose",
        "operation",
        "--schema",
        "reading",
        "--limit",
        "1000",
    ];
    let answer = gateway.json(&asked)?;
    let records = answer["records"].as_array().cloned().unwrap_or_default();
    let mut numbers: Vec<f64> = records
        .iter()
        .filter_map(|record| record["fields"]["celsius"].as_f64())
        .collect();
    numbers.sort_by(f64::total_cmp);
    Ok(numbers)
}

fn stored(gateway: &Gateway, wanted: &[f64]) -> Result<()> {
    eventually("the readings, each once", PATIENCE, || {
        // While the database is away, the question fails.
        let found = readings(gateway).unwrap_or_default();
        ensure!(found.len() <= wanted.len(), "stored twice: {found:?}");
        Ok((found == wanted).then_some(()))
    })
}

#[test]
fn the_state_is_in_the_database_and_survives_both_being_killed() -> Result<()> {
    if without(&["openssl", "curl", "mosquitto_pub", "psql"]) {
        return Ok(());
    }
    let folder = tempfile::TempDir::new_in("/dev/shm")?;
    let Some(mut cluster) = Cluster::start(folder.path())? else {
        return Ok(());
    };
    let url = cluster.fresh()?;
    let settings = format!("[storage]\ndatabase = \"{url}\"\n");
    let mut gateway = Gateway::start_with(&settings)?;
    gateway.install(&stockade_e2e::tools::root().join("tests/profiles/probe.toml"))?;
    let mut device = gateway.enrol("probe", "porch")?;
    let publish = |device: &stockade_e2e::Device, celsius: f64| -> Result<()> {
        let reading = format!("{{\"device\":\"porch\",\"celsius\":{celsius}}}");
        let output = device.publish("mqttv5", "1", "probe/porch/reading", &reading)?;
        ensure!(output.status.success(), "{}", text(&output));
        Ok(())
    };
    publish(&device, 1.5)?;
    stored(&gateway, &[1.5])?;
    assert!(!gateway.data().join("state.sqlite").exists());

    // The gateway is killed: a device it knew is known, and what it acknowledged is there once.
    publish(&device, 2.5)?;
    gateway.kill()?;
    gateway.up()?;
    device.port = gateway.address("mqtt")?.port();
    publish(&device, 3.5)?;
    stored(&gateway, &[1.5, 2.5, 3.5])?;

    // The database is killed: what is published meanwhile waits in the journal.
    cluster.kill()?;
    publish(&device, 4.5)?;
    let refused = gateway.cli(&["device", "add", "--model", "probe", "late"]);
    let told = format!("{:#}", refused.expect_err("nowhere to write it"));
    assert!(!told.contains("postgres@"), "{told}");
    cluster.run()?;
    stored(&gateway, &[1.5, 2.5, 3.5, 4.5])?;
    let added = gateway.json(&["device", "add", "--model", "probe", "late"])?;
    assert_ne!(added, Value::Null);

    // All of it moves into another database.
    let file = gateway.folder().join("vault.backup").display().to_string();
    gateway.cli(&["vault", "backup", &file])?;
    let again = gateway.cli(&["vault", "backup", &file]);
    assert!(again.is_err(), "a backup overwrites nothing");
    let toml = gateway.folder().join("stockade.toml");
    let config = toml.display().to_string();
    let restore = ["vault", "restore", &file, "--config", &config];
    let told = format!("{:#}", gateway.cli(&restore).expect_err("it runs"));
    assert!(told.contains("in use by process"), "{told}");
    gateway.stop()?;
    let moved = settings.replace(&url, &cluster.fresh()?);
    let text = fs_err::read_to_string(&toml)?;
    fs_err::write(&toml, text.replace(&settings, &moved))?;
    gateway.cli(&restore)?;
    let told = format!("{:#}", gateway.cli(&restore).expect_err("it is there"));
    assert!(told.contains("not empty"), "{told}");
    gateway.up()?;
    stored(&gateway, &[1.5, 2.5, 3.5, 4.5])?;
    device.port = gateway.address("mqtt")?.port();
    publish(&device, 5.5)?;
    stored(&gateway, &[1.5, 2.5, 3.5, 4.5, 5.5])?;
    let checked = gateway.json(&["vault", "fsck"])?;
    assert_eq!(checked["found"], serde_json::json!([]), "{checked}");

    // Its person has it erased there, too.
    let erased = gateway.cli(&["vault", "erase", "porch", "--reason", "x", "--yes"])?;
    ensure!(
        erased.contains("Erased porch: 5 records in ") && erased.contains("Epoch 2 is current"),
        "{erased}"
    );
    stored(&gateway, &[])?;

    // Another directory does not take this database for its own, and this one does not start without it.
    let mut other = Gateway::prepared(&moved)?;
    let told = format!("{:#}", other.up().expect_err("refused"));
    assert!(told.contains("belongs to another data directory"), "{told}");
    gateway.stop()?;
    let text = fs_err::read_to_string(&toml)?;
    fs_err::write(&toml, text.replace(&moved, ""))?;
    let told = format!("{:#}", gateway.up().expect_err("refused"));
    assert!(told.contains("is in PostgreSQL"), "{told}");
    Ok(())
}
