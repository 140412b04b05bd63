//! What was seen on the LAN, as far as the guard learns from it.

use std::net::{IpAddr, Ipv6Addr};

use stockade_profile::{HttpsUrl, LinkAddress};

use super::device::Via;
use super::text::WireText;

/// One thing seen. `mac` is always the sender's address in the frame itself, not what its payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// A frame of any kind.
    Frame {
        /// Who sent it.
        mac: LinkAddress,
    },
    /// A DHCP client asked for an address (RFC 2131 §4.4), and may have said who it is.
    DhcpClient {
        /// Who sent it.
        mac: LinkAddress,
        /// Its name (option 12).
        hostname: Option<WireText>,
        /// Its MUD URL (option 161), if it can be one.
        mud: Option<Result<HttpsUrl, WireText>>,
    },
    /// The gateway's own DHCP server gave an address (RFC 2131 §4.3.1). Answers of others never become one of these.
    Lease {
        /// To whom (`chaddr`).
        mac: LinkAddress,
        /// Which address.
        address: IpAddr,
        /// For how long, in seconds (option 51).
        seconds: u32,
    },
    /// A `DHCPv6` client asked (RFC 8415 §18.2).
    Dhcp6Client {
        /// Who sent it.
        mac: LinkAddress,
        /// Its MUD URL (option 112), if it can be one.
        mud: Option<Result<HttpsUrl, WireText>>,
    },
    /// An LLDP frame (RFC 8520 §12).
    Lldp {
        /// Who sent it.
        mac: LinkAddress,
        /// Its system name.
        hostname: Option<WireText>,
        /// Its MUD URL, if it can be one.
        mud: Option<Result<HttpsUrl, WireText>>,
    },
    /// An IPv4 address said to be the sender's (ARP, RFC 826).
    Arp {
        /// Who sent it.
        mac: LinkAddress,
        /// The card's address in the message.
        says: LinkAddress,
        /// The address.
        address: IpAddr,
    },
    /// An IPv6 address said to be the sender's: a probe for duplicates, a solicitation from it, an advertisement of it
    /// (RFC 4862 §5.4, RFC 4861 §4.3–4.4).
    Neighbour {
        /// Who sent it.
        mac: LinkAddress,
        /// The address.
        address: Ipv6Addr,
    },
}

impl Sighting {
    /// Who sent it; of a lease: who got it.
    pub fn mac(&self) -> LinkAddress {
        match self {
            Self::Frame { mac }
            | Self::DhcpClient { mac, .. }
            | Self::Lease { mac, .. }
            | Self::Dhcp6Client { mac, .. }
            | Self::Lldp { mac, .. }
            | Self::Arp { mac, .. }
            | Self::Neighbour { mac, .. } => *mac,
        }
    }

    /// The MUD URL in it, and the way it came.
    pub(super) fn mud(&self) -> Option<(Via, &Result<HttpsUrl, WireText>)> {
        match self {
            Self::DhcpClient { mud, .. } => mud.as_ref().map(|mud| (Via::Dhcp, mud)),
            Self::Dhcp6Client { mud, .. } => mud.as_ref().map(|mud| (Via::Dhcp6, mud)),
            Self::Lldp { mud, .. } => mud.as_ref().map(|mud| (Via::Lldp, mud)),
            Self::Frame { .. } | Self::Lease { .. } | Self::Arp { .. } | Self::Neighbour { .. } => {
                None
            }
        }
    }

    /// The name in it.
    pub(super) fn hostname(&self) -> Option<&WireText> {
        match self {
            Self::DhcpClient { hostname, .. } | Self::Lldp { hostname, .. } => hostname.as_ref(),
            Self::Frame { .. }
            | Self::Lease { .. }
            | Self::Dhcp6Client { .. }
            | Self::Arp { .. }
            | Self::Neighbour { .. } => None,
        }
    }
}

/// The MUD URL that came on the wire, strictly read: data, and nothing else.
pub fn mud_url(bytes: &[u8]) -> Result<HttpsUrl, WireText> {
    // Some clients end it with a zero byte.
    let trimmed = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    std::str::from_utf8(trimmed)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| WireText::of_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mud_url_is_https_and_nothing_but_a_url() {
        assert!(mud_url(b"https://mud.example.com/cam.json").is_ok());
        assert!(mud_url(b"https://mud.example.com/cam.json\0").is_ok());
        for bad in [
            &b"http://mud.example.com/cam.json"[..],
            b"https://mud.example.com/$(reboot)|x",
            b"https://a b/",
            b"https://user@mud.example.com/",
            b"file:///etc/shadow",
            b"\xff\xfe",
            b"",
        ] {
            assert!(
                mud_url(bad).is_err(),
                "{:?}",
                bad.escape_ascii().to_string()
            );
        }
    }
}
