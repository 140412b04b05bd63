//! The oracle: what a MUD file allows, read by code that shares nothing with the product.
//!
//! A packet filter of MUD says which packets may pass; a rule of ours says who may open a flow, and answers follow. The
//! translation is the one `docs/mud.md` documents, written here a second time from the JSON alone.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Who sends the first packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opener {
    /// The device.
    Device,
    /// Whoever the device talks to.
    Peer,
}

impl Opener {
    fn other(self) -> Self {
        match self {
            Self::Device => Self::Peer,
            Self::Peer => Self::Device,
        }
    }
}

/// The other end, as MUD names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// No restriction at all.
    Any,
    /// A network, by its lowest address and its prefix.
    Network(IpAddr, u8),
    /// A DNS name.
    Name(String),
    /// `local-networks`.
    Local,
    /// `controller`, by its URI.
    Controller(String),
    /// `my-controller`.
    MyController,
    /// `same-manufacturer`.
    SameManufacturer,
    /// `manufacturer`, by its authority.
    Manufacturer(String),
    /// `model`, by its MUD URL.
    Model(String),
}

/// An inclusive range of ports.
pub type Ports = (u16, u16);

/// Every port a packet can honestly have: port 0 is reserved (RFC 6335 §6).
pub const EVERY_PORT: Ports = (1, u16::MAX);

/// One access control entry, as packets.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name, with its list's.
    pub name: String,
    /// Who sends the packets it speaks of.
    pub sender: Opener,
    /// Whether it accepts them.
    pub accepts: bool,
    /// The other end.
    pub peer: Peer,
    /// 4 or 6; nothing is both.
    pub family: Option<u8>,
    /// The IP protocol.
    pub protocol: Option<u8>,
    /// Ports of the sender.
    pub source: Ports,
    /// Ports of the receiver.
    pub destination: Ports,
    /// Type and code of ICMP.
    pub icmp: (Option<u8>, Option<u8>),
    /// `direction-initiated`.
    pub initiated: Option<Opener>,
    /// An Ethernet type that is not IP's.
    pub ethertype: Option<u16>,
    /// Speaks of frames to the broadcast address only.
    pub broadcast: bool,
    /// Something the oracle does not understand, in words.
    pub odd: Option<String>,
}

/// A MUD file.
#[derive(Debug, Clone)]
pub struct Mud {
    /// Its URL.
    pub url: String,
    /// Every entry of the lists its policies name.
    pub entries: Vec<Entry>,
}

impl Mud {
    /// Reads a file.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let root: Value = serde_json::from_slice(bytes).context("no JSON")?;
        let mud = root.get("ietf-mud:mud").context("no ietf-mud:mud")?;
        let lists = [
            "ietf-access-control-list:acls",
            "ietf-access-control-list:access-lists",
        ];
        let lists = lists
            .iter()
            .find_map(|name| root.get(*name)?.get("acl")?.as_array());
        let mut entries = Vec::new();
        for (policy, sender) in [
            ("from-device-policy", Opener::Device),
            ("to-device-policy", Opener::Peer),
        ] {
            for reference in references(mud, policy) {
                let name = name_of(reference);
                // osMUD-UI2 puts the list itself where its name belongs.
                let list = if reference.get("aces").is_some() {
                    reference
                } else {
                    let found = lists
                        .into_iter()
                        .flatten()
                        .find(|list| name_of(list) == name);
                    found.with_context(|| format!("no list {name}"))?
                };
                read_list(list, sender, &mut entries)?;
            }
        }
        Ok(Self {
            url: text(mud.get("mud-url")).context("no mud-url")?,
            entries,
        })
    }
}

fn references<'a>(mud: &'a Value, policy: &str) -> Vec<&'a Value> {
    let prefixed = format!("ietf-mud:{policy}");
    let found = mud.get(policy).or_else(|| mud.get(prefixed.as_str()));
    let lists = found.and_then(|policy| policy.get("access-lists")?.get("access-list")?.as_array());
    lists.into_iter().flatten().collect()
}

fn name_of(list: &Value) -> String {
    text(list.get("name").or_else(|| list.get("acl-name"))).unwrap_or_default()
}

fn read_list(list: &Value, sender: Opener, entries: &mut Vec<Entry>) -> Result<()> {
    let kind = text(list.get("type").or_else(|| list.get("acl-type"))).unwrap_or_default();
    let family = match kind {
        _ if kind.contains("ipv4") => Some(4),
        _ if kind.contains("ipv6") => Some(6),
        _ => None,
    };
    let aces = list.get("aces").or_else(|| list.get("access-list-entries"));
    let aces = aces.and_then(|aces| aces.get("ace")?.as_array());
    for ace in aces.into_iter().flatten() {
        let entry = read_entry(ace, &name_of(list), sender, family);
        entries.push(entry.with_context(|| format!("in {ace}"))?);
    }
    Ok(())
}

fn read_entry(ace: &Value, list: &str, sender: Opener, family: Option<u8>) -> Result<Entry> {
    let matches = ace.get("matches").context("no matches")?;
    let own = text(ace.get("name").or_else(|| ace.get("rule-name"))).unwrap_or_default();
    let action = [ace.get("actions"), matches.get("actions")];
    let action = action
        .iter()
        .find_map(|actions| actions.as_ref()?.get("forwarding"));
    let mut entry = Entry {
        name: format!("{list}/{own}"),
        sender,
        accepts: action.is_none_or(|word| {
            text(Some(word)).is_some_and(|word| word.eq_ignore_ascii_case("accept"))
        }),
        peer: Peer::Any,
        family,
        protocol: None,
        source: EVERY_PORT,
        destination: EVERY_PORT,
        icmp: (None, None),
        initiated: None,
        ethertype: None,
        broadcast: false,
        odd: None,
    };
    let mut odd = Vec::new();
    let mut members: Vec<_> = matches
        .as_object()
        .context("matches is no object")?
        .iter()
        .collect();
    // Addresses first: what `local-networks` means depends on them.
    members.sort_by_key(|(key, _)| !key.starts_with("ip"));
    for (key, value) in members {
        match key.as_str() {
            "ipv4" | "ipv4-acl" => entry.family = Some(4),
            "ipv6" | "ipv6-acl" => entry.family = Some(6),
            _ => {}
        }
        match key.as_str() {
            "ipv4" | "ipv6" | "ipv4-acl" | "ipv6-acl" => read_ip(value, &mut entry, &mut odd)?,
            "tcp" | "udp" | "tcp-acl" | "udp-acl" => {
                let number = if key.starts_with("tcp") { 6 } else { 17 };
                if entry.protocol.is_some_and(|said| said != number) {
                    odd.push(format!("{key} beside another protocol"));
                }
                entry.protocol = Some(number);
                read_ports(value, &mut entry, &mut odd)?;
            }
            "icmp" => entry.icmp = (byte(value.get("type")), byte(value.get("code"))),
            "ietf-mud:mud" | "mud-acl" => read_abstraction(value, &mut entry, &mut odd),
            "eth" => read_ethernet(value, &mut entry)?,
            "actions" => {}
            other => odd.push(other.to_owned()),
        }
    }
    if entry.broadcast && entry.peer == Peer::Local {
        entry.peer = Peer::Network(std::net::Ipv4Addr::BROADCAST.into(), 32);
    }
    entry.odd = (!odd.is_empty()).then(|| odd.join(", "));
    Ok(entry)
}

fn read_ip(value: &Value, entry: &mut Entry, odd: &mut Vec<String>) -> Result<()> {
    let far = match entry.sender {
        Opener::Device => ("ietf-acldns:dst-dnsname", "destination"),
        Opener::Peer => ("ietf-acldns:src-dnsname", "source"),
    };
    for (key, value) in value.as_object().context("ip is no object")? {
        if key == "protocol" {
            entry.protocol = byte(Some(value));
        } else if key == far.0 {
            let name = text(Some(value)).unwrap_or_default();
            entry.peer = Peer::Name(name.trim_end_matches('.').to_ascii_lowercase());
        } else if key.starts_with(far.1) && key.ends_with("-network") {
            entry.peer = network(&text(Some(value)).unwrap_or_default())?;
        } else if key.contains("port-range") {
            let (lower, upper) = (
                port(value.get("lower-port").or_else(|| value.get("port"))),
                port(value.get("upper-port")),
            );
            let lower = lower.context("no port")?;
            let range = (lower, upper.unwrap_or(lower));
            if key.starts_with("source") {
                entry.source = range;
            } else {
                entry.destination = range;
            }
        } else {
            odd.push(key.clone());
        }
    }
    Ok(())
}

fn read_ports(value: &Value, entry: &mut Entry, odd: &mut Vec<String>) -> Result<()> {
    for (key, value) in value.as_object().context("ports are no object")? {
        match key.as_str() {
            "source-port" => entry.source = range(value, odd)?,
            "destination-port" => entry.destination = range(value, odd)?,
            "ietf-mud:direction-initiated" | "direction-initiated" => {
                entry.initiated = match value.as_str() {
                    Some("from-device") => Some(Opener::Device),
                    Some("to-device") => Some(Opener::Peer),
                    _ => bail!("direction {value}"),
                };
            }
            other => odd.push(other.to_owned()),
        }
    }
    Ok(())
}

fn range(value: &Value, odd: &mut Vec<String>) -> Result<Ports> {
    let (lower, upper) = (port(value.get("lower-port")), port(value.get("upper-port")));
    if let (Some(lower), Some(upper)) = (lower, upper) {
        return Ok((lower, upper));
    }
    let one = port(value.get("port")).context("no port")?;
    match value.get("operator").and_then(Value::as_str) {
        None | Some("eq") => Ok((one, one)),
        Some("gte") => Ok((one, u16::MAX)),
        Some("lte") => Ok((1, one)),
        Some(other) => {
            odd.push(format!("operator {other}"));
            Ok((one, one))
        }
    }
}

fn read_abstraction(value: &Value, entry: &mut Entry, odd: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let said = text(Some(value)).unwrap_or_default();
        let peer = match key.as_str() {
            "local-networks" => Peer::Local,
            "controller" => Peer::Controller(said),
            "my-controller" => Peer::MyController,
            "same-manufacturer" => Peer::SameManufacturer,
            "manufacturer" => Peer::Manufacturer(said),
            "model" => Peer::Model(said),
            "direction-initiated" | "ietf-mud:direction-initiated" => {
                entry.initiated = Some(if said == "to-device" {
                    Opener::Peer
                } else {
                    Opener::Device
                });
                continue;
            }
            other => {
                odd.push(other.to_owned());
                continue;
            }
        };
        // `local-networks` beside a group's address means that group; any other pair is two conditions on one peer.
        match (&entry.peer, &peer) {
            (Peer::Any, _) => entry.peer = peer,
            (Peer::Network(address, _), Peer::Local)
                if address.is_multicast() || is_everybody(*address) => {}
            _ => odd.push(format!("{key} beside another peer")),
        }
    }
}

fn read_ethernet(value: &Value, entry: &mut Entry) -> Result<()> {
    entry.broadcast = value.get("destination-mac-address").is_some();
    let Some(kind) = text(value.get("ethertype")) else {
        return Ok(());
    };
    match u16::from_str_radix(kind.trim_start_matches("0x"), 16)? {
        0x0800 => entry.family = Some(4),
        0x86dd => entry.family = Some(6),
        other => entry.ethertype = Some(other),
    }
    Ok(())
}

fn network(text: &str) -> Result<Peer> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address
        .parse()
        .with_context(|| format!("{text} is no network"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    Ok(Peer::Network(
        address,
        if prefix.is_empty() {
            most
        } else {
            prefix.parse()?
        },
    ))
}

fn is_everybody(address: IpAddr) -> bool {
    address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}

fn text(value: Option<&Value>) -> Option<String> {
    Some(value?.as_str()?.to_owned())
}

fn byte(value: Option<&Value>) -> Option<u8> {
    u8::try_from(value?.as_u64()?).ok()
}

fn port(value: Option<&Value>) -> Option<u16> {
    u16::try_from(value?.as_u64()?).ok()
}

/// A permission, or a refusal, to open flows.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The entry it comes from.
    pub name: String,
    /// Whether it permits; a refusal is in the way of the permissions after it.
    pub accepts: bool,
    /// Who opens.
    pub opener: Opener,
    /// The other end.
    pub peer: Peer,
    /// 4 or 6; nothing is both.
    pub family: Option<u8>,
    /// The IP protocol.
    pub protocol: Option<u8>,
    /// Ports of the opener.
    pub source: Ports,
    /// Ports of the other side.
    pub destination: Ports,
    /// Type and code of ICMP.
    pub icmp: (Option<u8>, Option<u8>),
}

impl Mud {
    /// Who may open what: every entry that is not the answers of another one.
    pub fn openings(&self) -> Vec<Opening> {
        let opening = self.entries.iter().filter(|entry| self.opens(entry));
        opening
            .map(|entry| Opening {
                name: entry.name.clone(),
                accepts: entry.accepts,
                opener: entry.sender,
                peer: entry.peer.clone(),
                family: entry.family,
                protocol: entry.protocol,
                source: entry.source,
                destination: entry.destination,
                icmp: entry.icmp,
            })
            .collect()
    }

    fn opens(&self, entry: &Entry) -> bool {
        if entry.ethertype.is_some() || entry.odd.is_some() {
            return false;
        }
        if !entry.accepts {
            return true;
        }
        // Packets against the direction are dropped unless the other side has opened first (RFC 8520 §8.2).
        if let Some(initiated) = entry.initiated {
            return initiated == entry.sender;
        }
        let mirrors: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|other| other.accepts && mirrors(entry, other))
            .collect();
        if let Some(initiated) = mirrors.iter().find_map(|mirror| mirror.initiated) {
            return initiated == entry.sender;
        }
        if mirrors.is_empty() || entry.source == entry.destination {
            return true;
        }
        // Neither says who opens: whoever names the port it goes to and not the one it comes from.
        match (entry.source == EVERY_PORT, entry.destination == EVERY_PORT) {
            (true, _) => true,
            (_, true) => false,
            (false, false) => entry.sender == Opener::Device,
        }
    }
}

fn mirrors(one: &Entry, other: &Entry) -> bool {
    one.sender == other.sender.other()
        && one.peer == other.peer
        && one.family == other.family
        && one.protocol == other.protocol
        && one.source == other.destination
        && one.destination == other.source
}
