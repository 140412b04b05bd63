//! What carries a link's datagrams, seen from the gateway: a task a bearer, joined to the core by two channels.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::status::BearerStatus;

/// Whom a datagram is from or for, as far as the bearer knows: never who they are, only where the answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A UDP address.
    Udp(SocketAddr),
    /// Somebody at a short-range bearer.
    Near {
        /// Which bearer, by its number in the settings.
        bearer: u16,
        /// Which peer of it: connections and cards are counted up and not used again, a radio beside a line says an address.
        peer: u64,
    },
}

impl Place {
    /// An address that stands for it where only addresses go, as in the events. Who is near gets one in the prefix that is
    /// never routed, `100::/64` (RFC 6666): the bearer's number, then the peer's.
    pub fn address(&self) -> SocketAddr {
        match *self {
            Self::Udp(address) => SocketAddr::new(address.ip().to_canonical(), address.port()),
            Self::Near { bearer, peer } => {
                let prefix = 0x0100_u128 << 112;
                let host = (u64::from(bearer) << 48) ^ peer;
                SocketAddr::from((Ipv6Addr::from_bits(prefix | u128::from(host)), 0))
            }
        }
    }

    /// The bearer and the peer that such an address stands for, as far as peers are counted.
    pub fn near(address: &SocketAddr) -> Option<(u16, u64)> {
        let bits = match address {
            SocketAddr::V6(address) => address.ip().to_bits(),
            SocketAddr::V4(_) => return None,
        };
        let host = u64::try_from(bits ^ (0x0100 << 112)).ok()?;
        let bearer = u16::try_from(host >> 48).ok()?;
        Some((bearer, host & 0xffff_ffff_ffff))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => address.fmt(f),
            Self::Near { bearer, peer } => write!(f, "bearer {bearer}, peer {peer}"),
        }
    }
}

/// Why a bearer can not run at all. What may mend by itself, as a line that was unplugged, is waited for instead.
#[derive(Debug, thiserror::Error)]
pub enum BearerError {
    /// What `--bearer` says is not a bearer.
    #[error("`{text}` is not a bearer: {why}")]
    Settings {
        /// What it says, after the bearer's kind.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// One CoAP message, whole: bearers that cut have put it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Whom it is from, or for.
    pub place: Place,
    /// The message.
    pub bytes: Vec<u8>,
}

/// A bearer's end of the channels. When a channel is full, datagrams are dropped, as a radio would: CoAP repeats them.
#[derive(Debug)]
pub struct Port {
    /// To the core.
    pub received: mpsc::Sender<Datagram>,
    /// From the core.
    pub to_send: mpsc::Receiver<Datagram>,
    /// Where it tells how it does.
    pub status: Arc<BearerStatus>,
}

/// Hands a datagram to the core, or drops it where the core is behind. An error when the core is gone.
pub(super) fn deliver(port: &Port, datagram: Datagram) -> std::io::Result<()> {
    match port.received.try_send(datagram) {
        Err(TrySendError::Closed(_)) => Err(std::io::ErrorKind::BrokenPipe.into()),
        Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
    }
}

/// What a bearer that failed waits for before it is tried again: each time a little longer.
#[derive(Debug)]
pub(super) struct Retry {
    bounds: (Duration, Duration),
    next: Duration,
    status: Arc<BearerStatus>,
}

impl Retry {
    /// Waits at first and at most so long, for the bearer of this port.
    pub(super) fn new(first: Duration, most: Duration, port: &Port) -> Self {
        Self {
            bounds: (first, most),
            next: first,
            status: Arc::clone(&port.status),
        }
    }

    /// It is there, which does not say that anybody can be heard.
    pub(super) fn opened(&self) {
        self.status.opened();
    }

    /// It works: the next failure is a new one.
    pub(super) fn works(&mut self) {
        self.next = self.bounds.0;
        self.status.works();
    }

    /// It does not work.
    pub(super) fn failed(&self, why: &dyn fmt::Display) {
        self.status.failed(why);
    }

    /// Waits, and drops what is to be sent meanwhile: there is nobody to send it to. False when the core is gone.
    pub(super) async fn wait(&mut self, port: &mut Port) -> bool {
        let waited = tokio::time::timeout(self.next, drain(port)).await.is_err();
        self.next = (self.next * 2).min(self.bounds.1);
        waited
    }
}

/// Drops what is to be sent while there is nobody to send it to. Returns when the core is gone.
pub(super) async fn drain(port: &mut Port) {
    while port.to_send.recv().await.is_some() {}
}

#[cfg(test)]
pub(super) mod bench;
