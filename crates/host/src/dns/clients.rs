//! What one client may take up: questions a second, questions that wait, streams, and reports about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Event, Inner, Settings, lock};

/// The most clients that are known at a time.
const MOST_CLIENTS: usize = 4_096;
/// The most reports about one client in [`AGAIN`].
const MOST_REPORTS: usize = 64;
/// How long the same report is not repeated.
const AGAIN: Duration = Duration::from_mins(1);

/// Everyone who asks.
#[derive(Debug, Default)]
pub(super) struct Clients {
    known: BTreeMap<IpAddr, Client>,
}

#[derive(Debug)]
struct Client {
    /// When the questions so far will have been worked off at the allowed rate (the generic cell rate algorithm, ITU-T I.371).
    due: Instant,
    waiting: u32,
    streams: u32,
    told: BTreeMap<Event, Instant>,
    mute: Option<Instant>,
}

/// Whether a question gets a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It does.
    Welcome,
    /// The client has had its share.
    Flood,
}

impl Client {
    fn new(now: Instant) -> Self {
        Self {
            due: now,
            waiting: 0,
            streams: 0,
            told: BTreeMap::new(),
            mute: None,
        }
    }

    fn is_idle(&self, now: Instant) -> bool {
        let old = |at: &Instant| now.duration_since(*at) >= AGAIN;
        self.waiting == 0
            && self.streams == 0
            && self.due <= now
            && self.told.values().all(old)
            && self.mute.as_ref().is_none_or(old)
    }
}

impl Clients {
    fn client(&mut self, address: IpAddr, now: Instant) -> Option<&mut Client> {
        if self.known.len() >= MOST_CLIENTS && !self.known.contains_key(&address) {
            self.known.retain(|_, client| !client.is_idle(now));
            if self.known.len() >= MOST_CLIENTS {
                return None;
            }
        }
        let new = || Client::new(now);
        Some(self.known.entry(address).or_insert_with(new))
    }

    /// A client asks.
    pub(super) fn enter(&mut self, address: IpAddr, now: Instant, settings: &Settings) -> Entry {
        let Some(client) = self.client(address, now) else {
            return Entry::Flood;
        };
        let each = Duration::from_secs(1) / settings.rate.max(1);
        let ahead = client.due.saturating_duration_since(now);
        if client.waiting >= settings.waiting || ahead > each * settings.burst {
            return Entry::Flood;
        }
        client.due = client.due.max(now) + each;
        client.waiting += 1;
        Entry::Welcome
    }

    /// A client opens a stream.
    pub(super) fn open(&mut self, address: IpAddr, now: Instant, settings: &Settings) -> bool {
        match self.client(address, now) {
            Some(client) if client.streams < settings.streams => {
                client.streams += 1;
                true
            }
            _ => false,
        }
    }

    fn leave(&mut self, address: IpAddr) {
        if let Some(client) = self.known.get_mut(&address) {
            client.waiting = client.waiting.saturating_sub(1);
        }
    }

    fn close(&mut self, address: IpAddr) {
        if let Some(client) = self.known.get_mut(&address) {
            client.streams = client.streams.saturating_sub(1);
        }
    }

    /// Whether this was not told of the client a moment ago.
    pub(super) fn is_news(&mut self, address: IpAddr, event: &Event, now: Instant) -> bool {
        let Some(client) = self.client(address, now) else {
            return false;
        };
        if let Some(at) = client.told.get_mut(event) {
            let news = now.duration_since(*at) >= AGAIN;
            if news {
                *at = now;
            }
            return news;
        }
        if client.told.len() >= MOST_REPORTS {
            client.told.retain(|_, at| now.duration_since(*at) < AGAIN);
        }
        let room = client.told.len() < MOST_REPORTS;
        if room {
            client.told.insert(event.clone(), now);
        }
        room
    }

    /// Whether a client's reports are held back from now on: once a minute.
    pub(super) fn has_become_mute(&mut self, address: IpAddr, now: Instant) -> bool {
        let Some(client) = self.client(address, now) else {
            return false;
        };
        let full = client.told.len() >= MOST_REPORTS;
        let known = client.mute.is_some_and(|at| now.duration_since(at) < AGAIN);
        if full && !known {
            client.mute = Some(now);
        }
        full && !known
    }
}

/// A question's place; given back when dropped.
pub(super) struct Visit {
    inner: Arc<Inner>,
    client: IpAddr,
}

impl Visit {
    pub(super) fn new(inner: &Arc<Inner>, client: IpAddr) -> Self {
        Self {
            inner: Arc::clone(inner),
            client,
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        lock(&self.inner.clients).leave(self.client);
    }
}

/// A stream's place; given back when dropped.
pub(super) struct Stream {
    inner: Arc<Inner>,
    client: IpAddr,
}

impl Stream {
    /// A place for one more stream, if the client may have it.
    pub(super) fn open(inner: &Arc<Inner>, client: IpAddr) -> Option<Self> {
        let now = Instant::now();
        lock(&inner.clients)
            .open(client, now, &inner.settings)
            .then(|| Self {
                inner: Arc::clone(inner),
                client,
            })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        lock(&self.inner.clients).close(self.client);
    }
}
