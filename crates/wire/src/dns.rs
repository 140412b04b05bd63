//! DNS messages (RFC 1035 §4), read whole and written anew: what a message says is what was understood of it.
//!
//! Multicast DNS (RFC 6762) has the same form; its flag in the class is left to the caller.

mod name;
mod write;

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::bytes::Bytes;

pub use name::{Name, NameError};

/// Types of records (RFC 1035 §3.2.2 and the IANA's registry).
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// A name server.
    pub const NS: u16 = 2;
    /// The name that is meant.
    pub const CNAME: u16 = 5;
    /// The zone; how long a "no" holds.
    pub const SOA: u16 = 6;
    /// A name that is pointed to.
    pub const PTR: u16 = 12;
    /// A mail server.
    pub const MX: u16 = 15;
    /// Any text.
    pub const TXT: u16 = 16;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// A service's host and port.
    pub const SRV: u16 = 33;
    /// EDNS.
    pub const OPT: u16 = 41;
    /// How to reach a service (RFC 9460).
    pub const SVCB: u16 = 64;
    /// How to reach a web server (RFC 9460).
    pub const HTTPS: u16 = 65;
    /// A whole zone.
    pub const AXFR: u16 = 252;
    /// Whatever there is.
    pub const ANY: u16 = 255;
}

/// The class of the Internet.
pub const INTERNET: u16 = 1;

/// Response codes (RFC 1035 §4.1.1).
pub mod rcode {
    /// Fine.
    pub const NO_ERROR: u8 = 0;
    /// The query was malformed.
    pub const FORMAT_ERROR: u8 = 1;
    /// The server could not.
    pub const SERVER_FAILURE: u8 = 2;
    /// There is no such name.
    pub const NO_SUCH_NAME: u8 = 3;
    /// The server does not do that.
    pub const NOT_IMPLEMENTED: u8 = 4;
    /// The server does not want to.
    pub const REFUSED: u8 = 5;
}

/// A message.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the header has these seven flags"
)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Ties an answer to its query.
    pub id: u16,
    /// An answer (QR).
    pub response: bool,
    /// What is asked of the server; 0 is a query.
    pub opcode: u8,
    /// The server's own knowledge (AA).
    pub authoritative: bool,
    /// There is more than fits (TC).
    pub truncated: bool,
    /// The server shall ask others (RD).
    pub recursion_desired: bool,
    /// The server asks others (RA).
    pub recursion_available: bool,
    /// The server checked signatures (AD).
    pub authentic: bool,
    /// The client wants what fails the check as well (CD).
    pub checking_disabled: bool,
    /// How it went.
    pub rcode: u8,
    /// What is asked.
    pub questions: Vec<Question>,
    /// The answers.
    pub answers: Vec<Record>,
    /// Who would know.
    pub authorities: Vec<Record>,
    /// What may help; without the record of EDNS.
    pub additionals: Vec<Record>,
    /// EDNS (RFC 6891), if the sender speaks it.
    pub edns: Option<Edns>,
}

/// What a sender says of itself (RFC 6891 §6.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP payload it takes.
    pub payload: u16,
    /// The upper bits of the response code.
    pub rcode: u8,
    /// The version; 0 is the only one.
    pub version: u8,
    /// It wants DNSSEC's records.
    pub dnssec: bool,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type of record.
    pub kind: u16,
    /// The class.
    pub class: u16,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub name: Name,
    /// The class.
    pub class: u16,
    /// For how many seconds it may be kept; the upper bit set means 0 (RFC 2181 §8).
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name that is meant.
    Cname(Name),
    /// A name server.
    Ns(Name),
    /// A name that is pointed to.
    Ptr(Name),
    /// A mail server and its preference.
    Mx(u16, Name),
    /// A service's host.
    Srv {
        /// Lower ones first.
        priority: u16,
        /// Among those of a priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: Name,
    },
    /// A zone.
    Soa {
        /// The first server.
        server: Name,
        /// Who is responsible.
        mailbox: Name,
        /// Serial, refresh, retry, expire, minimum.
        times: [u32; 5],
    },
    /// Any other type; its bytes hold no compressed name (RFC 3597 §4).
    Other(u16, Vec<u8>),
}

impl Data {
    /// The type's number.
    pub fn kind(&self) -> u16 {
        match self {
            Self::A(_) => kind::A,
            Self::Aaaa(_) => kind::AAAA,
            Self::Cname(_) => kind::CNAME,
            Self::Ns(_) => kind::NS,
            Self::Ptr(_) => kind::PTR,
            Self::Mx(..) => kind::MX,
            Self::Srv { .. } => kind::SRV,
            Self::Soa { .. } => kind::SOA,
            Self::Other(kind, _) => *kind,
        }
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// They end too early.
    #[error("the message is cut")]
    Cut,
    /// Beyond the largest there can be (RFC 1035 §4.2.2).
    #[error("a message has 65535 bytes at most")]
    TooLong,
    /// A name is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A record is shorter or longer than its type demands.
    #[error("a record of type {0} is malformed")]
    Record(u16),
    /// More than one record of EDNS, or one where none may be (RFC 6891 §6.1.1).
    #[error("EDNS is said twice or in the wrong place")]
    Edns,
    /// Bytes follow the message.
    #[error("bytes follow the message")]
    Trailing,
}

/// The sections that hold records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Answer,
    Authority,
    Additional,
}

impl Message {
    /// Reads a message: the payload of a UDP packet, or what follows the length over TCP.
    pub fn read(whole: &[u8]) -> Result<Self, DnsError> {
        if whole.len() > usize::from(u16::MAX) {
            return Err(DnsError::TooLong);
        }
        let mut rest = Bytes(whole);
        let mut number = || rest.u16().ok_or(DnsError::Cut);
        let (id, flags) = (number()?, number()?);
        let counts = [number()?, number()?, number()?, number()?];
        let [questions, answers, authorities, additionals] = counts;
        let mut message = Self::with_flags(id, flags);
        for _ in 0..questions {
            message.questions.push(Question {
                name: Name::read(whole, &mut rest)?,
                kind: rest.u16().ok_or(DnsError::Cut)?,
                class: rest.u16().ok_or(DnsError::Cut)?,
            });
        }
        for (section, count) in [
            (Section::Answer, answers),
            (Section::Authority, authorities),
            (Section::Additional, additionals),
        ] {
            for _ in 0..count {
                message.record(section, whole, &mut rest)?;
            }
        }
        if !rest.is_empty() {
            return Err(DnsError::Trailing);
        }
        Ok(message)
    }

    fn with_flags(id: u16, flags: u16) -> Self {
        let bit = |number: u32| flags.checked_shr(number).unwrap_or_default() & 1 == 1;
        let four = |number: u32| {
            let bits = flags.checked_shr(number).unwrap_or_default() & 0xf;
            u8::try_from(bits).unwrap_or_default()
        };
        Self {
            id,
            response: bit(15),
            opcode: four(11),
            authoritative: bit(10),
            truncated: bit(9),
            recursion_desired: bit(8),
            recursion_available: bit(7),
            authentic: bit(5),
            checking_disabled: bit(4),
            rcode: four(0),
            ..Self::default()
        }
    }

    fn record<'a>(
        &mut self,
        section: Section,
        whole: &'a [u8],
        rest: &mut Bytes<'a>,
    ) -> Result<(), DnsError> {
        let name = Name::read(whole, rest)?;
        let kind = rest.u16().ok_or(DnsError::Cut)?;
        let class = rest.u16().ok_or(DnsError::Cut)?;
        let ttl = rest.u32().ok_or(DnsError::Cut)?;
        let length = rest.u16().ok_or(DnsError::Cut)?;
        if kind == kind::OPT {
            let [rcode, version, flags, _] = ttl.to_be_bytes();
            rest.take(length.into()).ok_or(DnsError::Cut)?;
            if self.edns.is_some() || section != Section::Additional || name != Name::root() {
                return Err(DnsError::Edns);
            }
            self.edns = Some(Edns {
                payload: class,
                rcode,
                version,
                dnssec: flags & 0x80 != 0,
            });
            return Ok(());
        }
        let record = Record {
            name,
            class,
            ttl: if ttl > u32::MAX >> 1 { 0 } else { ttl },
            data: data(kind, whole, rest, length.into())?,
        };
        match section {
            Section::Answer => self.answers.push(record),
            Section::Authority => self.authorities.push(record),
            Section::Additional => self.additionals.push(record),
        }
        Ok(())
    }

    /// The names under which the answers stand for `name`, itself first: the chain of CNAME records, each name once.
    pub fn chain(&self, name: &Name) -> Vec<Name> {
        let mut chain = vec![name.clone()];
        // Each step takes a record, so more steps than records is a cycle.
        for _ in 0..self.answers.len() {
            let next = self.answers.iter().find_map(|record| {
                if let Data::Cname(to) = &record.data
                    && Some(&record.name) == chain.last()
                {
                    Some(to)
                } else {
                    None
                }
            });
            match next {
                Some(next) if !chain.contains(next) => chain.push(next.clone()),
                _ => break,
            }
        }
        chain
    }
}

/// A record's content; it must be exactly as long as its type demands.
fn data<'a>(
    kind: u16,
    whole: &'a [u8],
    rest: &mut Bytes<'a>,
    length: usize,
) -> Result<Data, DnsError> {
    let wrong = DnsError::Record(kind);
    let behind = rest.len().checked_sub(length).ok_or(DnsError::Cut)?;
    let data = match kind {
        kind::A => Data::A(rest.array().map(Ipv4Addr::from).ok_or(wrong)?),
        kind::AAAA => Data::Aaaa(rest.array().map(Ipv6Addr::from).ok_or(wrong)?),
        kind::CNAME => Data::Cname(Name::read(whole, rest)?),
        kind::NS => Data::Ns(Name::read(whole, rest)?),
        kind::PTR => Data::Ptr(Name::read(whole, rest)?),
        kind::MX => {
            let preference = rest.u16().ok_or(wrong)?;
            Data::Mx(preference, Name::read(whole, rest)?)
        }
        kind::SRV => Data::Srv {
            priority: rest.u16().ok_or(wrong)?,
            weight: rest.u16().ok_or(wrong)?,
            port: rest.u16().ok_or(wrong)?,
            target: Name::read(whole, rest)?,
        },
        kind::SOA => {
            let server = Name::read(whole, rest)?;
            let mailbox = Name::read(whole, rest)?;
            let mut number = || rest.u32().ok_or(wrong);
            Data::Soa {
                server,
                mailbox,
                times: [number()?, number()?, number()?, number()?, number()?],
            }
        }
        other => Data::Other(other, rest.take(length).unwrap_or_default().to_vec()),
    };
    if rest.len() == behind {
        Ok(data)
    } else {
        Err(wrong)
    }
}
