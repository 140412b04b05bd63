//! What one entry of the log says, and that it says nothing of a person.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::LogError;
use crate::access::{Access, Action, Refused, RoleName};

/// Longest name in an entry: of an account, a data set, a purpose, a count.
const MAX_NAME: usize = 64;
/// Counts in an entry.
const MAX_FACTS: usize = 16;

/// 32 bytes that stand for something without saying it: written in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        crate::keys::from_hex(&text)
            .map(|bytes| Self(*bytes))
            .ok_or_else(|| serde::de::Error::custom("not 64 hexadecimal digits"))
    }
}

/// Stands for a subject in the log: the same in each entry, found from the subject's secret only. Once the secret is erased,
/// it is of nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(Digest);

impl Commitment {
    /// Of the subject with this secret.
    pub fn of(subject_secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, subject_secret);
        Self(digest(&hmac::sign(&key, b"stockade vault log subject 1")))
    }
}

pub(super) fn digest(tag: &hmac::Tag) -> Digest {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    Digest(out)
}

/// What became of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is being done, or was: the entry is written before the answer goes out.
    Done,
    /// It was refused; [`Entry::reason`] says why in a word.
    Refused,
    /// It could not be done.
    Failed,
}

/// One entry. There are names that the operator or a profile gave, numbers, and digests; nothing that a device sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    /// The version of this layout.
    v: u8,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who: an account or a token by its name. Of a subject only that it is one: [`Entry::subject`] says which.
    pub who: String,
    /// In which role.
    pub role: RoleName,
    /// What was asked.
    pub action: Action,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused or failed: a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else it is about, by its name: a token, a reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Of which data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// [`Log::digest`](super::Log::digest) of the question. One that names a subject names it by its commitment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_hash: Option<Digest>,
    /// What it took of the budget, as a decimal number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// [`Log::digest`](super::Log::digest) of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_hash: Option<Digest>,
    /// Which subject it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Commitment>,
    /// Numbers that belong to it, by name: `epoch`, `k`, `rows`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, u64>,
}

impl Entry {
    /// That `access` did something. What else belongs to it is set in the fields.
    pub fn new(at: OffsetDateTime, access: &Access, action: Action) -> Self {
        let role = access.role.name();
        let mut entry = Self::by_vault(at, action);
        entry.role = role;
        // The name of a subject's token may be the device's.
        entry.who = if role == RoleName::Subject {
            "subject".to_owned()
        } else {
            access.who.clone()
        };
        // Only a query's is held against the profile's list; what others give is their own word, and an operator's may stand.
        let stands = action == Action::Query || role == RoleName::Operator;
        let purpose = access.purpose.clone().filter(|_| stands);
        entry.purpose = purpose.filter(|purpose| is_name(purpose));
        entry
    }

    /// That `access` was refused something.
    pub fn refused(at: OffsetDateTime, access: &Access, action: Action, why: &Refused) -> Self {
        let mut entry = Self::new(at, access, action).because(Outcome::Refused, why.word());
        if *why != (Refused::OtherSubject) {
            // A purpose that is on no list could be any text.
            entry.purpose = None;
        }
        entry
    }

    /// That the vault did something by itself.
    pub fn by_vault(at: OffsetDateTime, action: Action) -> Self {
        Self {
            v: 1,
            // Seconds: more exactly, an entry could be matched with what was seen on a wire.
            at: at.replace_nanosecond(0).unwrap_or(at),
            who: "vault".to_owned(),
            role: RoleName::Vault,
            action,
            outcome: Outcome::Done,
            reason: None,
            object: None,
            dataset: None,
            purpose: None,
            query_hash: None,
            budget: None,
            result_hash: None,
            subject: None,
            facts: BTreeMap::new(),
        }
    }

    /// The same with another outcome, and a word on why.
    #[must_use]
    pub fn because(mut self, outcome: Outcome, reason: &str) -> Self {
        self.outcome = outcome;
        self.reason = Some(reason.to_owned());
        self
    }

    /// The same with a number of a name.
    #[must_use]
    pub fn fact(mut self, name: &str, number: u64) -> Self {
        self.facts.insert(name.to_owned(), number);
        self
    }

    /// As the leaf of the tree: JSON, so that anybody reads it.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, LogError> {
        let names = [&self.reason, &self.object, &self.dataset, &self.purpose]
            .into_iter()
            .flatten()
            .chain([&self.who])
            .chain(self.facts.keys());
        for name in names {
            if !is_name(name) {
                return Err(LogError::NotAName);
            }
        }
        let digits = |text: &String| {
            text.len() <= MAX_NAME
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.')
        };
        if !self.budget.as_ref().is_none_or(digits) || self.facts.len() > MAX_FACTS {
            return Err(LogError::NotAName);
        }
        serde_json::to_vec(self).map_err(|_| LogError::NotAName)
    }

    /// Reads what was written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .ok()
            .filter(|it: &Self| it.v == 1)
    }
}

/// Whether it is a name as accounts, data sets and purposes have: nothing that a sentence, an address or a key fits in.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
