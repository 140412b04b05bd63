//! The link around its core: a thread of its own for the cryptography, a task for each bearer, and UDP.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stockade_link::crypto::CryptoError;
use tokio::net::UdpSocket;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::bearer::{BearerError, Datagram, Place, Port};
use super::budget::Rates;
use super::core::{Core, CoreSettings, LinkCounters};
use super::grants::Grants;
use super::status::{BearerStatus, LinkStatus};
use super::{ble, nfc, serial};
use crate::broker::Output;
use crate::mqtt::{MqttHandle, Shared};
use crate::name::DeviceId;
use crate::tls::Refused;

/// Datagrams that may wait for the core, and for each bearer.
const QUEUE: usize = 1_024;
/// Datagrams taken at a time.
const BATCH: usize = 64;
/// How often time is told to the core.
const TICK: Duration = Duration::from_millis(50);
/// The longest datagram taken.
const LONGEST: usize = 2_048;

/// A bearer of short range, as `--bearer` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// `serial:PATH[@BAUD]` and what else there is.
    Serial(serial::Settings),
    /// `nfc[:READER]`.
    Nfc(nfc::Settings),
    /// `ble[:CONTROLLER]`.
    Ble(ble::Settings),
}

impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(settings) => settings.fmt(f),
            Self::Nfc(settings) => settings.fmt(f),
            Self::Ble(settings) => settings.fmt(f),
        }
    }
}

impl FromStr for Bearer {
    type Err = BearerError;

    fn from_str(text: &str) -> Result<Self, BearerError> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let bearer = match kind {
            "serial" => rest.parse().map(Self::Serial),
            "nfc" => rest.parse().map(Self::Nfc),
            "ble" => rest.parse().map(Self::Ble),
            _ => Err(BearerError::Settings {
                text: String::new(),
                why: "it begins with serial:, nfc or ble",
            }),
        };
        // All of it, as it was written.
        bearer.map_err(|BearerError::Settings { why, .. }| BearerError::Settings {
            text: text.to_owned(),
            why,
        })
    }
}

/// How the link works.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Where to listen for UDP; port 0 takes any.
    pub udp: SocketAddr,
    /// The bearers of short range.
    pub bearers: Vec<Bearer>,
    /// How many handshakes are begun.
    pub rates: Rates,
}

/// Why the link did not start.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for CoAP")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No randomness.
    #[error("the link has no cryptography: {0}")]
    Crypto(CryptoError),
}

/// The running link.
#[derive(Debug)]
pub struct Link {
    local_addr: SocketAddr,
    status: Arc<LinkStatus>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Where the core's datagrams go.
#[derive(Debug)]
struct Ways {
    udp: mpsc::Sender<Datagram>,
    near: Vec<mpsc::Sender<Datagram>>,
}

impl Ways {
    /// Sends, or drops where a bearer is behind, as a radio would.
    fn send(&self, datagram: Datagram) {
        let way = match datagram.place {
            Place::Udp(_) => Some(&self.udp),
            Place::Near { bearer, .. } => self.near.get(usize::from(bearer)),
        };
        let _dropped = way.map(|way| way.try_send(datagram));
    }
}

/// Starts the link beside the listener for MQTT, whose broker and registry it uses.
pub async fn start(
    settings: LinkSettings,
    grants: Arc<Grants>,
    mqtt: &MqttHandle,
) -> Result<Link, LinkError> {
    let address = settings.udp;
    let refused = |source| LinkError::Listen { address, source };
    let socket = UdpSocket::bind(address).await.map_err(refused)?;
    let local_addr = socket.local_addr().map_err(refused)?;
    let shared = Arc::clone(mqtt.shared());
    // Watched from before the first session on: no change falls between.
    let changes = shared.registry().changes();
    let rates = settings.rates;
    let core = Core::new(
        CoreSettings {
            rates,
            grants,
            devices: Some(Arc::clone(shared.devices())),
        },
        Arc::clone(shared.registry()),
    );
    let core = core.map_err(LinkError::Crypto)?;
    let (stop, stopped) = watch::channel(false);
    let (received, to_core) = mpsc::channel(QUEUE);
    let mut tasks = JoinSet::new();
    let (udp, to_send) = mpsc::channel(QUEUE);
    tasks.spawn(carry(socket, (received.clone(), to_send), stopped.clone()));
    let (mut near, mut bearers) = (Vec::new(), Vec::new());
    for (number, bearer) in (0_u16..).zip(settings.bearers) {
        let (way, to_send) = mpsc::channel(QUEUE);
        near.push(way);
        let status = BearerStatus::new(bearer.to_string(), Arc::clone(shared.registry().events()));
        bearers.push(Arc::clone(&status));
        let port = Port {
            received: received.clone(),
            to_send,
            status,
        };
        tasks.spawn(serve_bearer(bearer, number, port, stopped.clone()));
    }
    let status = Arc::new(LinkStatus::new(bearers));
    let told = Arc::clone(&status);
    let ways = Ways { udp, near };
    let runtime = tokio::runtime::Handle::current();
    tasks.spawn_blocking(move || {
        runtime.block_on(turn(core, shared, (to_core, changes, stopped), ways, told));
    });
    Ok(Link {
        local_addr,
        status,
        stop,
        tasks,
    })
}

impl Link {
    /// Where it listens for UDP.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What was counted so far, a moment ago.
    pub fn counters(&self) -> LinkCounters {
        self.status.counters()
    }

    /// How it does, for whoever looks later.
    pub const fn status(&self) -> &Arc<LinkStatus> {
        &self.status
    }

    /// Stops it. Its sessions are forgotten: devices shake hands again.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn serve_bearer(bearer: Bearer, number: u16, port: Port, mut stop: watch::Receiver<bool>) {
    let run = async {
        match bearer {
            Bearer::Serial(settings) => serial::run(settings, number, port).await,
            Bearer::Nfc(settings) => nfc::run(settings, number, port).await,
            Bearer::Ble(settings) => ble::run(settings, number, port).await,
        }
    };
    tokio::select! {
        _ = stop.wait_for(|it| *it) => {}
        () = run => {}
    }
}

/// UDP: whatever comes goes to the core, what the core has goes out.
async fn carry(
    socket: UdpSocket,
    (received, mut to_send): (mpsc::Sender<Datagram>, mpsc::Receiver<Datagram>),
    mut stop: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; LONGEST];
    loop {
        tokio::select! {
            got = socket.recv_from(&mut buffer) => {
                // An error here is an old one of sending (ICMP), and nobody's but its peer's.
                let Ok((length, from)) = got else { continue };
                let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                let place = Place::Udp(from);
                // Where the core is behind, it is dropped; CoAP repeats it.
                let _dropped = received.try_send(Datagram { place, bytes });
            }
            Some(datagram) = to_send.recv() => {
                if let Place::Udp(to) = datagram.place {
                    // What the system has no room for is dropped; CoAP repeats it.
                    let _dropped = socket.try_send_to(&datagram.bytes, to);
                }
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

type Inputs = (
    mpsc::Receiver<Datagram>,
    broadcast::Receiver<DeviceId>,
    watch::Receiver<bool>,
);

/// The core's life.
async fn turn(
    mut core: Core,
    shared: Arc<Shared>,
    (mut received, mut changes, mut stop): Inputs,
    ways: Ways,
    status: Arc<LinkStatus>,
) {
    let ready = Arc::clone(core.ready());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    loop {
        let mut poll = false;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            change = changes.recv() => match change {
                Ok(id) => core.changed(&id, shared.now()),
                // What was missed is found at each device's next request.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            },
            () = ready.wait() => poll = true,
            _ = tick.tick() => {
                poll = core.is_due(shared.now().mono);
                core.expire(shared.now().mono);
                status.count(core.counters());
            }
            _ = received.recv_many(&mut batch, BATCH) => {}
        }
        for Datagram { place, mut bytes } in batch.drain(..) {
            if let Some(request) = core.receive(place, &mut bytes, shared.now()) {
                // That a device came is told before what it says.
                settle(&mut core, &shared, &ways);
                let durable = shared.durable.load(Ordering::Acquire);
                shared.turn(|broker, out| core.serve(request, broker, durable, out));
            }
            settle(&mut core, &shared, &ways);
        }
        if poll || core.is_due(shared.now().mono) {
            let durable = shared.durable.load(Ordering::Acquire);
            shared.turn(|broker, out| core.poll(broker, durable, out));
            settle(&mut core, &shared, &ways);
        }
    }
    shared.turn(|broker, out| core.leave(broker, out));
}

/// Sends what is to be sent, and tells what is to be told.
fn settle(core: &mut Core, shared: &Shared, ways: &Ways) {
    for datagram in core.out.drain(..) {
        ways.send(datagram);
    }
    for (outbox, position) in core.parked.drain(..) {
        shared.park(outbox, position);
    }
    if !core.reports.is_empty() {
        let mut out = Output::at(shared.now());
        out.reports.append(&mut core.reports);
        shared.settle(out);
    }
    for stranger in core.strangers.drain(..) {
        let (why, claims) = (stranger.why, stranger.device);
        shared.refuse(stranger.place.address(), &Refused { why, claims });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_bearer_is_named_as_it_was_written() {
        for text in ["", "usb", "serial", "serial:tcp:host", "ble:nope"] {
            let error = text.parse::<Bearer>().unwrap_err().to_string();
            let start = format!("`{text}` is not a bearer: ");
            assert!(error.starts_with(&start), "{error}");
        }
    }
}
