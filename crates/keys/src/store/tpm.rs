//! A TPM 2.0: keys that exist nowhere else.
//!
//! Each slot is a primary key of the owner's hierarchy (TPM 2.0 part 3 §24.1), made anew by the TPM whenever this process
//! starts from its own seed and 32 random bytes of ours (`unique`, part 2 §12.2.4), which are kept in a private file. Without the
//! file nobody else on the TPM comes by the key; without the TPM the file is worth nothing.
//!
//! One more key signs nothing but what the TPM itself says: its registers (part 1 §24).

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use stockade_api::Blob;
use stockade_api::attest::{Credential, Endorsement, Quote};
use stockade_api::keys::Slot;
use stockade_host::tpm::{self, Command, Fields, Handle, Hierarchy, TpmError, Wire};
use zeroize::Zeroizing;

use super::file::Slots;
use super::{Point, Signature, Store, StoreError};

// Part 2 §6.3, §6.4: algorithms and the curve.
const ALG_AES: u16 = 0x0006;
const ALG_SHA256: u16 = 0x000b;
const ALG_NULL: u16 = 0x0010;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;
const NIST_P256: u16 = 0x0003;
/// Part 2 §8.3: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign.
const SIGNS: u32 = 0x0004_0472;
/// The same and restricted: it signs only what the TPM itself made.
const ATTESTS: u32 = 0x0005_0472;
/// fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
const ENDORSES: u32 = 0x0003_00b2;
/// TCG EK Credential Profile 2.5 §B.3.3: the password of the endorsement hierarchy.
const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// TCG EK Credential Profile 2.5 §2.2.1.4: the certificate of the endorsement key on P-256.
const ENDORSEMENT_CERTIFICATE: u32 = 0x01c0_000a;
const UNIQUE: usize = 32;
/// The file of the key that attests.
const ATTESTATION: &str = "attestation";
/// How often the registers may change between a quote and their reading.
const TRIES: usize = 3;

/// A TPM that is talked to directly or through the kernel's resource manager.
pub(super) struct Tpm {
    tpm: tpm::Tpm,
    slots: Slots,
    /// The keys in the TPM's memory: the content of the key's file, the handle, the public half.
    loaded: Vec<(Zeroizing<Vec<u8>>, Handle, Vec<u8>)>,
}

impl Tpm {
    /// Starts to talk to a TPM that was reached; what it needs for its keys is kept in `dir`.
    pub(super) fn open(wire: Wire, dir: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            slots: Slots::open(dir, "tpm")?,
            tpm: tpm::Tpm::start(wire)?,
            loaded: Vec::new(),
        })
    }

    /// A key in the TPM's memory: its handle and its `TPMT_PUBLIC`.
    fn load(
        &mut self,
        name: impl fmt::Display + Copy,
        attributes: u32,
    ) -> Result<Option<(Handle, Vec<u8>)>, StoreError> {
        let Some(unique) = self.slots.read(name)? else {
            return Ok(None);
        };
        if let Some((_, handle, public)) = self.loaded.iter().find(|(its, ..)| *its == unique) {
            return Ok(Some((*handle, public.clone())));
        }
        if unique.len() != UNIQUE {
            return Err(StoreError::Damaged(self.slots.path(name)));
        }
        // A TPM has room for three keys at least (part 1 §37.2), of which one is the endorsement key: what is not asked for makes
        // way.
        while self.loaded.len() >= 2 {
            self.forget_one()?;
        }
        let template = signing(attributes, &unique, &[]);
        let (handle, public) = self.tpm.create_primary(Hierarchy::Owner, &template)?;
        self.loaded.push((unique, handle, public.clone()));
        Ok(Some((handle, public)))
    }

    fn forget_one(&mut self) -> Result<(), StoreError> {
        let (_, handle, _) = self.loaded.remove(0);
        Ok(self.tpm.flush(handle)?)
    }

    /// The key that attests, made if there is none.
    fn attestation(&mut self) -> Result<(Handle, Vec<u8>), StoreError> {
        if self.slots.read(ATTESTATION)?.is_none() {
            self.slots.write(ATTESTATION, random()?.as_ref())?;
        }
        let key = self.load(ATTESTATION, ATTESTS)?;
        key.ok_or_else(|| StoreError::Damaged(self.slots.path(ATTESTATION)))
    }
}

impl From<TpmError> for StoreError {
    fn from(wrong: TpmError) -> Self {
        match wrong {
            TpmError::Io(error) => Self::File(error),
            other => Self::Failed(other.to_string()),
        }
    }
}

fn random() -> Result<Zeroizing<[u8; UNIQUE]>, StoreError> {
    let mut unique = Zeroizing::new([0; UNIQUE]);
    aws_lc_rs::rand::fill(unique.as_mut())
        .map_err(|_| StoreError::Failed("the system gives no randomness".to_owned()))?;
    Ok(unique)
}

/// `TPMT_PUBLIC` (part 2 §12.2.4) of a key that signs: ECDSA with SHA-256 on P-256.
fn signing(attributes: u32, x: &[u8], y: &[u8]) -> Vec<u8> {
    let mut public = Command::default();
    public.u16(ALG_ECC);
    public.u16(ALG_SHA256);
    public.u32(attributes);
    public.sized(&[]);
    // TPMS_ECC_PARMS: no encryption inside, no key derivation (part 2 §12.2.3.6).
    for number in [ALG_NULL, ALG_ECDSA, ALG_SHA256, NIST_P256, ALG_NULL] {
        public.u16(number);
    }
    // TPMS_ECC_POINT.
    public.sized(x);
    public.sized(y);
    public.into_bytes()
}

/// The template of every TPM's endorsement key on P-256 (TCG EK Credential Profile 2.5 §B.3.4, template L-2).
fn endorsement() -> Vec<u8> {
    let mut public = Command::default();
    public.u16(ALG_ECC);
    public.u16(ALG_SHA256);
    public.u32(ENDORSES);
    public.sized(&ENDORSEMENT_POLICY);
    for number in [ALG_AES, 128, ALG_CFB, ALG_NULL, NIST_P256, ALG_NULL] {
        public.u16(number);
    }
    public.sized(&[0; 32]);
    public.sized(&[0; 32]);
    public.into_bytes()
}

/// The point of a key that signs; none if the TPM made another key than it was asked for.
fn point(public: &[u8], attributes: u32) -> Option<Point> {
    let empty = signing(attributes, &[], &[]);
    let (head, _lengths) = empty.split_at_checked(empty.len().checked_sub(4)?)?;
    let mut fields = Fields(public.strip_prefix(head)?);
    let (x, y) = (fields.number()?, fields.number()?);
    let mut point = [4; 65];
    point.get_mut(1..33)?.copy_from_slice(&x);
    point.get_mut(33..)?.copy_from_slice(&y);
    Some(point)
}

impl Store for Tpm {
    fn public(&mut self, slot: Slot) -> Result<Option<Point>, StoreError> {
        let Some((_, public)) = self.load(slot, SIGNS)? else {
            return Ok(None);
        };
        Ok(Some(point(&public, SIGNS).ok_or(TpmError::Answer)?))
    }

    fn make(&mut self, slot: Slot) -> Result<(), StoreError> {
        self.slots.write(slot, random()?.as_ref())
    }

    fn sign(&mut self, slot: Slot, message: &[u8]) -> Result<Signature, StoreError> {
        let (handle, _) = self.load(slot, SIGNS)?.ok_or(StoreError::Empty(slot))?;
        let digest = digest(&SHA256, message);
        Ok(self.tpm.sign(handle, digest.as_ref())?)
    }

    fn promote(&mut self) -> Result<(), StoreError> {
        self.slots.promote()
    }

    fn destroy(&mut self, slot: Slot) -> Result<(), StoreError> {
        self.slots.remove(slot)
    }

    fn erase_all(&mut self) -> Result<(), StoreError> {
        // The files first: without them nobody makes the keys again, whatever the TPM still does.
        let mut erased = Vec::from(Slot::ALL.map(|slot| self.destroy(slot)));
        erased.push(self.slots.remove(ATTESTATION));
        while !self.loaded.is_empty() {
            erased.push(self.forget_one());
        }
        erased.into_iter().collect()
    }

    fn endorsement(&mut self) -> Result<Endorsement, StoreError> {
        let (_, attestation) = self.attestation()?;
        let (handle, public) = self
            .tpm
            .create_primary(Hierarchy::Endorsement, &endorsement())?;
        self.tpm.flush(handle)?;
        let certificate = self.tpm.nv_read(ENDORSEMENT_CERTIFICATE)?;
        Ok(Endorsement {
            endorsement: Blob(public),
            certificate: certificate.map(Blob),
            attestation: Blob(attestation),
        })
    }

    fn activate(&mut self, credential: &Credential) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let (key, _) = self.attestation()?;
        let (endorsement, _) = self
            .tpm
            .create_primary(Hierarchy::Endorsement, &endorsement())?;
        let (object, secret) = (&credential.object.0, &credential.secret.0);
        let opened = self.tpm.activate(key, endorsement, object, secret);
        self.tpm.flush(endorsement)?;
        Ok(opened?)
    }

    fn quote(&mut self, challenge: &[u8; 32], registers: &[u8]) -> Result<Quote, StoreError> {
        let (key, _) = self.attestation()?;
        for _try in 0..TRIES {
            let before = self.tpm.registers(registers)?;
            let (attest, signature) = self.tpm.quote(key, challenge, registers)?;
            if self.tpm.registers(registers)? != before {
                continue;
            }
            let values = before.into_iter();
            return Ok(Quote {
                attest: Blob(attest),
                signature: Blob(signature.to_vec()),
                registers: values
                    .map(|(at, value)| (at, Blob(value.to_vec())))
                    .collect(),
            });
        }
        Err(StoreError::Failed(
            "the TPM's registers do not stand still".to_owned(),
        ))
    }
}
