//! Neighbour discovery (RFC 4861): who claims which IPv6 address, and who says it is a router.

use core::net::Ipv6Addr;

use crate::bytes::Bytes;
use crate::packet::{Fragment, Ip, MacBytes, Transport, protocol};

/// A message of neighbour discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// A router shows itself (§4.2).
    RouterAdvertisement {
        /// For how many seconds it is a default router.
        lifetime: u16,
    },
    /// Who has this address? With `::` as the packet's source: may I have it (RFC 4862 §5.4.2)?
    Solicitation {
        /// The address in question.
        target: Ipv6Addr,
        /// The sender's link address, if it says so.
        link: Option<MacBytes>,
    },
    /// I have this address (§4.4).
    Advertisement {
        /// The address.
        target: Ipv6Addr,
        /// Its link address, if it says so.
        link: Option<MacBytes>,
    },
    /// Go another way (§4.5).
    Redirect {
        /// The better first hop.
        target: Ipv6Addr,
    },
}

/// Reads a message; None for what is none or must not be believed (§7.1): another hop limit than 255 has passed a router,
/// and fragments hide (RFC 6980 §5).
pub fn parse(ip: &Ip<'_>) -> Option<Neighbour> {
    if ip.protocol != protocol::ICMPV6 || ip.hop_limit != 255 || ip.fragment != Fragment::Whole {
        return None;
    }
    let Transport::Icmp { kind, code: 0 } = ip.transport else {
        return None;
    };
    let mut bytes = Bytes(ip.payload);
    match kind {
        134 => {
            bytes.take(2)?;
            let lifetime = bytes.u16()?;
            Some(Neighbour::RouterAdvertisement { lifetime })
        }
        135 => {
            bytes.take(4)?;
            let target = address(&mut bytes)?;
            let link = option(bytes, 1);
            Some(Neighbour::Solicitation { target, link })
        }
        136 => {
            bytes.take(4)?;
            let target = address(&mut bytes)?;
            let link = option(bytes, 2);
            Some(Neighbour::Advertisement { target, link })
        }
        137 => {
            bytes.take(4)?;
            let target = address(&mut bytes)?;
            Some(Neighbour::Redirect { target })
        }
        _ => None,
    }
}

fn address(bytes: &mut Bytes<'_>) -> Option<Ipv6Addr> {
    let target = bytes.array().map(Ipv6Addr::from)?;
    (!target.is_multicast()).then_some(target)
}

/// The link address in an option (§4.6.1). An option of length 0 ends the list: it would never end otherwise.
fn option(mut bytes: Bytes<'_>, wanted: u8) -> Option<MacBytes> {
    while let (Some(kind), Some(length @ 1..)) = (bytes.u8(), bytes.u8()) {
        let value = bytes.take(usize::from(length).saturating_mul(8).saturating_sub(2))?;
        if kind == wanted {
            return value.try_into().ok();
        }
    }
    None
}
