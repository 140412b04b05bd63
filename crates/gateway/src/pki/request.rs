//! A certificate request (PKCS#10, RFC 2986), of which only the public key is believed, and that only once the
//! request's own signature shows that the sender holds the private key.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use rcgen::SubjectPublicKeyInfo;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo as Parsed;

use crate::tls::sha256;

/// Longest request accepted, in bytes of DER; those of small devices are about 300.
const MAX_REQUEST: usize = 16 * 1024;

/// A request whose sender holds the private key.
#[derive(Debug)]
pub struct Request {
    public_key: SubjectPublicKeyInfo,
    key_hash: [u8; 32],
}

/// A request that cannot be granted. The texts are for the device's maker, who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not DER, or not PKCS#10.
    #[error("the request is not PKCS#10 (RFC 2986)")]
    Unreadable,
    /// Too long.
    #[error("the request is longer than {MAX_REQUEST} bytes")]
    TooLong,
    /// RSA.
    #[error("RSA keys are not accepted: use P-256, P-384 or Ed25519")]
    Rsa,
    /// Some other key.
    #[error("keys of this type are not accepted: use P-256, P-384 or Ed25519")]
    Key,
    /// A signature algorithm that does not go with the key.
    #[error("the request must be signed with SHA-256 or SHA-384 (or Ed25519)")]
    Algorithm,
    /// No proof of possession.
    #[error("the request's signature does not fit its public key")]
    Signature,
}

impl Request {
    /// Reads a request and verifies its signature (RFC 2986 §4.2; proof of possession, RFC 7030 §3.4).
    pub fn read(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST {
            return Err(RequestError::TooLong);
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| RequestError::Unreadable)?;
        if !rest.is_empty() {
            return Err(RequestError::Unreadable);
        }
        let info = &request.certification_request_info;
        let key = &info.subject_pki;
        let algorithm = verifier(key, &request.signature_algorithm.algorithm)?;
        UnparsedPublicKey::new(algorithm, key.subject_public_key.as_ref())
            .verify(info.raw, request.signature_value.as_ref())
            .map_err(|_| RequestError::Signature)?;
        let public_key = SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| RequestError::Key)?;
        Ok(Self {
            public_key,
            key_hash: sha256(key.raw),
        })
    }

    /// SHA-256 of the public key, with its algorithm.
    pub const fn key_hash(&self) -> [u8; 32] {
        self.key_hash
    }

    pub(super) const fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.public_key
    }
}

fn verifier(
    key: &Parsed<'_>,
    signature: &x509_parser::der_parser::Oid<'_>,
) -> Result<&'static dyn VerificationAlgorithm, RequestError> {
    let kind = &key.algorithm.algorithm;
    if *kind == OID_PKCS1_RSAENCRYPTION {
        return Err(RequestError::Rsa);
    }
    if *kind == OID_SIG_ED25519 {
        return if *signature == OID_SIG_ED25519 {
            Ok(&ED25519)
        } else {
            Err(RequestError::Algorithm)
        };
    }
    if *kind != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return Err(RequestError::Key);
    }
    // RFC 5480 §2.1.1: the curve is named, never described.
    let curve = key
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok());
    let curve = curve.ok_or(RequestError::Key)?;
    let (sha256, sha384): (&dyn VerificationAlgorithm, &dyn VerificationAlgorithm) =
        if curve == OID_EC_P256 {
            (&ECDSA_P256_SHA256_ASN1, &ECDSA_P256_SHA384_ASN1)
        } else if curve == OID_NIST_EC_P384 {
            (&ECDSA_P384_SHA256_ASN1, &ECDSA_P384_SHA384_ASN1)
        } else {
            return Err(RequestError::Key);
        };
    if *signature == OID_SIG_ECDSA_WITH_SHA256 {
        Ok(sha256)
    } else if *signature == OID_SIG_ECDSA_WITH_SHA384 {
        Ok(sha384)
    } else {
        Err(RequestError::Algorithm)
    }
}
