//! The algorithms a signature may use: SHA-256 and its longer kin, RSA from 2048 bits, P-256, P-384, Ed25519.

use aws_lc_rs::digest;
use rustls_pki_types::{SignatureVerificationAlgorithm, alg_id};
use webpki::{EndEntityCert, aws_lc_rs as algorithms};

use super::SignatureError;
use super::der::{OID, Reader};

/// A digest of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    Sha256,
    Sha384,
    Sha512,
}

use Digest::{Sha256, Sha384, Sha512};

/// For signatures on the file and on certificates, each with its digest. RSA-PKCS#1 in both spellings of its
/// parameters (RFC 5754 §3.2); Ed25519 goes with SHA-512 and no other (RFC 8419 §3).
const SUPPORTED: [(Digest, &dyn SignatureVerificationAlgorithm); 16] = [
    (Sha256, algorithms::ECDSA_P256_SHA256),
    (Sha384, algorithms::ECDSA_P256_SHA384),
    (Sha512, algorithms::ECDSA_P256_SHA512),
    (Sha256, algorithms::ECDSA_P384_SHA256),
    (Sha384, algorithms::ECDSA_P384_SHA384),
    (Sha512, algorithms::ECDSA_P384_SHA512),
    (Sha512, algorithms::ED25519),
    (Sha256, algorithms::RSA_PKCS1_2048_8192_SHA256),
    (Sha384, algorithms::RSA_PKCS1_2048_8192_SHA384),
    (Sha512, algorithms::RSA_PKCS1_2048_8192_SHA512),
    (Sha256, algorithms::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS),
    (Sha384, algorithms::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS),
    (Sha512, algorithms::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS),
    (Sha256, algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY),
    (Sha384, algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY),
    (Sha512, algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY),
];

/// All of them.
pub(super) fn supported() -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    SUPPORTED.iter().map(|(_, algorithm)| *algorithm).collect()
}

// RFC 5754 §2: 2.16.840.1.101.3.4.2.{1,2,3}.
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
/// The parameters of an algorithm that has none, in the older spelling (RFC 5754 §2).
const NULL: &[u8] = &[0x05, 0x00];

impl Digest {
    /// Of an `AlgorithmIdentifier`, without its outermost tag and length.
    pub(super) fn read(identifier: &[u8]) -> Result<Self, SignatureError> {
        let oid = Reader::new(identifier, "the digest algorithm can not be read").expect(OID)?;
        let parameters = identifier.get(oid.whole.len()..).unwrap_or_default();
        if !parameters.is_empty() && parameters != NULL {
            return Err(SignatureError::Weak("the digest algorithm has parameters"));
        }
        match oid.content {
            SHA256 => Ok(Sha256),
            SHA384 => Ok(Sha384),
            SHA512 => Ok(Sha512),
            _ => Err(SignatureError::Weak(
                "the digest is not SHA-256, SHA-384 or SHA-512",
            )),
        }
    }

    pub(super) const fn oid(self) -> &'static [u8] {
        match self {
            Sha256 => SHA256,
            Sha384 => SHA384,
            Sha512 => SHA512,
        }
    }

    pub(super) fn of(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Sha256 => &digest::SHA256,
            Sha384 => &digest::SHA384,
            Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes)
    }
}

/// Whether `certificate` made the signature on `signed`; `identifier` is the `AlgorithmIdentifier` the message names,
/// without its outermost tag and length.
pub(super) fn verify(
    certificate: &EndEntityCert<'_>,
    digest: Digest,
    identifier: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let mut digests = Vec::new();
    for (with, algorithm) in SUPPORTED {
        // RFC 5754 §3.2: a message may say RSA where it means PKCS#1 with the digest it names.
        let named = *algorithm.signature_alg_id() == *identifier
            || (*alg_id::RSA_ENCRYPTION == *identifier && is_pkcs1(algorithm));
        if !named {
            continue;
        }
        // One name of ECDSA stands for several curves: the certificate's key says which.
        if with == digest
            && certificate
                .verify_signature(algorithm, signed, signature)
                .is_ok()
        {
            return Ok(());
        }
        digests.push(with);
    }
    if digests.contains(&digest) {
        Err(SignatureError::Signature)
    } else if digests.is_empty() {
        Err(SignatureError::Weak(
            "the signature is none of RSA, ECDSA on P-256 or P-384 and Ed25519, with SHA-256 or longer",
        ))
    } else {
        Err(SignatureError::Weak(
            "the digest is another one than that of the signature",
        ))
    }
}

fn is_pkcs1(algorithm: &dyn SignatureVerificationAlgorithm) -> bool {
    [
        alg_id::RSA_PKCS1_SHA256,
        alg_id::RSA_PKCS1_SHA384,
        alg_id::RSA_PKCS1_SHA512,
    ]
    .contains(&algorithm.signature_alg_id())
}
