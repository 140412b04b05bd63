//! How long a device that is revoked stays connected.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::client::Client;
use crate::identity::load;
use crate::settings::Settings;
use stockade_load::wire::{self, Five};

/// Longest that is waited for the end of the session.
const PATIENCE: Duration = Duration::from_mins(1);

/// One device receives a steady stream; it is revoked; the time of the last byte it got is what counts.
pub(crate) async fn run(settings: &Settings) -> Result<Value> {
    let port = settings.get("port", 8883_u16)?;
    let five = Five(settings.get("version", 5_u8)? == 5);
    let devices = load(Path::new(settings.text("ids")?), usize::MAX)?;
    // The last two: the other modes use the first ones, and revoked is for ever.
    let [.., sender, victim] = devices.as_slice() else {
        bail!("two devices are needed")
    };
    let mut receiving = Client::connect(victim, &victim.id, port, five).await?;
    let topic = format!("bench/{}/up", sender.id);
    receiving.subscribe(&topic, 0).await?;
    let mut sending = Client::connect(sender, &sender.id, port, five).await?;
    let stream = tokio::spawn(async move {
        let mut packet = Vec::new();
        wire::publish(five, &topic, None, &[0x5A; 128], &mut packet);
        loop {
            sending.stream.write_all(&packet).await?;
            sending.stream.flush().await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        #[expect(unreachable_code, reason = "tells the type of the task's outcome")]
        anyhow::Ok(())
    });
    let mut bytes = vec![0_u8; 64 * 1024];
    let flowing = Instant::now();
    while flowing.elapsed() < Duration::from_millis(500) {
        let read = timeout(PATIENCE, receiving.stream.read(&mut bytes))
            .await
            .context("nothing arrives")??;
        ensure!(read > 0, "the session ended before it was revoked");
    }
    let command = settings.text("run")?.replace("{id}", &victim.id);
    let started = Instant::now();
    let mut revoking = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(&command)
        .stdout(Stdio::null())
        .spawn()?;
    let mut last = started;
    loop {
        match timeout(PATIENCE, receiving.stream.read(&mut bytes))
            .await
            .context("the session goes on")?
        {
            Ok(0) | Err(_) => break,
            Ok(_) => last = Instant::now(),
        }
        ensure!(started.elapsed() < PATIENCE, "the session goes on");
    }
    let ended = started.elapsed();
    ensure!(revoking.wait().await?.success(), "`{command}` failed");
    stream.abort();
    let again = Client::connect(victim, &victim.id, port, five).await;
    ensure!(again.is_err(), "the revoked device came back");
    Ok(json!({
        "last_byte_ms": (last - started).as_secs_f64() * 1000.0,
        "closed_ms": ended.as_secs_f64() * 1000.0,
    }))
}
