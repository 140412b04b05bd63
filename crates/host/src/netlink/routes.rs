//! Interfaces, their addresses and the routes of this machine (rtnetlink(7); `linux/rtnetlink.h`, `linux/if_addr.h`).

use std::net::IpAddr;

use super::message::{
    Attributes, FAMILY_IPV4, FAMILY_IPV6, Malformed, Message, Writer, address, flag, text,
};
use super::{NetlinkError, Socket};

/// `RTM_NEWLINK`, `RTM_GETLINK`, `RTM_NEWADDR`, `RTM_GETADDR`, `RTM_NEWROUTE`, `RTM_GETROUTE`.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
/// `IFLA_ADDRESS`, `IFLA_IFNAME`.
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
/// `IFF_UP`, `IFF_LOOPBACK`.
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
/// `IFA_ADDRESS`, `IFA_LOCAL`.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
/// `RTA_DST`, `RTA_OIF`, `RTA_GATEWAY`, `RTA_TABLE`.
const DESTINATION: u16 = 1;
const OUT_INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
/// `RT_TABLE_MAIN`, `RTN_UNICAST`.
const TABLE_MAIN: u8 = 254;
const UNICAST: u8 = 1;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// It is up.
    pub up: bool,
    /// It leads to this machine only.
    pub loopback: bool,
    /// Its hardware address, if it has one of Ethernet's length.
    pub mac: Option<[u8; 6]>,
}

/// An address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress {
    /// Its interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// How many leading bits name its network.
    pub prefix: u8,
}

/// A route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; none for the default route.
    pub destination: Option<IpAddr>,
    /// How many leading bits of the destination count.
    pub prefix: u8,
    /// The router, if there is one.
    pub gateway: Option<IpAddr>,
    /// The interface.
    pub index: Option<u32>,
    /// It is IPv4.
    pub ipv4: bool,
}

const LOOK: &str = "read the interfaces, addresses and routes";

/// Reads how this machine is connected.
#[derive(Debug)]
pub struct Routes {
    socket: Socket,
}

impl Routes {
    /// A connection to the kernel, in the network namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        Socket::route(LOOK).map(|socket| Self { socket })
    }

    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        // struct ifinfomsg
        self.list(GET_LINK, &[0; 16], NEW_LINK, link)
    }

    /// All addresses of this machine.
    pub fn addresses(&mut self) -> Result<Vec<LocalAddress>, NetlinkError> {
        // struct ifaddrmsg
        self.list(GET_ADDRESS, &[0; 8], NEW_ADDRESS, local_address)
    }

    /// The routes to other machines, of the main table.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        // struct rtmsg
        let routes = self.list(GET_ROUTE, &[0; 12], NEW_ROUTE, route)?;
        Ok(routes.into_iter().flatten().collect())
    }

    fn list<T>(
        &mut self,
        ask: u16,
        fixed: &[u8],
        answer: u16,
        read: fn(&Message<'_>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, NetlinkError> {
        let sequence = self.socket.sequence();
        let mut request = Writer::default();
        request.begin(ask, flag::REQUEST | flag::DUMP, sequence);
        request.raw(fixed);
        request.end();
        let mut found = Vec::new();
        let mut interrupted = false;
        self.socket.list(LOOK, &request, |message| {
            interrupted |= message.flags & flag::DUMP_INTERRUPTED != 0;
            if message.kind == answer {
                found.push(read(message)?);
            }
            Ok(())
        })?;
        if interrupted {
            return Err(NetlinkError::malformed(LOOK)(Malformed(
                "the list changed while it was read",
            )));
        }
        Ok(found)
    }
}

fn split<'a>(message: &Message<'a>, fixed: usize) -> Result<(&'a [u8], Attributes<'a>), Malformed> {
    let (head, rest) = message
        .body
        .split_at_checked(fixed)
        .ok_or(Malformed("a message without its fixed part"))?;
    Ok((head, Attributes(rest)))
}

fn native(head: &[u8], at: usize) -> u32 {
    let bytes = head.get(at..).and_then(|rest| rest.first_chunk::<4>());
    bytes.copied().map(u32::from_ne_bytes).unwrap_or_default()
}

fn link(message: &Message<'_>) -> Result<Link, Malformed> {
    let (head, attributes) = split(message, 16)?;
    let (index, flags) = (native(head, 4), native(head, 8));
    let mut link = Link {
        index,
        name: String::new(),
        up: flags & UP != 0,
        loopback: flags & LOOPBACK != 0,
        mac: None,
    };
    for attribute in attributes {
        match attribute? {
            (LINK_NAME, value) => link.name = text(value),
            (LINK_ADDRESS, value) => link.mac = <[u8; 6]>::try_from(value).ok(),
            _ => (),
        }
    }
    Ok(link)
}

fn local_address(message: &Message<'_>) -> Result<LocalAddress, Malformed> {
    let (head, attributes) = split(message, 8)?;
    let (mut own, mut other) = (None, None);
    for attribute in attributes {
        match attribute? {
            // On a point-to-point link IFA_ADDRESS is the peer's.
            (LOCAL, value) => own = Some(address(value)?),
            (ADDRESS, value) => other = Some(address(value)?),
            _ => (),
        }
    }
    Ok(LocalAddress {
        index: native(head, 4),
        address: own
            .or(other)
            .ok_or(Malformed("an interface's address is missing"))?,
        prefix: head.get(1).copied().unwrap_or_default(),
    })
}

fn route(message: &Message<'_>) -> Result<Option<Route>, Malformed> {
    let (head, attributes) = split(message, 12)?;
    let (family, prefix, table, kind) = match head {
        [family, prefix, _, _, table, _, _, kind, ..] => (*family, *prefix, *table, *kind),
        _ => return Err(Malformed("a route without its fixed part")),
    };
    if table != TABLE_MAIN || kind != UNICAST || ![FAMILY_IPV4, FAMILY_IPV6].contains(&family) {
        return Ok(None);
    }
    let mut route = Route {
        destination: None,
        prefix,
        gateway: None,
        index: None,
        ipv4: family == FAMILY_IPV4,
    };
    for attribute in attributes {
        match attribute? {
            (DESTINATION, value) => route.destination = Some(address(value)?),
            (GATEWAY, value) => route.gateway = Some(address(value)?),
            (OUT_INTERFACE, value) => {
                let index = value.first_chunk::<4>();
                route.index = index.copied().map(u32::from_ne_bytes);
            }
            _ => (),
        }
    }
    Ok(Some(route))
}
