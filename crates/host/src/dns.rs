//! The DNS forwarder: what a client learns of a name, the kernel knew before.
//!
//! What is answered is decided in `stockade_controls::firewall::names`; here are the sockets, the limits and the order: question,
//! upstream's answer, addresses into the kernel's sets, and only when the kernel has them, the reply.

mod clients;
mod follow;
mod serve;
mod upstream;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stockade_controls::firewall::names::{
    Answer, Family, Heard, Ledger, Question, Refused, Rights, Transport, hear,
};
use stockade_profile::HostName;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

pub use self::follow::Following;
pub use self::serve::Doors;

use self::clients::{Clients, Entry, Visit};
use crate::admit::{Admission, Admit, AdmitError};
use crate::netlink::NetlinkError;
use crate::netlink::flows::Flows;

/// Where the forwarder asks, and how much of everything there may be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The resolvers, the preferred one first.
    pub upstreams: Vec<SocketAddr>,
    /// The mark on the sockets towards them; without one, the ruleset must let them pass by other means.
    pub mark: Option<u32>,
    /// How long one resolver has for one answer.
    pub patience: Duration,
    /// How long a client waits at most: below the five seconds after which common resolver libraries ask again.
    pub total: Duration,
    /// Questions a second from one client, on average.
    pub rate: u32,
    /// Questions of one client above its average, at once.
    pub burst: u32,
    /// Questions of one client that wait for an answer.
    pub waiting: u32,
    /// Questions of all clients that wait for an answer.
    pub waiting_together: usize,
    /// Streams of one client.
    pub streams: u32,
    /// Streams of all clients.
    pub streams_together: usize,
}

impl Settings {
    /// The usual limits, with the mark that the ruleset knows.
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        Self {
            upstreams,
            mark: Some(stockade_controls::firewall::names::MARK),
            patience: Duration::from_millis(1_200),
            total: Duration::from_millis(4_500),
            rate: 50,
            burst: 100,
            waiting: 64,
            waiting_together: 512,
            streams: 8,
            streams_together: 64,
        }
    }
}

/// Something that is worth telling. What a client can repeat is told once a minute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A question that the profile does not allow.
    Refused {
        /// Who asked.
        client: IpAddr,
        /// What, and why not.
        refused: Refused,
    },
    /// A public name that points inside; those addresses were left out.
    Rebinding {
        /// Who asked.
        client: IpAddr,
        /// The name.
        name: HostName,
        /// Some of the addresses.
        addresses: Vec<IpAddr>,
    },
    /// A name with more addresses than it may hold: so many were left out, or pushed out by newer ones.
    TooMany {
        /// The name.
        name: HostName,
    },
    /// The kernel did not take the addresses, so the client got none.
    NotAdmitted {
        /// The name.
        name: HostName,
        /// What went wrong.
        why: String,
    },
    /// No resolver answered.
    Unanswered {
        /// The name.
        name: HostName,
    },
    /// Answers came that were none to our question: somebody guesses.
    Forged {
        /// The name that was asked for.
        name: HostName,
        /// The resolver in whose name they came.
        resolver: SocketAddr,
    },
    /// A client asks more than its share; what is beyond is dropped.
    Flood {
        /// Who.
        client: IpAddr,
    },
    /// A client gives rise to more reports than anyone would read; the next come in a minute.
    Muted {
        /// Who.
        client: IpAddr,
    },
    /// All clients together ask more than can wait; what is beyond is dropped.
    Overload,
}

/// Why the forwarder does not run.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// A door could not be opened.
    #[error("cannot listen for DNS questions on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
    /// A door fell shut.
    #[error("no more DNS questions can be received on {address}")]
    Receive {
        /// Where.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
    /// Sockets can not be marked.
    #[error(
        "cannot mark packets to the resolvers, so the firewall would stop them: the right CAP_NET_ADMIN is needed"
    )]
    Mark(#[source] io::Error),
    /// The kernel's table of flows can not be reached.
    #[error("cannot tidy up after questions to the resolvers")]
    Flows(#[source] NetlinkError),
    /// There is nobody to ask.
    #[error("no resolver to ask: name one, for example with --resolver 192.0.2.53")]
    NoUpstream,
}

/// The rights of a client by its address; none for one that is not known.
pub type Who = Box<dyn Fn(IpAddr) -> Option<Arc<Rights>> + Send + Sync>;

/// Where events go; it must not block.
pub type Tell = Box<dyn Fn(Event) + Send + Sync>;

/// A DNS forwarder; clones are handles on the same one.
#[derive(Clone)]
pub struct Forwarder {
    inner: Arc<Inner>,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

struct Inner {
    settings: Settings,
    who: Who,
    tell: Tell,
    admit: Arc<dyn Admit + Send + Sync>,
    ledger: Mutex<Ledger>,
    clients: Mutex<Clients>,
    flights: Mutex<Flights>,
    waiting: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Where the firewall knows our packets by their mark, their flows are not left behind.
    flows: Option<Mutex<Flows>>,
    started: Instant,
    /// The resolver that answered last.
    preferred: AtomicUsize,
}

/// An upstream's answer, for everyone who waits for it.
type Fetched = Option<Arc<Answer>>;

/// Questions that the upstream has, each with those who wait for the same answer.
type Flights = BTreeMap<(HostName, Family), Vec<oneshot::Sender<Fetched>>>;

impl Forwarder {
    /// A forwarder that asks by these settings; fails if its packets could not pass the firewall.
    pub fn new(
        settings: Settings,
        who: Who,
        admit: Arc<dyn Admit + Send + Sync>,
        tell: Tell,
    ) -> Result<Self, DnsError> {
        let first = *settings.upstreams.first().ok_or(DnsError::NoUpstream)?;
        upstream::socket(first, socket2::Type::DGRAM, settings.mark).map_err(DnsError::Mark)?;
        let flows = settings.mark.map(|_| Flows::open().map(Mutex::new));
        let inner = Inner {
            flows: flows.transpose().map_err(DnsError::Flows)?,
            waiting: Arc::new(Semaphore::new(settings.waiting_together)),
            streams: Arc::new(Semaphore::new(settings.streams_together)),
            who,
            tell,
            admit,
            ledger: Mutex::default(),
            clients: Mutex::default(),
            flights: Mutex::default(),
            started: Instant::now(),
            preferred: AtomicUsize::new(0),
            settings,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The addresses that names hold now.
    pub fn held(&self) -> Vec<(HostName, IpAddr)> {
        let now = self.inner.started.elapsed();
        let ledger = lock(&self.inner.ledger);
        ledger
            .held(now)
            .map(|(name, address)| (name.clone(), address))
            .collect()
    }

    /// A client comes in with a question; without a place it is dropped.
    fn enter(&self, client: IpAddr) -> Option<Visit> {
        let now = Instant::now();
        let entry = lock(&self.inner.clients).enter(client, now, &self.inner.settings);
        match entry {
            Entry::Welcome => Some(Visit::new(&self.inner, client)),
            Entry::Flood => {
                self.tell(client, Event::Flood { client });
                None
            }
        }
    }

    /// Answers one message, or not at all.
    async fn answer(&self, client: IpAddr, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let rights = (self.inner.who)(client);
        match hear(bytes, transport, rights.as_deref()) {
            Heard::Ignored => None,
            Heard::Answered { bytes, refused } => {
                if let Some(refused) = refused {
                    self.tell(client, Event::Refused { client, refused });
                }
                Some(bytes)
            }
            Heard::Forward(question) => {
                Some(self.look_up(client, &question, rights.as_deref()?).await)
            }
        }
    }

    /// The reply to an allowed question: its addresses are in the kernel when this returns.
    async fn look_up(&self, client: IpAddr, question: &Question, rights: &Rights) -> Vec<u8> {
        let name = question.name();
        let Some(answer) = self.fetch_together(question).await else {
            self.tell_all(Event::Unanswered { name: name.clone() });
            return question.failed();
        };
        let judged = question.judge(&answer, rights);
        if !judged.rebinding.is_empty() {
            let event = Event::Rebinding {
                client,
                name: name.clone(),
                addresses: judged.rebinding.iter().copied().take(8).collect(),
            };
            self.tell(client, event);
        }
        if judged.beyond > 0 {
            self.tell_all(Event::TooMany { name: name.clone() });
        }
        match self.admit(name, judged.admit, judged.lifetime).await {
            Ok(()) => judged.reply,
            Err(error) => {
                let event = Event::NotAdmitted {
                    name: name.clone(),
                    why: crate::chain(&error),
                };
                self.tell_all(event);
                question.failed()
            }
        }
    }

    /// The kernel's sets hold the addresses when this returns.
    async fn admit(
        &self,
        name: &HostName,
        addresses: Vec<IpAddr>,
        lifetime: Duration,
    ) -> Result<(), AdmitError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let (forwarder, name) = (self.clone(), name.clone());
        let done = tokio::task::spawn_blocking(move || {
            forwarder.admit_blocking(&name, &addresses, lifetime)
        });
        match done.await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn admit_blocking(
        &self,
        name: &HostName,
        addresses: &[IpAddr],
        lifetime: Duration,
    ) -> Result<(), AdmitError> {
        // Held while the kernel is told: two answers about one name must not overtake each other.
        let mut ledger = lock(&self.inner.ledger);
        let now = self.inner.started.elapsed();
        let change = ledger.admit(name, addresses, lifetime, now);
        let put: Vec<Admission> = change
            .admit
            .iter()
            .map(|(address, keep)| Admission {
                name: name.clone(),
                address: *address,
                keep: *keep,
            })
            .collect();
        let gone: Vec<(HostName, IpAddr)> = change
            .withdraw
            .iter()
            .map(|address| (name.clone(), *address))
            .collect();
        let done = self.inner.admit.admit(&put, &gone);
        if done.is_err() {
            ledger.forget(name, addresses);
        }
        drop(ledger);
        if !gone.is_empty() {
            self.tell_all(Event::TooMany { name: name.clone() });
        }
        done
    }

    /// Asks the upstream; questions for the same name at the same time share one answer.
    async fn fetch_together(&self, question: &Question) -> Fetched {
        let key = (question.name().clone(), question.family());
        let waiting = {
            let mut flights = lock(&self.inner.flights);
            if let Some(others) = flights.get_mut(&key) {
                let (send, receive) = oneshot::channel();
                others.push(send);
                Some(receive)
            } else {
                flights.insert(key.clone(), Vec::new());
                None
            }
        };
        if let Some(answer) = waiting {
            return answer.await.ok().flatten();
        }
        // If this task ends early, those who wait learn it: dropping the senders is their answer.
        let landing = Landing {
            inner: &self.inner,
            key,
        };
        let fetched = self.fetch(question).await.map(Arc::new);
        for other in landing.land() {
            // Who left does not want it.
            let _left = other.send(fetched.clone());
        }
        fetched
    }

    fn tell(&self, client: IpAddr, event: Event) {
        let worth = lock(&self.inner.clients).is_news(client, &event, Instant::now());
        if let Some(event) = worth.then_some(event).or_else(|| self.muted(client)) {
            (self.inner.tell)(event);
        }
    }

    /// That a client's reports are held back is itself a report, once a minute.
    fn muted(&self, client: IpAddr) -> Option<Event> {
        lock(&self.inner.clients)
            .has_become_mute(client, Instant::now())
            .then_some(Event::Muted { client })
    }

    /// An event that no single client is the cause of.
    fn tell_all(&self, event: Event) {
        self.tell(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), event);
    }
}

/// A question on its way to the upstream.
struct Landing<'a> {
    inner: &'a Inner,
    key: (HostName, Family),
}

impl Landing<'_> {
    fn land(&self) -> Vec<oneshot::Sender<Fetched>> {
        lock(&self.inner.flights)
            .remove(&self.key)
            .unwrap_or_default()
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        drop(self.land());
    }
}

/// A panic elsewhere leaves nothing half-changed behind these locks: each change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
