//! Devices that have a certificate (RFC 9528, section 3.5.3; RFC 9360): the one they have for TLS, judged by the same code.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use stockade_link::cbor::Reader;
use stockade_link::credential::IdCred;
use stockade_link::edhoc::EdhocError;

use super::handshake::Failed;
use crate::broker::Now;
use crate::name::DeviceId;
use crate::registry::Kid;
use crate::tls::{DeviceVerifier, Leaf};

/// What a device showed.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// Its credential, as EDHOC encodes it.
    pub(super) credential: Vec<u8>,
    /// What was read in it, if it is a certificate.
    pub(super) leaf: Option<Leaf>,
}

impl Shown {
    pub(super) const fn by_key(credential: Vec<u8>) -> Self {
        Self {
            credential,
            leaf: None,
        }
    }
}

/// The certificates that let devices in since the gateway started, one for each device: the registry keeps their hashes, and a
/// handshake by a hash takes the whole.
#[derive(Debug)]
pub(super) struct Certified {
    devices: Option<Arc<DeviceVerifier>>,
    kids: BTreeMap<DeviceId, Kid>,
    shown: BTreeMap<Kid, Shown>,
}

impl Certified {
    pub(super) const fn new(devices: Option<Arc<DeviceVerifier>>) -> Self {
        Self {
            devices,
            kids: BTreeMap::new(),
            shown: BTreeMap::new(),
        }
    }

    /// A chain, the device's own certificate first. That the peer holds its key is not proven by it, nor that the registry wants it.
    pub(super) fn judge(&self, chain: &IdCred<'_>, now: Now) -> Result<Shown, Failed> {
        let verifier = self.devices.as_ref().ok_or(EdhocError::UnknownCredential)?;
        let read = |item| Reader::new(item).bytes().map(CertificateDer::from);
        let certificates: Vec<_> = (chain.certificates().map(read))
            .collect::<Result<_, _>>()
            .map_err(EdhocError::from)?;
        let now = Duration::from_millis(u64::try_from(now.unix).unwrap_or_default());
        let leaf = verifier.judge(&certificates, UnixTime::since_unix_epoch(now));
        let leaf = leaf.map_err(|refused| Failed::unwanted(&refused.why, refused.claims))?;
        let credential = chain.certificates().next().unwrap_or_default();
        Ok(Shown {
            credential: credential.to_vec(),
            leaf: Some(leaf),
        })
    }

    /// The certificate with a hash that let its device in before. They are as many as devices, and handshakes are rare: all are
    /// looked at.
    pub(super) fn recall(&self, algorithm: i64, hash: &[u8]) -> Result<Shown, Failed> {
        // SHA-256, or its first 8 bytes (RFC 9054, section 3.1).
        let whole = matches!((algorithm, hash.len()), (-15, 8) | (-16, 32));
        let is_it = |shown: &&Shown| {
            let leaf = shown.leaf.as_ref();
            whole && leaf.is_some_and(|leaf| leaf.fingerprint.starts_with(hash))
        };
        self.shown.values().find(is_it).cloned().ok_or_else(|| {
            Failed::unwanted(
                &"shows the hash of a certificate that the gateway has not had whole since it started",
                None,
            )
        })
    }

    /// Keeps what let a device in; gives what its sessions are known by.
    pub(super) fn keep(&mut self, id: DeviceId, shown: Shown) -> Option<Kid> {
        let next = Kid::nameless(self.kids.len())?;
        let kid = *self.kids.entry(id).or_insert(next);
        self.shown.insert(kid, shown);
        Some(kid)
    }

    /// What the sessions of a device are known by.
    pub(super) fn kid(&self, id: &DeviceId) -> Option<Kid> {
        self.kids.get(id).copied()
    }

    /// The certificate of who is known so.
    pub(super) fn by_kid(&self, kid: Kid) -> Option<&Leaf> {
        self.shown.get(&kid)?.leaf.as_ref()
    }
}
