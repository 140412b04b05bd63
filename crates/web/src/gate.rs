//! How many handshakes may be under way at once, in all and from one source.
//!
//! A half-open connection holds about 16 KB and a slot here until its deadline. When the slots are
//! taken, a newcomer is not turned away: the oldest connection that has not yet said hello gives way,
//! or else the oldest that said hello and did not come to its end in a second. So a crowd of silent or
//! stalled sockets, even from a device's own address, keeps nobody waiting for longer than that.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How many handshakes may be under way.
#[derive(Debug, Clone, Copy)]
pub struct GateSettings {
    /// From all sources together. 1,024 at about 16 KB each are 16 MB, and at 0.4 ms each no more
    /// work than one core does in half a second.
    pub total: usize,
    /// From one source: an IPv4 address, or an IPv6 /64. 256 lets a whole site behind one address
    /// come back after a power cut, and leaves three quarters of the slots to the others.
    pub per_source: usize,
    /// For how long a peer that has said hello keeps its slot although newcomers want it; `None`: until it ends. A
    /// handshake takes two round trips; and since no slot changes hands sooner, a flood costs no more than `total`
    /// handshakes in this time.
    pub speaking: Option<Duration>,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            total: 1_024,
            per_source: 256,
            speaking: Some(Duration::from_secs(1)),
        }
    }
}

/// Who a connection is counted for: an IPv4 address, or the /64 of an IPv6 address, because one
/// subscriber usually has all of it (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl Source {
    /// The source that `address` belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Counts handshakes under way.
#[derive(Debug, Clone)]
pub struct Gate {
    settings: GateSettings,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    slots: Slots,
    /// Slots whose peer has said nothing yet, oldest first; may name some that have spoken or are gone.
    silent: BTreeMap<Source, VecDeque<u64>>,
    /// The same of all sources together.
    silent_all: VecDeque<u64>,
    held: BTreeMap<Source, usize>,
}

#[derive(Debug)]
struct Slot {
    since: Instant,
    spoke: AtomicBool,
    gone: AtomicBool,
    give_way: Notify,
}

/// The right to one handshake; counted until it is dropped.
#[must_use = "the handshake is counted only while this lives"]
#[derive(Debug)]
pub struct Permit {
    number: u64,
    slot: Arc<Slot>,
    state: Arc<Mutex<State>>,
}

/// Every slot is held: by a peer in the middle of its handshake that has not been for long, or by open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Those of this source.
    #[error("too many handshakes under way from this address")]
    Source,
    /// All.
    #[error("too many handshakes under way")]
    Total,
    /// As many connections are open as the limit on open files allows.
    #[error("too many connections")]
    Files,
}

impl Gate {
    /// A gate with no handshake under way.
    pub fn new(settings: GateSettings) -> Self {
        Self {
            settings,
            state: Arc::default(),
        }
    }

    /// Takes a slot for a connection from `address`, if need be from the oldest silent or stalled one.
    pub fn enter(&self, address: IpAddr) -> Result<Permit, Full> {
        self.enter_at(address, Instant::now())
    }

    fn enter_at(&self, address: IpAddr, now: Instant) -> Result<Permit, Full> {
        let source = Source::of(address);
        let stalled = self
            .settings
            .speaking
            .and_then(|speaking| now.checked_sub(speaking));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .held
            .get(&source)
            .is_some_and(|&held| held >= self.settings.per_source)
            && !state.evict(Some(source), stalled)
        {
            return Err(Full::Source);
        }
        if state.slots.len() >= self.settings.total && !state.evict(None, stalled) {
            return Err(Full::Total);
        }
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        let slot = Arc::new(Slot {
            since: now,
            spoke: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            give_way: Notify::new(),
        });
        state.slots.insert(number, (source, Arc::clone(&slot)));
        state.silent.entry(source).or_default().push_back(number);
        state.silent_all.push_back(number);
        *state.held.entry(source).or_default() += 1;
        Ok(Permit {
            number,
            slot,
            state: Arc::clone(&self.state),
        })
    }

    /// How many handshakes are under way.
    pub fn under_way(&self) -> usize {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .slots
            .len()
    }
}

impl State {
    /// Frees the slot of the oldest silent connection, of `source` or of any; if there is none, that of the oldest
    /// which is there since `stalled` or longer.
    fn evict(&mut self, source: Option<Source>, stalled: Option<Instant>) -> bool {
        let silent = match source {
            Some(source) => self
                .silent
                .get_mut(&source)
                .and_then(|queue| oldest_silent(queue, &self.slots)),
            None => oldest_silent(&mut self.silent_all, &self.slots),
        };
        let Some(victim) = silent.or_else(|| self.oldest_stalled(source, stalled?)) else {
            return false;
        };
        if let Some((_, slot)) = self.slots.get(&victim) {
            slot.gone.store(true, Ordering::Relaxed);
            slot.give_way.notify_one();
        }
        self.leave(victim);
        true
    }

    fn oldest_stalled(&self, source: Option<Source>, stalled: Instant) -> Option<u64> {
        // Numbers are given out in the order of time: the first of the source decides.
        self.slots
            .iter()
            .find(|(_, (of, _))| source.is_none_or(|source| *of == source))
            .filter(|(_, (_, slot))| slot.since <= stalled)
            .map(|(&number, _)| number)
    }

    fn leave(&mut self, number: u64) {
        let Some((source, _)) = self.slots.remove(&number) else {
            return;
        };
        tidy(&mut self.silent_all, &self.slots, self.slots.len());
        if let Some(held) = self.held.get_mut(&source) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&source);
                self.silent.remove(&source);
                return;
            }
        }
        let held = self.held.get(&source).copied().unwrap_or_default();
        if let Some(queue) = self.silent.get_mut(&source) {
            tidy(queue, &self.slots, held);
        }
    }
}

type Slots = BTreeMap<u64, (Source, Arc<Slot>)>;

/// The first of a queue that is still silent; those before it are forgotten.
fn oldest_silent(queue: &mut VecDeque<u64>, slots: &Slots) -> Option<u64> {
    while let Some(&number) = queue.front() {
        if slots
            .get(&number)
            .is_some_and(|(_, slot)| !slot.spoke.load(Ordering::Relaxed))
        {
            return Some(number);
        }
        queue.pop_front();
    }
    None
}

/// Keeps a queue no longer than about twice the slots it can name.
fn tidy(queue: &mut VecDeque<u64>, slots: &Slots, held: usize) {
    if queue.len() > held.saturating_mul(2).saturating_add(16) {
        queue.retain(|number| slots.contains_key(number));
    }
}

impl Permit {
    /// The peer has said hello: it gives way only if it stalls.
    pub fn spoke(&self) {
        self.slot.spoke.store(true, Ordering::Relaxed);
    }

    /// Whether the peer has said hello.
    pub fn has_spoken(&self) -> bool {
        self.slot.spoke.load(Ordering::Relaxed)
    }

    /// Returns once this connection has to give way to a newcomer.
    pub async fn give_way(&self) {
        while !self.slot.gone.load(Ordering::Relaxed) {
            self.slot.give_way.notified().await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn gate(total: usize, per_source: usize) -> Gate {
        Gate::new(GateSettings {
            total,
            per_source,
            speaking: Some(Duration::from_secs(1)),
        })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    #[test]
    fn a_silent_connection_gives_way_and_a_speaking_one_does_not() {
        let gate = gate(2, 2);
        let first = gate.enter(address(1)).unwrap();
        let second = gate.enter(address(2)).unwrap();
        first.spoke();
        let third = gate.enter(address(3)).unwrap();
        assert!(
            second.slot.gone.load(Ordering::Relaxed),
            "the silent one gives way"
        );
        assert!(!first.slot.gone.load(Ordering::Relaxed));
        third.spoke();
        assert_eq!(gate.enter(address(4)).unwrap_err(), Full::Total);
        drop(first);
        assert!(gate.enter(address(4)).is_ok());
        drop(second);
        assert_eq!(
            gate.under_way(),
            1,
            "an evicted permit is not counted off twice"
        );
    }

    #[test]
    fn one_source_cannot_take_the_slots_of_others() {
        let gate = gate(10, 2);
        let held: Vec<Permit> = (0..2).map(|_| gate.enter(address(1)).unwrap()).collect();
        held.iter().for_each(Permit::spoke);
        assert_eq!(gate.enter(address(1)).unwrap_err(), Full::Source);
        assert!(gate.enter(address(2)).is_ok());
    }

    #[test]
    fn who_stalls_after_its_hello_keeps_nobody_waiting_for_more_than_a_second() {
        let gate = gate(4, 2);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut crowd = Vec::new();
        for last in [1, 1, 2, 2] {
            let permit = gate.enter_at(address(last), start).unwrap();
            permit.spoke();
            crowd.push(permit);
        }
        let refused = |last, millis| gate.enter_at(address(last), after(millis)).unwrap_err();
        assert_eq!(refused(1, 999), Full::Source);
        assert_eq!(refused(3, 999), Full::Total);
        let same = gate.enter_at(address(2), after(1_000)).unwrap();
        assert!(
            crowd[2].slot.gone.load(Ordering::Relaxed),
            "the oldest of the same source"
        );
        same.spoke();
        let other = gate.enter_at(address(3), after(1_000)).unwrap();
        assert!(
            crowd[0].slot.gone.load(Ordering::Relaxed),
            "the oldest of all"
        );
        other.spoke();
        assert_eq!(gate.under_way(), 4);
        let patient = Gate::new(GateSettings {
            total: 1,
            per_source: 1,
            speaking: None,
        });
        let held = patient.enter_at(address(1), start).unwrap();
        held.spoke();
        assert!(
            patient.enter_at(address(1), after(3_600_000)).is_err(),
            "who has no such bound is never sent away"
        );
    }

    #[test]
    fn a_crowd_of_silent_sockets_stops_nobody_at_the_same_address() {
        let gate = gate(64, 16);
        let crowd: Vec<Permit> = (0..10_000)
            .map(|_| gate.enter(address(1)).unwrap())
            .collect();
        assert_eq!(gate.under_way(), 16);
        let honest = gate.enter(address(1)).unwrap();
        assert!(!honest.slot.gone.load(Ordering::Relaxed));
        drop(crowd);
        assert_eq!(gate.under_way(), 1);
        drop(honest);
        let state = gate.state.lock().unwrap();
        assert!(state.held.is_empty() && state.silent.is_empty() && state.slots.is_empty());
        assert!(state.silent_all.len() <= 16, "{}", state.silent_all.len());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let a = Source::of("2001:db8:1:2::1".parse().unwrap());
        assert_eq!(a, Source::of("2001:db8:1:2:ffff::9".parse().unwrap()));
        assert_ne!(a, Source::of("2001:db8:1:3::1".parse().unwrap()));
        assert_eq!(
            Source::of("::ffff:192.0.2.1".parse().unwrap()),
            Source::of(address(1))
        );
    }
}
