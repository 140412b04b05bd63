//! A client's question: answered at once, forwarded, or ignored.

use stockade_profile::HostName;
use stockade_wire::dns::{Edns, INTERNET, Message, Name, Question as Asked, kind, rcode};

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
    pub(super) fn record(self) -> u16 {
        match self {
            Self::V4 => kind::A,
            Self::V6 => kind::AAAA,
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
    pub fn of_our_own(name: HostName, family: Family, rights: &Rights) -> Option<Self> {
        if !rights.names.get(&name)?.has(family) {
            return None;
        }
        let asked: Name = name.as_str().parse().ok()?;
        Some(Self {
            reply: Reply {
                id: 0,
                recursion: true,
                asked: ask(asked, family.record()),
                spelled: Vec::new(),
                most: usize::from(u16::MAX),
                edns: false,
            },
            name,
            family,
        })
    }

    /// The question for the upstream, under a random id: nothing of the client's message is in it but the name and the type.
    pub fn upstream(&self, id: u16) -> Vec<u8> {
        let message = Message {
            id,
            recursion_desired: true,
            questions: vec![self.reply.asked.clone()],
            edns: Some(OURS),
            ..Message::default()
        };
        message.write(usize::from(u16::MAX))
    }

    /// The answer when no upstream could be asked, or the kernel did not take the addresses.
    pub fn failed(&self) -> Vec<u8> {
        self.reply.code(rcode::SERVER_FAILURE)
    }
}

/// What we say of ourselves, in both directions.
const OURS: Edns = Edns {
    payload: WHOLE_UDP,
    rcode: 0,
    version: 0,
    dnssec: false,
};

fn ask(name: Name, kind: u16) -> Asked {
    Asked {
        name,
        kind,
        class: INTERNET,
    }
}

/// What an answer repeats of its question.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    id: u16,
    recursion: bool,
    pub(super) asked: Asked,
    /// The question as the client spelled it: some clients guard themselves by capital letters here and there.
    spelled: Vec<u8>,
    most: usize,
    edns: bool,
}

impl Reply {
    pub(super) fn message(&self) -> Message {
        Message {
            id: self.id,
            response: true,
            recursion_desired: self.recursion,
            recursion_available: true,
            questions: vec![self.asked.clone()],
            // RFC 6891 §6.1.1: who asks with EDNS is answered with it.
            edns: self.edns.then_some(OURS),
            ..Message::default()
        }
    }

    fn code(&self, rcode: u8) -> Vec<u8> {
        self.fit(&Message {
            rcode,
            ..self.message()
        })
    }

    /// The message's bytes, or when they are too many the bare answer that says so (RFC 2181 §9).
    pub(super) fn fit(&self, message: &Message) -> Vec<u8> {
        let mut bytes = message.write(self.most);
        if bytes.get(2).is_some_and(|flags| flags & 0x02 != 0) {
            let short = Message {
                truncated: true,
                rcode: message.rcode,
                ..self.message()
            };
            bytes = short.write(self.most);
        }
        if let Some(place) = bytes.get_mut(HEADER..HEADER.saturating_add(self.spelled.len()))
            && place.eq_ignore_ascii_case(&self.spelled)
        {
            place.copy_from_slice(&self.spelled);
        }
        bytes
    }
}

/// An answer without a question: for what could not be read.
fn bare(id: u16, rcode: u8, opcode: u8) -> Heard {
    let message = Message {
        id,
        response: true,
        opcode,
        rcode,
        ..Message::default()
    };
    answered(message.write(HEADER))
}

/// Judges a client's message. Without rights (a client that nobody knows) every question is refused.
pub fn hear(bytes: &[u8], transport: Transport, rights: Option<&Rights>) -> Heard {
    // RFC 1035 §4.1.1, by hand: the counts are looked at before anything is allocated for them.
    let Some(&[a, b, flags, _, q1, q2, an1, an2, ns1, ns2, _, _]) = bytes.first_chunk::<HEADER>()
    else {
        return Heard::Ignored;
    };
    if flags & 0x80 != 0 {
        return Heard::Ignored;
    }
    let id = u16::from_be_bytes([a, b]);
    if flags & 0x78 != 0 {
        return bare(id, rcode::NOT_IMPLEMENTED, (flags >> 3) & 0x0f);
    }
    if [q1, q2, an1, an2, ns1, ns2] != [0, 1, 0, 0, 0, 0] {
        return bare(id, rcode::FORMAT_ERROR, 0);
    }
    let Ok(message) = Message::read(bytes) else {
        return bare(id, rcode::FORMAT_ERROR, 0);
    };
    let Some(asked) = message.questions.into_iter().next() else {
        return bare(id, rcode::FORMAT_ERROR, 0);
    };
    let offered = message.edns.map_or(PLAIN_UDP, |edns| edns.payload);
    let labels = asked.name.labels().map(<[u8]>::len);
    let spelled = labels.fold(1, |sum: usize, label| {
        sum.saturating_add(label).saturating_add(1)
    });
    let reply = Reply {
        id,
        recursion: message.recursion_desired,
        asked,
        spelled: bytes
            .get(HEADER..HEADER.saturating_add(spelled))
            .unwrap_or_default()
            .to_vec(),
        most: match transport {
            Transport::Udp => offered.clamp(PLAIN_UDP, WHOLE_UDP).into(),
            Transport::Tcp => u16::MAX.into(),
        },
        edns: message.edns.is_some(),
    };
    if message.edns.is_some_and(|edns| edns.version > 0) {
        // RFC 6891 §6.1.3, §9: BADVERS is 16, whose upper bits stand in the record of EDNS.
        let mut refusal = reply.message();
        refusal.edns = Some(Edns { rcode: 1, ..OURS });
        return answered(reply.fit(&refusal));
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
    let text = reply.asked.name.to_string();
    let record = reply.asked.kind;
    let refuse = |why| Heard::Answered {
        bytes: reply.code(rcode::REFUSED),
        refused: Some(Refused {
            name: text.clone(),
            record: spoken(record),
            why,
        }),
    };
    let Some(rights) = rights else {
        return refuse(Why::Client);
    };
    if reply.asked.class != INTERNET {
        return refuse(Why::Type);
    }
    let name: Option<HostName> = text.parse().ok();
    let allowed = name.and_then(|name| rights.names.get_key_value(&name));
    let Some((name, families)) = allowed else {
        if is_noise(&text, record, rights) {
            return answered(reply.code(rcode::NO_SUCH_NAME));
        }
        return refuse(if known::is_known_resolver(&text) {
            Why::Resolver
        } else {
            Why::Outside
        });
    };
    let family = match record {
        kind::A => Family::V4,
        kind::AAAA => Family::V6,
        // RFC 9460 §3: a client without an answer goes on with the addresses. Hints in a record would lead past the sets.
        kind::HTTPS | kind::SVCB => return answered(reply.code(rcode::NO_ERROR)),
        _ => return refuse(Why::Type),
    };
    if !families.has(family) {
        // No rule would let the device reach such an address: it is spared the attempt.
        return answered(reply.code(rcode::NO_ERROR));
    }
    Heard::Forward(Question {
        name: name.clone(),
        family,
        reply,
    })
}

/// Questions that are nobody's attempt at anything: they get "no such name", and no report.
fn is_noise(name: &str, record: u16, rights: &Rights) -> bool {
    // Firefox's canary: "no such name" turns its own DNS over HTTPS off (support.mozilla.org/kb/canary-domain-use-application-dnsnet).
    // RFC 9462 §6.4: resolver.arpa asks for a way around us. RFC 7050: ipv4only.arpa looks for a translator.
    const QUIET: [&str; 4] = [
        "use-application-dns.net",
        "resolver.arpa",
        "ipv4only.arpa",
        "localhost",
    ];
    // RFC 6762 §3: .local is asked by multicast. Reverse look-ups are made by any program that prints a peer.
    const QUIET_BELOW: [&str; 6] = [
        "resolver.arpa",
        "ipv4only.arpa",
        "localhost",
        "local",
        "in-addr.arpa",
        "ip6.arpa",
    ];
    let single = !name.contains('.') && !name.is_empty();
    let suffixed = || {
        // `pool.ntp.org.lan`: a resolver library that tries the domains of its search list.
        rights.names().any(|allowed| {
            name.strip_prefix(allowed.as_str())
                .is_some_and(|rest| rest.starts_with('.'))
        })
    };
    let addresses = matches!(record, kind::A | kind::AAAA | kind::HTTPS);
    QUIET.contains(&name)
        || QUIET_BELOW.iter().any(|domain| is_under(name, domain))
        || (addresses && (single || suffixed()))
}

/// A type as people write it (RFC 3597 §5 for those without a name).
fn spoken(record: u16) -> String {
    let name = match record {
        kind::A => "A",
        kind::NS => "NS",
        kind::CNAME => "CNAME",
        kind::SOA => "SOA",
        10 => "NULL",
        kind::PTR => "PTR",
        kind::MX => "MX",
        kind::TXT => "TXT",
        kind::AAAA => "AAAA",
        kind::SRV => "SRV",
        kind::SVCB => "SVCB",
        kind::HTTPS => "HTTPS",
        251 => "IXFR",
        kind::AXFR => "AXFR",
        kind::ANY => "ANY",
        other => return format!("TYPE{other}"),
    };
    name.to_owned()
}
