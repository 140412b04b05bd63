//! Peers that were not let in: why, told once and not a thousand times.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use stockade_profile::Control;
use time::{Duration, OffsetDateTime};

use super::Source;
use crate::events::{EventLog, Happening, Outcome};
use crate::name::DeviceName;

/// Why a peer was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It offers no version this gateway speaks; the alert `protocol_version` was sent.
    Version {
        /// The highest it offers, as people call it.
        offered: String,
        /// The lowest this gateway speaks.
        spoken: &'static str,
    },
    /// It speaks MQTT without TLS.
    PlainMqtt,
    /// It speaks HTTP without TLS.
    PlainHttp,
    /// It speaks something else, or broken TLS.
    NotTls(&'static str),
    /// It said no hello, or did not finish its handshake, in time.
    Slow {
        /// Whether it said anything at all.
        spoke: bool,
    },
    /// It did not come to the end of its handshake, and had to give way to newcomers.
    GaveWay {
        /// Whether it said anything at all.
        spoke: bool,
    },
    /// It closed the connection during the handshake, or the network did.
    Left(String),
    /// It offers application protocols, but not ours.
    Alpn {
        /// Those it offers.
        offered: String,
        /// The one spoken here.
        spoken: &'static str,
    },
    /// It offers no cipher suite, group or signature scheme that is allowed here.
    Cryptography(String),
    /// It showed no certificate.
    NoCertificate,
    /// Its certificate was refused.
    Certificate(String),
    /// It refused us.
    RefusedUs(String),
    /// Too many handshakes are under way.
    Full(super::Full),
    /// A certificate was fine, but its device is not wanted.
    NotAdmitted(String),
    /// It finished its handshake and said no more.
    NoConnect,
    /// It speaks CoAP without protection.
    PlainCoap,
    /// It did not come to the end of a handshake on the link.
    Link(String),
}

/// A peer that was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Why,
    /// The device its certificate claims to be. Unproven where the certificate was refused.
    pub claims: Option<DeviceName>,
}

impl From<Why> for Refused {
    fn from(why: Why) -> Self {
        Self { why, claims: None }
    }
}

impl Why {
    /// The control that refuses.
    pub const fn control(&self) -> Control {
        match self {
            Self::Version { .. } | Self::Cryptography(_) | Self::Alpn { .. } => Control::Protocols,
            Self::NoCertificate | Self::Certificate(_) | Self::NotAdmitted(_) => {
                Control::Credentials
            }
            _ => Control::Comms,
        }
    }

    /// What is summed up with what. Most texts are a stranger's to choose, so they are not told apart; what was wrong
    /// with a certificate is, up to [`MAX_REASONS`]: one device's expired certificate must not hide that another one's
    /// is for another model, behind the same address.
    fn kind(&self, device: Option<&str>) -> Kind {
        let reason = match self {
            Self::Certificate(why) | Self::NotAdmitted(why) => {
                let mut hash = DefaultHasher::new();
                (device, why).hash(&mut hash);
                hash.finish()
            }
            _ => REST,
        };
        (self.number(), reason)
    }

    /// Whether it says nothing about who it was: then all sources are summed up, for a crowd of them would drive
    /// everything else out of the log.
    const fn is_faceless(&self) -> bool {
        matches!(
            self,
            Self::GaveWay { .. }
                // The address of a datagram proves nothing.
                | Self::PlainCoap
                | Self::Link(_)
                | Self::Slow { spoke: false }
                | Self::Full(super::Full::Total | super::Full::Files)
        )
    }

    const fn number(&self) -> u8 {
        match self {
            Self::Version { .. } => 0,
            Self::PlainMqtt => 1,
            Self::PlainHttp => 2,
            Self::NotTls(_) => 3,
            Self::Slow { .. } => 4,
            Self::GaveWay { .. } => 5,
            Self::Left(_) => 6,
            Self::Alpn { .. } => 7,
            Self::Cryptography(_) => 8,
            Self::NoCertificate => 9,
            Self::Certificate(_) => 10,
            Self::RefusedUs(_) => 11,
            Self::Full(_) => 12,
            Self::NotAdmitted(_) => 13,
            Self::NoConnect => 14,
            Self::PlainCoap => 15,
            Self::Link(_) => 16,
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version { offered, spoken } => {
                write!(f, "offered {offered} at most; the gateway speaks {spoken}")
            }
            Self::PlainMqtt => f.write_str("spoke MQTT without TLS"),
            Self::PlainHttp => f.write_str("spoke HTTP without TLS"),
            Self::NotTls(what) => write!(f, "spoke no TLS: {what}"),
            Self::Slow { spoke: false } => f.write_str("connected and said nothing in time"),
            Self::Slow { spoke: true } => f.write_str("did not finish its TLS handshake in time"),
            Self::GaveWay { spoke: false } => {
                f.write_str("connected, said nothing, and gave way to newcomers")
            }
            Self::GaveWay { spoke: true } => {
                f.write_str("did not finish its TLS handshake and gave way to newcomers")
            }
            Self::Left(how) => write!(f, "left during the TLS handshake: {how}"),
            Self::Alpn { offered, spoken } => {
                write!(
                    f,
                    "asked for the application protocol {offered}; `{spoken}` is spoken here"
                )
            }
            Self::Cryptography(what) => {
                write!(f, "offered no cryptography that is allowed here: {what}")
            }
            Self::NoCertificate => f.write_str("showed no device certificate"),
            Self::Certificate(why) | Self::NotAdmitted(why) => f.write_str(why),
            Self::RefusedUs(how) => write!(f, "does not trust this gateway: {how}"),
            Self::Full(full) => full.fmt(f),
            Self::NoConnect => f.write_str("sent no CONNECT in time"),
            Self::PlainCoap => f.write_str("spoke CoAP without protection"),
            Self::Link(why) => write!(f, "did not finish its handshake on the link: {why}"),
        }
    }
}

impl Refused {
    /// The event for it. `at_address` is the device that was last seen at the peer's address, if there is one.
    pub fn happening(&self, peer: Option<SocketAddr>, at_address: Option<&str>) -> Happening {
        Happening {
            outcome: Outcome::Refused,
            control: self.why.control(),
            device: self
                .claims
                .as_ref()
                .map(|name| name.id.to_string())
                .or_else(|| at_address.map(str::to_owned)),
            peer,
            reason: self.why.to_string(),
        }
    }
}

/// For how long refusals of one kind from one source are summed up.
const SUMMED: Duration = Duration::seconds(10);
/// How many reasons of one kind from one source are told apart.
const MAX_REASONS: usize = 16;
/// The reason that stands for all that are not told apart.
const REST: u64 = 0;
/// A kind of refusal, and which reason.
type Kind = (u8, u64);
/// How many sources are told apart; all others together are one more.
const MAX_SOURCES: usize = 1_024;

/// Writes refusals to the log, so that a flood of them is one line in ten seconds.
#[derive(Debug, Default)]
pub struct Refusals {
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    sums: BTreeMap<(Option<Source>, Kind), Sum>,
    swept: OffsetDateTime,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            sums: BTreeMap::new(),
            swept: OffsetDateTime::UNIX_EPOCH,
        }
    }
}

#[derive(Debug)]
struct Sum {
    since: OffsetDateTime,
    more: u64,
    last: Happening,
}

impl Refusals {
    /// Records a refusal: at once if it is the first of its kind from this source in ten seconds, else as part of a
    /// sum.
    pub fn record(&self, log: &EventLog, now: OffsetDateTime, why: &Why, happening: Happening) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = happening.peer.filter(|_| !why.is_faceless());
        let source = peer.map(|peer| Source::of(peer.ip()));
        let mut key = (source, why.kind(happening.device.as_deref()));
        let same = (source, (key.1.0, 0))..=(source, (key.1.0, u64::MAX));
        if !open.sums.contains_key(&key) && open.sums.range(same).count() >= MAX_REASONS {
            key.1.1 = REST;
        }
        if open.sums.len() >= MAX_SOURCES && !open.sums.contains_key(&key) {
            // Looking for room costs a walk through all of it: once a second is enough.
            if now < open.swept || now - open.swept >= Duration::SECOND {
                close(&mut open, log, now);
            }
            if open.sums.len() >= MAX_SOURCES {
                key.0 = None;
            }
        }
        if let Some(sum) = open.sums.get_mut(&key) {
            if now - sum.since < SUMMED && now >= sum.since {
                sum.more = sum.more.saturating_add(1);
                sum.last = happening;
                return;
            }
            tell(log, now, sum);
        }
        open.sums.insert(
            key,
            Sum {
                since: now,
                more: 0,
                last: happening.clone(),
            },
        );
        drop(open);
        log.record(now, happening);
    }

    /// Tells the sums whose ten seconds are over. To be called every few seconds.
    pub fn sweep(&self, log: &EventLog, now: OffsetDateTime) {
        close(
            &mut self.open.lock().unwrap_or_else(PoisonError::into_inner),
            log,
            now,
        );
    }
}

fn close(open: &mut Open, log: &EventLog, now: OffsetDateTime) {
    open.swept = now;
    open.sums.retain(|_, sum| {
        let over = now - sum.since >= SUMMED || now < sum.since;
        if over {
            tell(log, now, sum);
        }
        !over
    });
}

fn tell(log: &EventLog, now: OffsetDateTime, sum: &Sum) {
    if sum.more == 0 {
        return;
    }
    let mut happening = sum.last.clone();
    let seconds = (now - sum.since).whole_seconds().max(1);
    happening.reason = format!(
        "{} (and {} more in the last {seconds} s)",
        happening.reason, sum.more
    );
    log.record(now, happening);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds)
    }

    fn refuse(refusals: &Refusals, log: &EventLog, now: OffsetDateTime, peer: &str) {
        let refused = Refused::from(Why::PlainMqtt);
        let happening = refused.happening(Some(peer.parse().unwrap()), None);
        refusals.record(log, now, &refused.why, happening);
    }

    #[test]
    fn a_flood_of_refusals_is_one_line_and_a_sum() {
        let (refusals, log) = (Refusals::default(), EventLog::default());
        for i in 0..413 {
            refuse(
                &refusals,
                &log,
                at(i / 50),
                &format!("192.0.2.1:{}", 1_000 + i),
            );
        }
        assert_eq!(log.latest(None, 10).len(), 1);
        refusals.sweep(&log, at(10));
        let reasons: Vec<String> = log.latest(None, 10).into_iter().map(|e| e.reason).collect();
        assert_eq!(
            reasons,
            [
                "spoke MQTT without TLS (and 412 more in the last 10 s)",
                "spoke MQTT without TLS"
            ]
        );
        refusals.sweep(&log, at(30));
        assert_eq!(log.latest(None, 10).len(), 2, "nothing is told twice");
    }

    #[test]
    fn one_reason_does_not_hide_another_behind_the_same_address() {
        let (refusals, log) = (Refusals::default(), EventLog::default());
        let refuse = |why: &str| {
            let refused = Refused::from(Why::Certificate(why.to_owned()));
            let happening = refused.happening(Some("192.0.2.1:5".parse().unwrap()), Some("porch"));
            refusals.record(&log, at(0), &refused.why, happening);
        };
        for why in ["it expired", "it is forged", "it expired"] {
            refuse(why);
        }
        let told: Vec<String> = log.latest(None, 10).into_iter().map(|e| e.reason).collect();
        assert_eq!(told, ["it is forged", "it expired"]);
        for number in 0..100 {
            refuse(&format!("it is odd in way {number}"));
        }
        assert_eq!(
            log.latest(None, 1_000).len(),
            MAX_REASONS + 1,
            "and yet nobody fills the log by having ever other faults"
        );
    }

    #[test]
    fn a_crowd_that_says_nothing_is_one_line_wherever_it_comes_from() {
        let (refusals, log) = (Refusals::default(), EventLog::default());
        for i in 0..2_000_u32 {
            let [_, _, a, b] = i.to_be_bytes();
            let refused = Refused::from(Why::GaveWay { spoke: false });
            let peer = format!("10.0.{a}.{b}:1").parse().unwrap();
            refusals.record(
                &log,
                at(0),
                &refused.why,
                refused.happening(Some(peer), None),
            );
        }
        refusals.sweep(&log, at(10));
        assert_eq!(log.latest(None, 10).len(), 2, "the first, and the sum");
    }

    #[test]
    fn a_flood_from_many_addresses_does_not_grow_without_bound() {
        let (refusals, log) = (Refusals::default(), EventLog::default());
        for i in 0..5_000_u32 {
            let [_, _, a, b] = i.to_be_bytes();
            refuse(&refusals, &log, at(0), &format!("10.0.{a}.{b}:1"));
        }
        assert_eq!(log.latest(None, 10_000).len(), MAX_SOURCES + 1);
        assert_eq!(refusals.open.lock().unwrap().sums.len(), MAX_SOURCES + 1);
    }
}
