//! Which names have which addresses, by the answers that were seen.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stockade_profile::HostName;
use stockade_wire::dns::{Data, INTERNET, Message};

/// How many addresses are kept; a stranger can put any number into a capture.
const MAX_ADDRESSES: usize = 100_000;

/// Names that the device asked for, and the answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    /// Each address: since when it stood under which name.
    by_address: BTreeMap<IpAddr, BTreeMap<Duration, HostName>>,
    /// Names that were asked for, and by whom.
    asked: BTreeSet<(HostName, IpAddr)>,
    count: usize,
}

impl Names {
    /// A question from this address, or an answer to it.
    pub(super) fn saw(&mut self, time: Duration, own: IpAddr, message: &Message) {
        for question in &message.questions {
            let host = question.name.host().and_then(|name| name.parse().ok());
            let Some(host): Option<HostName> = host else {
                continue;
            };
            if question.class != INTERNET || self.asked.len() >= MAX_ADDRESSES {
                continue;
            }
            if message.response {
                // An address counts only at the end of the chain that begins with the question.
                let chain = message.chain(&question.name);
                for record in &message.answers {
                    if chain.contains(&record.name)
                        && let Some(address) = address(&record.data)
                    {
                        self.add(address, time, &host);
                    }
                }
            }
            self.asked.insert((host, own));
        }
    }

    fn add(&mut self, address: IpAddr, time: Duration, host: &HostName) {
        if self.count < MAX_ADDRESSES {
            let times = self.by_address.entry(address).or_default();
            if times.insert(time, host.clone()).is_none() {
                self.count = self.count.saturating_add(1);
            }
        }
    }

    /// The name under which the address was last given before `time`; or after, when the answer came late.
    pub(super) fn at(&self, address: IpAddr, time: Duration) -> Option<&HostName> {
        let times = self.by_address.get(&address)?;
        let before = times.range(..=time).next_back();
        before
            .or_else(|| times.first_key_value())
            .map(|(_, name)| name)
    }

    /// Forgets what others asked for: a device that is an access point passes on the questions of its guests.
    pub(super) fn only_of(&mut self, own: &[IpAddr]) {
        self.asked.retain(|(_, asker)| own.contains(asker));
    }

    pub(super) fn asked(&self) -> impl Iterator<Item = &HostName> {
        self.asked.iter().map(|(name, _)| name)
    }

    /// Every name with every address it had.
    pub(super) fn all(&self) -> impl Iterator<Item = (&HostName, IpAddr)> {
        self.by_address
            .iter()
            .flat_map(|(address, names)| names.values().map(move |name| (name, *address)))
    }
}

fn address(data: &Data) -> Option<IpAddr> {
    match data {
        Data::A(address) => Some((*address).into()),
        Data::Aaaa(address) => Some((*address).into()),
        Data::Cname(_)
        | Data::Ns(_)
        | Data::Ptr(_)
        | Data::Mx(..)
        | Data::Srv { .. }
        | Data::Soa { .. }
        | Data::Other(..) => None,
    }
}
