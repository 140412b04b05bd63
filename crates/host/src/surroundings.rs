//! Where this machine stands: its addresses, its gateway, its networks, whom it asks for names.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stockade_controls::firewall::nft::CgroupPath;
use stockade_controls::firewall::surroundings::{Surroundings, UpnpWindow};
use stockade_profile::{ClassUri, InterfaceName, LinkAddress, Network, Profile, ServiceName};

use crate::cgroup::{self, CgroupError, Cgroups};
use crate::netlink::NetlinkError;
use crate::netlink::routes::{Link, LocalAddress, Routes};

/// Where the resolvers are written; the second is what stands behind systemd's own resolver.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// The longest such file that is read.
const MOST: u64 = 64 * 1024;
/// The most resolvers that are taken (resolv.conf(5): the C library takes three).
const MOST_RESOLVERS: usize = 8;

/// What the operator says about the place; it goes before what is found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Told {
    /// The gateway's addresses.
    pub gateway: Vec<IpAddr>,
    /// The gateway's hardware address, as text. Never found out: a router that is replaced would lock the device out.
    pub gateway_link: Option<String>,
    /// The networks that the device is in, as text.
    pub local: Vec<String>,
    /// Whom the DNS forwarder asks.
    pub resolver: Vec<IpAddr>,
    /// The port of the DNS forwarder.
    pub forwarder: Option<u16>,
    /// The hosts of classes of controllers, by the class's URI (RFC 8520 §8.1).
    pub controller: BTreeMap<String, Vec<IpAddr>>,
    /// The hosts that are controllers of this model.
    pub my_controller: Vec<IpAddr>,
    /// The user that the agent runs as, if it is on this machine.
    pub agent: Option<u32>,
    /// `UPnP`, while its owner has it on: nobody says this but [`open_window`](crate::firewall::Firewall::open_window).
    pub upnp: Option<UpnpPlace>,
}

/// Where `UPnP` is on, and by which program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpnpPlace {
    /// The interface of those who may ask for mappings.
    pub lan: String,
    /// The interface that mappings lead in by.
    pub outside: String,
    /// The TCP port that mappings are asked for at.
    pub control: u16,
    /// The user that the daemon runs as, and nothing else does.
    pub user: u32,
}

/// Why it is not known where this machine stands.
#[derive(Debug, thiserror::Error)]
pub enum SurroundingsError {
    /// The kernel did not tell.
    #[error("cannot find out how this machine is connected")]
    Kernel(#[from] NetlinkError),
    /// A file.
    #[error(transparent)]
    File(#[from] io::Error),
    /// A network that the operator named is none.
    #[error("`{0}` is not a network: for example 192.168.1.0/24")]
    Network(String),
    /// A hardware address that the operator named is none.
    #[error("`{0}` is not a hardware address: for example 02:00:00:00:00:01")]
    Link(String),
    /// A class of controllers that the operator named is none.
    #[error("`{0}` is not the URI of a class of controllers")]
    Class(String),
    /// An interface that is not there, or not as it is needed.
    #[error("the interface `{0}` is not there, or has no IPv4 address")]
    Interface(String),
    /// The services that rules name can not be told apart here.
    #[error(transparent)]
    Cgroups(#[from] CgroupError),
}

/// Looks where this machine stands, for a profile.
pub fn look(profile: &Profile, told: &Told) -> Result<Surroundings, SurroundingsError> {
    let mut routes = Routes::open()?;
    let links = routes.links()?;
    let addresses = routes.addresses()?;
    let outside: BTreeMap<u32, &str> = links
        .iter()
        .filter(|link| link.up && !link.loopback)
        .map(|link| (link.index, link.name.as_str()))
        .collect();
    let own: Vec<IpAddr> = addresses
        .iter()
        .filter(|found| outside.contains_key(&found.index))
        .map(|found| found.address)
        .collect();
    let mut local: Vec<Network> = Vec::new();
    for text in &told.local {
        let network = text.parse();
        local.push(network.map_err(|_| SurroundingsError::Network(text.clone()))?);
    }
    if local.is_empty() {
        local = addresses
            .iter()
            .filter(|found| outside.contains_key(&found.index))
            .filter_map(|found| Network::around(found.address, found.prefix))
            .collect();
    }
    let gateway = if told.gateway.is_empty() {
        let default = |route: &&crate::netlink::routes::Route| route.prefix == 0;
        let routes = routes.routes()?;
        let gateways = routes.iter().filter(default);
        gateways.filter_map(|route| route.gateway).collect()
    } else {
        told.gateway.clone()
    };
    let resolvers = if told.resolver.is_empty() {
        system_resolvers(&own)?
    } else {
        told.resolver.clone()
    };
    let mut interfaces: Vec<InterfaceName> = Vec::new();
    if !profile.firewall.frames.is_empty() {
        interfaces.extend(outside.values().filter_map(|name| name.parse().ok()));
    }
    let gateway_link = told.gateway_link.as_ref().map(|text| {
        let link = text.parse::<LinkAddress>();
        link.map_err(|_| SurroundingsError::Link(text.clone()))
    });
    let controllers = told.controller.iter().map(|(text, hosts)| {
        let class: Result<ClassUri, _> = text.parse();
        let class = class.map_err(|_| SurroundingsError::Class(text.clone()))?;
        Ok((class, hosts.clone()))
    });
    let mut found = Surroundings {
        own: distinct(own),
        gateway: distinct(gateway),
        gateway_link: gateway_link.transpose()?,
        controllers: controllers.collect::<Result<_, SurroundingsError>>()?,
        my_controllers: distinct(told.my_controller.clone()),
        local: distinct(local),
        resolvers: distinct(resolvers),
        forwarder: told.forwarder,
        services: services(profile)?,
        interfaces,
        agent: told.agent,
        upnp: told
            .upnp
            .as_ref()
            .map(|place| window(place, &links, &addresses))
            .transpose()?,
        ..Surroundings::default()
    };
    // Found in the order of the kernel's tables, which is not always the same.
    found.interfaces.sort();
    Ok(found)
}

/// Where `UPnP` is on: both interfaces are there, are two, and the first has networks of IPv4.
fn window(
    place: &UpnpPlace,
    links: &[Link],
    addresses: &[LocalAddress],
) -> Result<UpnpWindow, SurroundingsError> {
    let wrong = |name: &str| SurroundingsError::Interface(name.to_owned());
    let up = |name: &str| -> Result<(InterfaceName, Vec<Network>), SurroundingsError> {
        let mut links = links.iter().filter(|link| link.up && !link.loopback);
        let link = links.find(|link| link.name == name);
        let index = link.ok_or_else(|| wrong(name))?.index;
        let of = addresses
            .iter()
            .filter(|it| it.index == index && it.address.is_ipv4());
        let networks = of.filter_map(|it| Network::around(it.address, it.prefix));
        let name = name.parse().map_err(|_| wrong(name))?;
        Ok((name, distinct(networks.collect())))
    };
    let (lan, networks) = up(&place.lan)?;
    let (outside, _) = up(&place.outside)?;
    if networks.is_empty() || lan == outside {
        return Err(wrong(&place.lan));
    }
    Ok(UpnpWindow {
        lan,
        outside,
        networks,
        control: place.control,
        user: place.user,
    })
}

/// The cgroups of the services that rules name; a service that does not run has none, and its rules allow nothing until it does.
fn services(profile: &Profile) -> Result<BTreeMap<ServiceName, CgroupPath>, SurroundingsError> {
    if cgroup::named(profile).is_empty() {
        return Ok(BTreeMap::new());
    }
    let (found, _absent) = Cgroups::find()?.services(profile)?;
    Ok(found
        .into_iter()
        .map(|(name, found)| (name, found.path))
        .collect())
}

fn distinct<T: PartialEq + ToString>(list: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(list.len());
    for item in list {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept.sort_by_key(ToString::to_string);
    kept
}

/// The name servers that this machine asks, apart from itself; `own` are its addresses.
pub fn system_resolvers(own: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    resolvers(&RESOLVERS.map(Path::new), own)
}

/// The name servers of the first file that names one on another machine.
fn resolvers(files: &[&Path], own: &[IpAddr]) -> io::Result<Vec<IpAddr>> {
    for file in files {
        let elsewhere: Vec<IpAddr> = match read(file)? {
            Some(text) => name_servers(&text)
                .filter(|server| !server.is_loopback() && !own.contains(server))
                .take(MOST_RESOLVERS)
                .collect(),
            None => continue,
        };
        if !elsewhere.is_empty() {
            return Ok(elsewhere);
        }
    }
    Ok(Vec::new())
}

fn read(file: &Path) -> io::Result<Option<String>> {
    use std::io::Read as _;

    let open = match fs_err::File::open(file) {
        Ok(open) => open,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let mut bytes = Vec::new();
    open.take(MOST).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The `nameserver` lines (resolv.conf(5)); a zone after `%` names an interface and is left out.
fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> + '_ {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then_some(())?;
        let address = words.next()?.split('%').next()?;
        address.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_c_library_reads_them() {
        let text = "# comment\nnameserver 192.0.2.53\n nameserver\t2001:db8::53\nnameserver fe80::1%eth0\noptions edns0\nnameserver x\nnameservers 192.0.2.9\n";
        let found: Vec<String> = name_servers(text)
            .map(|address| address.to_string())
            .collect();
        assert_eq!(found, ["192.0.2.53", "2001:db8::53", "fe80::1"]);
    }

    #[test]
    fn a_resolver_of_this_machine_gives_way_to_the_one_behind_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (stub, real) = (folder.path().join("stub"), folder.path().join("real"));
        fs_err::write(&stub, "nameserver 127.0.0.53\nnameserver 192.0.2.2\n").expect("written");
        fs_err::write(&real, "nameserver 192.0.2.53\n").expect("written");
        let own: IpAddr = "192.0.2.2".parse().expect("an address");
        let found = resolvers(&[&stub, &real], &[own]).expect("readable");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "192.0.2.53");
        assert!(
            resolvers(&[&folder.path().join("none")], &[])
                .expect("fine")
                .is_empty()
        );
    }
}
