//! Constrained devices: known by a public key that an operator read off a label, and afterwards by a short name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stockade_profile::Class;
use time::OffsetDateTime;

use super::decide::not_revoked;
use super::record::{Stored, base64_bytes, hex32};
use super::{
    AddError, Admission, ChangeError, DeviceRecord, Direction, Outcome, Refusal, Registry, State,
    lock,
};
use crate::name::{DeviceId, DeviceName};

/// Where short names end: three bytes.
const KIDS: u32 = 1 << 24;

/// A device's short name on the link, the `kid` of its credential (RFC 9528, section 3.5.2): one byte for the first of a
/// gateway, so that a handshake stays as small as it can be, and up to three for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(u32);

impl Kid {
    /// What is no short name: for who is known on the link by a certificate. It has no bytes, and nothing stores it.
    pub(crate) fn nameless(number: usize) -> Option<Self> {
        u32::try_from(number).ok()?.checked_add(KIDS).map(Self)
    }

    /// The number of these bytes, if they are a name as it is given out.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = match *bytes {
            [a] => u32::from(a),
            [a, b] => u32::from_be_bytes([0, 0, a, b]),
            [a, b, c] => u32::from_be_bytes([0, a, b, c]),
            _ => return None,
        };
        let kid = Self(number);
        (kid.bytes().len() == bytes.len()).then_some(kid)
    }

    /// Its bytes: one that CBOR encodes in one byte (RFC 9528, section 3.5.3.2) if there is such a one.
    pub fn bytes(self) -> Vec<u8> {
        let [_, a, b, c] = self.0.to_be_bytes();
        match self.0 {
            0..0x18 => vec![c],
            0x18..0x1_0000 => vec![b, c],
            _ => vec![a, b, c],
        }
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Kid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Kid {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(from)?;
        (number < KIDS)
            .then_some(Self(number))
            .ok_or_else(|| serde::de::Error::custom("no short name of a device is that large"))
    }
}

/// What the registry knows of a constrained device's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkRecord {
    /// Its short name.
    pub kid: Kid,
    /// The thumbprint of its public key (RFC 9679, SHA-256), from its label.
    #[serde(with = "hex32")]
    pub key: [u8; 32],
    /// Its credential, exactly as encoded; there once it has enrolled.
    #[serde(
        default,
        with = "base64_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub credential: Option<Vec<u8>>,
}

/// Which device a short name or a key belongs to. Its lock comes after that of a device's record and before all others.
#[derive(Debug, Default)]
pub(super) struct LinkNames {
    kids: BTreeMap<Kid, DeviceId>,
    keys: BTreeMap<[u8; 32], DeviceId>,
}

impl LinkNames {
    pub(super) fn put(&mut self, id: &DeviceId, link: &LinkRecord) {
        self.kids.insert(link.kid, id.clone());
        self.keys.insert(link.key, id.clone());
    }

    pub(super) fn remove(&mut self, link: &LinkRecord) {
        self.kids.remove(&link.kid);
        self.keys.remove(&link.key);
    }

    /// A name nobody has: the smallest never given out, and when all were, the smallest free one.
    fn free(&self) -> Option<Kid> {
        let next = self
            .kids
            .last_key_value()
            .map_or(0, |(last, _)| last.0.saturating_add(1));
        if next < KIDS {
            return Some(Kid(next));
        }
        (0..KIDS).map(Kid).find(|kid| !self.kids.contains_key(kid))
    }
}

impl Registry {
    /// Adds a constrained device by the thumbprint of the key on its label. It enrols by proving that it holds the key.
    pub fn add_constrained(
        &self,
        name: &DeviceName,
        key: [u8; 32],
        now: OffsetDateTime,
    ) -> Result<LinkRecord, AddError> {
        let profile = self
            .profile(&name.model)
            .ok_or_else(|| AddError::NoModel(name.model.clone()))?;
        if profile.device.class != Class::Constrained {
            return Err(AddError::NotConstrained(name.model.clone()));
        }
        // Held to the end: two devices added at a time get two names.
        let mut names = lock(&self.link);
        if let Some(other) = names.keys.get(&key) {
            return Err(AddError::KeyInUse(other.clone()));
        }
        let kid = names.free().ok_or(AddError::NoNames)?;
        let link = LinkRecord {
            kid,
            key,
            credential: None,
        };
        self.insert(
            name,
            Stored::pending(name, now, None, Some(link.clone())),
            now,
        )?;
        names.put(&name.id, &link);
        drop(names);
        self.tell(
            now,
            Some(&name.id),
            Outcome::Changed,
            format!("{name} added, waits to enrol over the link"),
        );
        self.notify(&name.id);
        Ok(link)
    }

    /// The device with this short name.
    pub fn by_kid(&self, kid: Kid) -> Option<DeviceId> {
        lock(&self.link).kids.get(&kid).cloned()
    }

    /// The device with this key.
    pub fn by_link_key(&self, key: &[u8; 32]) -> Option<DeviceId> {
        lock(&self.link).keys.get(key).cloned()
    }

    /// The credential that a device enrolled with.
    pub fn credential(&self, id: &DeviceId) -> Option<Vec<u8>> {
        self.slot(id)?.now.load().link.as_ref()?.credential.clone()
    }

    /// The thumbprint of a device's key.
    pub(crate) fn link_key(&self, id: &DeviceId) -> Option<[u8; 32]> {
        Some(self.slot(id)?.now.load().link.as_ref()?.key)
    }

    /// Whether the device that had this short name, and a key with a thumbprint that begins so, may come in now.
    pub(crate) fn on_link(&self, kid: Kid, key: &[u8]) -> Result<Admission, Refusal> {
        let id = self.by_kid(kid).ok_or(Refusal::Unknown)?;
        let slot = self.slot(&id).ok_or(Refusal::Unknown)?;
        let known = slot.now.load().link.as_ref().map(|link| link.key);
        let known = known.filter(|known| known.starts_with(key));
        self.admit_link(&id, &known.ok_or(Refusal::UnknownKey)?)
    }

    /// Whether a constrained device that proved to hold the key `key` may come in now, and as what.
    pub fn admit_link(&self, id: &DeviceId, key: &[u8; 32]) -> Result<Admission, Refusal> {
        let slot = self.slot(id).ok_or(Refusal::Unknown)?;
        let stored = slot.now.load_full();
        if let State::Revoked { reason, since } = &stored.state {
            return Err(Refusal::Revoked {
                reason: reason.clone(),
                since: *since,
            });
        }
        if stored.link.as_ref().is_none_or(|link| link.key != *key) {
            return Err(Refusal::UnknownKey);
        }
        let profile = self
            .profile(&stored.model)
            .ok_or_else(|| Refusal::NoProfile(stored.model.clone()))?;
        Ok(Admission {
            name: stored.name(id),
            profile,
            quarantined: matches!(stored.state, State::Quarantined { .. }),
            // A label has no end; what ends the device is its operator.
            not_after: time::macros::datetime!(9999-12-31 23:59:59 UTC),
        })
    }

    /// A device proved for the first time that it holds the key of its label; from then on it is active. On disk before
    /// this returns, since it gives rights.
    pub fn enrol_link(
        &self,
        id: &DeviceId,
        key: &[u8; 32],
        credential: &[u8],
        now: OffsetDateTime,
    ) -> Result<(), ChangeError> {
        let mut first = false;
        self.change(id, Direction::Loosen, |stored| {
            not_revoked(id, stored)?;
            let link = stored.link.as_mut().filter(|link| link.key == *key);
            let link = link.ok_or_else(|| ChangeError::Unknown(id.clone()))?;
            first = link.credential.is_none();
            link.credential = Some(credential.to_vec());
            if stored.state == State::Pending {
                stored.state = State::Active;
            }
            Ok::<_, ChangeError>(())
        })?;
        if first {
            let how = "enrolled over the link: it holds the key of its label";
            self.tell(now, Some(id), Outcome::Admitted, how.to_owned());
        }
        Ok(())
    }

    /// Every constrained device, with its key.
    pub fn list_constrained(&self, now: OffsetDateTime) -> Vec<(DeviceRecord, LinkRecord)> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices
            .iter()
            .filter_map(|(id, slot)| {
                let record = slot.record(id, now);
                let link = record.link.clone()?;
                Some((record, link))
            })
            .collect()
    }
}
