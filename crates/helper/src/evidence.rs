//! The device's posture, signed by its key, which is in another process.

use std::time::Duration;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use stockade_api::helper::{Answer, Refusal, Refused};
use stockade_api::keys;
use stockade_api::signed::{Evidence, Fingerprint};
use stockade_api::{Blob, frame};
use stockade_host::local::Channel;

use crate::device::Device;
use crate::files;
use crate::refusal::{failed, refused};

/// How long the key process may take: a TPM is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The longest nonce, in bytes.
const NONCE: usize = 128;

impl Device {
    /// What is found, as evidence; `again`: looked at now.
    pub(crate) fn evidence(&self, nonce: Option<String>, again: bool) -> Result<Answer, Refused> {
        if nonce.as_ref().is_some_and(|it| it.len() > NONCE) {
            return Err(refused(Refusal::Failed, "the nonce is too long", ""));
        }
        let looked = if again {
            self.look_now()?
        } else {
            self.look(false)?
        };
        let certificate = self.certificate()?;
        let number = self.count(|numbers| {
            numbers.evidence = numbers.evidence.saturating_add(1);
            Ok(numbers.evidence)
        })?;
        let attestation = nonce.as_deref().and_then(|it| self.attestation(it));
        let evidence = Evidence {
            form: Evidence::FORM,
            device: self.settings.device.clone(),
            number,
            at: self.now(),
            nonce,
            done: self.numbers().command,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            system: files::image_version(self.places.root()),
            posture: looked.posture.clone(),
            attestation,
        };
        let payload = serde_json::to_vec(&evidence).map_err(|why| failed(&why))?;
        let signed = self
            .sign(certificate, payload)
            .map_err(|why| failed(&why))?;
        match signed {
            keys::Answer::Evidence(signed) => Ok(Answer::Evidence { signed }),
            keys::Answer::Refused(why) => Err(refused(Refusal::Failed, why, "")),
            _ => Err(refused(
                Refusal::Failed,
                "the key process answered something else",
                "",
            )),
        }
    }

    fn sign(
        &self,
        certificate: Fingerprint,
        payload: Vec<u8>,
    ) -> Result<keys::Answer, frame::FrameError> {
        let mut keys = Channel::connect(&self.places.keys_socket(), PATIENCE)?;
        keys.call(&keys::Request::SignEvidence {
            certificate,
            payload: Blob(payload),
        })
    }

    /// The fingerprint of the device's certificate. The agent keeps it: were it another's, the evidence would only be worth
    /// nothing.
    fn certificate(&self) -> Result<Fingerprint, Refused> {
        let path = self.places.certificate();
        let none = || {
            refused(
                Refusal::Failed,
                "this device has no certificate yet",
                "enrol it: `stockade-agent install`",
            )
        };
        let pem = files::read(&path)
            .map_err(|why| failed(&why))?
            .ok_or_else(none)?;
        let der = CertificateDer::from_pem_slice(&pem).map_err(|_| none())?;
        let digest = digest::digest(&digest::SHA256, &der);
        Fingerprint::try_from(digest.as_ref()).map_err(|_| none())
    }
}
