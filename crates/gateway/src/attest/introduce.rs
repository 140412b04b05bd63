//! How a device's TPM comes to be believed: it opens what only a TPM with both keys can open (TPM 2.0 part 1 §24).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use stockade_api::Blob;
use stockade_api::attest::{Credential, Endorsement, Introduction, Welcome};
use stockade_attest::credential::{self, CredentialError};
use stockade_attest::quote::{KeyError, ak_public};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::{AttestError, Attester, Key, Roots, RootsError, Standing, WINDOW, lock};
use crate::name::DeviceId;

/// How long a TPM may need to open a credential.
const PATIENCE: Duration = Duration::minutes(2);

/// A secret that a TPM has yet to give back.
pub(super) struct Pending {
    secret: Zeroizing<[u8; 32]>,
    public: Blob,
    certified: bool,
    until: OffsetDateTime,
}

/// Why a TPM is not believed.
#[derive(Debug, thiserror::Error)]
pub enum IntroduceError {
    /// It is not the time for it.
    #[error(
        "a TPM is made known within a day of the enrolment: `stockade attest reset` opens that anew"
    )]
    Closed,
    /// There is one already.
    #[error("another TPM's key is known for this device: `stockade attest reset` forgets it")]
    Another,
    /// The key is not one that attests.
    #[error("the attestation key is not taken")]
    Key(#[from] KeyError),
    /// The endorsement key is none that is known.
    #[error("the endorsement key is not taken")]
    Endorsement(#[from] CredentialError),
    /// The certificate of the endorsement key.
    #[error("the endorsement key is not certified")]
    Roots(#[from] RootsError),
    /// Nothing was asked, or too long ago.
    #[error("no credential waits for an answer")]
    NotAsked,
    /// The secret is another.
    #[error("that was not in the credential")]
    Wrong,
    /// No random numbers.
    #[error("the system gives no randomness")]
    Randomness,
    /// It can not be kept.
    #[error("the key can not be kept")]
    Keep(#[from] AttestError),
}

impl Attester {
    /// One step of a device making its TPM known. Blocks.
    pub fn introduce(
        &self,
        id: &DeviceId,
        said: Introduction,
        roots: &Roots,
        now: OffsetDateTime,
    ) -> Result<Welcome, IntroduceError> {
        match said {
            Introduction::Keys(keys) => self.challenge(id, keys, roots, now),
            Introduction::Secret(secret) => self.believe(id, &secret.0, now),
        }
    }

    fn challenge(
        &self,
        id: &DeviceId,
        keys: Endorsement,
        roots: &Roots,
        now: OffsetDateTime,
    ) -> Result<Welcome, IntroduceError> {
        match self.key(id) {
            Some(Key {
                stands: Standing::Known { public, .. },
                ..
            }) => {
                return if public == keys.attestation {
                    Ok(Welcome::Known)
                } else {
                    Err(IntroduceError::Another)
                };
            }
            Some(awaited) if now - awaited.since < WINDOW => {}
            _ => return Err(IntroduceError::Closed),
        }
        let key = ak_public(&keys.attestation.0)?;
        let certificate = keys.certificate.as_ref().map(|it| it.0.as_slice());
        let certified = roots.check(certificate, &keys.endorsement.0, now)?;
        let (mut secret, mut random) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        for fresh in [&mut secret, &mut random] {
            let filled = SystemRandom::new().fill(fresh.as_mut());
            filled.map_err(|_| IntroduceError::Randomness)?;
        }
        let made = credential::make(&keys.endorsement.0, &key.name, secret.as_ref(), &random)?;
        let pending = Pending {
            secret,
            public: keys.attestation,
            certified,
            until: now + PATIENCE,
        };
        lock(&self.pending).insert(id.clone(), pending);
        Ok(Welcome::Credential(Credential {
            object: Blob(made.id_object),
            secret: Blob(made.encrypted_secret),
        }))
    }

    fn believe(
        &self,
        id: &DeviceId,
        secret: &[u8],
        now: OffsetDateTime,
    ) -> Result<Welcome, IntroduceError> {
        // Taken whatever it is: a secret is guessed at once only.
        let pending = lock(&self.pending).remove(id);
        let pending = pending.filter(|it| now < it.until);
        let pending = pending.ok_or(IntroduceError::NotAsked)?;
        verify_slices_are_equal(pending.secret.as_ref(), secret)
            .map_err(|_| IntroduceError::Wrong)?;
        let known = Standing::Known {
            public: pending.public,
            certified: pending.certified,
        };
        self.put_key(id, known, now)?;
        Ok(Welcome::Known)
    }
}
