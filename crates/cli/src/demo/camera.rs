//! An honest Linux camera: it reports motion, takes commands, and says how it stands. It was shipped with faults, and mends them.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use stockade_agent::session::{Incoming, Session};
use stockade_api::signed::Order;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::interval;

use super::system::System;
use crate::args::DemoDevice;
use crate::out::Out;

/// Between two reports: well under the two a second that its profile allows.
const EVERY: Duration = Duration::from_secs(4);
/// Evidence goes with this report and then each as many later, so that a newcomer sees a report first.
const EVIDENCE: (u32, u32) = (1, 15);
/// With this report the camera mends itself, if no operator had it done by then.
const MEND: u32 = 4;

/// Between two looks at the case.
const LOOK: Duration = Duration::from_millis(500);

/// Is the camera.
pub(super) async fn run(out: Out, told: &DemoDevice) -> anyhow::Result<()> {
    let identity = super::enrolled(out, told).await?;
    let tls = identity.tls()?;
    let mut camera = Camera {
        out,
        told,
        system: System::of(told, identity).await?,
        count: 0,
    };
    super::live(out, told, &tls, async |session| camera.work(session).await).await
}

struct Camera<'a> {
    out: Out,
    told: &'a DemoDevice,
    system: System,
    count: u32,
}

impl Camera<'_> {
    /// Works until the session ends.
    async fn work(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let (model, id) = (&self.told.model, &self.told.id);
        session.subscribe(&format!("{model}/{id}/command")).await?;
        session.subscribe(&self.topic("repair")).await?;
        if self.count > 0 {
            self.tell(session, None).await?;
        }
        let (mut clock, mut case) = (interval(EVERY), interval(LOOK));
        loop {
            tokio::select! {
                _ = clock.tick() => self.report(session).await?,
                _ = case.tick() => if let Some(alarm) = self.system.opened()? {
                    session.publish(&self.topic("events"), &alarm).await?;
                },
                came = session.next() => match came? {
                    Incoming::Message { topic, payload } if topic == self.topic("repair") => {
                        self.repair(session, &payload).await?;
                    }
                    Incoming::Message { topic, payload } => {
                        self.out.line(&format!("command on {topic}: {}", String::from_utf8_lossy(&payload).escape_debug()));
                    }
                    Incoming::Published(_, reason) if reason.is_error() => {
                        self.out.line(&format!("report refused: {}", reason.as_str()));
                    }
                    _ => {}
                }
            }
        }
    }

    async fn report(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let (model, id, count) = (&self.told.model, &self.told.id, self.count);
        let topic = format!("{model}/{id}/motion");
        session.publish(&topic, motion(count)?.as_bytes()).await?;
        self.count = count.wrapping_add(1);
        let (first, each) = EVIDENCE;
        if count == MEND {
            let done = self.system.mend("the camera")?;
            self.changed(session, done).await?;
        } else if count % each == first {
            self.tell(session, None).await?;
        }
        Ok(())
    }

    /// What the gateway wants done, signed.
    async fn repair(&mut self, session: &mut Session, signed: &[u8]) -> anyhow::Result<()> {
        let by = "the gateway";
        match self.system.command(signed) {
            Ok(Order::AssessNow { nonce }) => self.tell(session, Some(nonce)).await,
            Ok(Order::Apply) => {
                let done = self.system.mend(by)?;
                self.changed(session, done).await
            }
            Ok(Order::Undo) => {
                let done = self.system.undo(by)?;
                self.changed(session, done).await
            }
            Ok(Order::ClearTamper { .. }) => {
                self.system.close()?;
                self.tell(session, None).await
            }
            // UPnP is never on here, the certificate outlives the demo, and there is no other system.
            Ok(Order::UpnpOff | Order::Renew | Order::Update { .. }) => {
                self.tell(session, None).await
            }
            Err(why) => {
                self.out.line(&format!("not done: {why:#}"));
                Ok(())
            }
        }
    }

    /// What was done, and how it stands now.
    async fn changed(&self, session: &mut Session, done: Option<Vec<u8>>) -> anyhow::Result<()> {
        if let Some(done) = done {
            session.publish(&self.topic("events"), &done).await?;
        }
        self.tell(session, None).await
    }

    async fn tell(&self, session: &mut Session, nonce: Option<String>) -> anyhow::Result<()> {
        let evidence = self.system.evidence(nonce)?;
        session.publish(&self.topic("posture"), &evidence).await?;
        Ok(())
    }

    fn topic(&self, name: &str) -> String {
        format!("stockade/{}/{name}", self.told.id)
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
