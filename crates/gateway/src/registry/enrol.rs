//! How a device comes by a certificate: with a code the first time, with its certificate from then on.

use std::net::IpAddr;

use stockade_store::StoreError;
use time::{Duration, OffsetDateTime};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::codes::CodeHash;
use super::decide::not_revoked;
use super::record::StoredCode;
use super::{
    CertificateRecord, ChangeError, Direction, Outcome, Refusal, Registry, State, recognise,
};
use crate::name::{DeviceId, DeviceName};
use crate::tls::{Fingerprint, Leaf};

/// A certificate, just made by the CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub der: Vec<u8>,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// Until when it is valid.
    pub not_after: OffsetDateTime,
}

/// A code that was right when it was looked at; issuing looks again.
#[must_use = "a right code is of use only with a request"]
#[derive(Debug)]
pub struct CodeProof {
    id: DeviceId,
    hash: [u8; 32],
}

impl CodeProof {
    /// The device it is for.
    pub const fn device(&self) -> &DeviceId {
        &self.id
    }
}

/// A code that gets nobody in. The peer is told nothing of which it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeRefused {
    /// Too many wrong ones; those that come before the wait is over are not even looked at.
    #[error("too many wrong enrolment codes: it must wait {} s", .wait.whole_seconds())]
    TooMany {
        /// How long to wait.
        wait: Duration,
        /// Whether they came from this source, and not from others to this device.
        own: bool,
    },
    /// No such device.
    #[error("asked to enrol as a device that is not in the registry")]
    UnknownDevice,
    /// The device has no code.
    #[error("asked to enrol, but has no enrolment code waiting")]
    NoCode,
    /// Not its code.
    #[error("showed a wrong enrolment code")]
    Wrong,
    /// Too late.
    #[error("showed an enrolment code that expired on {}", crate::tls::moment(*.0))]
    Expired(OffsetDateTime),
    /// Revoked devices do not enrol.
    #[error("asked to enrol, but is revoked")]
    Revoked,
}

/// No certificate was given out.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The code was used or replaced in the meantime, or was used before with another key.
    #[error("showed an enrolment code that was used before, with another key")]
    CodeUsed,
    /// The certificate shown gets no new one.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The certificate shown expired, and there is no way back for it.
    #[error(transparent)]
    Return(#[from] ReturnRefused),
    /// The CA made none.
    #[error("the CA issued no certificate")]
    Issue(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The registry refused.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl From<StoreError> for EnrolError {
    fn from(error: StoreError) -> Self {
        Self::Change(error.into())
    }
}

/// An expired certificate with which a device may not come back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReturnRefused {
    /// The device or certificate is not wanted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Outside the operator's window.
    #[error(
        "its certificate expired {days} days ago, and the way back is open for {window} days: give it a new code"
    )]
    TooLate {
        /// How long ago.
        days: i64,
        /// How long the way back is open.
        window: i64,
    },
}

/// What [`Registry::reenrol`] needs to know of the certificate shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The device it names.
    pub name: DeviceName,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// Until when it is valid.
    pub not_after: OffsetDateTime,
}

type Issue<'a> =
    dyn FnOnce(&DeviceName) -> Result<Issued, Box<dyn std::error::Error + Send + Sync>> + 'a;

impl Registry {
    /// Looks at an enrolment code. Wrong ones are counted, and too many are not looked at for a while.
    pub fn check_code(
        &self,
        device: &str,
        code: &str,
        source: IpAddr,
        now: OffsetDateTime,
    ) -> Result<CodeProof, CodeRefused> {
        let id = DeviceId::new(device)
            .ok()
            .filter(|id| self.slot(id).is_some());
        if let Some(wait) = self.guesses.source_wait(source, now) {
            return Err(CodeRefused::TooMany { wait, own: true });
        }
        if let Some(wait) = id.as_ref().and_then(|id| self.guesses.device_wait(id, now)) {
            return Err(CodeRefused::TooMany { wait, own: false });
        }
        let checked = self.compare_code(id.as_ref(), device, code, now);
        if checked.is_err() {
            self.guesses.wrong(source, id.as_ref(), now);
        }
        checked
    }

    fn compare_code(
        &self,
        id: Option<&DeviceId>,
        device: &str,
        code: &str,
        now: OffsetDateTime,
    ) -> Result<CodeProof, CodeRefused> {
        let shown = CodeHash::of(device, code);
        let slot = id.and_then(|id| self.slot(id));
        let stored = slot.as_ref().map(|slot| slot.now.load_full());
        let waiting = stored.as_ref().and_then(|stored| stored.code.clone());
        // The same work whether there is such a device or not.
        let nothing = StoredCode {
            hash: [0; 32],
            expires: OffsetDateTime::UNIX_EPOCH,
            key: None,
        };
        let right = shown.is(&waiting.as_ref().unwrap_or(&nothing).hash);
        let (Some(id), Some(stored)) = (id, stored) else {
            return Err(CodeRefused::UnknownDevice);
        };
        if matches!(stored.state, State::Revoked { .. }) {
            return Err(CodeRefused::Revoked);
        }
        let Some(waiting) = waiting else {
            return Err(CodeRefused::NoCode);
        };
        if !right {
            return Err(CodeRefused::Wrong);
        }
        if waiting.expires <= now {
            return Err(CodeRefused::Expired(waiting.expires));
        }
        Ok(CodeProof {
            id: id.clone(),
            hash: waiting.hash,
        })
    }

    /// Spends a code on a certificate for the public key whose SHA-256 is `key`.
    ///
    /// From then on the code is good for this key only: a device that lost the answer gets the same certificate again.
    /// Its first use spends the code for good.
    pub fn enrol(
        &self,
        proof: CodeProof,
        key: [u8; 32],
        now: OffsetDateTime,
        issue: Box<Issue<'_>>,
    ) -> Result<Issued, EnrolError> {
        let CodeProof { id, hash } = proof;
        let (issued, how) = self.change(&id, Direction::Loosen, |stored| {
            not_revoked(&id, stored)?;
            let name = stored.name(&id);
            let code = stored
                .code
                .as_mut()
                .filter(|code| code.hash == hash && code.expires > now);
            let code = code.ok_or(EnrolError::CodeUsed)?;
            match code.key {
                Some(bound) if bound != key => return Err(EnrolError::CodeUsed),
                Some(_) => {
                    if let Some(issued) =
                        stored.next.as_ref().and_then(|next| next.again(&key, now))
                    {
                        return Ok((issued, "enrolled: the same certificate again"));
                    }
                }
                None => code.key = Some(key),
            }
            let issued = issue(&name).map_err(EnrolError::Issue)?;
            stored.next = Some(CertificateRecord::fresh(&issued, key, now));
            if stored.state == State::Pending {
                stored.state = State::Active;
            }
            let how = if stored.current.is_some() {
                "enrolled anew with another code"
            } else {
                "enrolled: first certificate"
            };
            Ok((issued, how))
        })?;
        self.tell(now, Some(&id), Outcome::Admitted, how.to_owned());
        Ok(issued)
    }

    /// Whether a device may use this expired certificate to get a new one.
    pub fn may_return(&self, leaf: &Leaf, now: OffsetDateTime) -> Result<(), ReturnRefused> {
        let slot = self.slot(&leaf.name.id).ok_or(Refusal::Unknown)?;
        recognise(&slot.now.load(), &leaf.name, &leaf.fingerprint)?;
        self.within_window(leaf.not_after, now)
    }

    pub(super) fn within_window(
        &self,
        not_after: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), ReturnRefused> {
        let ago = now - not_after;
        let window = self.settings.return_window;
        if ago > window || (window <= Duration::ZERO && ago > Duration::ZERO) {
            return Err(ReturnRefused::TooLate {
                days: ago.whole_days(),
                window: window.whole_days(),
            });
        }
        Ok(())
    }

    /// Gives a device that proved to hold the key of `shown` a new certificate for the public key whose SHA-256 is
    /// `key`. The old one is good until the new one is first used. One that comes back after its certificate expired
    /// starts in quarantine.
    pub fn reenrol(
        &self,
        shown: &Renewal,
        key: [u8; 32],
        now: OffsetDateTime,
        issue: Box<Issue<'_>>,
    ) -> Result<Issued, EnrolError> {
        let id = &shown.name.id;
        let late = (shown.not_after < now).then(|| now - shown.not_after);
        let issued = self.change(id, Direction::Loosen, |stored| {
            recognise(stored, &shown.name, &shown.fingerprint)?;
            if late.is_some() {
                self.within_window(shown.not_after, now)?;
            }
            if stored
                .next
                .as_ref()
                .is_some_and(|next| next.fingerprint == shown.fingerprint)
            {
                stored.promote();
            }
            if let Some(issued) = stored.next.as_ref().and_then(|next| next.again(&key, now)) {
                return Ok(issued);
            }
            let issued = issue(&shown.name).map_err(EnrolError::Issue)?;
            stored.next = Some(CertificateRecord::fresh(&issued, key, now));
            if let Some(late) = late {
                stored.state = stored.state.quarantined(&came_back(late), now);
            }
            Ok::<_, EnrolError>(issued)
        })?;
        match late {
            Some(late) => self.tell(
                now,
                Some(id),
                Outcome::Changed,
                format!("quarantined: {}", came_back(late)),
            ),
            None => self.tell(
                now,
                Some(id),
                Outcome::Admitted,
                "renewed its certificate".to_owned(),
            ),
        }
        Ok(issued)
    }
}

fn came_back(late: Duration) -> String {
    match late.whole_days() {
        0 => "came back after its certificate expired today".to_owned(),
        1 => "came back 1 day after its certificate expired".to_owned(),
        days => format!("came back {days} days after its certificate expired"),
    }
}

impl CertificateRecord {
    fn fresh(issued: &Issued, key: [u8; 32], now: OffsetDateTime) -> Self {
        Self {
            fingerprint: issued.fingerprint,
            key,
            p256: p256(&issued.der),
            issued: now,
            not_after: issued.not_after,
            der: Some(issued.der.clone()),
        }
    }

    /// The certificate, for a device that asks for it again with the same key.
    fn again(&self, key: &[u8; 32], now: OffsetDateTime) -> Option<Issued> {
        let der = self
            .der
            .clone()
            .filter(|_| self.key == *key && self.not_after > now)?;
        Some(Issued {
            der,
            fingerprint: self.fingerprint,
            not_after: self.not_after,
        })
    }
}

/// The public key of a certificate, as an uncompressed point (SEC 1 §2.3.3), if it is one of P-256.
fn p256(der: &[u8]) -> Option<Vec<u8>> {
    let (_rest, certificate) = X509Certificate::from_der(der).ok()?;
    let key = certificate.public_key();
    let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
    (key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256)
        .then(|| key.subject_public_key.data.to_vec())
}
