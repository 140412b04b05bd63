//! Attestation: what a device's TPM says of how it started, and how the gateway comes to believe the TPM.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::Blob;

/// The longest event log that is sent, in bytes. With it evidence stays below
/// [`MOST_EVIDENCE`](crate::signed::MOST_EVIDENCE).
pub const MOST_LOG: usize = 128 * 1024;

/// What the TPM says of how the device started; in evidence that answers a nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Attestation {
    /// The TPM signed its registers.
    Quoted(Box<Quoted>),
    /// There is none: why, as half a sentence.
    Missing(String),
}

/// Registers, signed by the TPM, and the log that explains them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Quoted {
    /// What the TPM signed.
    pub quote: Quote,
    /// The firmware's event log, as the kernel gives it; empty if there is none.
    pub log: Blob,
}

/// A `TPMS_ATTEST` of registers, with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Quote {
    /// The `TPMS_ATTEST` (TPM 2.0 part 2 §10.12.12).
    pub attest: Blob,
    /// ECDSA on P-256 with SHA-256: r and s, 32 bytes each.
    pub signature: Blob,
    /// The registers' values in the SHA-256 bank. The signature is over their digest.
    pub registers: BTreeMap<u8, Blob>,
}

/// What a quote must have in it to answer this nonce for this device.
pub fn challenge(nonce: &str, device: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in ["stockade-attestation-v1", nonce, device] {
        context.update(part.as_bytes());
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

/// The public halves of a TPM's own keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Endorsement {
    /// The `TPMT_PUBLIC` of the endorsement key.
    pub endorsement: Blob,
    /// Its certificate in DER, if the TPM's maker left one in it.
    pub certificate: Option<Blob>,
    /// The `TPMT_PUBLIC` of the key that signs quotes.
    pub attestation: Blob,
}

/// What a device asks of the gateway to have its TPM believed (`POST /.well-known/stockade/attest`, with its certificate).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Introduction {
    /// These are the keys.
    Keys(Endorsement),
    /// This was in the credential.
    Secret(Blob),
}

/// What the gateway answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Welcome {
    /// Only a TPM that has both keys can open this (TPM 2.0 part 1 §24).
    Credential(Credential),
    /// The key is the device's, now or for long.
    Known,
}

/// A secret for a TPM's key (TPM 2.0 part 3 §12.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Credential {
    /// The `TPM2B_ID_OBJECT`'s content.
    pub object: Blob,
    /// The `TPM2B_ENCRYPTED_SECRET`'s content.
    pub secret: Blob,
}
