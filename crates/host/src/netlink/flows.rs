//! The kernel's table of connections: listed, and single ones cut (`linux/netfilter/nfnetlink_conntrack.h`).

use std::net::IpAddr;

use super::message::{
    Attributes, FAMILY_IPV4, FAMILY_IPV6, FAMILY_UNSPECIFIED, Malformed, Message, Writer, address,
    be16, be32, byte, flag, octets,
};
use super::{NetlinkError, Socket};

/// `NFNL_SUBSYS_CTNETLINK`.
const CONNTRACK: u16 = 1;
/// `IPCTNL_MSG_CT_NEW`, `IPCTNL_MSG_CT_GET`, `IPCTNL_MSG_CT_DELETE`.
const NEW: u16 = CONNTRACK << 8;
const GET: u16 = (CONNTRACK << 8) | 1;
const DELETE: u16 = (CONNTRACK << 8) | 2;
/// `CTA_*`.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const MARK: u16 = 8;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// `CTA_TUPLE_*`.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
/// `CTA_IP_*`.
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
/// `CTA_PROTO_*`.
const PROTOCOL: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
const ICMP_ID: u16 = 4;
const ICMP_TYPE: u16 = 5;
const ICMP_CODE: u16 = 6;
const ICMPV6_ID: u16 = 7;
const ICMPV6_TYPE: u16 = 8;
const ICMPV6_CODE: u16 = 9;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    /// Who sends.
    pub source: IpAddr,
    /// Who is sent to.
    pub destination: IpAddr,
    /// The IP protocol.
    pub protocol: u8,
    /// What the protocol adds.
    pub ends: Ends,
}

/// What tells flows between the same two addresses apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ends {
    /// Ports, of protocols that have them.
    Ports {
        /// Of the sender.
        source: u16,
        /// Of the receiver.
        destination: u16,
    },
    /// ICMP and `ICMPv6`.
    Icmp {
        /// The identifier of an echo.
        id: u16,
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// Nothing.
    None,
}

/// A connection that the kernel tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// As its first packet went.
    pub original: Tuple,
    /// As answers come; other addresses than the reverse mean translation.
    pub reply: Tuple,
    /// `IPS_*`, the kernel's bits.
    pub status: u32,
    /// Its mark.
    pub mark: u32,
    /// The kernel's number for it.
    pub id: u32,
    /// Its zone; 0 unless somebody uses zones.
    pub zone: u16,
}

impl Flow {
    /// Both sides have sent (`IPS_SEEN_REPLY`).
    pub fn answered(&self) -> bool {
        self.status & 0x2 != 0
    }

    /// It was expected by a helper (`IPS_EXPECTED`).
    pub fn expected(&self) -> bool {
        self.status & 0x1 != 0
    }

    /// Its destination was changed (`IPS_DST_NAT`).
    pub fn is_redirected(&self) -> bool {
        self.status & 0x20 != 0
    }
}

/// Reads and cuts the kernel's connections.
#[derive(Debug)]
pub struct Flows {
    socket: Socket,
}

const LIST: &str = "list the connections";
const CUT: &str = "cut a connection";

impl Flows {
    /// A connection to the kernel, in the network namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        Socket::netfilter(LIST).map(|socket| Self { socket })
    }

    /// All connections, of both families.
    pub fn list(&mut self) -> Result<Vec<Flow>, NetlinkError> {
        let sequence = self.socket.sequence();
        let mut request = Writer::default();
        let flags = flag::REQUEST | flag::DUMP;
        request.netfilter(GET, flags, sequence, (FAMILY_UNSPECIFIED, 0));
        request.end();
        let mut flows = Vec::new();
        self.socket.list(LIST, &request, |message| {
            if message.kind == NEW {
                flows.push(read(message)?);
            }
            Ok(())
        })?;
        // A list over several datagrams may show a flow twice when the table moves.
        flows.sort_unstable();
        flows.dedup();
        Ok(flows)
    }

    /// Ends a connection: its next packet is judged as the first of a new one. False if it ended by itself.
    pub fn cut(&mut self, flow: &Flow) -> Result<bool, NetlinkError> {
        self.cut_by(&flow.original, flow.zone, Some(flow.id))
    }

    /// Ends the connection whose first packet went so, if there is one.
    pub fn cut_between(&mut self, original: &Tuple) -> Result<bool, NetlinkError> {
        self.cut_by(original, 0, None)
    }

    fn cut_by(
        &mut self,
        original: &Tuple,
        zone: u16,
        id: Option<u32>,
    ) -> Result<bool, NetlinkError> {
        let sequence = self.socket.sequence();
        let mut request = Writer::default();
        let family = match original.source {
            IpAddr::V4(_) => FAMILY_IPV4,
            IpAddr::V6(_) => FAMILY_IPV6,
        };
        let flags = flag::REQUEST | flag::ACK;
        request.netfilter(DELETE, flags, sequence, (family, 0));
        // Without a tuple the kernel would empty the whole table.
        let open = request.open(TUPLE_ORIGINAL);
        write_tuple(&mut request, original);
        request.close(&open);
        // With its number, for a new connection of the same ends is another one.
        if let Some(id) = id {
            request.attribute(ID, &id.to_be_bytes());
        }
        if zone != 0 {
            request.attribute(ZONE, &zone.to_be_bytes());
        }
        request.end();
        match self.socket.acknowledged(CUT, &request, sequence) {
            Ok(()) => Ok(true),
            Err(NetlinkError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn write_tuple(request: &mut Writer, tuple: &Tuple) {
    let open = request.open(TUPLE_IP);
    let (source, destination) = match tuple.source {
        IpAddr::V4(_) => (V4_SOURCE, V4_DESTINATION),
        IpAddr::V6(_) => (V6_SOURCE, V6_DESTINATION),
    };
    request.attribute(source, &octets(tuple.source));
    request.attribute(destination, &octets(tuple.destination));
    request.close(&open);
    let open = request.open(TUPLE_PROTOCOL);
    request.attribute(PROTOCOL, &[tuple.protocol]);
    match tuple.ends {
        Ends::Ports {
            source,
            destination,
        } => {
            request.attribute(SOURCE_PORT, &source.to_be_bytes());
            request.attribute(DESTINATION_PORT, &destination.to_be_bytes());
        }
        Ends::Icmp { id, kind, code } => {
            let (ids, kinds, codes) = match tuple.source {
                IpAddr::V4(_) => (ICMP_ID, ICMP_TYPE, ICMP_CODE),
                IpAddr::V6(_) => (ICMPV6_ID, ICMPV6_TYPE, ICMPV6_CODE),
            };
            request.attribute(ids, &id.to_be_bytes());
            request.attribute(kinds, &[kind]);
            request.attribute(codes, &[code]);
        }
        Ends::None => (),
    }
    request.close(&open);
}

/// A connection, as the kernel tells it.
pub(crate) fn read(message: &Message<'_>) -> Result<Flow, Malformed> {
    let (_, attributes) = message.generic()?;
    let (mut original, mut reply) = (None, None);
    let (mut status, mut mark, mut id, mut zone) = (0, 0, 0, 0);
    for attribute in attributes {
        let (kind, value) = attribute?;
        match kind {
            TUPLE_ORIGINAL => original = Some(read_tuple(Attributes(value))?),
            TUPLE_REPLY => reply = Some(read_tuple(Attributes(value))?),
            STATUS => status = be32(value)?,
            MARK => mark = be32(value)?,
            ID => id = be32(value)?,
            ZONE => zone = be16(value)?,
            _ => (),
        }
    }
    let missing = Malformed("a connection without its two ends");
    Ok(Flow {
        original: original.ok_or(missing)?,
        reply: reply.ok_or(missing)?,
        status,
        mark,
        id,
        zone,
    })
}

fn read_tuple(attributes: Attributes<'_>) -> Result<Tuple, Malformed> {
    let (mut source, mut destination) = (None, None);
    let (mut protocol, mut ends) = (None, Ends::None);
    for attribute in attributes {
        let (kind, value) = attribute?;
        match kind {
            TUPLE_IP => {
                for part in Attributes(value) {
                    match part? {
                        (V4_SOURCE | V6_SOURCE, value) => source = Some(address(value)?),
                        (V4_DESTINATION | V6_DESTINATION, value) => {
                            destination = Some(address(value)?);
                        }
                        _ => (),
                    }
                }
            }
            TUPLE_PROTOCOL => (protocol, ends) = read_protocol(Attributes(value))?,
            _ => (),
        }
    }
    let missing = Malformed("one end of a connection is missing");
    let tuple = Tuple {
        source: source.ok_or(missing)?,
        destination: destination.ok_or(missing)?,
        protocol: protocol.ok_or(missing)?,
        ends,
    };
    if tuple.source.is_ipv4() == tuple.destination.is_ipv4() {
        Ok(tuple)
    } else {
        Err(Malformed("the ends of a connection are of two families"))
    }
}

fn read_protocol(attributes: Attributes<'_>) -> Result<(Option<u8>, Ends), Malformed> {
    let (mut protocol, mut source, mut destination) = (None, None, None);
    let (mut id, mut icmp_kind, mut icmp_code) = (None, None, None);
    for attribute in attributes {
        let (kind, value) = attribute?;
        match kind {
            PROTOCOL => protocol = Some(byte(value)?),
            SOURCE_PORT => source = Some(be16(value)?),
            DESTINATION_PORT => destination = Some(be16(value)?),
            ICMP_ID | ICMPV6_ID => id = Some(be16(value)?),
            ICMP_TYPE | ICMPV6_TYPE => icmp_kind = Some(byte(value)?),
            ICMP_CODE | ICMPV6_CODE => icmp_code = Some(byte(value)?),
            _ => (),
        }
    }
    let ends = match (source, destination, id, icmp_kind, icmp_code) {
        (Some(source), Some(destination), ..) => Ends::Ports {
            source,
            destination,
        },
        (_, _, Some(id), Some(kind), Some(code)) => Ends::Icmp { id, kind, code },
        _ => Ends::None,
    };
    Ok((protocol, ends))
}
