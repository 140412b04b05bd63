//! Netlink messages as bytes: written by us, read from the kernel with bounds (RFC 3549 §2.3; `linux/netlink.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct nfgenmsg`.
const GENERIC: usize = 4;
/// Length of an attribute's head.
const ATTRIBUTE: usize = 4;
/// The attribute holds attributes (`linux/netlink.h`, `NLA_F_NESTED`).
const NESTED: u16 = 0x8000;
/// The type of an attribute without its flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// `struct nfgenmsg` starts with the address family; this one means all.
pub(crate) const FAMILY_UNSPECIFIED: u8 = 0;
/// `AF_INET`, and `NFPROTO_IPV4`.
pub(crate) const FAMILY_IPV4: u8 = 2;
/// `AF_INET6`, and `NFPROTO_IPV6`.
pub(crate) const FAMILY_IPV6: u8 = 10;

/// Flags of a message (`linux/netlink.h`).
pub(crate) mod flag {
    /// It is a request.
    pub(crate) const REQUEST: u16 = 0x01;
    /// Answer when it is done.
    pub(crate) const ACK: u16 = 0x04;
    /// List everything (`NLM_F_ROOT` and `NLM_F_MATCH`).
    pub(crate) const DUMP: u16 = 0x300;
    /// What was listed changed meanwhile.
    pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
    /// Make it if it does not exist.
    pub(crate) const CREATE: u16 = 0x400;
}

/// Types that every netlink protocol knows (`linux/netlink.h`).
pub(crate) mod kind {
    /// An acknowledgement or an error.
    pub(crate) const ERROR: u16 = 2;
    /// The end of a list.
    pub(crate) const DONE: u16 = 3;
    /// The kernel had to drop messages.
    pub(crate) const OVERRUN: u16 = 4;
}

/// What the kernel sent is not what the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a netlink message of the kernel is malformed: {0}")]
pub struct Malformed(pub(crate) &'static str);

/// Rounds up to the four bytes that everything is aligned to (`NLMSG_ALIGN`).
const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// Several messages, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    message: usize,
}

/// Where an attribute that holds others began.
#[derive(Debug)]
#[must_use = "an attribute that is begun has to be ended"]
pub(crate) struct Open(usize);

impl Writer {
    /// Starts a message with a `struct nfgenmsg`.
    pub(crate) fn netfilter(&mut self, kind: u16, flags: u16, sequence: u32, generic: (u8, u16)) {
        let (family, resource) = generic;
        self.begin(kind, flags, sequence);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
    }

    /// Starts a message of any protocol; its fixed part follows by `raw`.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, sequence: u32) {
        self.message = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        // The kernel fills in our port.
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
    }

    /// Bytes as they are, padded.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    /// An attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len().saturating_add(ATTRIBUTE)).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    /// An attribute that is a text ended by a zero.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value);
    }

    /// Begins an attribute that holds others.
    pub(crate) fn open(&mut self, kind: u16) -> Open {
        let at = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        Open(at)
    }

    /// Ends it.
    pub(crate) fn close(&mut self, open: &Open) {
        let length = self.bytes.len().saturating_sub(open.0);
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes();
        if let Some(place) = self.bytes.get_mut(open.0..open.0.saturating_add(2)) {
            place.copy_from_slice(&length);
        }
    }

    /// Ends the message: its length is known now.
    pub(crate) fn end(&mut self) {
        let length = self.bytes.len().saturating_sub(self.message);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes();
        let at = self.message;
        if let Some(place) = self.bytes.get_mut(at..at.saturating_add(4)) {
            place.copy_from_slice(&length);
        }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All messages.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Its type.
    pub(crate) kind: u16,
    /// Its flags.
    pub(crate) flags: u16,
    /// The number of the request that it answers.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The error number of an acknowledgement; zero is success.
    pub(crate) fn error(&self) -> Result<i32, Malformed> {
        let number = self.body.first_chunk::<4>();
        let number = number.ok_or(Malformed("an acknowledgement without its number"))?;
        Ok(i32::from_ne_bytes(*number).saturating_neg())
    }

    /// The address family and the attributes of a netfilter message.
    pub(crate) fn generic(&self) -> Result<(u8, Attributes<'a>), Malformed> {
        let (head, rest) = self
            .body
            .split_at_checked(GENERIC)
            .ok_or(Malformed("a netfilter message without its head"))?;
        Ok((head.first().copied().unwrap_or_default(), Attributes(rest)))
    }
}

/// The messages of one datagram.
#[derive(Debug, Clone)]
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

impl<'a> Messages<'a> {
    fn read(&mut self) -> Result<Message<'a>, Malformed> {
        let short = Malformed("a header that is cut off");
        let length = number(self.0, 0).ok_or(short)?;
        let length = usize::try_from(u32::from_ne_bytes(length)).unwrap_or(usize::MAX);
        let kind = u16::from_ne_bytes(number(self.0, 4).ok_or(short)?);
        let flags = u16::from_ne_bytes(number(self.0, 6).ok_or(short)?);
        let sequence = u32::from_ne_bytes(number(self.0, 8).ok_or(short)?);
        let body = self
            .0
            .get(HEADER..length)
            .ok_or(Malformed("a message longer than what came"))?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Ok(Message {
            kind,
            flags,
            sequence,
            body,
        })
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// The attributes of a message or of another attribute, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

impl<'a> Attributes<'a> {
    fn read(&mut self) -> Result<(u16, &'a [u8]), Malformed> {
        let short = Malformed("an attribute that is cut off");
        let length = usize::from(u16::from_ne_bytes(number(self.0, 0).ok_or(short)?));
        let kind = u16::from_ne_bytes(number(self.0, 2).ok_or(short)?);
        let value = self
            .0
            .get(ATTRIBUTE..length)
            .ok_or(Malformed("an attribute longer than its message"))?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Ok((kind & TYPE_MASK, value))
    }

    /// The first attribute of a type, if it is there.
    pub(crate) fn find(&self, kind: u16) -> Result<Option<&'a [u8]>, Malformed> {
        for attribute in self.clone() {
            let (found, value) = attribute?;
            if found == kind {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

/// The value of an attribute.
pub(crate) fn be16(value: &[u8]) -> Result<u16, Malformed> {
    exact(value).map(u16::from_be_bytes)
}

/// The value of an attribute.
pub(crate) fn be32(value: &[u8]) -> Result<u32, Malformed> {
    exact(value).map(u32::from_be_bytes)
}

/// The value of an attribute.
pub(crate) fn be64(value: &[u8]) -> Result<u64, Malformed> {
    exact(value).map(u64::from_be_bytes)
}

/// The value of an attribute.
pub(crate) fn byte(value: &[u8]) -> Result<u8, Malformed> {
    exact::<1>(value).map(|[byte]| byte)
}

/// The value of an attribute: an address of the length that says its family.
pub(crate) fn address(value: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Ok(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    exact::<16>(value).map(|v6| IpAddr::V6(Ipv6Addr::from(v6)))
}

/// The value of an attribute: text, up to its zero.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0);
    let text = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    // Some attributes come padded; what is asked for stands first.
    value
        .first_chunk::<N>()
        .copied()
        .ok_or(Malformed("an attribute shorter than its type"))
}

/// The octets of an address, in network order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
