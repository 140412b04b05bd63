//! The DNS forwarder of guarded devices: each may look up the names of its model's profile.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, PoisonError, RwLock};

use stockade_controls::firewall::decide::World;
use stockade_controls::firewall::names::{Rights, Why};
use stockade_host::admit::Admit;
use stockade_host::chain;
use stockade_host::dns::{DnsError, Doors, Event, Following, Forwarder, Settings};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::core::Standing;
use super::device::Place;
use super::settings::GuardSettings;
use crate::events::Outcome;

/// Where devices' questions are sent to, if it is free.
const PORT: u16 = 5_053;
/// The port of name servers.
const DNS: u16 = 53;
/// Events that wait to be told.
const QUEUE: usize = 256;

/// Why names can not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The forwarder.
    #[error(transparent)]
    Dns(#[from] DnsError),
}

/// Whose names which are.
#[derive(Debug, Default)]
struct Shared {
    places: BTreeMap<IpAddr, Place>,
    rights: BTreeMap<Place, Arc<Rights>>,
}

/// The forwarder and its doors.
pub(super) struct Names {
    forwarder: Forwarder,
    shared: Arc<RwLock<Shared>>,
    /// Who comes to devices of a place by name.
    following: BTreeMap<Place, Following>,
    port: u16,
    /// A task for each of the gateway's addresses.
    doors: BTreeMap<SocketAddr, JoinHandle<Result<(), DnsError>>>,
    upstreams: Vec<SocketAddr>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names")
            .field("doors", &self.doors.keys())
            .field("upstreams", &self.upstreams)
            .finish_non_exhaustive()
    }
}

impl Names {
    /// Opens the doors on the gateway's addresses of the LAN; `None` if there is no name server to ask.
    pub(super) fn start(
        settings: &GuardSettings,
        standing: &Standing,
        admit: Arc<dyn Admit + Send + Sync>,
    ) -> Result<Option<(Self, mpsc::Receiver<Event>)>, NamesError> {
        let upstreams: Vec<SocketAddr> = settings
            .resolvers
            .iter()
            .map(|address| SocketAddr::new(*address, DNS))
            .collect();
        if upstreams.is_empty() {
            return Ok(None);
        }
        let shared: Arc<RwLock<Shared>> = Arc::default();
        let (to, events) = mpsc::channel(QUEUE);
        let whose = Arc::clone(&shared);
        let forwarder = Forwarder::new(
            Settings::new(upstreams.clone()),
            Box::new(move |client| {
                let shared = whose.read().unwrap_or_else(PoisonError::into_inner);
                let place = shared.places.get(&client)?;
                shared.rights.get(place).cloned()
            }),
            admit,
            // What can not be told in time is not told: whoever floods the forwarder must not hold it up.
            Box::new(move |event| drop(to.try_send(event))),
        )?;
        let mut names = Self {
            port: free_port(standing)?,
            forwarder,
            shared,
            following: BTreeMap::new(),
            doors: BTreeMap::new(),
            upstreams,
        };
        names.stand(standing);
        Ok(Some((names, events)))
    }

    /// The port that questions are sent to.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// For `status`.
    pub(super) fn words(&self) -> String {
        let upstreams: Vec<String> = self.upstreams.iter().map(|a| a.ip().to_string()).collect();
        if self.doors.is_empty() {
            return "the forwarder has no door: no name is answered".to_owned();
        }
        format!("forwarded to {}", upstreams.join(", "))
    }

    /// A device's questions are answered as its place says.
    pub(super) fn place(&self, address: IpAddr, place: &Place) {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if *place == Place::Unknown {
            shared.places.remove(&address);
        } else {
            shared.places.insert(address, place.clone());
        }
    }

    /// What each place may look up, and which address is in which: after the whole table was loaded.
    pub(super) fn replace(
        &mut self,
        rights: BTreeMap<Place, Arc<Rights>>,
        places: BTreeMap<IpAddr, Place>,
    ) {
        self.following.retain(|place, _| rights.contains_key(place));
        for (place, rights) in &rights {
            self.following
                .entry(place.clone())
                .or_insert_with(|| Following::new(&self.forwarder, Arc::default()))
                .keep(&self.forwarder, Arc::clone(rights));
        }
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        *shared = Shared { places, rights };
    }

    /// The addresses that names have now.
    pub(super) fn world(&self) -> World {
        let mut world = World::default();
        for (name, address) in self.forwarder.held() {
            world.names.entry(name).or_default().insert(address);
        }
        world
    }

    /// A door at each address that the gateway has now. One that can not be had yet, for the kernel still looks for
    /// duplicates of the address, is tried again at the next look.
    pub(super) fn stand(&mut self, standing: &Standing) {
        let wanted = addresses(standing, self.port);
        self.doors.retain(|address, serving| {
            let stays = wanted.contains(address) && !serving.is_finished();
            if !stays {
                serving.abort();
            }
            stays
        });
        for address in wanted {
            if self.doors.contains_key(&address) {
                continue;
            }
            match Doors::open(&[address]) {
                Ok(doors) => {
                    let forwarder = self.forwarder.clone();
                    let serving = tokio::spawn(async move { forwarder.serve(doors).await });
                    self.doors.insert(address, serving);
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "guard: a door for names stays shut");
                }
            }
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.doors.values().for_each(JoinHandle::abort);
    }
}

fn addresses(standing: &Standing, port: u16) -> Vec<SocketAddr> {
    standing
        .own
        .iter()
        .map(|address| match address {
            IpAddr::V4(v4) => SocketAddr::from((*v4, port)),
            // RFC 4007 §11: a link-local address means something with its zone only.
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                SocketAddr::V6(SocketAddrV6::new(*v6, port, 0, standing.index))
            }
            IpAddr::V6(v6) => SocketAddr::from((*v6, port)),
        })
        .collect()
}

/// The usual port, or any that is free.
fn free_port(standing: &Standing) -> Result<u16, NamesError> {
    let at = |port| {
        standing
            .own
            .iter()
            .find(|own| own.is_ipv4())
            .map(|own| SocketAddr::new(*own, port))
    };
    if Doors::open(at(PORT).as_slice()).is_ok() {
        return Ok(PORT);
    }
    let doors = Doors::open(at(0).as_slice())?;
    let port = doors
        .addresses()
        .next()
        .map_or(PORT, |address| address.port());
    tracing::warn!(
        port,
        "guard: port {PORT} is taken, names are asked at another"
    );
    Ok(port)
}

/// An event of the forwarder, for people.
pub(super) fn told(event: &Event) -> (Option<IpAddr>, Outcome, String) {
    match event {
        Event::Refused { client, refused } => {
            let why = match refused.why {
                Why::Outside => "its profile does not name it",
                Why::Resolver => "a public name server: a way past the gateway's",
                Why::Type => "only addresses can be asked for",
                Why::Client => "nobody knows this device",
            };
            let (name, record) = (&refused.name, &refused.record);
            (
                Some(*client),
                Outcome::Refused,
                format!("asks for the name {name} ({record}): {why}"),
            )
        }
        Event::Rebinding {
            client,
            name,
            addresses,
        } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            (
                Some(*client),
                Outcome::Refused,
                format!(
                    "the public name {name} points inside, to {}: left out (DNS rebinding)",
                    addresses.join(", ")
                ),
            )
        }
        Event::TooMany { name } => (
            None,
            Outcome::Changed,
            format!("{name} has more addresses than a name may hold; the newest count"),
        ),
        Event::NotAdmitted { name, why } => (
            None,
            Outcome::Alarm,
            format!("the kernel did not take the addresses of {name}: {why}"),
        ),
        Event::Unanswered { name } => (
            None,
            Outcome::Refused,
            format!("no name server answered for {name}"),
        ),
        Event::Forged { name, resolver } => (
            None,
            Outcome::Alarm,
            format!("forged answers for {name} in the name of {resolver}: not believed"),
        ),
        Event::Flood { client } => (
            Some(*client),
            Outcome::Refused,
            "asks for more names than its share: what is beyond is dropped".to_owned(),
        ),
        Event::Muted { client } => (
            Some(*client),
            Outcome::Refused,
            "gives rise to more reports than anyone would read: no more in this minute".to_owned(),
        ),
        Event::Overload => (
            None,
            Outcome::Alarm,
            "devices together ask for more names than can wait".to_owned(),
        ),
    }
}
