//! The table that miniupnpd writes its mappings into.
//!
//! Its base chain is ours: it lets the daemon's rules see new flows to the profile's ports of the outside, and those only while
//! the table's own clock ticks.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde::Serialize;
use serde_json::Value;
use stockade_controls::firewall::nft::Family;
use stockade_controls::firewall::policy::Window;
use stockade_profile::Transport;

use crate::netlink::NetlinkError;
use crate::netlink::sets::Sets;
use crate::nft::{Nft, NftError};

/// Its name.
pub(super) const TABLE: &str = "stockade_upnp";
/// The chain of mappings.
pub(super) const MAPPED: &str = "mapped";
/// Where miniupnpd writes what else it would let pass; no packet comes there, for our own rules decide.
pub(super) const FILTERED: &str = "unused_filter";
/// The same for sources.
pub(super) const POSTED: &str = "unused_post";

/// The most mappings that are listed.
const MOST: usize = 1024;

/// One mapping, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mapped {
    /// 6 is TCP, 17 is UDP.
    pub protocol: u8,
    /// The port of the outside.
    pub external_port: u16,
    /// Who asked for it, and gets what comes.
    pub owner: Ipv4Addr,
    /// The port there.
    pub internal_port: u16,
}

/// Whether there is such a table.
pub(super) fn is_there() -> Result<bool, NetlinkError> {
    Sets::open()?.has_table(Family::Inet, TABLE)
}

/// One transaction: no such table.
pub(super) fn gone() -> String {
    format!("table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// One transaction: the table anew, for this many seconds.
pub(super) fn text(window: &Window, seconds: u32) -> String {
    let mut text = gone();
    let outside = &window.place.outside;
    // Writing to a string can not fail.
    let _written = write!(
        text,
        "table inet {TABLE} {{
 set clock {{ type ether_type; flags timeout; elements = {{ ip timeout {seconds}s }}; }}
 chain {FILTERED} {{ }}
 chain {POSTED} {{ }}
 chain {MAPPED} {{ }}
 chain prerouting {{
  type nat hook prerouting priority -100; policy accept;
"
    );
    for mapping in &window.mappings {
        let transport = match mapping.protocol {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        let (first, last) = (
            mapping.external_ports.first(),
            mapping.external_ports.last(),
        );
        let _written = writeln!(
            text,
            "  meta protocol @clock iifname \"{outside}\" fib daddr type local {transport} dport {first}-{last} jump {MAPPED}"
        );
    }
    text.push_str(" }\n}\n");
    text
}

/// The mappings that there are.
pub(super) fn mappings(nft: &Nft) -> Result<Vec<Mapped>, NftError> {
    let listed = nft.list(Family::Inet, TABLE)?.unwrap_or_default();
    Ok(read(&listed))
}

/// Reads them from nft's JSON; a rule of another form than miniupnpd's is left out.
pub(crate) fn read(json: &[u8]) -> Vec<Mapped> {
    let listed: Value = serde_json::from_slice(json).unwrap_or_default();
    let all = listed["nftables"].as_array().into_iter().flatten();
    let rules = all.map(|it| &it["rule"]).filter(|it| it["chain"] == MAPPED);
    let mut found: Vec<Mapped> = rules.filter_map(mapped).take(MOST).collect();
    found.sort();
    found
}

fn mapped(rule: &Value) -> Option<Mapped> {
    let number = |value: &Value| value.as_u64().and_then(|it| u16::try_from(it).ok());
    let (mut protocol, mut external, mut to) = (None, None, None);
    for expression in rule["expr"].as_array()? {
        let (left, right) = (&expression["match"]["left"], &expression["match"]["right"]);
        // The byte of the IPv4 header that says the protocol (RFC 791 §3.1).
        let payload = &left["payload"];
        if payload["base"] == "nh" && payload["offset"] == 72 && payload["len"] == 8 {
            protocol = right.as_u64().and_then(|it| u8::try_from(it).ok());
        } else if payload["field"] == "dport" {
            external = number(right);
        } else if let Some(dnat) = expression.get("dnat") {
            to = Some((dnat["addr"].as_str()?.parse().ok()?, number(&dnat["port"])?));
        }
    }
    let (owner, internal_port) = to?;
    Some(Mapped {
        protocol: protocol?,
        external_port: external?,
        owner,
        internal_port,
    })
}
