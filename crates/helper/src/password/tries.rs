//! Who tried how often, across restarts: a count for each source, beside the one for all of them.
//!
//! Who goes on guessing makes those wait who failed as well. A source that never failed is not kept waiting, and an address
//! that has shown the right password waits for itself alone. Sources are what the agent says: were it taken over, each new
//! source that it made up would win one try, and no more of them than find a place in a day.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stockade_api::helper::Refused;
use stockade_controls::engine::UnixSeconds;

use crate::files;
use crate::refusal::failed;

/// So many wrong ones cost nothing.
pub(super) const FREE: u32 = 5;
/// The longest wait, in seconds.
pub(super) const MOST_WAIT: u64 = 900;
/// Sources that failed and are counted one by one.
const MOST_SOURCES: usize = 128;
/// Addresses that are remembered for a right password.
const MOST_FRIENDS: usize = 8;
/// A source that did not fail for so long is as one that never did, in seconds.
const REST: u64 = 24 * 60 * 60;

/// Wrong passwords since the last right one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Count {
    pub(super) wrong: u32,
    /// When the last one was.
    pub(super) at: UnixSeconds,
}

impl Count {
    /// Seconds before the next try: none for the first few, then twice as many each time.
    pub(super) fn wait(&self, now: UnixSeconds) -> u64 {
        let Some(over) = self.wrong.checked_sub(FREE) else {
            return 0;
        };
        let wait = 1_u64
            .checked_shl(over)
            .map_or(MOST_WAIT, |it| it.min(MOST_WAIT));
        self.at.saturating_add(wait).saturating_sub(now)
    }

    /// One more, until it proves right.
    pub(super) fn count(&mut self, now: UnixSeconds) {
        self.wrong = self.wrong.saturating_add(1);
        self.at = now;
    }
}

/// What is kept of them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Kept {
    form: u32,
    /// Networks that failed.
    sources: BTreeMap<IpAddr, Count>,
    /// Addresses that were right; here `at` is when they tried last.
    friends: BTreeMap<IpAddr, Count>,
    /// All that find no place among the sources.
    crowd: Count,
}

/// The counts.
#[derive(Debug)]
pub(super) struct Tries {
    file: PathBuf,
    kept: Kept,
}

impl Tries {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let file = folder.join("tries.json");
        let kept = files::read_json(&file)?.unwrap_or_default();
        Ok(Self { file, kept })
    }

    /// Seconds that this source has to wait; `all` is the count of all sources.
    pub(super) fn wait(&mut self, from: Option<IpAddr>, all: Count, now: UnixSeconds) -> u64 {
        self.kept
            .sources
            .retain(|_, it| it.at.saturating_add(REST) > now);
        if let Some(own) = self.kept.friends.get(&address(from)) {
            return own.wait(now);
        }
        match self.kept.sources.get(&network(from)) {
            Some(own) => own.wait(now).max(all.wait(now)),
            None if self.kept.sources.len() < MOST_SOURCES => 0,
            None => self.kept.crowd.wait(now).max(all.wait(now)),
        }
    }

    /// Counts a try, on disk. Whether it counts for all, too.
    pub(super) fn count(
        &mut self,
        from: Option<IpAddr>,
        now: UnixSeconds,
    ) -> Result<bool, Refused> {
        let mut kept = self.kept.clone();
        let mut for_all = true;
        if let Some(own) = kept.friends.get_mut(&address(from)) {
            own.count(now);
            for_all = false;
        } else {
            let network = network(from);
            let full = kept.sources.len() >= MOST_SOURCES;
            match kept.sources.get_mut(&network) {
                Some(own) => own.count(now),
                None if full => kept.crowd.count(now),
                None => kept.sources.entry(network).or_default().count(now),
            }
        }
        self.store(kept).map(|()| for_all)
    }

    /// The last try was right: from this address nobody waits for others any more.
    pub(super) fn right(&mut self, from: Option<IpAddr>, now: UnixSeconds) -> Result<(), Refused> {
        let mut kept = self.kept.clone();
        let address = address(from);
        if !kept.friends.contains_key(&address) {
            kept.sources.remove(&network(from));
            if kept.friends.len() >= MOST_FRIENDS {
                let longest_ago = kept.friends.iter().min_by_key(|(_, it)| it.at);
                if let Some(longest_ago) = longest_ago.map(|(address, _)| *address) {
                    kept.friends.remove(&longest_ago);
                }
            }
        }
        kept.friends.insert(address, Count { wrong: 0, at: now });
        self.store(kept)
    }

    /// The clock went back: every wait begins anew, and does not last for years.
    pub(super) fn not_after(&mut self, now: UnixSeconds) -> Result<(), Refused> {
        let mut kept = self.kept.clone();
        let sources = kept.sources.values_mut().chain(kept.friends.values_mut());
        for count in sources.chain([&mut kept.crowd]) {
            count.at = count.at.min(now);
        }
        if kept == self.kept {
            return Ok(());
        }
        self.store(kept)
    }

    /// There is another first password: nobody was right or wrong before.
    pub(super) fn forget(&mut self) -> Result<(), Refused> {
        self.store(Kept::default())
    }

    fn store(&mut self, kept: Kept) -> Result<(), Refused> {
        let kept = Kept { form: 1, ..kept };
        files::put_json(&self.file, &kept).map_err(|why| failed(&why))?;
        self.kept = kept;
        Ok(())
    }
}

/// Where it came from; what was typed on this device has an address of its own.
fn address(from: Option<IpAddr>) -> IpAddr {
    from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
        .to_canonical()
}

/// Who is counted as one: an IPv4 address, or an IPv6 /64, as one subscriber has that much at least (RFC 6177).
fn network(from: Option<IpAddr>) -> IpAddr {
    match address(from) {
        IpAddr::V6(it) => {
            let [a, b, c, d, ..] = it.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries() -> (tempfile::TempDir, Tries) {
        let folder = tempfile::tempdir().unwrap();
        let tries = Tries::open(folder.path()).unwrap();
        (folder, tries)
    }

    fn host(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + n))
    }

    /// A count that keeps whoever waits for it waiting for the longest time.
    const SIEGE: Count = Count {
        wrong: 100,
        at: 1_000,
    };

    #[test]
    fn who_never_failed_waits_for_nobody_and_who_failed_waits_for_all_until_a_day_went_by() {
        let (_folder, mut tries) = tries();
        assert_eq!(tries.wait(Some(host(1)), SIEGE, 1_000), 0);
        assert!(tries.count(Some(host(1)), 1_000).unwrap());
        assert_eq!(tries.wait(Some(host(1)), SIEGE, 1_000), MOST_WAIT);
        assert_eq!(tries.wait(Some(host(1)), Count::default(), 1_000), 0);
        assert_eq!(tries.wait(Some(host(2)), SIEGE, 1_000), 0);
        assert_eq!(tries.wait(None, SIEGE, 1_000), 0);
        let later = Count {
            at: 1_000 + REST,
            ..SIEGE
        };
        assert_eq!(tries.wait(Some(host(1)), later, 1_000 + REST), 0);
    }

    #[test]
    fn who_was_right_waits_for_itself_alone_also_after_a_restart() {
        let (folder, mut tries) = tries();
        tries.count(Some(host(1)), 1_000).unwrap();
        tries.right(Some(host(1)), 1_000).unwrap();
        let mut tries = Tries::open(folder.path()).unwrap();
        assert_eq!(tries.wait(Some(host(1)), SIEGE, 1_000), 0);
        for _ in 0..=FREE {
            assert!(
                !tries.count(Some(host(1)), 1_000).unwrap(),
                "others do not wait"
            );
        }
        assert_eq!(tries.wait(Some(host(1)), Count::default(), 1_000), 2);
        tries.forget().unwrap();
        assert_eq!(
            tries.wait(Some(host(1)), SIEGE, 1_000),
            0,
            "as if it were new"
        );
        tries.count(Some(host(1)), 1_000).unwrap();
        assert_eq!(tries.wait(Some(host(1)), SIEGE, 1_000), MOST_WAIT);
    }

    #[test]
    fn sources_without_end_share_one_count_and_memory_has_a_bound() {
        let (_folder, mut tries) = tries();
        for n in 0..400 {
            if tries.wait(Some(host(n)), SIEGE, 1_000) == 0 {
                tries.count(Some(host(n)), 1_000).unwrap();
            }
        }
        assert_eq!(tries.kept.sources.len(), MOST_SOURCES);
        assert_eq!(tries.wait(Some(host(400)), SIEGE, 1_000), MOST_WAIT);
        for n in 0..20 {
            let owner = Some(IpAddr::V6(Ipv6Addr::from_bits(n)));
            tries
                .right(owner, 1_000 + u64::try_from(n).unwrap())
                .unwrap();
        }
        assert_eq!(tries.kept.friends.len(), MOST_FRIENDS);
        let latest = Some(IpAddr::V6(Ipv6Addr::from_bits(19)));
        assert_eq!(tries.wait(latest, SIEGE, 1_000), 0);
    }

    #[test]
    fn a_neighbour_in_an_ipv6_network_counts_with_its_network_and_not_as_the_owner() {
        let (_folder, mut tries) = tries();
        let of = |text: &str| Some(text.parse().unwrap());
        tries.right(of("2001:db8::1"), 1_000).unwrap();
        tries.count(of("2001:db8::2"), 1_000).unwrap();
        assert_eq!(tries.wait(of("2001:db8::3"), SIEGE, 1_000), MOST_WAIT);
        assert_eq!(tries.wait(of("2001:db8:0:1::3"), SIEGE, 1_000), 0);
        assert_eq!(tries.wait(of("2001:db8::1"), SIEGE, 1_000), 0);
        tries.count(of("::ffff:192.0.2.1"), 1_000).unwrap();
        assert_eq!(tries.wait(Some(host(1)), SIEGE, 1_000), MOST_WAIT);
    }
}
