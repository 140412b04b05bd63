//! DHCP (RFC 2131, RFC 2132) and `DHCPv6` (RFC 8415): what a device says of itself and what it is given.
//!
//! The options walked here are the few that are asked for; names and URLs come out as bytes, as a stranger wrote them.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use crate::bytes::Bytes;
use crate::packet::MacBytes;

/// The port of DHCP servers and relays.
pub const SERVER: u16 = 67;
/// The port of DHCP clients.
pub const CLIENT: u16 = 68;
/// The port of `DHCPv6` servers and relays.
pub const SERVER_V6: u16 = 547;
/// The port of `DHCPv6` clients.
pub const CLIENT_V6: u16 = 546;

/// The most bytes of one option that are put together from its parts (RFC 3396).
const MAX_OPTION: usize = 4096;

/// Option 12.
const HOST_NAME: u8 = 12;
const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const RESOLVER: u8 = 6;
const REQUESTED: u8 = 50;
const LEASE: u8 = 51;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;
const PARAMETERS: u8 = 55;
const VENDOR_CLASS: u8 = 60;
/// Option 161 (RFC 8520 §10).
const MUD_URL: u8 = 161;

/// A DHCP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dhcp {
    /// Whether a client sent it (BOOTREQUEST).
    pub request: bool,
    /// The number that ties answers to requests.
    pub transaction: u32,
    /// The client's hardware address (chaddr).
    pub client: MacBytes,
    /// The address the client has (ciaddr); 0.0.0.0 is none.
    pub client_address: Ipv4Addr,
    /// The address the client is given (yiaddr); 0.0.0.0 is none.
    pub your_address: Ipv4Addr,
    /// What the message is for.
    pub kind: Option<DhcpKind>,
    /// The address the client would like.
    pub requested: Option<Ipv4Addr>,
    /// For how many seconds it is given (option 51).
    pub lease: Option<u32>,
    /// The server.
    pub server: Option<Ipv4Addr>,
    /// The mask of the client's network.
    pub mask: Option<Ipv4Addr>,
    /// The routers the client is told.
    pub routers: Vec<Ipv4Addr>,
    /// The resolvers the client is told.
    pub resolvers: Vec<Ipv4Addr>,
    /// What the client calls itself. A stranger's bytes.
    pub host_name: Option<Vec<u8>>,
    /// What kind of thing the client says it is. A stranger's bytes.
    pub vendor_class: Option<Vec<u8>>,
    /// The options the client asks for, in its order: a fingerprint.
    pub parameters: Vec<u8>,
    /// The MUD URL the client announces (RFC 8520 §10). A stranger's bytes.
    pub mud_url: Option<Vec<u8>>,
}

/// What a message is for (RFC 2132 §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpKind {
    /// Who has an address for me?
    Discover,
    /// I would have one.
    Offer,
    /// I take it.
    Request,
    /// The client may not have it after all.
    Decline,
    /// It is yours.
    Ack,
    /// It is not yours.
    Nak,
    /// I do not need it any more.
    Release,
    /// I have one; tell me the rest.
    Inform,
}

impl DhcpKind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DhcpError {
    /// They end too early.
    #[error("the message is cut")]
    Cut,
    /// Not of DHCP, or not of an Ethernet client.
    #[error("not a DHCP message of an Ethernet client")]
    NotDhcp,
    /// An option goes beyond the end.
    #[error("option {0} goes beyond the end")]
    Option(u16),
}

impl Dhcp {
    /// Reads the payload of a UDP packet.
    pub fn read(bytes: &[u8]) -> Result<Self, DhcpError> {
        let mut bytes = Bytes(bytes);
        let fixed: [u8; 236] = bytes.array().ok_or(DhcpError::Cut)?;
        let header = Header::read(&fixed).ok_or(DhcpError::Cut)?;
        // Ethernet (RFC 2131 §2), and the cookie before the options (RFC 2132 §2).
        if !matches!(header.operation, 1 | 2) || header.hardware != (1, 6) {
            return Err(DhcpError::NotDhcp);
        }
        if bytes.u32() != Some(0x6382_5363) {
            return Err(DhcpError::NotDhcp);
        }
        let options = options(bytes, header.boot_file, header.server_name)?;
        let one = |code: u8| options.get(&code).cloned();
        let address = |code: u8| addresses(options.get(&code)).first().copied();
        Ok(Self {
            request: header.operation == 1,
            transaction: header.transaction,
            client: header.client,
            client_address: header.client_address,
            your_address: header.your_address,
            kind: match one(MESSAGE_TYPE).as_deref() {
                Some(&[kind]) => DhcpKind::from_number(kind),
                _ => None,
            },
            requested: address(REQUESTED),
            lease: one(LEASE).and_then(|option| Bytes(&option).u32()),
            server: address(SERVER_ID),
            mask: address(SUBNET_MASK),
            routers: addresses(options.get(&ROUTER)),
            resolvers: addresses(options.get(&RESOLVER)),
            host_name: one(HOST_NAME),
            vendor_class: one(VENDOR_CLASS),
            parameters: one(PARAMETERS).unwrap_or_default(),
            mud_url: one(MUD_URL),
        })
    }
}

/// The fields before the options (RFC 2131 §2).
struct Header<'a> {
    operation: u8,
    hardware: (u8, u8),
    transaction: u32,
    client_address: Ipv4Addr,
    your_address: Ipv4Addr,
    client: MacBytes,
    server_name: &'a [u8],
    boot_file: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(fixed: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(fixed);
        let operation = bytes.u8()?;
        let hardware = (bytes.u8()?, bytes.u8()?);
        bytes.take(1)?;
        let transaction = bytes.u32()?;
        bytes.take(4)?;
        let client_address = bytes.array().map(Ipv4Addr::from)?;
        let your_address = bytes.array().map(Ipv4Addr::from)?;
        bytes.take(8)?;
        let client = bytes.array()?;
        bytes.take(10)?;
        Some(Self {
            operation,
            hardware,
            transaction,
            client_address,
            your_address,
            client,
            server_name: bytes.take(64)?,
            boot_file: bytes.take(128)?,
        })
    }
}

/// All options that are asked for; parts of one are put together in order (RFC 3396 §7): options field, file, sname.
fn options(
    field: Bytes<'_>,
    boot_file: &[u8],
    server_name: &[u8],
) -> Result<BTreeMap<u8, Vec<u8>>, DhcpError> {
    let mut options = BTreeMap::new();
    walk(field, &mut options)?;
    // RFC 2132 §9.3: which of the two old fields hold options as well.
    let overload = match options.get(&OVERLOAD).map(Vec::as_slice) {
        Some(&[overload @ 1..=3]) => overload,
        _ => 0,
    };
    if overload & 1 != 0 {
        walk(Bytes(boot_file), &mut options)?;
    }
    if overload & 2 != 0 {
        walk(Bytes(server_name), &mut options)?;
    }
    Ok(options)
}

fn walk(mut bytes: Bytes<'_>, options: &mut BTreeMap<u8, Vec<u8>>) -> Result<(), DhcpError> {
    while let Some(code) = bytes.u8() {
        match code {
            0 => continue,
            255 => break,
            _ => {}
        }
        let value = bytes.u8().and_then(|length| bytes.take(length.into()));
        let value = value.ok_or_else(|| DhcpError::Option(code.into()))?;
        let wanted = matches!(
            code,
            SUBNET_MASK
                | ROUTER
                | RESOLVER
                | HOST_NAME
                | REQUESTED
                | LEASE
                | OVERLOAD
                | MESSAGE_TYPE
                | SERVER_ID
                | PARAMETERS
                | VENDOR_CLASS
                | MUD_URL
        );
        if wanted {
            let option = options.entry(code).or_default();
            if option.len().saturating_add(value.len()) > MAX_OPTION {
                return Err(DhcpError::Option(code.into()));
            }
            option.extend_from_slice(value);
        }
    }
    Ok(())
}

fn addresses(option: Option<&Vec<u8>>) -> Vec<Ipv4Addr> {
    let bytes = option.map(Vec::as_slice).unwrap_or_default();
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks.iter().copied().map(Ipv4Addr::from).collect()
}

/// What a `DHCPv6` client says (RFC 8415 §8): the MUD URL, and its hardware address if its identifier holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dhcp6 {
    /// The message's type (§7.3).
    pub kind: u8,
    /// The hardware address within the client's identifier (§11.2, §11.4).
    pub client: Option<MacBytes>,
    /// The MUD URL (option 112, RFC 8520 §10). A stranger's bytes.
    pub mud_url: Option<Vec<u8>>,
}

impl Dhcp6 {
    /// Reads the payload of a UDP packet between a client and a server; what relays wrap is refused.
    pub fn read(bytes: &[u8]) -> Result<Self, DhcpError> {
        let mut bytes = Bytes(bytes);
        let kind = bytes.u8().ok_or(DhcpError::Cut)?;
        // Relay-forward and relay-reply have another header.
        if !(1..=11).contains(&kind) {
            return Err(DhcpError::NotDhcp);
        }
        bytes.take(3).ok_or(DhcpError::Cut)?;
        let mut read = Self {
            kind,
            client: None,
            mud_url: None,
        };
        while !bytes.is_empty() {
            let code = bytes.u16().ok_or(DhcpError::Cut)?;
            let value = bytes.u16().and_then(|length| bytes.take(length.into()));
            let value = value.ok_or(DhcpError::Option(code))?;
            match code {
                1 => read.client = hardware(Bytes(value)),
                112 if value.len() <= MAX_OPTION => read.mud_url = Some(value.to_vec()),
                112 => return Err(DhcpError::Option(code)),
                _ => {}
            }
        }
        Ok(read)
    }
}

/// The Ethernet address in a DUID of type 1 (with a time) or 3.
fn hardware(mut duid: Bytes<'_>) -> Option<MacBytes> {
    let kind = duid.u16()?;
    if duid.u16()? != 1 {
        return None;
    }
    match kind {
        1 => {
            duid.take(4)?;
        }
        3 => {}
        _ => return None,
    }
    duid.0.try_into().ok()
}
