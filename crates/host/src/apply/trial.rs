//! Watching a service that got tighter bounds.

use std::time::{Duration, Instant};

use stockade_controls::engine::{Health, Host as _, Transport};
use stockade_profile::ServiceName;

use super::error::StepError;
use crate::init::Init;
use crate::process::pause;
use crate::view::Live;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(500);
/// The longest that a service is watched.
const MOST: u32 = 600;

/// Starts a service of systemd anew, and watches it: it runs, is not started again, and listens where it did.
pub(crate) fn watch(init: Init, name: &ServiceName, health: &Health) -> Result<(), StepError> {
    let unit = format!("{name}.service");
    init.restart(&unit)?;
    let started = restarts(&unit)?;
    let until = Instant::now() + Duration::from_secs(u64::from(health.seconds.min(MOST)));
    let mut listens = false;
    loop {
        let (active, now) = (state(&unit)?, restarts(&unit)?);
        if !matches!(active.as_str(), "active" | "activating" | "reloading") {
            return Err(StepError::other(format!(
                "`{name}` did not stay running: it is {active}"
            )));
        }
        if now != started {
            return Err(StepError::other(format!(
                "`{name}` ended and was started again"
            )));
        }
        let missing = missing(health)?;
        // It may take its time until it listens; but what it listened on it keeps.
        if listens && let Some(port) = missing.first() {
            return Err(StepError::other(format!(
                "`{name}` does not listen on {port} any more"
            )));
        }
        listens = missing.is_empty();
        if Instant::now() >= until {
            return match missing.first() {
                Some(port) => Err(StepError::other(format!(
                    "`{name}` does not listen on {port}"
                ))),
                None if active != "active" => {
                    Err(StepError::other(format!("`{name}` is still {active}")))
                }
                None => Ok(()),
            };
        }
        pause(LOOK);
    }
}

fn state(unit: &str) -> Result<String, StepError> {
    Ok(Init::show(unit, &["ActiveState"])?.concat())
}

/// How often systemd started it by itself, and its process.
fn restarts(unit: &str) -> Result<Vec<String>, StepError> {
    Ok(Init::show(unit, &["NRestarts", "InvocationID"])?)
}

/// The ports on which nobody listens.
fn missing(health: &Health) -> Result<Vec<String>, StepError> {
    let live = Live::open().map_err(StepError::other)?;
    let listeners = live.listeners().map_err(StepError::other)?;
    let wanted = health.tcp.iter().map(|port| (Transport::Tcp, *port));
    let wanted = wanted.chain(health.udp.iter().map(|port| (Transport::Udp, *port)));
    let there = |(transport, port): &(Transport, u16)| {
        listeners
            .iter()
            .any(|it| it.transport == *transport && it.address.port() == *port)
    };
    let missing = wanted.filter(|it| !there(it));
    Ok(missing
        .map(|(transport, port)| format!("{transport} {port}"))
        .collect())
}
