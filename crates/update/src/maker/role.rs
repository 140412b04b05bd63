//! The metadata of a role: JSON, of which a part is signed in its canonical form (TUF §4).

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tough::schema;

use super::{Key, MakerError};
use crate::target::{self, System};

/// The version of the specification that metadata follow.
pub(super) const SPECIFICATION: &str = "1.0.31";

/// A role of TUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Says whose signatures count.
    Root,
    /// Says what there is.
    Targets,
    /// Says which targets are the present ones.
    Snapshot,
    /// Says that this is the newest.
    Timestamp,
}

impl Role {
    pub(super) const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// As metadata say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    /// The keys that stay beside the repository.
    pub(super) const fn is_online(self) -> bool {
        matches!(self, Self::Snapshot | Self::Timestamp)
    }

    /// The file of a version, in a consistent snapshot (TUF §6.2).
    pub(super) fn file(self, version: u64) -> String {
        match self {
            Self::Timestamp => "timestamp.json".to_owned(),
            role => format!("{version}.{role}.json"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The version that a file of a role has.
pub(super) fn version_of(role: Role, file: &str) -> Option<u64> {
    match role {
        Role::Timestamp => (file == "timestamp.json").then_some(0),
        role => file.strip_suffix(&format!(".{role}.json"))?.parse().ok(),
    }
}

/// A role's metadata.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) role: Role,
    signed: Value,
    /// Signatures by the ids of keys.
    signatures: BTreeMap<String, String>,
}

impl Document {
    pub(super) const fn new(role: Role, signed: Value) -> Self {
        Self {
            role,
            signed,
            signatures: BTreeMap::new(),
        }
    }

    /// Reads a document; that it is one of this role, not that it is signed.
    pub(super) fn read(role: Role, bytes: &[u8]) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct Read {
            signed: Value,
            signatures: Vec<Signature>,
        }
        #[derive(serde::Deserialize)]
        struct Signature {
            keyid: String,
            sig: String,
        }
        let read: Read = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
        let document = Self {
            role,
            signed: read.signed,
            signatures: read
                .signatures
                .into_iter()
                .map(|it| (it.keyid, it.sig))
                .collect(),
        };
        document.canonical().map(|_| document)
    }

    /// As it is written.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let signatures = self
            .signatures
            .iter()
            .map(|(id, sig)| json!({ "keyid": id, "sig": sig }));
        let whole = json!({ "signed": self.signed, "signatures": signatures.collect::<Vec<_>>() });
        // Text, numbers, lists and maps of text: they can always be written.
        serde_json::to_vec_pretty(&whole).unwrap_or_default()
    }

    /// What is signed, and that it is a role's metadata.
    fn canonical(&self) -> Result<Vec<u8>, String> {
        fn of<T: schema::Role + DeserializeOwned>(
            role: Role,
            value: &Value,
        ) -> Result<Vec<u8>, String> {
            if value["_type"] != role.as_str() {
                return Err(format!("it is not of the role {role}"));
            }
            let read: T = serde_json::from_value(value.clone()).map_err(|why| why.to_string())?;
            read.canonical_form().map_err(|why| why.to_string())
        }
        match self.role {
            Role::Root => of::<schema::Root>(self.role, &self.signed),
            Role::Targets => of::<schema::Targets>(self.role, &self.signed),
            Role::Snapshot => of::<schema::Snapshot>(self.role, &self.signed),
            Role::Timestamp => of::<schema::Timestamp>(self.role, &self.signed),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.signed["version"].as_u64().unwrap_or_default()
    }

    pub(super) fn expires(&self) -> String {
        self.signed["expires"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Changes what is signed: signatures of before are void.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.signed);
        self.signatures.clear();
    }

    pub(super) fn sign(&mut self, key: &Key) -> Result<(), MakerError> {
        let canonical = self.canonical().map_err(MakerError::Asked)?;
        self.signatures.insert(key.id.clone(), key.sign(&canonical));
        Ok(())
    }

    /// The ids of those of these keys that signed rightly.
    pub(super) fn signers(
        &self,
        keys: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Vec<String>, MakerError> {
        let canonical = self.canonical().map_err(MakerError::Asked)?;
        let right = |(id, signature): &(&String, &String)| {
            let (Some(key), Some(signature)) = (keys.get(*id), unhex(signature)) else {
                return false;
            };
            UnparsedPublicKey::new(&ED25519, key)
                .verify(&canonical, &signature)
                .is_ok()
        };
        Ok(self
            .signatures
            .iter()
            .filter(right)
            .map(|(id, _)| id.clone())
            .collect())
    }

    /// Of a root of trust: the ids of a role's keys, and how many of them have to sign.
    pub(super) fn authority(&self, role: Role) -> (Vec<String>, usize) {
        let of = &self.signed["roles"][role.as_str()];
        let ids = of["keyids"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter();
        let ids = ids
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect();
        let needs = of["threshold"]
            .as_u64()
            .and_then(|it| usize::try_from(it).ok());
        (ids, needs.unwrap_or(usize::MAX))
    }

    /// Of a root of trust: the Ed25519 keys in it.
    pub(super) fn keys(&self) -> BTreeMap<String, Vec<u8>> {
        let keys = self.signed["keys"].as_object().into_iter().flatten();
        let read = keys
            .filter(|(_, key)| key["keytype"] == "ed25519")
            .filter_map(|(id, key)| Some((id.clone(), unhex(key["keyval"]["public"].as_str()?)?)));
        read.collect()
    }

    /// Of targets: the systems, with their files in the repository.
    pub(super) fn systems(&self) -> impl Iterator<Item = (String, System)> {
        let targets = self.signed["targets"].as_object().into_iter().flatten();
        targets.filter_map(|(name, about)| {
            let system = serde_json::from_value(about["custom"][target::CUSTOM].clone()).ok()?;
            let hash = about["hashes"]["sha256"].as_str()?;
            Some((format!("{hash}.{name}"), system))
        })
    }
}

/// Makes a key one of a role.
pub(super) fn admit(root: &mut Value, role: Role, key: &Key) {
    root["keys"][&key.id] = key.public();
    if let Some(ids) = root["roles"][role.as_str()]["keyids"].as_array_mut() {
        ids.push(json!(key.id));
    }
}

/// These keys are no longer a role's; those of no role any more go wholly.
pub(super) fn expel(root: &mut Value, role: Role, gone: &[String]) {
    let is_gone = |id: &Value| gone.iter().any(|it| *id == json!(it));
    if let Some(ids) = root["roles"][role.as_str()]["keyids"].as_array_mut() {
        ids.retain(|id| !is_gone(id));
    }
    let used = root["roles"].to_string();
    if let Some(keys) = root["keys"].as_object_mut() {
        keys.retain(|id, _| used.contains(id.as_str()));
    }
}

/// A date as metadata have it (TUF §4.2.1).
pub(super) fn date(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

pub(super) use base16ct::lower::encode_string as hex;

fn unhex(text: &str) -> Option<Vec<u8>> {
    base16ct::mixed::decode_vec(text).ok()
}
