//! How the agent itself stands, for the page: its parts note it, the page reads it.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What the parts noted; shared by all of them.
#[derive(Debug, Default)]
pub struct Standing(Mutex<Noted>);

/// What is known by now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Noted {
    /// Where the gateway is: `host:port`.
    pub gateway: String,
    /// Since when the session with the gateway is up; none if it is down.
    pub connected: Option<SystemTime>,
    /// Why it is down, as a sentence.
    pub trouble: Option<String>,
    /// Until when the device's certificate is valid.
    pub certificate: Option<SystemTime>,
    /// When evidence was last taken by the gateway.
    pub evidence: Option<SystemTime>,
    /// Why the gateway holds the device in quarantine, if it does and has said so.
    pub quarantine: Option<String>,
    /// Events and evidence that wait for the gateway.
    pub waiting: usize,
    /// Those that had to be dropped because too many waited.
    pub dropped: u64,
}

impl Standing {
    /// Notes something.
    pub fn note(&self, change: impl FnOnce(&mut Noted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is known by now.
    pub fn noted(&self) -> Noted {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
