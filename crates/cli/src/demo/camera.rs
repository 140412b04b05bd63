//! An honest Linux camera: it reports motion, and takes commands.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use stockade_agent::session::{Incoming, Session};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::interval;

use crate::args::DemoDevice;
use crate::out::Out;

/// Between two reports: well under the two a second that its profile allows.
const EVERY: Duration = Duration::from_secs(4);

/// Works until the session ends.
pub(super) async fn work(out: Out, session: &mut Session, told: &DemoDevice) -> anyhow::Result<()> {
    let (model, id) = (&told.model, &told.id);
    session.subscribe(&format!("{model}/{id}/command")).await?;
    let mut clock = interval(EVERY);
    let mut count = 0_u32;
    loop {
        tokio::select! {
            _ = clock.tick() => {
                let report = motion(count)?;
                session.publish(&format!("{model}/{id}/motion"), report.as_bytes()).await?;
                count = count.wrapping_add(1);
            }
            came = session.next() => match came? {
                Incoming::Message { topic, payload } => {
                    out.line(&format!("command on {topic}: {}", String::from_utf8_lossy(&payload).escape_debug()));
                }
                Incoming::Published(_, reason) if reason.is_error() => {
                    out.line(&format!("report refused: {}", reason.as_str()));
                }
                _ => {}
            }
        }
    }
}

/// A report with more in it than the vault will keep: that is what the profile is for.
fn motion(count: u32) -> anyhow::Result<String> {
    let now = OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .context("the clock is out of range")?;
    let confidence = f64::from(80 + count % 20) / 100.0;
    Ok(json!({
        "time": now,
        "location": { "lat": 47.376_9, "lon": 8.541_7 },
        "confidence": confidence,
        "owner-email": "owner@example.org",
        "firmware": "2.4.1",
    })
    .to_string())
}
