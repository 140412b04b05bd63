//! The matches of one rule (RFC 8519 §4.2, RFC 8520 §4 and §8): what is not understood refuses the rule, never widens it.

use core::net::IpAddr;

use super::fields::{ACL, ethertype, object, parts, ports, text, unknown, whole};
use super::flow::{Families, Flow, Matched, PortSet};
use super::json::Json;
use super::section::TlsProfiles;
use crate::fault::quote;
use crate::{
    ClassUri, Direction, Endpoint, EtherType, Family, HostName, HttpsUrl, IcmpKind, LinkAddress,
    Network, PortRange, Protocol,
};

/// Why a rule is refused.
pub(crate) type Why = String;

/// The modules whose nodes are read.
const MUD: &str = "ietf-mud";
const DNS: &str = "ietf-acldns";
const TLS: &str = "ietf-acl-tls";

/// A rule's matches while they are read.
pub(crate) struct Reading<'w> {
    direction: Direction,
    families: Families,
    peers: Vec<Endpoint>,
    number: Option<u8>,
    /// The transport whose fields are matched.
    transport: Option<Protocol>,
    icmp: bool,
    kind: Option<u8>,
    code: Option<u8>,
    to: Option<PortSet>,
    from: Option<PortSet>,
    initiated: Option<Direction>,
    ethertype: Option<u16>,
    link: Option<LinkAddress>,
    ip: bool,
    tls: Vec<(String, Json)>,
    warnings: &'w mut Vec<String>,
}

/// A rule's matches, read.
pub(crate) struct Read {
    pub(crate) matched: Matched,
    pub(crate) tls: Option<TlsProfiles>,
}

/// Reads the matches of a rule of a policy; `families` are those of its list.
pub(crate) fn read(
    matches: &Json,
    direction: Direction,
    families: Families,
    warnings: &mut Vec<String>,
) -> Result<Read, Why> {
    let mut reading = Reading {
        direction,
        families,
        peers: Vec::new(),
        number: None,
        transport: None,
        icmp: false,
        kind: None,
        code: None,
        to: None,
        from: None,
        initiated: None,
        ethertype: None,
        link: None,
        ip: false,
        tls: Vec::new(),
        warnings,
    };
    for (key, value) in object(matches, "matches")? {
        reading.container(key, value)?;
    }
    let tls = reading.tls()?;
    let matched = reading.finish()?;
    Ok(Read { matched, tls })
}

impl Reading<'_> {
    fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn container(&mut self, key: &str, value: &Json) -> Result<(), Why> {
        match parts(key) {
            ("" | ACL, "ipv4") => self.internet(Family::Ipv4, key, value),
            ("" | ACL, "ipv6") => self.internet(Family::Ipv6, key, value),
            ("" | ACL, "ipv4-acl" | "ipv6-acl") => {
                self.warn(format!("`{key}` is the name of an old draft"));
                let ipv4 = key.ends_with("ipv4-acl");
                let family = if ipv4 { Family::Ipv4 } else { Family::Ipv6 };
                self.internet(family, key, value)
            }
            ("" | ACL, "tcp") => self.transport(Protocol::Tcp, key, value),
            ("" | ACL, "udp") => self.transport(Protocol::Udp, key, value),
            ("" | ACL, "icmp") => self.icmp(key, value),
            ("" | ACL, "eth") => self.ethernet(key, value),
            (MUD, "mud") => self.abstractions(key, value),
            (MUD, "mud-acl") | ("", "mud") => {
                self.warn(format!("`{key}` is written `ietf-mud:mud`"));
                self.abstractions(key, value)
            }
            (MUD, name) => {
                self.warn(format!("`{key}` stands outside of `ietf-mud:mud`"));
                self.abstraction(name, value)
            }
            (TLS, "client-profiles" | "server-profiles" | "client-profile" | "server-profile") => {
                self.warn("its TLS profiles are kept, and not enforced");
                self.tls.push((key.to_owned(), value.clone()));
                Ok(())
            }
            // Where RFC 9761 §7 has it, too; the caller reads it.
            ("", "actions") => Ok(()),
            _ => Err(unknown(key)),
        }
    }

    fn internet(&mut self, family: Family, container: &str, value: &Json) -> Result<(), Why> {
        self.ip = true;
        self.families = self.families.and(Families::only(family));
        for (key, value) in object(value, container)? {
            match parts(key) {
                ("" | ACL, "protocol") => {
                    let number = whole(key, value, 255)?;
                    self.number = Some(u8::try_from(number).unwrap_or_default());
                }
                (DNS | "", "dst-dnsname") => self.host(key, value, Direction::Out)?,
                (DNS | "", "src-dnsname") => self.host(key, value, Direction::In)?,
                ("" | ACL, "destination-ipv4-network" | "destination-ipv6-network") => {
                    self.network(key, value, family, Direction::Out)?;
                }
                ("" | ACL, "source-ipv4-network" | "source-ipv6-network") => {
                    self.network(key, value, family, Direction::In)?;
                }
                ("" | ACL, "destination-port-range" | "destination-port-range-or-operator") => {
                    self.warn("its ports stand where an old draft had them");
                    self.to = Some(ports(key, value)?);
                }
                ("" | ACL, "source-port-range" | "source-port-range-or-operator") => {
                    self.warn("its ports stand where an old draft had them");
                    self.from = Some(ports(key, value)?);
                }
                _ => return Err(unknown(key)),
            }
        }
        Ok(())
    }

    /// `end` is the policy for which this end is the other one: out for a destination, in for a source.
    fn host(&mut self, key: &str, value: &Json, end: Direction) -> Result<(), Why> {
        if parts(key).0.is_empty() {
            self.warn(format!("`{key}` is written `{DNS}:{key}`"));
        }
        let name = text(key, value)?;
        if end != self.direction {
            return Err(format!("`{key}` is the device's own name here"));
        }
        let plain = name.strip_suffix('.').unwrap_or(name);
        let host: HostName = plain
            .parse()
            .map_err(|wrong: crate::Malformed| format!("`{key}`: {wrong}"))?;
        if host.as_str() != plain {
            self.warn(format!("`{}` is read in lower case", quote(name)));
        }
        self.peers.push(Endpoint::Host(host));
        Ok(())
    }

    fn network(
        &mut self,
        key: &str,
        value: &Json,
        family: Family,
        end: Direction,
    ) -> Result<(), Why> {
        let said = text(key, value)?;
        let wrong = || format!("`{key}`: `{}` is not a network", quote(said));
        let (address, prefix) = match said.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (said, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if address.is_ipv4() != (family == Family::Ipv4) || !key.contains(family.as_str()) {
            return Err(format!("`{key}`: {address} is of the other family"));
        }
        let length = if let Some(prefix) = prefix {
            prefix.parse().map_err(|_| wrong())?
        } else {
            self.warn(format!(
                "{address} has no prefix length and is read as one address"
            ));
            most
        };
        let network = Network::around(address, length).ok_or_else(wrong)?;
        if network.address() != address {
            self.warn(format!("{address}/{length} is read as {network}"));
        }
        if network.prefix() == 0 {
            return Ok(());
        }
        if end != self.direction {
            return Err(format!("`{key}` is the device's own address here"));
        }
        if network.prefix() < most {
            self.peers.push(Endpoint::Network(network));
        } else if address.is_unspecified() {
            return Err(format!("`{key}`: {address} is nobody's address"));
        } else {
            self.peers.push(Endpoint::Address(address));
        }
        Ok(())
    }

    fn transport(&mut self, protocol: Protocol, container: &str, value: &Json) -> Result<(), Why> {
        if self.transport.is_some_and(|earlier| earlier != protocol) || self.icmp {
            return Err("it matches the fields of two protocols, which no packet has".to_owned());
        }
        self.transport = Some(protocol);
        for (key, value) in object(value, container)? {
            match parts(key) {
                ("" | ACL, "destination-port") => self.to = Some(ports(key, value)?),
                ("" | ACL, "source-port") => self.from = Some(ports(key, value)?),
                (MUD | "", "direction-initiated") => self.direction(key, value)?,
                _ => return Err(unknown(key)),
            }
        }
        if protocol == Protocol::Udp && self.initiated.is_some() {
            self.warn("`direction-initiated` stands with UDP, and is read as with TCP");
        }
        Ok(())
    }

    fn direction(&mut self, key: &str, value: &Json) -> Result<(), Why> {
        let said = text(key, value)?;
        self.initiated = Some(match said {
            "from-device" => Direction::Out,
            "to-device" => Direction::In,
            other => return Err(format!("`{key}`: `{}` is no direction", quote(other))),
        });
        Ok(())
    }

    fn icmp(&mut self, container: &str, value: &Json) -> Result<(), Why> {
        if self.transport.is_some() {
            return Err("it matches the fields of two protocols, which no packet has".to_owned());
        }
        self.icmp = true;
        let byte = |key: &str, value: &Json| -> Result<Option<u8>, Why> {
            Ok(u8::try_from(whole(key, value, 255)?).ok())
        };
        for (key, value) in object(value, container)? {
            match parts(key) {
                ("" | ACL, "type") => self.kind = byte(key, value)?,
                ("" | ACL, "code") => self.code = byte(key, value)?,
                _ => return Err(unknown(key)),
            }
        }
        Ok(())
    }

    fn ethernet(&mut self, container: &str, value: &Json) -> Result<(), Why> {
        for (key, value) in object(value, container)? {
            match (parts(key), self.direction) {
                (("" | ACL, "ethertype"), _) => self.ethertype = Some(ethertype(key, value)?),
                (("" | ACL, "destination-mac-address"), Direction::Out)
                | (("" | ACL, "source-mac-address"), Direction::In) => {
                    let address = text(key, value)?.to_ascii_lowercase().replace('-', ":");
                    let address: LinkAddress = address
                        .parse()
                        .map_err(|wrong: crate::Malformed| format!("`{key}`: {wrong}"))?;
                    self.link = Some(address);
                }
                (("" | ACL, "destination-mac-address" | "source-mac-address"), _) => {
                    return Err(format!("`{key}` is the device's own address here"));
                }
                _ => return Err(unknown(key)),
            }
        }
        Ok(())
    }

    fn abstractions(&mut self, container: &str, value: &Json) -> Result<(), Why> {
        for (key, value) in object(value, container)? {
            match parts(key) {
                ("" | MUD, name) => self.abstraction(name, value)?,
                _ => return Err(unknown(key)),
            }
        }
        Ok(())
    }

    /// RFC 8520 §4.1 to §4.7.
    fn abstraction(&mut self, name: &str, value: &Json) -> Result<(), Why> {
        let peer = match name {
            "local-networks" => self.present(name, value, Endpoint::LocalNetwork)?,
            "my-controller" => self.present(name, value, Endpoint::MyController)?,
            "same-manufacturer" => self.present(name, value, Endpoint::SameManufacturer)?,
            "manufacturer" => {
                let host: Result<HostName, _> = text(name, value)?.parse();
                Endpoint::Manufacturer(host.map_err(|wrong| format!("`{name}`: {wrong}"))?)
            }
            "model" => {
                let url: Result<HttpsUrl, _> = text(name, value)?.parse();
                Endpoint::MudModel(url.map_err(|wrong| format!("`{name}`: {wrong}"))?)
            }
            "controller" => self.controller(name, value)?,
            "direction-initiated" => {
                self.warn("`direction-initiated` stands outside of `tcp`");
                return self.direction(name, value);
            }
            _ => return Err(unknown(name)),
        };
        self.peers.push(peer);
        Ok(())
    }

    /// A node of the type `empty`, which JSON writes as `[null]` (RFC 7951 §6.9).
    fn present(&mut self, name: &str, value: &Json, peer: Endpoint) -> Result<Endpoint, Why> {
        match value {
            Json::List(items) if items.as_slice() == [Json::Null] => Ok(peer),
            Json::Null | Json::Boolean(true) => {
                self.warn(format!("`{name}` is written `[null]`"));
                Ok(peer)
            }
            Json::List(items) if items.is_empty() => {
                self.warn(format!("`{name}` is written `[null]`"));
                Ok(peer)
            }
            Json::Boolean(false)
            | Json::Number(_)
            | Json::Text(_)
            | Json::List(_)
            | Json::Object(_) => Err(format!("`{name}` must be `[null]`")),
        }
    }

    fn controller(&mut self, name: &str, value: &Json) -> Result<Endpoint, Why> {
        let said = text(name, value)?;
        if said == super::GATEWAY {
            self.warn(format!(
                "`{said}` is registered nowhere, and is read as the gateway"
            ));
            return Ok(Endpoint::Gateway);
        }
        let class = ClassUri::new(said).map_err(|wrong| format!("`{name}`: {wrong}"))?;
        Ok(Endpoint::Controller(class))
    }

    fn tls(&mut self) -> Result<Option<TlsProfiles>, Why> {
        if self.tls.is_empty() {
            return Ok(None);
        }
        let kept = TlsProfiles::new(&Json::Object(std::mem::take(&mut self.tls)));
        kept.map(Some).map_err(|wrong| wrong.to_string())
    }

    fn finish(mut self) -> Result<Matched, Why> {
        let packets = self.ip || self.transport.is_some() || self.icmp;
        match self.ethertype {
            Some(0x0800) => self.families = self.families.and(Families::only(Family::Ipv4)),
            Some(0x86dd) => self.families = self.families.and(Families::only(Family::Ipv6)),
            Some(_) if packets => {
                return Err(
                    "its `ethertype` is not that of its packets: no packet is both".to_owned(),
                );
            }
            Some(0x0806) => return Ok(Matched::Arp),
            Some(number) => return self.frame(number),
            None if self.link.is_some() && !packets => {
                return Err("it matches frames of every type".to_owned());
            }
            None => (),
        }
        let protocol = self.protocol()?;
        if let (Protocol::Number(number @ (0 | 43 | 44 | 60)), false) =
            (protocol, self.families.ipv4)
        {
            // RFC 8519 §4.2: in IPv6 it is the protocol after all extension headers.
            self.warn(format!(
                "{number} is an extension header of IPv6, which is no packet's protocol: it allows nothing more"
            ));
        }
        let peer = self.peer()?;
        let families = self
            .families
            .and(Families::of(protocol.only_family()))
            .and(Families::of(peer.family()));
        if families.is_empty() {
            return Err("no packet can match it: its parts are of different families".to_owned());
        }
        let (to, from) = self.ports(protocol)?;
        let icmp = match (self.kind, self.code) {
            (Some(kind), code) => Some(IcmpKind { kind, code }),
            (None, None) => None,
            (None, Some(_)) => return Err("it matches a code of ICMP without its type".to_owned()),
        };
        Ok(Matched::Flow(Flow {
            peer,
            families,
            protocol,
            to,
            from,
            icmp,
            initiated: self.initiated,
        }))
    }

    fn frame(&self, number: u16) -> Result<Matched, Why> {
        if self
            .peers
            .iter()
            .any(|peer| *peer != Endpoint::LocalNetwork)
        {
            return Err("frames on the link know no such other end".to_owned());
        }
        let ethertype = EtherType::new(number).map_err(|wrong| wrong.to_string())?;
        Ok(Matched::Frame(ethertype, self.link))
    }

    fn protocol(&self) -> Result<Protocol, Why> {
        let named = self.number.map(Protocol::from_number);
        let fields = if self.icmp {
            let ipv6 = named == Some(Protocol::Icmpv6) || !self.families.ipv4;
            if named.is_none() && self.families == Families::BOTH {
                return Err("it matches ICMP without saying whose: IPv4's or IPv6's".to_owned());
            }
            Some(if ipv6 {
                Protocol::Icmpv6
            } else {
                Protocol::Icmp
            })
        } else {
            self.transport
        };
        match (named, fields) {
            (Some(named), Some(fields)) if named != fields => Err(format!(
                "no packet can match it: the protocol is {named} and the fields are of {fields}"
            )),
            (Some(protocol), _) | (None, Some(protocol)) => Ok(protocol),
            (None, None) => Ok(Protocol::Any),
        }
    }

    fn ports(&mut self, protocol: Protocol) -> Result<(PortSet, PortSet), Why> {
        let (to, from) = (self.to.take(), self.from.take());
        if !protocol.has_ports() {
            if to.is_some() || from.is_some() {
                return Err(format!("it matches ports, which `{protocol}` has not"));
            }
            return Ok((Vec::new(), Vec::new()));
        }
        let every = || vec![PortRange::ANY];
        let (to, from) = (to.unwrap_or_else(every), from.unwrap_or_else(every));
        if to.is_empty() || from.is_empty() {
            return Err("port 0 is reserved (RFC 6335 §6), and no packet may have it".to_owned());
        }
        Ok((to, from))
    }

    /// The other end: the conditions on it must come down to one.
    fn peer(&mut self) -> Result<Endpoint, Why> {
        let mut peers = std::mem::take(&mut self.peers);
        peers.dedup();
        let peer = match peers.as_slice() {
            [] => Endpoint::Any,
            [one] => one.clone(),
            [Endpoint::LocalNetwork, group] | [group, Endpoint::LocalNetwork]
                if group.is_for_many() =>
            {
                self.warn(format!(
                    "{group} on the local networks is read as that address alone"
                ));
                group.clone()
            }
            [one, two, ..] => {
                return Err(format!(
                    "it asks two things of the other end: {} and {}",
                    one.spoken(),
                    two.spoken()
                ));
            }
        };
        match self.link {
            None => Ok(peer),
            Some(LinkAddress::BROADCAST) if peer.is_limited_broadcast() => Ok(peer),
            Some(LinkAddress::BROADCAST)
                if matches!(peer, Endpoint::Any | Endpoint::LocalNetwork) && self.families.ipv4 =>
            {
                self.warn("frames to all stations are read as packets to 255.255.255.255");
                Ok(Endpoint::Address(core::net::Ipv4Addr::BROADCAST.into()))
            }
            Some(link) => Err(format!(
                "it matches packets by the address {link} on the link"
            )),
        }
    }
}
