//! Quotes: what a TPM signs of its registers (TPM 2.0 library specification part 2), and the keys that sign them.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use crate::bytes::Bytes;
use crate::digest::Algorithm;

// Part 2 §6.3: algorithms; §6.4: curves.
pub(crate) const RSA: u16 = 0x0001;
pub(crate) const SHA256: u16 = 0x000b;
pub(crate) const NULL: u16 = 0x0010;
const ECDSA: u16 = 0x0018;
pub(crate) const ECC: u16 = 0x0023;
const P256: u16 = 0x0003;

/// Part 2 §6.2: what only a TPM writes before what it signs by a restricted key.
const GENERATED: u32 = 0xff54_4347;
/// Part 2 §6.9, `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;
/// The longest public area or quote that is read.
const LONGEST: usize = 4096;

/// Why a quote proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// It is no quote, or not one that is read here.
    #[error("it is not a quote of a TPM 2.0 over its SHA-256 registers")]
    Malformed,
    /// It is not signed by this key.
    #[error("it is not signed by the device's attestation key")]
    Signature,
    /// It answers something else.
    #[error("it answers another challenge")]
    Challenge,
    /// The registers told are not those that were signed.
    #[error("the registers are not those that the TPM signed")]
    Registers,
}

/// A quote whose signature and challenge were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Quoted {
    /// The registers that were signed, all of the SHA-256 bank.
    pub pcrs: Vec<u8>,
    /// The digest of their values.
    digest: Vec<u8>,
    /// Milliseconds that the TPM ran since it was cleared last.
    pub clock: u64,
    /// How often it was started since.
    pub reset_count: u32,
    /// How often it was suspended since the last start.
    pub restart_count: u32,
    /// The version of the TPM's firmware, as its maker counts.
    pub firmware: u64,
}

impl Quoted {
    /// The registers' values as the device tells them, if they are those that were signed: each register, and no other.
    pub fn values(
        &self,
        told: &BTreeMap<u8, [u8; 32]>,
    ) -> Result<BTreeMap<u8, [u8; 32]>, QuoteError> {
        let picked = self
            .pcrs
            .iter()
            .map(|pcr| Some((*pcr, *told.get(pcr)?)))
            .collect::<Option<BTreeMap<_, _>>>()
            .ok_or(QuoteError::Registers)?;
        let joined: Vec<u8> = picked.values().flatten().copied().collect();
        if Algorithm::Sha256.digest(&joined) == self.digest {
            Ok(picked)
        } else {
            Err(QuoteError::Registers)
        }
    }
}

/// Checks a quote (`TPMS_ATTEST`): signed by this key (r and s, 32 bytes each), over this challenge.
pub fn verify(
    attest: &[u8],
    signature: &[u8; 64],
    key: &AttestationKey,
    challenge: &[u8],
) -> Result<Quoted, QuoteError> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.point)
        .verify(attest, signature)
        .map_err(|_| QuoteError::Signature)?;
    let (said, quoted) = parse(attest).ok_or(QuoteError::Malformed)?;
    if said == challenge {
        Ok(quoted)
    } else {
        Err(QuoteError::Challenge)
    }
}

/// Part 2 §10.12.12 `TPMS_ATTEST`: the challenge and what is signed.
pub(crate) fn parse(attest: &[u8]) -> Option<(&[u8], Quoted)> {
    if attest.len() > LONGEST {
        return None;
    }
    let mut bytes = Bytes::of(attest);
    if (bytes.be32()?, bytes.be16()?) != (GENERATED, QUOTE) {
        return None;
    }
    let _signer = bytes.sized()?;
    let challenge = bytes.sized()?;
    // §10.11.1 TPMS_CLOCK_INFO; whether the clock can be relied on is not asked.
    let (clock, reset_count, restart_count, _safe) =
        (bytes.be64()?, bytes.be32()?, bytes.be32()?, bytes.u8()?);
    let firmware = bytes.be64()?;
    // §10.12.1 TPMS_QUOTE_INFO: of one bank.
    if (bytes.be32()?, bytes.be16()?) != (1, SHA256) {
        return None;
    }
    let length = bytes.u8()?;
    let bits = bytes.take(length.into()).filter(|it| it.len() <= 4)?;
    let digest = bytes.sized()?.to_vec();
    if !bytes.rest().is_empty() {
        return None;
    }
    let selected = |pcr: &u8| {
        let byte = bits.get(usize::from(pcr >> 3_u8));
        let bit = 1_u8.checked_shl(u32::from(pcr & 7)).unwrap_or_default();
        byte.is_some_and(|byte| byte & bit != 0)
    };
    let quoted = Quoted {
        pcrs: (0..32).filter(selected).collect(),
        digest,
        clock,
        reset_count,
        restart_count,
        firmware,
    };
    Some((challenge, quoted))
}

/// A key that signs nothing but what its TPM says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    /// Its point on P-256, uncompressed.
    pub point: [u8; 65],
    /// Its name (part 1 §16): what a credential for it is bound to.
    pub name: Vec<u8>,
}

/// Why a key can not attest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no public area, or not one of a key that is known here.
    #[error("it is not the public area of a key on P-256 of a TPM 2.0")]
    Malformed,
    /// It could sign what its TPM did not write, or leave its TPM.
    #[error("it is not a key that attests: restricted, signing, made by its TPM and bound to it")]
    Attributes,
}

// Part 2 §8.3: attributes of an object.
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
pub(crate) const RESTRICTED: u32 = 1 << 16;
pub(crate) const DECRYPT: u32 = 1 << 17;
pub(crate) const SIGN: u32 = 1 << 18;
/// Made by the TPM, and never outside it.
pub(crate) const BOUND: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN;

/// The head of a public area (part 2 §12.2.4 `TPMT_PUBLIC`).
pub(crate) struct Public<'a> {
    pub(crate) kind: u16,
    pub(crate) attributes: u32,
    pub(crate) bytes: Bytes<'a>,
}

/// Reads the head of a public area whose name is made by SHA-256.
pub(crate) fn public(area: &[u8]) -> Option<Public<'_>> {
    if area.len() > LONGEST {
        return None;
    }
    let mut bytes = Bytes::of(area);
    let (kind, name) = (bytes.be16()?, bytes.be16()?);
    let attributes = bytes.be32()?;
    let _policy = bytes.sized()?;
    (name == SHA256).then_some(Public {
        kind,
        attributes,
        bytes,
    })
}

/// The end of a public area on P-256 (part 2 §12.2.3.6, §11.2.5): curve, no way to make keys from others, the point.
pub(crate) fn point(bytes: &mut Bytes<'_>) -> Option<[u8; 65]> {
    if (bytes.be16()?, bytes.be16()?) != (P256, NULL) {
        return None;
    }
    let mut point = [0; 65];
    let (head, coordinates) = point.split_first_mut()?;
    *head = 4;
    for half in coordinates.chunks_exact_mut(32) {
        let number = bytes.sized()?;
        // Leading zeros may have been left out.
        let skipped = half.len().checked_sub(number.len())?;
        half.get_mut(skipped..)?.copy_from_slice(number);
    }
    bytes.rest().is_empty().then_some(point)
}

/// A public area's name (part 1 §16): the digest's number and the digest.
pub fn name(area: &[u8]) -> Vec<u8> {
    let mut name = SHA256.to_be_bytes().to_vec();
    name.extend(Algorithm::Sha256.digest(area));
    name
}

/// A key that attests, from its public area (`TPMT_PUBLIC`): its attributes are checked.
pub fn ak_public(area: &[u8]) -> Result<AttestationKey, KeyError> {
    let mut public = public(area).ok_or(KeyError::Malformed)?;
    let (point, scheme) = signing(&mut public).ok_or(KeyError::Malformed)?;
    let asked = BOUND | RESTRICTED | SIGN;
    if public.attributes & (asked | DECRYPT) != asked || scheme != (ECDSA, SHA256) {
        return Err(KeyError::Attributes);
    }
    Ok(AttestationKey {
        point,
        name: name(area),
    })
}

/// Part 2 §12.2.3.6 of a key that does not encrypt: its point and its scheme.
fn signing(public: &mut Public<'_>) -> Option<([u8; 65], (u16, u16))> {
    let bytes = &mut public.bytes;
    if (public.kind, bytes.be16()?) != (ECC, NULL) {
        return None;
    }
    let scheme = (bytes.be16()?, bytes.be16()?);
    Some((point(bytes)?, scheme))
}
