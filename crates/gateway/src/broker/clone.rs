//! Telling a cloned key from a device that reconnects.
//!
//! A device that moves to another network leaves a dead connection behind: nothing is ever heard on
//! it again. So a second place that uses the same key counts only with *proof of life* from both:
//!
//! - **Side by side** (other slots of the same device, from another address): the older connection
//!   is heard at least twice, [`GRACE`] apart, both times later than [`GRACE`] after the newer one
//!   connected. Data that was on its way when the device moved arrives in one burst and is followed
//!   by the end of the connection, so it can be heard once, never twice.
//! - **Back and forth** (the same client id, from another address): a displaced connection was seen
//!   to be alive (it answered our DISCONNECT by closing in good order, or sent more), and its address
//!   then came back and displaced the other. [`STRIKES`] such returns within [`WINDOW`] are a clone;
//!   a device roaming between two networks does not do that three times in two minutes.
//!
//! Two keepers of a key behind one address (the same NAT) cannot be told apart this way.

use std::net::IpAddr;

/// Age of the newer connection, and distance of two proofs of life, in milliseconds.
pub(crate) const GRACE: u64 = 5_000;
/// Returns of a displaced, living address that make a clone.
pub(crate) const STRIKES: u8 = 3;
/// Time in which they must happen, in milliseconds.
pub(crate) const WINDOW: u64 = 120_000;
/// Addresses remembered per device.
const REMEMBERED: usize = 4;

/// What one device's displaced connections have shown.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// Addresses whose displaced connection was alive, and when.
    alive: Vec<(IpAddr, u64)>,
    strikes: Vec<u64>,
}

impl Sightings {
    /// A displaced connection from `address` showed that its peer lives.
    pub(crate) fn alive(&mut self, address: IpAddr, now: u64) {
        self.alive
            .retain(|&(a, at)| a != address && now.saturating_sub(at) <= WINDOW);
        if self.alive.len() == REMEMBERED {
            self.alive.remove(0);
        }
        self.alive.push((address, now));
    }

    /// `new` displaced the living connection of `old`. True when this makes a clone.
    pub(crate) fn displaced(&mut self, old: IpAddr, new: IpAddr, now: u64) -> bool {
        if old == new {
            return false;
        }
        let known = |&(a, at): &(IpAddr, u64)| a == new && now.saturating_sub(at) <= WINDOW;
        if self.alive.iter().any(known) {
            self.strikes.retain(|&at| now.saturating_sub(at) <= WINDOW);
            self.strikes.push(now);
        }
        self.strikes.len() >= usize::from(STRIKES)
    }

    /// Nothing in it counts any more.
    pub(crate) fn old(&self, now: u64) -> bool {
        let fresh = |at: u64| now.saturating_sub(at) <= WINDOW;
        !self.strikes.iter().any(|&at| fresh(at)) && !self.alive.iter().any(|&(_, at)| fresh(at))
    }
}

/// The older of two connections side by side, heard at `now`: is it a clone's?
/// `suspected` is when it was heard first after the newer one had connected; 0 for never.
pub(crate) fn side_by_side(suspected: &mut u64, newer_connected: u64, now: u64) -> bool {
    if now < newer_connected.saturating_add(GRACE) {
        return false;
    }
    if *suspected < newer_connected {
        *suspected = now;
        return false;
    }
    now >= suspected.saturating_add(GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_device_that_roams_from_dead_connections_is_never_a_clone() {
        let mut seen = Sightings::default();
        for i in 0..100 {
            let (old, new) = if i % 2 == 0 { (A, B) } else { (B, A) };
            assert!(!seen.displaced(old, new, i * 1_000));
        }
    }

    #[test]
    fn two_living_places_that_displace_each_other_are_a_clone_at_the_third_return() {
        let mut seen = Sightings::default();
        assert!(!seen.displaced(A, B, 0));
        seen.alive(A, 100);
        assert!(!seen.displaced(B, A, 1_000));
        seen.alive(B, 1_100);
        assert!(!seen.displaced(A, B, 2_000));
        seen.alive(A, 2_100);
        assert!(seen.displaced(B, A, 3_000));
    }

    #[test]
    fn returns_spread_over_hours_or_from_one_address_are_no_clone() {
        let mut seen = Sightings::default();
        for i in 0..50 {
            let (old, new) = if i % 2 == 0 { (A, B) } else { (B, A) };
            assert!(!seen.displaced(old, new, i * 70_000));
            seen.alive(old, i * 70_000 + 1);
            assert!(!seen.displaced(A, A, i * 70_000 + 2));
        }
    }

    #[test]
    fn a_late_burst_from_the_old_path_is_no_proof_but_a_lasting_voice_is() {
        let mut suspected = 0;
        for now in [10_001, 14_999, 15_000, 15_001, 19_999] {
            assert!(!side_by_side(&mut suspected, 10_000, now), "{now}");
        }
        assert!(side_by_side(&mut suspected, 10_000, 20_000));
        // Another newer connection starts the proof again.
        assert!(!side_by_side(&mut suspected, 30_000, 36_000));
        assert!(side_by_side(&mut suspected, 30_000, 41_000));
    }
}
