//! A client's question: answered at once, forwarded, or ignored.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use stockade_profile::HostName;

use super::address::is_under;
use super::{Rights, known};

/// The fixed part of every message (RFC 1035 §4.1.1).
pub(super) const HEADER: usize = 12;

/// What a message may be without EDNS over UDP (RFC 1035 §2.3.4).
const PLAIN_UDP: u16 = 512;

/// The size that crosses any path in one piece (DNS flag day 2020), offered upstream and used at most towards clients.
pub(super) const WHOLE_UDP: u16 = 1_232;

/// How the question came, so how large its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a stream.
    Tcp,
}

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    pub(super) fn record(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

/// Why a question was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The profile does not name the host.
    Outside,
    /// The host is a public resolver that the profile does not name: somebody tries to get past the forwarder.
    Resolver,
    /// Only addresses can be asked for.
    Type,
    /// Nothing is known of the client, so it may look up nothing.
    Client,
}

/// A question that was refused and is worth telling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The name asked for, in lower case; bytes that are no plain text are escaped, so it can be printed.
    pub name: String,
    /// The type asked for, as `TXT`.
    pub record: String,
    /// Why.
    pub why: Why,
}

/// What becomes of a message from a client.
#[derive(Debug)]
pub enum Heard {
    /// Not a question: no answer, or two forwarders could talk for ever.
    Ignored,
    /// An answer of the forwarder's own.
    Answered {
        /// The message to send.
        bytes: Vec<u8>,
        /// What to report.
        refused: Option<Refused>,
    },
    /// A question for the upstream.
    Forward(Question),
}

/// A question that the profile allows; only [`hear`] makes one.
#[derive(Debug, Clone)]
#[must_use]
pub struct Question {
    pub(super) name: HostName,
    pub(super) family: Family,
    pub(super) reply: Reply,
}

impl Question {
    /// The name asked for.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// The family asked for.
    pub fn family(&self) -> Family {
        self.family
    }

    /// A question of the forwarder's own making, for a name that others use to reach the device.
    pub fn of_our_own(name: HostName, family: Family) -> Option<Self> {
        let asked = Name::from_ascii(name.as_str()).ok()?;
        let mut query = Query::query(asked, family.record());
        query.name.set_fqdn(true);
        Some(Self {
            name,
            family,
            reply: Reply {
                id: 0,
                recursion: true,
                query,
                most: u16::MAX,
                edns: false,
            },
        })
    }

    /// The question for the upstream, under a random id: nothing of the client's message is in it but the name and the type.
    pub fn upstream(&self, id: u16) -> Vec<u8> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        let mut name = self.reply.query.name().to_lowercase();
        name.set_fqdn(true);
        message.add_query(Query::query(name, self.family.record()));
        let mut edns = Edns::new();
        edns.set_max_payload(WHOLE_UDP);
        message.set_edns(edns);
        encode(&message)
    }

    /// The answer when no upstream could be asked, or the kernel did not take the addresses.
    pub fn failed(&self) -> Vec<u8> {
        self.reply.code(ResponseCode::ServFail)
    }
}

/// What an answer repeats of its question.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    id: u16,
    recursion: bool,
    pub(super) query: Query,
    most: u16,
    edns: bool,
}

impl Reply {
    pub(super) fn message(&self) -> Message {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion;
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        if self.edns {
            // RFC 6891 §6.1.1: who asks with EDNS is answered with it.
            let mut edns = Edns::new();
            edns.set_max_payload(WHOLE_UDP);
            message.set_edns(edns);
        }
        message
    }

    fn code(&self, code: ResponseCode) -> Vec<u8> {
        let mut message = self.message();
        message.metadata.response_code = code;
        encode(&message)
    }

    /// The message's bytes, or when they are too many the bare answer that says so (RFC 2181 §9).
    pub(super) fn fit(&self, message: &Message) -> Vec<u8> {
        let bytes = encode(message);
        if bytes.len() <= usize::from(self.most) {
            return bytes;
        }
        let mut short = self.message();
        short.metadata.truncation = true;
        encode(&short)
    }
}

/// What cannot be encoded becomes no answer at all: an empty message that no socket sends.
pub(super) fn encode(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_default()
}

/// An answer without a question: for what could not be read.
fn bare(id: u16, code: ResponseCode, op_code: OpCode) -> Heard {
    let mut message = Message::response(id, op_code);
    message.metadata.response_code = code;
    Heard::Answered {
        bytes: encode(&message),
        refused: None,
    }
}

/// Judges a client's message. Without rights (a client that nobody knows) every question is refused.
pub fn hear(bytes: &[u8], transport: Transport, rights: Option<&Rights>) -> Heard {
    // RFC 1035 §4.1.1, by hand: the counts are looked at before anything is allocated for them.
    let Some(&[a, b, flags, _, q1, q2, an1, an2, ns1, ns2, _, _]) = bytes.first_chunk::<HEADER>() else {
        return Heard::Ignored;
    };
    if flags & 0x80 != 0 {
        return Heard::Ignored;
    }
    let id = u16::from_be_bytes([a, b]);
    if flags & 0x78 != 0 {
        return bare(id, ResponseCode::NotImp, OpCode::from_u8((flags >> 3) & 0x0f));
    }
    if [q1, q2, an1, an2, ns1, ns2] != [0, 1, 0, 0, 0, 0] {
        return bare(id, ResponseCode::FormErr, OpCode::Query);
    }
    let Ok(message) = Message::from_vec(bytes) else {
        return bare(id, ResponseCode::FormErr, OpCode::Query);
    };
    let Some(query) = message.queries.first() else {
        return bare(id, ResponseCode::FormErr, OpCode::Query);
    };
    let offered = message.edns.as_ref().map_or(PLAIN_UDP, Edns::max_payload);
    let reply = Reply {
        id,
        recursion: message.metadata.recursion_desired,
        query: query.clone(),
        most: match transport {
            Transport::Udp => offered.clamp(PLAIN_UDP, WHOLE_UDP),
            Transport::Tcp => u16::MAX,
        },
        edns: message.edns.is_some(),
    };
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        // RFC 6891 §6.1.3.
        return answered(reply.code(ResponseCode::BADVERS));
    }
    judge(reply, rights)
}

fn answered(bytes: Vec<u8>) -> Heard {
    Heard::Answered {
        bytes,
        refused: None,
    }
}

fn judge(reply: Reply, rights: Option<&Rights>) -> Heard {
    let text = plain(reply.query.name());
    let record = reply.query.query_type();
    let refuse = |why| Heard::Answered {
        bytes: reply.code(ResponseCode::Refused),
        refused: Some(Refused {
            name: text.clone(),
            record: record.to_string(),
            why,
        }),
    };
    let Some(rights) = rights else {
        return refuse(Why::Client);
    };
    if reply.query.query_class() != DNSClass::IN {
        return refuse(Why::Type);
    }
    let name: Option<HostName> = text.parse().ok();
    let allowed = name.and_then(|name| rights.names.get_key_value(&name));
    let Some((name, families)) = allowed else {
        if is_noise(&text, record, rights) {
            return answered(reply.code(ResponseCode::NXDomain));
        }
        return refuse(if known::is_known_resolver(&text) {
            Why::Resolver
        } else {
            Why::Outside
        });
    };
    let family = if record == RecordType::A {
        Family::V4
    } else if record == RecordType::AAAA {
        Family::V6
    } else if matches!(record, RecordType::HTTPS | RecordType::SVCB) {
        // RFC 9460 §3: a client without an answer goes on with the addresses. Hints in a record would lead past the sets.
        return answered(reply.code(ResponseCode::NoError));
    } else {
        return refuse(Why::Type);
    };
    if !families.has(family) {
        // No rule would let the device reach such an address: it is spared the attempt.
        return answered(reply.code(ResponseCode::NoError));
    }
    Heard::Forward(Question {
        name: name.clone(),
        family,
        reply,
    })
}

/// Questions that are nobody's attempt at anything: they get "no such name", and no report.
fn is_noise(name: &str, record: RecordType, rights: &Rights) -> bool {
    // Firefox's canary: "no such name" turns its own DNS over HTTPS off (support.mozilla.org/kb/canary-domain-use-application-dnsnet).
    // RFC 9462 §6.4: resolver.arpa asks for a way around us. RFC 7050: ipv4only.arpa looks for a translator.
    const QUIET: [&str; 4] = ["use-application-dns.net", "resolver.arpa", "ipv4only.arpa", "localhost"];
    // RFC 6762 §3: .local is asked by multicast. Reverse look-ups are made by any program that prints a peer.
    const QUIET_BELOW: [&str; 6] =
        ["resolver.arpa", "ipv4only.arpa", "localhost", "local", "in-addr.arpa", "ip6.arpa"];
    let single = !name.contains('.');
    let suffixed = || {
        // `pool.ntp.org.lan`: a resolver library that tries the domains of its search list.
        rights.names().any(|allowed| {
            name.strip_prefix(allowed.as_str())
                .is_some_and(|rest| rest.starts_with('.'))
        })
    };
    let addresses = matches!(record, RecordType::A | RecordType::AAAA | RecordType::HTTPS);
    QUIET.contains(&name)
        || QUIET_BELOW.iter().any(|domain| is_under(name, domain))
        || (addresses && ((single && !name.is_empty()) || suffixed()))
}

/// A name as text that is safe to print and to compare: lower case, no dot at its end, odd bytes escaped.
pub(super) fn plain(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    let text = text.strip_suffix('.').unwrap_or(&text);
    text.chars()
        .flat_map(|c| {
            let plain = c.is_ascii_graphic();
            let escaped = (!plain).then(|| c.escape_default());
            plain.then_some(c).into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}
