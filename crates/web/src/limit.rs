//! How often a password may be tried: a bucket for each source, and one for everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

/// Attempts a source may make at once.
const SOURCE_BURST: f64 = 5.0;
/// Seconds until a source has one more.
const SOURCE_REFILL: f64 = 30.0;
/// Attempts that all sources together may make at once.
const GLOBAL_BURST: f64 = 50.0;
/// Seconds until there is one more for all of them.
const GLOBAL_REFILL: f64 = 1.0;
/// Sources remembered; those beyond share one bucket, so that memory has an end.
const MAX_SOURCES: usize = 4_096;
/// Sources that logged in and are spared the limit for everybody.
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
    sources: BTreeMap<IpAddr, Bucket>,
    crowd: Bucket,
    everybody: Bucket,
    friends: BTreeSet<IpAddr>,
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
}

impl LoginLimit {
    /// Counts an attempt from `source`, or refuses it. Successful ones count too.
    pub fn attempt(&self, source: IpAddr, now: OffsetDateTime) -> Result<(), TooMany> {
        let source = network(source);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = &mut *buckets;
        let friend = buckets.friends.contains(&source);
        buckets.everybody.drain(now, GLOBAL_REFILL);
        if buckets.sources.len() >= MAX_SOURCES && !buckets.sources.contains_key(&source) {
            buckets.sources.retain(|_, bucket| {
                bucket.drain(now, SOURCE_REFILL);
                bucket.used > 0.0
            });
        }
        let full = buckets.sources.len() >= MAX_SOURCES;
        let own = match buckets.sources.get_mut(&source) {
            Some(bucket) => bucket,
            None if full => &mut buckets.crowd,
            None => buckets.sources.entry(source).or_default(),
        };
        own.drain(now, SOURCE_REFILL);
        let global = if friend {
            None
        } else {
            buckets.everybody.wait(GLOBAL_BURST, GLOBAL_REFILL)
        };
        match (own.wait(SOURCE_BURST, SOURCE_REFILL), global) {
            (None, None) => {
                own.used += 1.0;
                if !friend {
                    buckets.everybody.used += 1.0;
                }
                Ok(())
            }
            (a, b) => Err(TooMany {
                seconds: whole_seconds(a.unwrap_or(0.0).max(b.unwrap_or(0.0))),
            }),
        }
    }

    /// A log-in from `source` succeeded: its bucket is emptied, and strangers who exhaust the limit
    /// for everybody no longer keep it out.
    pub fn succeeded(&self, source: IpAddr) {
        let source = network(source);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.sources.remove(&source);
        if buckets.friends.len() < MAX_FRIENDS {
            buckets.friends.insert(source);
        }
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
    fn many_sources_together_are_limited_but_not_one_that_logged_in_before() {
        let limit = LoginLimit::default();
        limit.succeeded(v4(0));
        for n in 1..=50 {
            limit.attempt(v4(n), START).unwrap();
        }
        assert!(limit.attempt(v4(51), START).is_err());
        assert_eq!(limit.attempt(v4(0), START), Ok(()));
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
    fn memory_has_an_end_and_so_have_attempts_of_the_crowd() {
        let limit = LoginLimit::default();
        let mut now = START;
        for n in 0..5_000 {
            now += Duration::milliseconds(20);
            let _over = limit.attempt(v4(n), now);
        }
        assert!(limit.0.lock().unwrap().sources.len() <= MAX_SOURCES);
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
