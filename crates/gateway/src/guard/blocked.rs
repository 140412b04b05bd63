//! Blocked packets of the recent past, and how many of each device.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use stockade_profile::LinkAddress;
use time::OffsetDateTime;

use super::view::moment;

/// How many are kept for those who watch.
const KEPT: usize = 2_000;
/// How many devices are counted; a flood of invented addresses is counted as one.
const COUNTED: usize = 25_000;

/// A packet that was blocked, as people are told of it.
#[derive(Debug, Clone)]
pub(super) struct Blocked {
    pub(super) at: OffsetDateTime,
    pub(super) device: Option<LinkAddress>,
    /// What and why, on a line.
    pub(super) text: String,
    /// The rule of the profile that would have to exist, in TOML.
    pub(super) rule: Vec<String>,
}

/// The recent past.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The number of the packet that comes next.
    next: u64,
    packets: VecDeque<Blocked>,
    counts: BTreeMap<LinkAddress, u64>,
    /// How often the kernel had no room for more.
    lost: u64,
}

impl Recent {
    pub(super) fn add(&mut self, packet: Blocked) {
        if let Some(device) = packet.device
            && (self.counts.len() < COUNTED || self.counts.contains_key(&device))
        {
            let count = self.counts.entry(device).or_default();
            *count = count.saturating_add(1);
        }
        if self.packets.len() == KEPT {
            self.packets.pop_front();
        }
        self.packets.push_back(packet);
        self.next = self.next.saturating_add(1);
    }

    pub(super) fn lost(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }

    /// How many packets of a device were told of. The rules tell of a few a second: it is a floor, not a sum.
    pub(super) fn count(&self, device: LinkAddress) -> u64 {
        self.counts.get(&device).copied().unwrap_or(0)
    }

    /// Those after a number; with the largest number there is: none, and which comes next.
    pub(super) fn after(&self, after: u64, limit: usize) -> Value {
        let kept = u64::try_from(self.packets.len()).unwrap_or(u64::MAX);
        let first = self.next.saturating_sub(kept);
        let from = after.min(self.next).max(first);
        let missed = first.saturating_sub(after);
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        let page: Vec<Value> = self
            .packets
            .iter()
            .skip(skip)
            .take(limit)
            .map(|packet| {
                json!({
                    "at": moment(packet.at),
                    "device": packet.device.map(|mac| mac.to_string()),
                    "text": packet.text,
                    "rule": packet.rule,
                })
            })
            .collect();
        let next = from.saturating_add(u64::try_from(page.len()).unwrap_or(0));
        json!({ "blocked": page, "next": next, "missed": missed, "lost": self.lost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_gets_each_packet_once_and_is_told_of_those_that_are_gone() {
        let mut recent = Recent::default();
        let packet = |n: usize| Blocked {
            at: OffsetDateTime::UNIX_EPOCH,
            device: Some(LinkAddress::new([2, 0, 0, 0, 0, 1])),
            text: n.to_string(),
            rule: Vec::new(),
        };
        let now = recent.after(u64::MAX, 1);
        assert_eq!(now["next"], 0);
        for n in 0..3 {
            recent.add(packet(n));
        }
        let page = recent.after(0, 2);
        assert_eq!(page["blocked"][1]["text"], "1");
        let page = recent.after(page["next"].as_u64().unwrap(), 10);
        assert_eq!(page["blocked"][0]["text"], "2");
        assert_eq!(page["next"], 3);
        for n in 0..KEPT + 10 {
            recent.add(packet(n));
        }
        let page = recent.after(3, 10);
        assert_eq!(page["missed"], 10);
        assert_eq!(page["blocked"][0]["text"], "10");
        assert_eq!(
            recent.count(LinkAddress::new([2, 0, 0, 0, 0, 1])),
            3 + u64::try_from(KEPT).unwrap() + 10
        );
    }
}
