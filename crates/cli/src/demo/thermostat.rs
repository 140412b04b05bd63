//! A thermostat that somebody else controls: beside its temperature it tries what its profile does not allow.

use std::time::Duration;

use serde_json::json;
use stockade_agent::session::{Incoming, Session};
use tokio::time::interval;

use crate::args::DemoDevice;
use crate::out::Out;

/// Between two attempts.
const EVERY: Duration = Duration::from_secs(3);

/// Works until the session ends.
pub(super) async fn work(out: Out, session: &mut Session, told: &DemoDevice) -> anyhow::Result<()> {
    let (model, id) = (&told.model, &told.id);
    let mut clock = interval(EVERY);
    let mut step = 0_u32;
    loop {
        tokio::select! {
            _ = clock.tick() => {
                attempt(session, model, id, step).await?;
                step = step.wrapping_add(1);
            }
            came = session.next() => match came? {
                Incoming::Published(_, reason) => out.line(&format!("publish: {}", reason.as_str())),
                Incoming::Subscribed(_, reasons) => {
                    for reason in reasons {
                        out.line(&format!("subscribe: {}", reason.as_str()));
                    }
                }
                Incoming::Message { topic, .. } => out.line(&format!("got {topic}")),
                Incoming::Pong => {}
            }
        }
    }
}

/// One thing it may do, then three it may not.
async fn attempt(session: &mut Session, model: &str, id: &str, step: u32) -> anyhow::Result<()> {
    match step % 4 {
        0 => {
            let reading = json!({ "temperature": 21.4 }).to_string();
            session
                .publish(&format!("{model}/{id}/temperature"), reading.as_bytes())
                .await?;
        }
        // Somebody else's camera.
        1 => {
            session
                .publish("cam-2/demo-camera/command", br#"{"shutter":"closed"}"#)
                .await?;
        }
        // What the house says.
        2 => {
            session
                .publish(&format!("{model}/{id}/audio"), &[0; 64])
                .await?;
        }
        // Everything of everybody.
        _ => {
            session.subscribe("#").await?;
        }
    }
    Ok(())
}
