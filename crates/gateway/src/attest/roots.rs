//! Whose word counts that an endorsement key is in a TPM: the makers' certificate authorities.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// TCG EK Credential Profile 2.5 §3.1: `tcg-kp-EKCertificate`, 2.23.133.8.1, as the content of its OID.
const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

/// Certificate authorities of TPMs' makers; without any, every TPM is taken for one.
#[derive(Debug, Default)]
pub struct Roots(Vec<TrustAnchor<'static>>);

/// Why an endorsement key, or a root, is not believed.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A file of roots.
    #[error("a root for endorsement keys can not be read: {0}")]
    File(String),
    /// None.
    #[error("the TPM has no certificate for its endorsement key on P-256")]
    Missing,
    /// It leads to no root.
    #[error("its certificate leads to no root that is trusted: {0}")]
    NotTrusted(webpki::Error),
    /// It is of another key.
    #[error("its certificate is of another key")]
    AnotherKey,
}

impl Roots {
    /// The certificates in PEM; those between a root and a TPM belong here too.
    pub fn read(pem: &[u8]) -> Result<Self, RootsError> {
        let wrong = |why: &dyn std::fmt::Display| RootsError::File(why.to_string());
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|why| wrong(&why))?;
            let anchor = anchor_from_trusted_cert(&certificate).map_err(|why| wrong(&why))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err(RootsError::File("there is no certificate in it".to_owned()));
        }
        Ok(Self(anchors))
    }

    /// Whether a certificate says that this key (`TPMT_PUBLIC`) is in a TPM. With roots, it must.
    pub(super) fn check(
        &self,
        certificate: Option<&[u8]>,
        endorsement: &[u8],
        now: OffsetDateTime,
    ) -> Result<bool, RootsError> {
        if self.0.is_empty() {
            return Ok(false);
        }
        let der = CertificateDer::from(certificate.ok_or(RootsError::Missing)?);
        let shown = EndEntityCert::try_from(&der).map_err(RootsError::NotTrusted)?;
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let usage = KeyUsage::required_if_present(EK_CERTIFICATE);
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        shown
            .verify_for_usage(algorithms, &self.0, &[], now, usage, None, None)
            .map_err(RootsError::NotTrusted)?;
        // Both end in the point: one as it is (RFC 5480 §2.2), the other as its numbers with their lengths.
        let spki = shown.subject_public_key_info();
        let point = endorsement.split_last_chunk::<68>().and_then(|(_, end)| {
            let (x, y) = end.split_at(34);
            let number = |it: &[u8]| it.strip_prefix(&[0, 32]).map(<[u8]>::to_vec);
            Some([vec![4], number(x)?, number(y)?].concat())
        });
        match point {
            Some(point) if spki.ends_with(&point) => Ok(true),
            _ => Err(RootsError::AnotherKey),
        }
    }
}
