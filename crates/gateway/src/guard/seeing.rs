//! Threads that listen: to frames on the LAN's interface and its ports, and to packets that were blocked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use stockade_host::capture::{Capture, CaptureError, CaptureOptions, Wanted};
use stockade_host::netlink::NetlinkError;
use stockade_host::netlink::packets::{Group, Heard, Logged};
use tokio::sync::mpsc;

use super::sighting::Sighting;
use super::watch::look;

/// How often a thread looks whether it is to end.
const TURN: Duration = Duration::from_millis(250);

/// What the threads tell.
#[derive(Debug)]
pub(super) enum Seen {
    /// Something on the LAN.
    Sightings(Vec<Sighting>),
    /// Packets that rules blocked.
    Blocked(Vec<Logged>),
    /// More was blocked than could be taken.
    BlockedLost,
    /// Nothing is heard from an interface any more.
    Deaf(String, String),
    /// Nothing is heard of blocked packets any more.
    DeafToBlocked(String),
}

/// The threads that run, by the interface they listen to.
#[derive(Debug)]
pub(super) struct Ears {
    to: mpsc::Sender<Seen>,
    stop: Arc<AtomicBool>,
    threads: BTreeMap<String, JoinHandle<()>>,
    blocked: Option<JoinHandle<()>>,
}

impl Ears {
    pub(super) fn new(to: mpsc::Sender<Seen>) -> Self {
        Self {
            to,
            stop: Arc::default(),
            threads: BTreeMap::new(),
            blocked: None,
        }
    }

    /// Listens to an interface, unless a thread does so already. Of a bridge's port only LLDP is taken: the bridge keeps
    /// those frames for itself (IEEE 802.1D §7.12.6), and shows all others.
    pub(super) fn listen(&mut self, interface: &str, is_port: bool) -> Result<(), CaptureError> {
        self.threads.retain(|_, thread| !thread.is_finished());
        if self.threads.contains_key(interface) {
            return Ok(());
        }
        let options = CaptureOptions {
            promiscuous: false,
            wanted: Wanted::Announcements,
        };
        let mut capture = Capture::open(interface, options)?;
        let (to, stop) = (self.to.clone(), Arc::clone(&self.stop));
        let name = interface.to_owned();
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let frame = match capture.next_frame(TURN) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => continue,
                    Err(error) => {
                        // Who does not listen any more need not be told.
                        let _closed = to
                            .blocking_send(Seen::Deaf(name.clone(), stockade_host::chain(&error)));
                        return;
                    }
                };
                let mut seen = look(&frame.bytes, capture.outgoing());
                if is_port {
                    seen.retain(|one| matches!(one, Sighting::Lldp { .. }));
                }
                // A full queue holds this thread up; the kernel drops what does not fit its own.
                if !seen.is_empty() && to.blocking_send(Seen::Sightings(seen)).is_err() {
                    return;
                }
            }
        });
        self.threads.insert(interface.to_owned(), thread);
        Ok(())
    }

    /// Listens to blocked packets, unless a thread does so already.
    pub(super) fn listen_to_blocked(&mut self, group: u16) -> Result<(), NetlinkError> {
        if self.blocked.as_ref().is_some_and(|t| !t.is_finished()) {
            return Ok(());
        }
        let mut group = Group::bind(group)?;
        let (to, stop) = (self.to.clone(), Arc::clone(&self.stop));
        self.blocked = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let heard = match group.next(TURN) {
                    Ok(Heard::Packets(packets)) if packets.is_empty() => continue,
                    Ok(Heard::Packets(packets)) => Seen::Blocked(packets),
                    Ok(Heard::Lost) => Seen::BlockedLost,
                    Err(error) => {
                        let why = stockade_host::chain(&error);
                        let _closed = to.blocking_send(Seen::DeafToBlocked(why));
                        return;
                    }
                };
                // These are for people: when the queue is full they are counted as lost by the kernel.
                if to.blocking_send(heard).is_err() {
                    return;
                }
            }
        }));
        Ok(())
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        // They look within a quarter of a second; nobody waits for them.
        self.stop.store(true, Ordering::Relaxed);
    }
}
