//! An upstream's answer: is it one to our question, and which of its addresses may a client have?

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use stockade_wire::dns::{Data, INTERNET, Message, Name, Record, rcode};

use super::address::{Kind, kind, may_stand_for};
use super::question::{Family, HEADER, Question};
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
    aliases: Vec<(Name, u32)>,
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
        let Ok(message) = Message::read(bytes) else {
            // A resolver may cut a message anywhere; nobody else knows the id and the port.
            return Err(if truncated {
                Unusable::Truncated
            } else {
                Unusable::Malformed
            });
        };
        if message.questions.first() != Some(&self.reply.asked) {
            return Err(Unusable::NotOurs);
        }
        if truncated {
            return Err(Unusable::Truncated);
        }
        let extended = message.edns.is_some_and(|edns| edns.rcode != 0);
        let exists = match message.rcode {
            _ if extended => return Err(Unusable::Failed),
            rcode::NO_ERROR => true,
            rcode::NO_SUCH_NAME => false,
            _ => return Err(Unusable::Failed),
        };
        self.follow(&message.answers, exists)
    }

    /// Follows the aliases from the name that was asked for (RFC 1034 §3.6.2); records off that path are nothing to us.
    fn follow(&self, records: &[Record], exists: bool) -> Result<Answer, Unusable> {
        let mut targets: BTreeMap<&Name, (&Name, u32)> = BTreeMap::new();
        let records = || records.iter().filter(|record| record.class == INTERNET);
        for record in records() {
            if let Data::Cname(target) = &record.data {
                let known = targets.insert(&record.name, (target, record.ttl));
                // RFC 2181 §10.1: a name has one alias at most.
                if known.is_some_and(|(other, _)| other != target) {
                    return Err(Unusable::Malformed);
                }
            }
        }
        let mut at = &self.reply.asked.name;
        let mut passed = BTreeSet::from([at]);
        let mut aliases = Vec::new();
        while let Some((target, ttl)) = targets.remove(at) {
            // Too long, or in a circle.
            if aliases.len() == MOST_ALIASES || !passed.insert(target) {
                return Err(Unusable::Malformed);
            }
            at = target;
            aliases.push((target.clone(), ttl));
        }
        let mut seen = BTreeSet::new();
        let mut addresses = Vec::new();
        let mut beyond: usize = 0;
        for record in records().filter(|record| record.name == *at) {
            let Some(address) = self.address(&record.data) else {
                continue;
            };
            if !seen.insert(address) {
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

    fn address(&self, data: &Data) -> Option<IpAddr> {
        match (data, self.family) {
            (Data::A(v4), Family::V4) => Some((*v4).into()),
            (Data::Aaaa(v6), Family::V6) => Some((*v6).into()),
            _ => None,
        }
    }

    /// Which addresses of an answer the client may have, and its reply with just these.
    pub fn judge(&self, answer: &Answer, rights: &Rights) -> Judged {
        let (mut passed, mut admit, mut rebinding) = (Vec::new(), Vec::new(), Vec::new());
        for (address, _) in &answer.addresses {
            match kind(*address) {
                _ if may_stand_for(&self.name, *address) => admit.push(*address),
                // The profile opens the address by itself: the name adds no right to that, so nothing is admitted.
                Kind::Private if rights.opens(*address) => (),
                Kind::Public | Kind::Private | Kind::Never => {
                    rebinding.push(*address);
                    continue;
                }
            }
            passed.push(*address);
        }
        let ttls = answer.aliases.iter().map(|(_, ttl)| *ttl);
        let ttls = ttls.chain(answer.addresses.iter().map(|(_, ttl)| *ttl));
        let most = u32::try_from(CEILING.as_secs()).unwrap_or(u32::MAX);
        let ttl = ttls.min().unwrap_or_default().min(most);
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
            message.rcode = rcode::NO_SUCH_NAME;
        }
        let mut owner = &self.reply.asked.name;
        let mut add = |owner: &Name, data| {
            message.answers.push(Record {
                name: owner.clone(),
                class: INTERNET,
                ttl,
                data,
            });
        };
        for (target, _) in &answer.aliases {
            add(owner, Data::Cname(target.clone()));
            owner = target;
        }
        for address in passed {
            let data = match address {
                IpAddr::V4(v4) => Data::A(*v4),
                IpAddr::V6(v6) => Data::Aaaa(*v6),
            };
            add(owner, data);
        }
        self.reply.fit(&message)
    }
}
