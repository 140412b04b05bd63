//! What is known of a device: as it is stored, and as it is shown.

use std::net::SocketAddr;

use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;

use super::activity::Noted;
use super::link::LinkRecord;
use crate::name::{DeviceId, DeviceName, ModelName};
use crate::tls::Fingerprint;

/// The version of what is written here.
pub(super) const FORMAT: u8 = 1;
/// How many reasons a quarantine keeps.
const MAX_REASONS: usize = 8;
/// How long a reason may be, in characters.
const MAX_REASON: usize = 300;

/// How a device stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum State {
    /// Known, but without a certificate so far.
    Pending,
    /// May do what its profile says.
    Active,
    /// May only reach what it needs to be mended.
    Quarantined {
        /// Why, for a person; the oldest first. Only an operator ends these.
        reasons: Vec<String>,
        /// What its own evidence says is wrong; ends with evidence that it is mended.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        evidence: Vec<String>,
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
    /// Never let in again.
    Revoked {
        /// Why, for a person.
        reason: String,
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
}

impl State {
    /// The word used in tables, logs and the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Quarantined { .. } => "quarantined",
            Self::Revoked { .. } => "revoked",
        }
    }

    /// Why it may do less than its profile says, or nothing; the oldest first.
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Pending | Self::Active => Vec::new(),
            Self::Quarantined {
                reasons, evidence, ..
            } => reasons.iter().chain(evidence).cloned().collect(),
            Self::Revoked { reason, .. } => vec![reason.clone()],
        }
    }

    /// Since when it is in quarantine or revoked.
    pub const fn since(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Pending | Self::Active => None,
            Self::Quarantined { since, .. } | Self::Revoked { since, .. } => Some(*since),
        }
    }

    /// The state with one more reason for quarantine.
    pub(super) fn quarantined(&self, reason: &str, now: OffsetDateTime) -> Self {
        let reason = cut(reason);
        let mut state = self.in_quarantine(now);
        if let Self::Quarantined { reasons, .. } = &mut state
            && !reasons.contains(&reason)
            && reasons.len() < MAX_REASONS
        {
            reasons.push(reason);
        }
        state
    }

    /// The state with these reasons, and no others, from evidence.
    pub(super) fn quarantined_by_evidence(&self, why: &[String], now: OffsetDateTime) -> Self {
        let mut state = self.in_quarantine(now);
        if let Self::Quarantined { evidence, .. } = &mut state {
            *evidence = why.iter().take(MAX_REASONS).map(|r| cut(r)).collect();
        }
        state
    }

    fn in_quarantine(&self, now: OffsetDateTime) -> Self {
        match self {
            Self::Quarantined { .. } => self.clone(),
            _ => Self::Quarantined {
                reasons: Vec::new(),
                evidence: Vec::new(),
                since: now,
            },
        }
    }

    /// The state of a device that is never let in again.
    pub(super) fn revoked(reason: &str, now: OffsetDateTime) -> Self {
        Self::Revoked {
            reason: cut(reason),
            since: now,
        }
    }
}

fn cut(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

/// A certificate as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRecord {
    /// SHA-256 of the certificate.
    #[serde(with = "hex32")]
    pub fingerprint: Fingerprint,
    /// SHA-256 of its public key.
    #[serde(with = "hex32")]
    pub key: [u8; 32],
    /// The key itself as a point of P-256, if it is one: what its signatures are checked with.
    #[serde(
        default,
        with = "base64_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub p256: Option<Vec<u8>>,
    /// When it was issued.
    #[serde(with = "time::serde::rfc3339")]
    pub issued: OffsetDateTime,
    /// Until when it is valid.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// The certificate itself, kept until it is first used, for a device that lost the answer.
    #[serde(with = "base64_bytes")]
    pub(super) der: Option<Vec<u8>>,
}

/// A code that waits for its device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredCode {
    #[serde(with = "hex32")]
    pub(super) hash: [u8; 32],
    #[serde(with = "time::serde::rfc3339")]
    pub(super) expires: OffsetDateTime,
    /// The public key it was used for; from then on it is good for no other.
    #[serde(with = "hex32_option")]
    pub(super) key: Option<[u8; 32]>,
}

/// A device's record in the store: all of it but the counters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) v: u8,
    #[serde(with = "model_name")]
    pub(super) model: ModelName,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) added: OffsetDateTime,
    pub(super) state: State,
    pub(super) code: Option<StoredCode>,
    /// The certificate in use.
    pub(super) current: Option<CertificateRecord>,
    /// Issued and not used so far; its first use makes it the current one.
    pub(super) next: Option<CertificateRecord>,
    /// The one before the current, to tell a superseded certificate from an unknown one.
    #[serde(with = "hex32_option")]
    pub(super) previous: Option<Fingerprint>,
    /// The key of a constrained device, which has no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<LinkRecord>,
}

/// A stored record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRecord {
    /// Written by a newer version.
    #[error("format {0} is newer than this version knows ({FORMAT})")]
    Newer(u8),
    /// Not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Reads a stored value, looking at its version first.
pub(super) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, UnreadableRecord> {
    #[derive(Deserialize)]
    struct Version {
        v: u8,
    }
    let damaged = |error: serde_json::Error| UnreadableRecord::Damaged(error.to_string());
    let Version { v } = serde_json::from_slice(bytes).map_err(damaged)?;
    if v > FORMAT {
        return Err(UnreadableRecord::Newer(v));
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

/// A device, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Its name.
    pub name: DeviceName,
    /// How it stands.
    pub state: State,
    /// When it was added.
    pub added: OffsetDateTime,
    /// Until when its enrolment code can be used, if it has one.
    pub code_expires: Option<OffsetDateTime>,
    /// The certificate in use.
    pub certificate: Option<CertificateRecord>,
    /// The certificate issued last, if it was not used so far.
    pub next_certificate: Option<CertificateRecord>,
    /// The key of a constrained device.
    pub link: Option<LinkRecord>,
    /// When it was last heard of.
    pub last_seen: Option<OffsetDateTime>,
    /// From where it was last heard of.
    pub last_peer: Option<SocketAddr>,
    /// Violations of its profile since it was added.
    pub violations: u64,
    /// Violations of its profile in the last minute.
    pub violations_last_minute: u32,
    /// The last few, newest last.
    pub recent_violations: Vec<Noted>,
}

impl Stored {
    /// A device that waits to enrol, with a code or by its key.
    pub(super) fn pending(
        name: &DeviceName,
        now: OffsetDateTime,
        code: Option<StoredCode>,
        link: Option<LinkRecord>,
    ) -> Self {
        Self {
            v: FORMAT,
            model: name.model.clone(),
            added: now,
            state: State::Pending,
            code,
            current: None,
            next: None,
            previous: None,
            link,
        }
    }

    pub(super) fn name(&self, id: &DeviceId) -> DeviceName {
        DeviceName {
            model: self.model.clone(),
            id: id.clone(),
        }
    }

    /// Where a device goes that is neither quarantined nor revoked.
    pub(super) fn at_rest(&self) -> State {
        let by_key = self
            .link
            .as_ref()
            .is_some_and(|link| link.credential.is_some());
        if by_key || self.current.is_some() || self.next.is_some() {
            State::Active
        } else {
            State::Pending
        }
    }

    /// The certificate issued last was used: it is the current one, and the code that brought it is spent.
    pub(super) fn promote(&mut self) {
        if let Some(mut next) = self.next.take() {
            next.der = None;
            if let Some(old) = self.current.replace(next) {
                self.previous = Some(old.fingerprint);
            }
            if self.code.as_ref().is_some_and(|code| code.key.is_some()) {
                self.code = None;
            }
        }
    }
}

pub(crate) mod model_name {
    use super::{Deserialize as _, Deserializer, ModelName, Serializer};

    pub(crate) fn serialize<S: Serializer>(name: &ModelName, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ModelName, D::Error> {
        let text = String::deserialize(from)?;
        ModelName::new(&text).map_err(serde::de::Error::custom)
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) use base16ct::lower::encode_string as hex;

fn unhex32(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let written = base16ct::mixed::decode(text, &mut out).ok()?.len();
    (written == out.len()).then_some(out)
}

pub(super) mod hex32 {
    use super::{Deserialize as _, Deserializer, Serializer, hex, unhex32};

    pub(in crate::registry) fn serialize<S: Serializer>(
        bytes: &[u8; 32],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex(bytes))
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        unhex32(&text).ok_or_else(|| serde::de::Error::custom("not 64 hexadecimal digits"))
    }
}

mod hex32_option {
    use super::{Deserialize as _, Deserializer, Serialize as _, Serializer, hex, unhex32};

    #[expect(
        clippy::ref_option,
        reason = "serde hands over a reference to the field"
    )]
    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<[u8; 32]>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| hex(bytes)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| {
                unhex32(&text).ok_or_else(|| serde::de::Error::custom("not 64 hexadecimal digits"))
            })
            .transpose()
    }
}

pub(super) mod base64_bytes {
    use base64::Engine as _;

    use super::{BASE64, Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(
        clippy::ref_option,
        reason = "serde hands over a reference to the field"
    )]
    pub(in crate::registry) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        bytes
            .as_ref()
            .map(|bytes| BASE64.encode(bytes))
            .serialize(to)
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| BASE64.decode(text).map_err(serde::de::Error::custom))
            .transpose()
    }
}
