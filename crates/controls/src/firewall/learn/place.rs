//! Where the device stood while it was watched: its addresses, its networks, its gateway.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::{BTreeMap, BTreeSet};

use stockade_profile::Network;
use stockade_wire::dhcp::{Dhcp, DhcpKind};
use stockade_wire::neighbour::Neighbour;
use stockade_wire::packet::{Arp, MacBytes};

use crate::firewall::surroundings::Surroundings;

/// How many addresses and stations are kept.
const MAX: usize = 4096;
/// How many hosts behind a station are kept: enough that one is surely elsewhere.
const SOURCES: usize = 64;

/// What frames tell about the place.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Addresses that the device claimed or was given.
    own: BTreeSet<IpAddr>,
    masks: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Addresses that other stations claimed.
    stations: BTreeMap<MacBytes, BTreeSet<IpAddr>>,
    /// Stations that sent packets of hosts with public addresses, and some of those.
    forwarding: BTreeMap<MacBytes, BTreeSet<IpAddr>>,
    routers: BTreeSet<IpAddr>,
    servers: BTreeSet<IpAddr>,
    resolvers: BTreeSet<IpAddr>,
    /// Sources of the device's packets, for captures without ARP and DHCP.
    sources: BTreeMap<IpAddr, u64>,
}

impl Place {
    pub(super) fn arp(&mut self, device: MacBytes, arp: &Arp) {
        let address = arp.sender_address;
        if address.is_unspecified() || address.is_broadcast() || address.is_multicast() {
            return;
        }
        self.claim(device, arp.sender, address.into());
    }

    pub(super) fn neighbour(
        &mut self,
        device: MacBytes,
        sender: MacBytes,
        source: IpAddr,
        seen: Neighbour,
    ) {
        match seen {
            Neighbour::Advertisement { target, .. } => self.claim(device, sender, target.into()),
            // Asking whether an address is free is how one is taken (RFC 4862 §5.4).
            Neighbour::Solicitation { target, .. } if source.is_unspecified() => {
                self.claim(device, sender, target.into());
            }
            Neighbour::RouterAdvertisement { lifetime: 1.. } if sender != device => {
                add(&mut self.routers, source);
            }
            Neighbour::RouterAdvertisement { .. }
            | Neighbour::Solicitation { .. }
            | Neighbour::Redirect { .. } => {}
        }
    }

    fn claim(&mut self, device: MacBytes, sender: MacBytes, address: IpAddr) {
        if sender == device {
            add(&mut self.own, address);
        } else if self.stations.len() < MAX {
            add(self.stations.entry(sender).or_default(), address);
        }
    }

    pub(super) fn dhcp(&mut self, device: MacBytes, source: IpAddr, dhcp: &Dhcp) {
        if dhcp.request || dhcp.client != device || dhcp.kind != Some(DhcpKind::Ack) {
            return;
        }
        // An answer to DHCPINFORM gives no address.
        for given in [dhcp.your_address, dhcp.client_address] {
            if !given.is_unspecified() {
                add(&mut self.own, given.into());
                if let Some(mask) = dhcp.mask
                    && self.masks.len() < MAX
                {
                    self.masks.insert(given, mask);
                }
            }
        }
        add(&mut self.servers, source);
        for router in &dhcp.routers {
            add(&mut self.routers, (*router).into());
        }
        for resolver in &dhcp.resolvers {
            add(&mut self.resolvers, (*resolver).into());
        }
    }

    /// Who sent a packet to or from the device.
    pub(super) fn packet(&mut self, device: MacBytes, sender: MacBytes, source: IpAddr) {
        if source.is_unspecified() {
            return;
        }
        if sender == device {
            if self.sources.len() < MAX {
                let count = self.sources.entry(source).or_default();
                *count = count.saturating_add(1);
            }
            if is_link_local(source) {
                add(&mut self.own, source);
            }
        } else if !is_private(source) && self.forwarding.len() < MAX {
            let sources = self.forwarding.entry(sender).or_default();
            if sources.len() < SOURCES {
                sources.insert(source);
            }
        }
    }

    /// The device's addresses: those it claimed or was given; else the private ones it sent from; else all it sent from.
    pub(super) fn own(&self) -> BTreeSet<IpAddr> {
        let mut own = self.own.clone();
        for v4 in [true, false] {
            if own
                .iter()
                .any(|it| it.is_ipv4() == v4 && !is_link_local(*it))
            {
                continue;
            }
            let sources = || self.sources.keys().filter(|it| it.is_ipv4() == v4);
            let private: Vec<IpAddr> = sources().copied().filter(|it| is_private(*it)).collect();
            if private.is_empty() {
                own.extend(sources());
            } else {
                own.extend(private);
            }
        }
        own
    }

    /// The networks of these addresses: by the mask that DHCP told, or the usual ones.
    fn local(&self, own: &BTreeSet<IpAddr>) -> Vec<Network> {
        let network = |address: &IpAddr| {
            let prefix = match address {
                IpAddr::V4(v4) => match self.masks.get(v4) {
                    Some(mask) => u8::try_from(mask.to_bits().leading_ones()).ok()?.max(8),
                    None if v4.is_link_local() => 16,
                    None => 24,
                },
                IpAddr::V6(_) => 64,
            };
            Network::around(*address, prefix)
        };
        let mut local: Vec<Network> = own.iter().filter_map(network).collect();
        local.dedup();
        local
    }

    /// What a profile's words mean here.
    pub(super) fn surroundings(&self) -> Surroundings {
        let own = self.own();
        let local = self.local(&own);
        let near = |address: &IpAddr| local.iter().any(|network| network.contains(*address));
        let mut gateway = self.routers.clone();
        for (mac, sources) in &self.forwarding {
            // A network may have public addresses of its own.
            if sources.iter().all(near) {
                continue;
            }
            let claimed = self.stations.get(mac).into_iter().flatten();
            gateway.extend(claimed.filter(|it| near(it)));
        }
        if gateway.is_empty() {
            gateway.extend(&self.servers);
        }
        gateway.retain(|address| !own.contains(address));
        Surroundings {
            gateway: gateway.iter().copied().collect(),
            dhcp: gateway.union(&self.servers).copied().collect(),
            resolvers: gateway.union(&self.resolvers).copied().collect(),
            // Names have addresses only where a forwarder asks; the number does not matter here.
            forwarder: Some(53),
            local,
            own: own.into_iter().collect(),
            ..Surroundings::default()
        }
    }
}

fn add(set: &mut BTreeSet<IpAddr>, address: IpAddr) {
    if set.len() < MAX {
        set.insert(address);
    }
}

/// Addresses that no router on the Internet forwards (RFC 1918, RFC 3927, RFC 4193, RFC 4291 §2.5.6, RFC 6598).
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            v4.is_private() || v4.is_link_local() || v4.is_loopback() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Whether it is everybody's address on one of these networks, or on any (RFC 919 §7).
pub(super) fn is_broadcast(address: IpAddr, local: &[Network]) -> bool {
    let IpAddr::V4(v4) = address else {
        return false;
    };
    let last = |network: &Network| match network.address() {
        IpAddr::V4(first) => {
            let hosts = u32::MAX.checked_shr(network.prefix().into()).unwrap_or(0);
            network.prefix() < 31 && Ipv4Addr::from(first.to_bits() | hosts) == v4
        }
        IpAddr::V6(_) => false,
    };
    v4.is_broadcast() || local.iter().any(last)
}
