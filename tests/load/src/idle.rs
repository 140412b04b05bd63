//! Memory of the server for each idle connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::identity::load;
use crate::process::Process;
use crate::settings::Settings;
use stockade_load::wire::Five;

/// Opens `n` connections with one QoS 1 subscription each and looks at the server's resident memory.
pub(crate) async fn run(settings: &Settings) -> Result<Value> {
    let port = settings.get("port", 8883_u16)?;
    let five = Five(settings.get("version", 5_u8)? == 5);
    let count = settings.get("n", 1_000_usize)?;
    // Not every broker takes every client id.
    let separator = settings.get("separator", "/".to_owned())?;
    let process = Process(settings.text("pid")?.parse()?);
    let devices = load(Path::new(settings.text("ids")?), count)?;
    // A few connections first: what the server makes once is not counted as belonging to each.
    let mut warm = Vec::new();
    for device in devices.iter().take(8) {
        warm.push(Client::connect(device, &device.id, port, five).await?);
    }
    for client in warm {
        client.abort()?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = process.resident()?;

    let gate = Arc::new(Semaphore::new(32));
    let mut opening = JoinSet::new();
    for number in 0..count {
        let Some(device) = devices.get(number % devices.len()).cloned() else {
            break;
        };
        // With fewer devices than connections, a device opens several, each in a slot of its own.
        let slot = number / devices.len();
        let (gate, separator) = (Arc::clone(&gate), separator.clone());
        opening.spawn(async move {
            let _permit = gate.acquire().await?;
            let client_id = if slot == 0 {
                device.id.clone()
            } else {
                format!("{}{separator}{slot}", device.id)
            };
            let mut client = Client::connect(&device, &client_id, port, five).await?;
            client
                .subscribe(&format!("bench/{}/down", device.id), 1)
                .await?;
            anyhow::Ok(client)
        });
    }
    let mut open = Vec::new();
    while let Some(client) = opening.join_next().await {
        open.push(client??);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = process.resident()?;
    let grown = f64::from(u32::try_from(after.saturating_sub(before))?);
    Ok(json!({
        "connections": open.len(),
        "devices": devices.len(),
        "kib_each": grown / f64::from(u32::try_from(open.len())?),
        "resident_kib": after,
    }))
}
