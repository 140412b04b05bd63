//! How often a password may be tried: a bucket for each source, one for all that failed, one for all that are new.
//!
//! Who goes on trying keeps others waiting who failed as well, and nobody who did not: a source that never failed waits only
//! where new ones come in a crowd, and one that logged in before waits for nobody but itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

/// Attempts a source may make at once.
const SOURCE_BURST: f64 = 5.0;
/// Seconds until a source has one more.
const SOURCE_REFILL: f64 = 30.0;
/// Attempts that all sources which failed may make at once; the same for all that are new.
const GLOBAL_BURST: f64 = 50.0;
/// Seconds until there is one more for all of them.
const GLOBAL_REFILL: f64 = 1.0;
/// Sources remembered.
const MAX_SOURCES: usize = 4_096;
/// Addresses that logged in and are spared the limits for others; the one that was here longest ago gives way.
const MAX_FRIENDS: usize = 64;

/// Too many attempts; when the next one is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// Whole seconds to wait, at least one.
    pub seconds: u32,
}

/// Counts attempts to log in.
#[derive(Debug, Default)]
pub struct LoginLimit(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// Networks that tried and did not succeed since.
    sources: BTreeMap<IpAddr, Bucket>,
    /// Single addresses that succeeded: a neighbour in the same network is not them.
    friends: BTreeMap<IpAddr, Bucket>,
    failed: Bucket,
    fresh: Bucket,
}

/// How much of the allowance is used up, and as of when.
#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    used: f64,
    as_of: Option<OffsetDateTime>,
}

impl Bucket {
    fn drain(&mut self, now: OffsetDateTime, refill: f64) {
        if let Some(before) = self.as_of {
            // A clock that steps back gives nobody more attempts.
            let passed = (now - before).max(Duration::ZERO).as_seconds_f64();
            self.used = (self.used - passed / refill).max(0.0);
        }
        self.as_of = Some(now);
    }

    /// Seconds until one more attempt fits; none if it fits now.
    fn wait(&self, burst: f64, refill: f64) -> Option<f64> {
        let over = self.used + 1.0 - burst;
        (over > 1e-6).then_some(over * refill)
    }

    /// One attempt of its source, if it fits here and among those of others.
    fn take(&mut self, now: OffsetDateTime, others: Option<&mut Self>) -> Result<(), TooMany> {
        self.drain(now, SOURCE_REFILL);
        let mut wait = self.wait(SOURCE_BURST, SOURCE_REFILL);
        if let Some(others) = others {
            others.drain(now, GLOBAL_REFILL);
            let theirs = others.wait(GLOBAL_BURST, GLOBAL_REFILL);
            wait = wait.map_or(theirs, |own| Some(own.max(theirs.unwrap_or(0.0))));
            if wait.is_none() {
                others.used += 1.0;
            }
        }
        if let Some(wait) = wait {
            let seconds = whole_seconds(wait);
            return Err(TooMany { seconds });
        }
        self.used += 1.0;
        Ok(())
    }
}

impl LoginLimit {
    /// Counts an attempt from `source`, or refuses it. Successful ones count too.
    pub fn attempt(&self, source: IpAddr, now: OffsetDateTime) -> Result<(), TooMany> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = &mut *buckets;
        if let Some(own) = buckets.friends.get_mut(&source.to_canonical()) {
            return own.take(now, None);
        }
        let source = network(source);
        if let Some(own) = buckets.sources.get_mut(&source) {
            return own.take(now, Some(&mut buckets.failed));
        }
        if buckets.sources.len() >= MAX_SOURCES {
            buckets.sources.retain(|_, bucket| {
                bucket.drain(now, SOURCE_REFILL);
                bucket.used > 0.0
            });
        }
        let mut own = Bucket::default();
        own.take(now, Some(&mut buckets.fresh))?;
        // What finds no place stays new, and those are few in a second.
        if buckets.sources.len() < MAX_SOURCES {
            buckets.sources.insert(source, own);
        }
        Ok(())
    }

    /// A log-in from `source` succeeded: its bucket is emptied, and from now on it waits for nobody but itself.
    pub fn succeeded(&self, source: IpAddr) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = source.to_canonical();
        if let Some(own) = buckets.friends.get_mut(&address) {
            own.used = 0.0;
            return;
        }
        let as_of = buckets
            .sources
            .remove(&network(source))
            .and_then(|it| it.as_of);
        if buckets.friends.len() >= MAX_FRIENDS {
            let longest_ago = buckets.friends.iter().min_by_key(|(_, it)| it.as_of);
            if let Some(longest_ago) = longest_ago.map(|(address, _)| *address) {
                buckets.friends.remove(&longest_ago);
            }
        }
        buckets.friends.insert(address, Bucket { used: 0.0, as_of });
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::as_conversions,
    reason = "clamped to a range that a u32 holds"
)]
fn whole_seconds(seconds: f64) -> u32 {
    seconds.ceil().clamp(1.0, 3_600.0) as u32
}

/// One subscriber of IPv6 holds a /64 at least, so that is what counts as one source.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))
    }

    #[test]
    fn a_source_gets_five_attempts_and_then_one_each_half_minute() {
        let limit = LoginLimit::default();
        for _ in 0..5 {
            limit.attempt(v4(1), START).unwrap();
        }
        assert_eq!(limit.attempt(v4(1), START), Err(TooMany { seconds: 30 }));
        assert_eq!(limit.attempt(v4(2), START), Ok(()));
        assert_eq!(limit.attempt(v4(1), START + Duration::seconds(30)), Ok(()));
        assert!(limit.attempt(v4(1), START + Duration::seconds(31)).is_err());
    }

    #[test]
    fn sources_that_failed_wait_for_each_other_and_one_that_did_not_waits_for_none_of_them() {
        let limit = LoginLimit::default();
        for n in 1..=20 {
            limit.attempt(v4(n), START).unwrap();
        }
        let second = |n| limit.attempt(v4(n), START);
        let heard = (1..=20).flat_map(|n| [second(n), second(n), second(n)]);
        assert_eq!(heard.flatten().count(), 50, "all together");
        assert_eq!(second(20), Err(TooMany { seconds: 1 }));
        assert_eq!(second(21), Ok(()), "it never failed");
        assert!(second(21).is_err(), "now it has tried as well");
    }

    #[test]
    fn a_crowd_of_new_sources_keeps_new_ones_waiting_but_not_one_that_logged_in_before() {
        let limit = LoginLimit::default();
        limit.attempt(v4(0), START).unwrap();
        limit.succeeded(v4(0));
        for n in 1..=49 {
            limit.attempt(v4(n), START).unwrap();
        }
        assert!(limit.attempt(v4(50), START).is_err());
        assert_eq!(limit.attempt(v4(0), START), Ok(()));
        let later = START + Duration::seconds(1);
        assert_eq!(limit.attempt(v4(50), later), Ok(()));
        assert!(limit.attempt(v4(51), later).is_err());
    }

    #[test]
    fn a_neighbour_in_the_same_ipv6_network_keeps_nobody_out_who_logged_in_before() {
        let limit = LoginLimit::default();
        let [owner, guest] = ["2001:db8::1", "2001:db8::2"].map(|it| it.parse().unwrap());
        limit.attempt(owner, START).unwrap();
        limit.succeeded(owner);
        for _ in 0..5 {
            limit.attempt(guest, START).unwrap();
        }
        assert_eq!(limit.attempt(guest, START), Err(TooMany { seconds: 30 }));
        assert_eq!(limit.attempt(owner, START), Ok(()));
        limit.succeeded(owner);
        assert!(limit.attempt(guest, START).is_err(), "it gained nothing");
    }

    #[test]
    fn of_many_that_logged_in_the_one_that_was_here_longest_ago_is_forgotten() {
        let limit = LoginLimit::default();
        let mut now = START;
        for n in 0..=u32::try_from(MAX_FRIENDS).unwrap() {
            now += Duration::seconds(1);
            limit.attempt(v4(n), now).unwrap();
            limit.succeeded(v4(n));
        }
        let friends = &limit.0.lock().unwrap().friends;
        assert_eq!(friends.len(), MAX_FRIENDS);
        assert!(!friends.contains_key(&v4(0)) && friends.contains_key(&v4(1)));
    }

    #[test]
    fn one_ipv6_network_is_one_source_and_mapped_ipv4_is_ipv4() {
        let limit = LoginLimit::default();
        for n in 0..5_u16 {
            limit
                .attempt(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n).into(), START)
                .unwrap();
        }
        assert!(
            limit
                .attempt("2001:db8:0:1:ffff::1".parse().unwrap(), START)
                .is_err()
        );
        assert!(
            limit
                .attempt("2001:db8:0:2::1".parse().unwrap(), START)
                .is_ok()
        );
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), v4(1));
    }

    #[test]
    fn memory_has_an_end() {
        let limit = LoginLimit::default();
        let mut now = START;
        for n in 0..9_000 {
            now += Duration::seconds(1);
            limit.attempt(v4(n), now).unwrap();
            assert!(limit.0.lock().unwrap().sources.len() <= MAX_SOURCES);
        }
        assert_eq!(limit.attempt(v4(8_999), now), Ok(()));
        let sources = &limit.0.lock().unwrap().sources;
        assert!(sources[&v4(8_999)].used > 1.5, "it is remembered");
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_more_attempts() {
        let limit = LoginLimit::default();
        for _ in 0..5 {
            limit.attempt(v4(1), START).unwrap();
        }
        assert!(limit.attempt(v4(1), START - Duration::hours(1)).is_err());
    }
}
