//! Where the guard stands: the LAN interface's card, addresses and networks.

use std::net::{IpAddr, Ipv6Addr};

use stockade_host::netlink::NetlinkError;
use stockade_host::netlink::routes::Routes;
use stockade_profile::{LinkAddress, Network};

use super::core::Standing;

/// Why the guard can not stand there.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// No interface has the name.
    #[error("there is no interface `{name}`; there are: {}", .known.join(", "))]
    NoInterface {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// It is down.
    #[error("the interface `{0}` is down: `ip link set {0} up`")]
    Down(String),
    /// It has no card.
    #[error("the interface `{0}` has no Ethernet address")]
    NoCard(String),
    /// It has no address.
    #[error("the interface `{0}` has no address: the gateway must have one on the LAN it guards")]
    NoAddress(String),
    /// The kernel did not say.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Looks where the guard stands.
pub fn standing(interface: &str) -> Result<Standing, FactsError> {
    let mut routes = Routes::open()?;
    let links = routes.links()?;
    let Some(link) = links.iter().find(|link| link.name == interface) else {
        return Err(FactsError::NoInterface {
            name: interface.escape_default().to_string(),
            known: links.iter().map(|link| link.name.clone()).collect(),
        });
    };
    if !link.up {
        return Err(FactsError::Down(link.name.clone()));
    }
    let Some(mac) = link.mac.filter(|_| !link.loopback) else {
        return Err(FactsError::NoCard(link.name.clone()));
    };
    let mut standing = Standing {
        mac: LinkAddress::new(mac),
        index: link.index,
        own: Vec::new(),
        lan: Vec::new(),
    };
    for found in routes.addresses()? {
        if found.index != link.index {
            continue;
        }
        standing.own.push(found.address);
        // Every link has link-local addresses; they are known by themselves.
        if !is_link_local(found.address)
            && let Some(network) = Network::around(found.address, found.prefix)
        {
            standing.lan.push(network);
        }
    }
    standing.own.sort_unstable();
    standing
        .lan
        .sort_by_key(|net| (net.address(), net.prefix()));
    standing.lan.dedup();
    if standing.lan.is_empty() {
        return Err(FactsError::NoAddress(link.name.clone()));
    }
    Ok(standing)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => Ipv6Addr::is_unicast_link_local(&v6),
    }
}
