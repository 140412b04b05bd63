//! An upstream's answer: is it one to our question, and which of its addresses may a client have?

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record};

use super::address::{Kind, is_local_name, kind};
use super::question::{Family, HEADER, Question, plain};
use super::{CEILING, MOST_ADDRESSES, MOST_ALIASES, Rights, lifetime};

/// Why an upstream's message is no answer to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Somebody else's answer, or a forged one: go on waiting for the right one.
    #[error("not the answer to our question")]
    NotOurs,
    /// Did not fit: ask again over TCP.
    #[error("cut short")]
    Truncated,
    /// The upstream could not or would not: ask the next one.
    #[error("the resolver failed")]
    Failed,
    /// Ours by its id and question, but broken.
    #[error("malformed")]
    Malformed,
}

/// An answer to our question, read: aliases in order, then the addresses that the last alias has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    exists: bool,
    aliases: Vec<(Name, Name, u32)>,
    addresses: Vec<(IpAddr, u32)>,
    beyond: usize,
}

/// What a client gets of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The addresses that the kernel must admit before the reply goes out.
    pub admit: Vec<IpAddr>,
    /// For how long.
    pub lifetime: Duration,
    /// Addresses that were taken out: a public name pointing inside.
    pub rebinding: Vec<IpAddr>,
    /// How many addresses were left out because they were too many.
    pub beyond: usize,
    /// The client's reply.
    pub reply: Vec<u8>,
}

impl Question {
    /// Reads what came from the upstream in answer to [`Question::upstream`] with this `id`.
    pub fn read(&self, id: u16, bytes: &[u8]) -> Result<Answer, Unusable> {
        // The counts are looked at before anything is allocated for them.
        let Some(&[a, b, flags, _, q1, q2, ..]) = bytes.first_chunk::<HEADER>() else {
            return Err(Unusable::NotOurs);
        };
        if u16::from_be_bytes([a, b]) != id || flags & 0xf8 != 0x80 {
            return Err(Unusable::NotOurs);
        }
        if [q1, q2] == [0, 0] {
            // An error without its question (some resolvers' FORMERR) says nothing that could be believed.
            return Err(Unusable::NotOurs);
        }
        if [q1, q2] != [0, 1] {
            return Err(Unusable::Malformed);
        }
        let truncated = flags & 0x02 != 0;
        let Ok(message) = Message::from_vec(bytes) else {
            // A resolver may cut a message anywhere; nobody else knows the id and the port.
            return Err(if truncated { Unusable::Truncated } else { Unusable::Malformed });
        };
        let ours = message.metadata.message_type == MessageType::Response
            && message.metadata.op_code == OpCode::Query
            && message.queries.iter().all(|query| {
                plain(query.name()) == self.name.as_str()
                    && query.query_type() == self.family.record()
                    && query.query_class() == DNSClass::IN
            });
        if !ours {
            return Err(Unusable::NotOurs);
        }
        if truncated {
            return Err(Unusable::Truncated);
        }
        let exists = match message.metadata.response_code {
            ResponseCode::NoError => true,
            ResponseCode::NXDomain => false,
            _ => return Err(Unusable::Failed),
        };
        self.follow(&message.answers, exists)
    }

    /// Follows the aliases from the name that was asked for (RFC 1034 §3.6.2); records off that path are nothing to us.
    fn follow(&self, records: &[Record], exists: bool) -> Result<Answer, Unusable> {
        let mut targets: BTreeMap<String, (&Name, &Name, u32)> = BTreeMap::new();
        for record in records.iter().filter(|record| record.dns_class == DNSClass::IN) {
            if let RData::CNAME(target) = &record.data {
                let owner = plain(&record.name);
                let known = targets.insert(owner, (&record.name, target, record.ttl));
                // RFC 2181 §10.1: a name has one alias at most.
                if known.is_some_and(|(_, other, _)| plain(other) != plain(target)) {
                    return Err(Unusable::Malformed);
                }
            }
        }
        let mut at = self.name.as_str().to_owned();
        let mut aliases = Vec::new();
        while let Some((owner, target, ttl)) = targets.remove(&at) {
            if aliases.len() == MOST_ALIASES {
                return Err(Unusable::Malformed);
            }
            at = plain(target);
            aliases.push((owner.clone(), (*target).clone(), ttl));
        }
        if aliases.iter().any(|(owner, ..)| plain(owner) == at) {
            // The aliases lead in a circle.
            return Err(Unusable::Malformed);
        }
        let mut seen = BTreeSet::new();
        let mut addresses = Vec::new();
        let mut beyond: usize = 0;
        for record in records {
            let Some(address) = self.address(record) else {
                continue;
            };
            if record.dns_class != DNSClass::IN || plain(&record.name) != at || !seen.insert(address) {
                continue;
            }
            if addresses.len() < MOST_ADDRESSES {
                addresses.push((address, record.ttl));
            } else {
                beyond = beyond.saturating_add(1);
            }
        }
        Ok(Answer {
            exists,
            aliases,
            addresses,
            beyond,
        })
    }

    fn address(&self, record: &Record) -> Option<IpAddr> {
        match (&record.data, self.family) {
            (RData::A(a), Family::V4) => Some(a.0.into()),
            (RData::AAAA(aaaa), Family::V6) => Some(aaaa.0.into()),
            _ => None,
        }
    }

    /// Which addresses of an answer the client may have, and its reply with just these.
    pub fn judge(&self, answer: &Answer, rights: &Rights) -> Judged {
        let local = is_local_name(&self.name);
        let (mut passed, mut admit, mut rebinding) = (Vec::new(), Vec::new(), Vec::new());
        for (address, _) in &answer.addresses {
            match kind(*address) {
                Kind::Public => admit.push(*address),
                Kind::Private if local => admit.push(*address),
                // The profile opens the address by itself: the name adds no right to that, so nothing is admitted.
                Kind::Private if rights.opens(*address) => (),
                Kind::Private | Kind::Never => {
                    rebinding.push(*address);
                    continue;
                }
            }
            passed.push(*address);
        }
        let ttls = answer.aliases.iter().map(|(.., ttl)| *ttl);
        let ttls = ttls.chain(answer.addresses.iter().map(|(_, ttl)| *ttl));
        let ttl = ttls.map(believed).min().unwrap_or_default();
        Judged {
            reply: self.answer(answer, &passed, ttl),
            admit,
            lifetime: lifetime(Duration::from_secs(ttl.into())),
            rebinding,
            beyond: answer.beyond,
        }
    }

    fn answer(&self, answer: &Answer, passed: &[IpAddr], ttl: u32) -> Vec<u8> {
        let mut message = self.reply.message();
        if !answer.exists {
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        let mut owner = self.reply.query.name().clone();
        for (_, target, _) in &answer.aliases {
            let alias = RData::CNAME(hickory_proto::rr::rdata::CNAME(target.clone()));
            message.add_answer(Record::from_rdata(owner, ttl, alias));
            owner = target.clone();
        }
        for address in passed {
            let data = match address {
                IpAddr::V4(v4) => RData::A((*v4).into()),
                IpAddr::V6(v6) => RData::AAAA((*v6).into()),
            };
            message.add_answer(Record::from_rdata(owner.clone(), ttl, data));
        }
        self.reply.fit(&message)
    }
}

/// RFC 2181 §8: a TTL with its highest bit set is zero; and none is believed beyond a day.
fn believed(ttl: u32) -> u32 {
    let most = u32::try_from(CEILING.as_secs()).unwrap_or(u32::MAX);
    if ttl > u32::MAX >> 1 { 0 } else { ttl.min(most) }
}
