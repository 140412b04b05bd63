//! Connects as fast as it can.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::identity::load;
use crate::process::{Process, Stretch};
use crate::settings::Settings;
use stockade_load::wire::Five;

/// Several clients connect, wait for CONNACK and leave, over and over.
pub(crate) async fn run(settings: &Settings) -> Result<Value> {
    let port = settings.get("port", 8883_u16)?;
    let five = Five(settings.get("version", 5_u8)? == 5);
    let (parallel, seconds) = (
        settings.get("parallel", 32_usize)?,
        settings.get("secs", 5_u64)?,
    );
    let devices = load(Path::new(settings.text("ids")?), parallel)?;
    let count = Arc::new(AtomicUsize::new(0));
    let stretch = Stretch::begin(Process(settings.text("pid")?.parse()?))?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut workers = JoinSet::new();
    for worker in 0..parallel {
        // Each worker is a device of its own: a device that connects twice at once is something else.
        let Some(device) = devices.get(worker).cloned() else {
            break;
        };
        let count = Arc::clone(&count);
        workers.spawn(async move {
            while Instant::now() < until {
                let client = Client::connect(&device, &device.id, port, five).await?;
                client.abort()?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    let (wall, cpu) = stretch.end()?;
    let connects = f64::from(u32::try_from(count.load(Ordering::Relaxed))?);
    Ok(json!({
        "connects": connects,
        "per_second": connects / wall,
        "cpu_ms": cpu * 1000.0 / connects,
        "per_core_second": connects / cpu,
    }))
}
