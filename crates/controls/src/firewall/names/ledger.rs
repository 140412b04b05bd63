//! Which addresses a name holds now: bounded, the newest kept.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use stockade_profile::HostName;

use super::MOST_ADDRESSES;

/// The addresses that names hold, with the end of each one's time.
#[derive(Debug, Default)]
pub struct Ledger {
    names: BTreeMap<HostName, BTreeMap<IpAddr, Entry>>,
    order: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    until: Duration,
    /// Grows with every entry, so that the oldest is known even among those of one moment.
    order: u64,
}

/// What the kernel's sets must learn before an answer goes out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The addresses to admit, and for how long.
    pub admit: Vec<(IpAddr, Duration)>,
    /// The addresses that make room.
    pub withdraw: Vec<IpAddr>,
}

impl Ledger {
    /// A name gets addresses at the time `now` (since any fixed moment), each for `lifetime`. Time that an address already has is
    /// never shortened. More than [`MOST_ADDRESSES`] push out the oldest.
    pub fn admit(
        &mut self,
        name: &HostName,
        addresses: &[IpAddr],
        lifetime: Duration,
        now: Duration,
    ) -> Change {
        let held = self.names.entry(name.clone()).or_default();
        held.retain(|_, entry| entry.until > now);
        let mut change = Change::default();
        for address in addresses.iter().take(MOST_ADDRESSES) {
            self.order = self.order.saturating_add(1);
            let until = now.saturating_add(lifetime);
            let entry = held.entry(*address).or_insert(Entry { until, order: 0 });
            entry.until = entry.until.max(until);
            entry.order = self.order;
            change
                .admit
                .push((*address, entry.until.saturating_sub(now)));
        }
        while held.len() > MOST_ADDRESSES {
            let oldest = held.iter().min_by_key(|(_, entry)| entry.order);
            let Some(oldest) = oldest.map(|(address, _)| *address) else {
                break;
            };
            held.remove(&oldest);
            change.withdraw.push(oldest);
        }
        change
    }

    /// What a failed admission must not leave behind: these addresses are not held.
    pub fn forget(&mut self, name: &HostName, addresses: &[IpAddr]) {
        if let Some(held) = self.names.get_mut(name) {
            for address in addresses {
                held.remove(address);
            }
        }
    }

    /// Every name with the addresses that it holds at `now`.
    pub fn held(&self, now: Duration) -> impl Iterator<Item = (&HostName, IpAddr)> {
        self.names.iter().flat_map(move |(name, held)| {
            held.iter()
                .filter(move |(_, entry)| entry.until > now)
                .map(move |(address, _)| (name, *address))
        })
    }
}
