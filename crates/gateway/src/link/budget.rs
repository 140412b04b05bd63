//! How many handshakes are begun: a key agreement costs a hundred times what asking for one does.
//!
//! A few a second are begun at once, from each source and in all. Beyond that a peer must first show, with an Echo value
//! (RFC 9175), that it reads what is sent to its address; and even then there is an end. Bounded memory: sources share a table.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use super::bearer::Place;

/// Sources told apart, about.
const SOURCES: usize = 1_024;
/// A second, in the unit that is counted in: microseconds.
const SECOND: u64 = 1_000_000;

/// Handshakes a second, and as many at once.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// From one source (an IPv4 /24, an IPv6 /48, a connection of a short-range bearer), unasked.
    pub source: u32,
    /// From all, unasked.
    pub all: u32,
    /// From one source that showed an Echo value.
    pub source_echoed: u32,
    /// From all that did.
    pub all_echoed: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            source: 20,
            all: 200,
            source_echoed: 200,
            all_echoed: 2_000,
        }
    }
}

/// The verdict on a peer that wants to begin a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may.
    Begin,
    /// It must show an Echo value first.
    Echo,
    /// There is no time for it now.
    Silence,
}

/// Counts what was begun: the generic cell rate algorithm (ITU-T I.371), once with and once without Echo.
#[derive(Debug)]
pub(super) struct Budget {
    rates: Rates,
    hash: RandomState,
    all: [u64; 2],
    sources: Box<[[u64; 2]]>,
}

impl Budget {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            rates,
            hash: RandomState::new(),
            all: [0; 2],
            sources: vec![[0; 2]; SOURCES].into(),
        }
    }

    /// Whether a handshake is begun now; if so, it is counted. Only who has an address can be asked to show that it is there.
    pub(super) fn may_begin(&mut self, place: &Place, echoed: bool, now: u64) -> Verdict {
        let rates = self.rates;
        let (kind, source, all) = if echoed {
            (1, rates.source_echoed, rates.all_echoed)
        } else {
            (0, rates.source, rates.all)
        };
        let now = now.saturating_mul(1_000);
        let at = usize::try_from(self.hash.hash_one(key(place))).unwrap_or_default() % SOURCES;
        let [ours, total] = [self.sources.get_mut(at), Some(&mut self.all)]
            .map(|counts| counts.and_then(|counts| counts.get_mut(kind)));
        if let (Some(ours), Some(total)) = (ours, total)
            && let (Some(next), Some(sum)) = (step(*ours, source, now), step(*total, all, now))
        {
            (*ours, *total) = (next, sum);
            return Verdict::Begin;
        }
        match place {
            Place::Udp(_) if !echoed => Verdict::Echo,
            _ => Verdict::Silence,
        }
    }
}

/// The next value of a count, if there is room for one more; as many as the rate at once.
fn step(arrival: u64, rate: u32, now: u64) -> Option<u64> {
    let arrival = arrival.max(now);
    let one = SECOND.checked_div(rate.into())?;
    (arrival - now <= SECOND - one).then(|| arrival + one)
}

/// Whose handshakes are counted together.
fn key(place: &Place) -> (u16, u64) {
    match place {
        Place::Udp(address) => match address.ip().to_canonical() {
            IpAddr::V4(ip) => (0, u64::from(ip.to_bits() >> 8)),
            IpAddr::V6(ip) => (1, u64::try_from(ip.to_bits() >> 80).unwrap_or_default()),
        },
        Place::Near { bearer, peer } => (bearer.saturating_add(2), *peer),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn from(ip: [u8; 4]) -> Place {
        Place::Udp(SocketAddr::from((ip, 5683)))
    }

    #[test]
    fn a_source_that_asks_too_often_must_show_that_it_is_there_and_others_need_not() {
        let mut budget = Budget::new(Rates::default());
        for _ in 0..20 {
            let verdict = budget.may_begin(&from([192, 0, 2, 1]), false, 1_000);
            assert_eq!(verdict, Verdict::Begin);
        }
        // The neighbour is the same source.
        let verdict = budget.may_begin(&from([192, 0, 2, 2]), false, 1_000);
        assert_eq!(verdict, Verdict::Echo);
        let verdict = budget.may_begin(&from([192, 0, 2, 2]), true, 1_000);
        assert_eq!(verdict, Verdict::Begin);
        let verdict = budget.may_begin(&from([198, 51, 100, 7]), false, 1_000);
        assert_eq!(verdict, Verdict::Begin);
        // A second later it may again.
        let verdict = budget.may_begin(&from([192, 0, 2, 1]), false, 2_000);
        assert_eq!(verdict, Verdict::Begin);
    }

    #[test]
    fn a_crowd_of_sources_is_bounded_with_and_without_echo() {
        let mut budget = Budget::new(Rates::default());
        let mut crowd = |echoed| {
            (0..60_000_u32)
                .filter(|n| {
                    let [_, a, b, c] = n.to_be_bytes();
                    budget.may_begin(&from([a + 1, b, c, 1]), echoed, 1_000) == Verdict::Begin
                })
                .count()
        };
        assert_eq!(crowd(false), 200);
        assert_eq!(crowd(true), 2_000);
    }

    #[test]
    fn who_has_no_address_is_not_asked_for_an_echo() {
        let mut budget = Budget::new(Rates::default());
        let near = Place::Near { bearer: 0, peer: 1 };
        let begun = (0..100).filter(|_| budget.may_begin(&near, false, 1) == Verdict::Begin);
        assert_eq!(begun.count(), 20);
        assert_eq!(budget.may_begin(&near, false, 1), Verdict::Silence);
    }
}
