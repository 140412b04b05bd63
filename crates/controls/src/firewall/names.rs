//! Names as destinations: what the DNS forwarder decides.
//!
//! A profile names hosts; a ruleset knows addresses. The forwarder stands between them: it answers a client's question only if
//! the client's profile names the host, and only after the kernel's set holds every address of the answer. Here is what it
//! decides, as functions of bytes, rights and the time: [`hear`] judges a question, [`Question::read`] an upstream's answer,
//! [`Question::judge`] the addresses in it, and [`Ledger`] how many a name may hold. The sockets are in `stockade-host`.

mod address;
mod answer;
#[doc(hidden)]
pub mod fuzzing;
mod known;
mod ledger;
mod question;

#[cfg(test)]
mod tests;

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use stockade_profile::{Direction, HostName, Network};

use super::policy::{Peer, Policy, RuleId};

pub use address::{Kind, kind, may_stand_for};
pub use answer::{Answer, Judged, Unusable};
pub use known::{KnownResolver, is_known_resolver, known_networks, known_resolvers};
pub use ledger::{Change, Ledger};
pub use question::{Family, Heard, Question, Refused, Transport, Why, hear};

/// The mark on the forwarder's own packets: the ruleset lets them reach the resolvers, and nobody else's ("STKD").
pub const MARK: u32 = 0x5354_4b44;

/// The shortest time that an address stays admitted, however short the answer's TTL: programs hold on to what they looked up.
pub const FLOOR: Duration = Duration::from_mins(1);

/// What is added to every TTL: the time between the answer and a connection that still uses it.
pub const GRACE: Duration = Duration::from_secs(30);

/// The longest TTL that is believed.
pub const CEILING: Duration = Duration::from_hours(24);

/// The most addresses that one name may hold at a time; the newest are kept.
pub const MOST_ADDRESSES: usize = 256;

/// The most aliases that are followed in one answer.
pub const MOST_ALIASES: usize = 16;

/// How long an address of an answer stays admitted (at least [`FLOOR`] and [`GRACE`], at most a day and [`GRACE`]).
pub fn lifetime(ttl: Duration) -> Duration {
    ttl.clamp(FLOOR, CEILING).saturating_add(GRACE)
}

/// Which address families a rule leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// IPv4, so A records.
    pub v4: bool,
    /// IPv6, so AAAA records.
    pub v6: bool,
}

impl Families {
    /// Both.
    pub const BOTH: Self = Self { v4: true, v6: true };

    fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// What one client may look up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    names: BTreeMap<HostName, Families>,
    inside: Vec<Network>,
    followed: BTreeSet<HostName>,
}

impl Rights {
    /// The rights to look up `names`; `inside` are the networks that the profile opens by address: answers may point there.
    pub fn new(
        names: impl IntoIterator<Item = (HostName, Families)>,
        inside: impl IntoIterator<Item = Network>,
    ) -> Self {
        let mut held: BTreeMap<HostName, Families> = BTreeMap::new();
        for (name, families) in names {
            let entry = held.entry(name).or_default();
            entry.v4 |= families.v4;
            entry.v6 |= families.v6;
        }
        Self {
            names: held,
            inside: inside
                .into_iter()
                .filter(|network| address::is_inside(*network))
                .collect(),
            followed: BTreeSet::new(),
        }
    }

    /// What the rules of a policy leave a client to look up.
    pub fn of(policy: &Policy) -> Self {
        let names = policy.allow.iter().filter_map(|allow| {
            let Peer::Name(name) = &allow.peer else {
                return None;
            };
            let families = match allow.traffic.held_to() {
                None => Families::BOTH,
                Some(stockade_profile::Family::Ipv4) => Families {
                    v4: true,
                    v6: false,
                },
                Some(stockade_profile::Family::Ipv6) => Families {
                    v4: false,
                    v6: true,
                },
            };
            Some((name.clone(), families))
        });
        // What we add ourselves (DHCP, the gateway's own services) is no reason for a name to point there.
        let inside = policy
            .allow
            .iter()
            .filter_map(|allow| match (allow.id, &allow.peer) {
                (RuleId::Out(_), Peer::Networks(networks)) => Some(networks.clone()),
                _ => None,
            });
        let comes = policy.allow.iter().filter_map(|allow| match &allow.peer {
            Peer::Name(name) if allow.direction == Direction::In => Some(name.clone()),
            Peer::Any | Peer::Name(_) | Peer::Networks(_) | Peer::Group(_) => None,
        });
        Self {
            followed: comes.collect(),
            ..Self::new(names, inside.flatten())
        }
    }

    /// The names of hosts that may open flows to the device: nobody there looks them up, so the forwarder does.
    pub fn followed(&self) -> &BTreeSet<HostName> {
        &self.followed
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &HostName> {
        self.names.keys()
    }

    /// Whether an address lies in a network that the profile opens by address.
    fn opens(&self, address: IpAddr) -> bool {
        self.inside.iter().any(|network| network.contains(address))
    }
}
