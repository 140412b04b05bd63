//! Whom a client certificate names, and whether this gateway accepts it.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::provider;
use crate::name::{DeviceName, TrustDomain};

/// SHA-256 of a certificate's DER: what the registry knows a certificate by.
pub type Fingerprint = [u8; 32];

/// A device certificate, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The device it names.
    pub name: DeviceName,
    /// SHA-256 of the whole certificate.
    pub fingerprint: Fingerprint,
    /// From when it is valid.
    pub not_before: OffsetDateTime,
    /// Until when it is valid.
    pub not_after: OffsetDateTime,
}

/// A certificate that does not name a device of this gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// No certificate at all.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// Not exactly one name, or not a SPIFFE ID of this gateway's devices.
    #[error("the certificate names no device of this gateway: {0}")]
    Name(String),
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

impl Leaf {
    /// Reads a certificate whose chain was verified already, or is about to be.
    pub fn read(certificate: &CertificateDer<'_>, domain: &TrustDomain) -> Result<Self, LeafError> {
        let (rest, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| LeafError::Unreadable)?;
        if !rest.is_empty() {
            return Err(LeafError::Unreadable);
        }
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| LeafError::Unreadable)?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        // X509-SVID §2: exactly one URI; other kinds of names have no meaning here and are refused.
        let [GeneralName::URI(uri)] = names else {
            return Err(LeafError::Name(
                "it must hold one URI and no other name".to_owned(),
            ));
        };
        let name =
            DeviceName::from_spiffe(uri, domain).map_err(|e| LeafError::Name(e.to_string()))?;
        let validity = parsed.validity();
        Ok(Self {
            name,
            fingerprint: sha256(certificate),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
        })
    }
}

/// Decides whether a device may present this expired certificate, in order to get a new one.
pub type MayReturn = dyn Fn(&Leaf, OffsetDateTime) -> Result<(), String> + Send + Sync;

/// What the verifier knew of the last certificate it refused on this thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCertificate {
    /// The device it claims to be, if it names one of ours. Not proven: the signature may be foreign.
    pub claims: Option<DeviceName>,
    /// Why it was refused.
    pub why: String,
}

thread_local! {
    // rustls' verifier cannot say more than an error code, and the connection is gone once it has said it. The
    // verifier runs within one poll of the handshake's future, which looks here before that poll returns.
    static REFUSED: RefCell<Option<RefusedCertificate>> = const { RefCell::new(None) };
}

/// What the verifier refused during the poll that has just failed.
pub(super) fn take_refused() -> Option<RefusedCertificate> {
    REFUSED.take()
}

/// Verifies that a certificate was issued by this gateway's CA to one of its devices.
pub(crate) struct DeviceVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    domain: TrustDomain,
    may_return: Option<Box<MayReturn>>,
}

impl fmt::Debug for DeviceVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceVerifier")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// Whether a client must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// MQTT: no certificate, no connection.
    Required,
    /// EST: a device that enrols has none yet.
    Optional,
}

impl DeviceVerifier {
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        domain: TrustDomain,
        demand: Demand,
        may_return: Option<Box<MayReturn>>,
    ) -> Result<Self, rustls::server::VerifierBuilderError> {
        let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()))
            // Devices hold one certificate: a list of acceptable names would only make the handshake longer.
            .clear_root_hint_subjects();
        let chain = match demand {
            Demand::Required => builder.build()?,
            Demand::Optional => builder.allow_unauthenticated().build()?,
        };
        Ok(Self {
            chain,
            domain,
            may_return,
        })
    }

    /// Whom a chain names that came in another way than TLS, judged as there; the device's own certificate is the first.
    pub(crate) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Leaf, RefusedCertificate> {
        let refused = |why: String| RefusedCertificate { claims: None, why };
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or_else(|| refused(LeafError::Unreadable.to_string()))?;
        self.verify_client_cert(leaf, intermediates, now)
            .map_err(|error| take_refused().unwrap_or_else(|| refused(why(&error))))?;
        Leaf::read(leaf, &self.domain).map_err(|error| refused(error.to_string()))
    }

    /// A certificate past its time, on its way to a new one: everything but the date must hold, and the registry
    /// must still want the device.
    fn returning(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<Result<ClientCertVerified, String>> {
        let may_return = self.may_return.as_ref()?;
        let leaf = Leaf::read(end_entity, &self.domain).ok()?;
        let last_second = u64::try_from(leaf.not_after.unix_timestamp()).ok()?;
        let then = UnixTime::since_unix_epoch(Duration::from_secs(last_second));
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, then)
            .ok()?;
        let at = i64::try_from(now.as_secs()).ok()?;
        let at = OffsetDateTime::from_unix_timestamp(at).ok()?;
        Some(may_return(&leaf, at).map(|()| verified))
    }

    fn refuse(&self, end_entity: &CertificateDer<'_>, why: String) {
        let claims = Leaf::read(end_entity, &self.domain)
            .ok()
            .map(|leaf| leaf.name);
        REFUSED.set(Some(RefusedCertificate { claims, why }));
    }
}

impl ClientCertVerifier for DeviceVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self
            .chain
            .verify_client_cert(end_entity, intermediates, now)
        {
            Ok(verified) => match Leaf::read(end_entity, &self.domain) {
                Ok(_) => Ok(verified),
                Err(error) => {
                    self.refuse(end_entity, error.to_string());
                    // rustls answers this one with the alert access_denied.
                    Err(Error::InvalidCertificate(
                        CertificateError::ApplicationVerificationFailure,
                    ))
                }
            },
            Err(error) => {
                let mut why = why(&error);
                if matches!(
                    error,
                    Error::InvalidCertificate(
                        CertificateError::Expired | CertificateError::ExpiredContext { .. }
                    )
                ) {
                    match self.returning(end_entity, intermediates, now) {
                        Some(Ok(verified)) => return Ok(verified),
                        Some(Err(refused)) => why = refused,
                        None => {}
                    }
                }
                self.refuse(end_entity, why);
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// A refusal in words for the operator.
fn why(error: &Error) -> String {
    let Error::InvalidCertificate(error) = error else {
        return error.to_string();
    };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "its certificate is valid only from {}: one of the two clocks is wrong",
                date(*not_before)
            )
        }
        CertificateError::UnknownIssuer => {
            "its certificate was issued by a CA that is not this gateway's".to_owned()
        }
        CertificateError::BadSignature => {
            "its certificate is forged: the CA's signature does not fit".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for clients".to_owned()
        }
        CertificateError::Other(OtherError(why)) => {
            format!("its certificate is not acceptable: {why}")
        }
        other => format!("its certificate is not acceptable: {other}"),
    }
}

fn date(at: UnixTime) -> String {
    i64::try_from(at.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map_or_else(|| "an impossible date".to_owned(), crate::tls::moment)
}
