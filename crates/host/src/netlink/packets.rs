//! Packets that a rule logged (`log group N`), as the kernel hands them over (`linux/netfilter/nfnetlink_log.h`).

use std::time::{Duration, SystemTime};

use stockade_controls::firewall::nft::Family;

use super::message::{
    FAMILY_UNSPECIFIED, Malformed, Message, Messages, Writer, be16, be32, be64, flag, kind, text,
};
use super::sets::{Element, Key, SetName, Sets};
use super::{NetlinkError, Socket};

/// `NFNL_SUBSYS_ULOG`.
const LOG: u16 = 4;
/// `NFULNL_MSG_PACKET`, `NFULNL_MSG_CONFIG`.
const PACKET: u16 = LOG << 8;
const CONFIGURE: u16 = (LOG << 8) | 1;
/// `NFULA_CFG_*`.
const COMMAND: u16 = 1;
const MODE: u16 = 2;
const BUFFER: u16 = 3;
const TIMEOUT: u16 = 4;
/// `NFULNL_CFG_CMD_BIND`.
const BIND: u8 = 1;
/// `NFULNL_COPY_PACKET`.
const COPY_PACKET: u8 = 2;
/// How much of a packet is copied: its headers, and enough to see a question to a name server.
const COPY: u32 = 512;
/// What the kernel may collect before it sends, and for how long, in hundredths of a second.
const COLLECT_BYTES: u32 = 32 * 1024;
const COLLECT_TIME: u32 = 10;
/// Room for a burst; what does not fit is counted as lost.
const RECEIVE_BYTES: usize = 1024 * 1024;
/// `NFULA_*`.
const HEADER: u16 = 1;
const PACKET_MARK: u16 = 2;
const TIMESTAMP: u16 = 3;
const IN_INTERFACE: u16 = 4;
const OUT_INTERFACE: u16 = 5;
const HARDWARE_ADDRESS: u16 = 8;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
const USER: u16 = 11;

/// A packet that a rule logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// What the rule says about it.
    pub prefix: String,
    /// The `EtherType` of the payload: 0x0800 for IPv4, 0x86dd for IPv6, 0x0806 for ARP.
    pub ethertype: u16,
    /// The hook (`NF_INET_*`): 1 is input, 2 forward, 3 output.
    pub hook: u8,
    /// The packet from its network header on, cut to a length that shows its headers.
    pub payload: Vec<u8>,
    /// When it came, if the kernel took the time.
    pub at: Option<SystemTime>,
    /// The interface that it came in by (its index).
    pub in_interface: Option<u32>,
    /// The interface that it would have gone out by.
    pub out_interface: Option<u32>,
    /// The sender's hardware address, of a packet that came in by Ethernet.
    pub source_mac: Option<[u8; 6]>,
    /// The user whose socket sent it, on this machine.
    pub user: Option<u32>,
    /// The packet's mark.
    pub mark: u32,
}

/// What happened at a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Packets, the oldest first; none if nothing came in time.
    Packets(Vec<Logged>),
    /// More came than could be taken: some are lost.
    Lost,
}

/// A log group that this process listens to; the kernel lets one process have it.
#[derive(Debug)]
pub struct Group {
    socket: Socket,
}

const LISTEN: &str = "listen for blocked packets";

impl Group {
    /// Listens to a group, in the network namespace of the calling thread.
    pub fn bind(group: u16) -> Result<Self, NetlinkError> {
        let mut socket = Socket::netfilter(LISTEN)?;
        socket.receive_buffer(RECEIVE_BYTES);
        let mut command = |attributes: &[(u16, &[u8])]| {
            let sequence = socket.sequence();
            let mut request = Writer::default();
            let flags = flag::REQUEST | flag::ACK;
            request.netfilter(CONFIGURE, flags, sequence, (FAMILY_UNSPECIFIED, group));
            for (kind, value) in attributes {
                request.attribute(*kind, value);
            }
            request.end();
            socket.acknowledged(LISTEN, &request, sequence)
        };
        let bound = command(&[(COMMAND, &[BIND])]);
        // The kernel says "not permitted" both to those who may not and to those who come second.
        if matches!(bound, Err(NetlinkError::NotAllowed { .. })) && may_look() {
            return Err(NetlinkError::Busy { doing: LISTEN });
        }
        bound?;
        let mut mode = COPY.to_be_bytes().to_vec();
        mode.extend_from_slice(&[COPY_PACKET, 0]);
        command(&[
            (MODE, &mode),
            (BUFFER, &COLLECT_BYTES.to_be_bytes()),
            (TIMEOUT, &COLLECT_TIME.to_be_bytes()),
        ])?;
        Ok(Self { socket })
    }

    /// What came, waiting for it no longer than `patience`.
    pub fn next(&mut self, patience: Duration) -> Result<Heard, NetlinkError> {
        let datagram = match self.socket.receive(LISTEN, patience) {
            Ok(Some(datagram)) => datagram,
            Ok(None) => return Ok(Heard::Packets(Vec::new())),
            Err(NetlinkError::Refused { why, .. })
                if why.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) =>
            {
                return Ok(Heard::Lost);
            }
            Err(error) => return Err(error),
        };
        let mut packets = Vec::new();
        for message in Messages(datagram) {
            let message = message.map_err(NetlinkError::malformed(LISTEN))?;
            match message.kind {
                PACKET => packets.push(read(&message).map_err(NetlinkError::malformed(LISTEN))?),
                kind::OVERRUN => return Ok(Heard::Lost),
                _ => (),
            }
        }
        Ok(Heard::Packets(packets))
    }
}

/// Whether the kernel talks with this process about netfilter at all.
fn may_look() -> bool {
    let nowhere = SetName {
        family: Family::Inet,
        table: "stockade".to_owned(),
        set: "none".to_owned(),
    };
    let element = Element::new(Key::new().with(&[0; 4]));
    Sets::open().is_ok_and(|mut sets| sets.has(&nowhere, &element).is_ok())
}

/// A logged packet, as the kernel tells it.
pub(crate) fn read(message: &Message<'_>) -> Result<Logged, Malformed> {
    let (_, attributes) = message.generic()?;
    let mut logged = Logged {
        prefix: String::new(),
        ethertype: 0,
        hook: 0,
        payload: Vec::new(),
        at: None,
        in_interface: None,
        out_interface: None,
        source_mac: None,
        user: None,
        mark: 0,
    };
    for attribute in attributes {
        let (kind, value) = attribute?;
        match kind {
            HEADER => {
                logged.ethertype = be16(value)?;
                logged.hook = value.get(2).copied().unwrap_or_default();
            }
            PACKET_MARK => logged.mark = be32(value)?,
            TIMESTAMP => logged.at = time(value)?,
            IN_INTERFACE => logged.in_interface = Some(be32(value)?),
            OUT_INTERFACE => logged.out_interface = Some(be32(value)?),
            HARDWARE_ADDRESS => logged.source_mac = hardware_address(value)?,
            PAYLOAD => logged.payload = value.to_vec(),
            PREFIX => logged.prefix = text(value),
            USER => logged.user = Some(be32(value)?),
            _ => (),
        }
    }
    Ok(logged)
}

/// `struct nfulnl_msg_packet_timestamp`.
fn time(value: &[u8]) -> Result<Option<SystemTime>, Malformed> {
    let micros = value.get(8..).unwrap_or_default();
    let (seconds, micros) = (be64(value)?, be64(micros)?);
    let since = Duration::from_secs(seconds).checked_add(Duration::from_micros(micros));
    Ok(since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)))
}

/// `struct nfulnl_msg_packet_hw`.
fn hardware_address(value: &[u8]) -> Result<Option<[u8; 6]>, Malformed> {
    if be16(value)? != 6 {
        return Ok(None);
    }
    let address = value.get(4..).and_then(|rest| rest.first_chunk::<6>());
    Ok(address.copied())
}
