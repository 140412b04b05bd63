//! The server under test.

mod mosquitto;
mod ours;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::{Client, Connection};
use crate::wire::{Connect, Version};

/// A server of its own for each test, gone when the value is.
#[derive(Debug)]
pub(crate) enum Server {
    Ours(Box<ours::Ours>),
    Mosquitto(mosquitto::Mosquitto),
}

/// Which server `STOCKADE_MQTT_UNDER_TEST` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Ours,
    Mosquitto,
}

pub(crate) fn which() -> Which {
    match std::env::var("STOCKADE_MQTT_UNDER_TEST").as_deref() {
        Err(_) | Ok("" | "ours") => Which::Ours,
        Ok("mosquitto") => Which::Mosquitto,
        Ok(other) => panic!("STOCKADE_MQTT_UNDER_TEST is {other:?}: `ours` or `mosquitto`"),
    }
}

/// Whether the known failures are those of the very server under test.
pub(crate) fn failures_are_listed() -> bool {
    which() == Which::Ours || mosquitto::is_the_listed_one()
}

/// What a device may use: `t/#`, with `forbidden/…` outside of it.
pub(crate) const FORBIDDEN: &str = "forbidden/x";

static FRESH: AtomicUsize = AtomicUsize::new(1);

impl Server {
    pub(crate) fn start() -> Self {
        match which() {
            Which::Ours => Self::Ours(Box::new(ours::Ours::start())),
            Which::Mosquitto => Self::Mosquitto(mosquitto::Mosquitto::start()),
        }
    }

    /// A connection on which nothing was sent yet, with the certificate of `device` where
    /// devices have one.
    pub(crate) fn open(&self, version: Version, device: &str) -> Client {
        let connection: Connection = match self {
            Self::Ours(server) => server.open(device),
            Self::Mosquitto(server) => server.open(),
        };
        Client::new(connection, version)
    }

    /// A clean session under a name that was not used before.
    pub(crate) fn fresh(&self, version: Version) -> Client {
        let number = FRESH.fetch_add(1, Ordering::Relaxed);
        self.connect(version, &format!("fresh{number}"))
    }

    /// A clean session under the name of the device.
    pub(crate) fn connect(&self, version: Version, device: &str) -> Client {
        self.connect_with(&Connect::new(version, device)).0
    }

    /// A session as `connect` asks; the server must accept. Tells whether a session was there.
    pub(crate) fn connect_with(&self, connect: &Connect) -> (Client, bool) {
        let client_id = std::str::from_utf8(&connect.client_id).expect("a well-formed client id");
        let device = client_id.split('/').next().unwrap_or_default();
        let mut client = self.open(connect.version, device);
        let connack = client.connect(connect);
        assert_eq!(connack.reason, 0, "[MQTT-3.1.4-5] CONNACK to {connect:?}");
        (client, connack.session_present)
    }

    /// Whether a subscription to [`FORBIDDEN`] is refused. The reference accepts it and then
    /// delivers nothing.
    pub(crate) fn refuses_subscriptions(&self) -> bool {
        !matches!(self, Self::Mosquitto(_))
    }

    /// Whether a client may ask for everything. A profile cannot allow that.
    pub(crate) fn grants_everything(&self) -> bool {
        matches!(self, Self::Mosquitto(_))
    }

    /// A client identifier that the server refuses from `device`.
    pub(crate) fn refused_client_id(&self) -> Option<&'static str> {
        match self {
            Self::Ours(_) => Some("somebody-else"),
            Self::Mosquitto(_) => None,
        }
    }
}
