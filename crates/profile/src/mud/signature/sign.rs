//! Signing a MUD file (RFC 8520 §13.1).

use std::fmt;

use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{AlgorithmIdentifier, CertificateDer, PrivatePkcs8KeyDer, UnixTime, alg_id};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::algorithm::Digest;
use super::der::{CONTEXT_0, INTEGER, OCTET_STRING, OID, SEQUENCE, SET, element, set_of};
use super::message::{CONTENT_TYPE, DATA, MESSAGE_DIGEST, SIGNED_DATA};
use super::{Anchors, MAX_CERTIFICATES, SignatureError, check_signer, message};

/// The least an RSA key may have, in bytes.
const MIN_RSA: usize = 256;

enum Key {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A private key with the certificates that vouch for it; it can be neither copied nor printed, and the library wipes
/// the key.
pub struct Identity {
    key: Key,
    /// The signer's first.
    chain: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// From a PKCS#8 key in PEM and the signer's certificate with those between it and the authority, in PEM.
    pub fn from_pem(key: &[u8], chain: &[u8]) -> Result<Self, SignatureError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|_| {
            SignatureError::Key("it is no PEM file with BEGIN PRIVATE KEY (PKCS#8)")
        })?;
        let key = read_key(key.secret_pkcs8_der())?;
        let unreadable = SignatureError::Certificate("the file has no certificates in PEM");
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| unreadable.clone())?;
        match chain.len() {
            0 => Err(unreadable),
            1..=MAX_CERTIFICATES => Ok(Self { key, chain }),
            _ => Err(SignatureError::Certificate(
                "the file has too many certificates",
            )),
        }
    }
}

fn read_key(pkcs8: &[u8]) -> Result<Key, SignatureError> {
    if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8) {
        return Ok(Key::P256(key));
    }
    if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8) {
        return Ok(Key::P384(key));
    }
    // RFC 5958 §2 lets the public key be left out, and openssl does.
    if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8) {
        return Ok(Key::Ed25519(key));
    }
    match RsaKeyPair::from_pkcs8(pkcs8) {
        Ok(key) if key.public_modulus_len() >= MIN_RSA => Ok(Key::Rsa(key)),
        Ok(_) => Err(SignatureError::Key("an RSA key needs 2048 bits")),
        Err(_) => Err(SignatureError::Key(
            "it is none of RSA, P-256, P-384 and Ed25519",
        )),
    }
}

impl Key {
    const fn digest(&self) -> Digest {
        match self {
            Self::P256(_) | Self::Rsa(_) => Digest::Sha256,
            Self::P384(_) => Digest::Sha384,
            // RFC 8419 §3.1
            Self::Ed25519(_) => Digest::Sha512,
        }
    }

    const fn algorithm(&self) -> AlgorithmIdentifier {
        match self {
            Self::P256(_) => alg_id::ECDSA_SHA256,
            Self::P384(_) => alg_id::ECDSA_SHA384,
            Self::Ed25519(_) => alg_id::ED25519,
            Self::Rsa(_) => alg_id::RSA_PKCS1_SHA256,
        }
    }

    fn sign(&self, bytes: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>, SignatureError> {
        let failed = |_| SignatureError::Key("the cryptographic library failed");
        match self {
            Self::P256(key) | Self::P384(key) => {
                Ok(key.sign(random, bytes).map_err(failed)?.as_ref().to_vec())
            }
            Self::Ed25519(key) => Ok(key.sign(bytes).as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, random, bytes, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

/// The detached signature of a MUD file, in DER. What anyone would refuse (a key that is not the certificate's, a
/// certificate that is not for signatures or does not hold at this time) is refused here.
pub fn sign(
    file: &[u8],
    identity: &Identity,
    now: UnixTime,
    random: &dyn SecureRandom,
) -> Result<Vec<u8>, SignatureError> {
    let Identity { key, chain } = identity;
    let signer = chain.first().ok_or(SignatureError::Certificate(
        "there is no certificate to sign with",
    ))?;
    let digest = key.digest();
    let attributes = vec![
        attribute(CONTENT_TYPE, &element(OID, DATA)),
        attribute(
            MESSAGE_DIGEST,
            &element(OCTET_STRING, digest.of(file).as_ref()),
        ),
    ];
    // RFC 5652 §5.4: signed as a SET OF, sent as [0].
    let signature = key.sign(&set_of(SET, attributes.clone()), random)?;
    let info = [
        element(INTEGER, &[1]),
        signer_id(signer)?,
        algorithm(digest),
        set_of(CONTEXT_0, attributes),
        element(SEQUENCE, key.algorithm().as_ref()),
        element(OCTET_STRING, &signature),
    ];
    let certificates = chain.iter().map(|one| one.to_vec()).collect();
    let signed_data = [
        element(INTEGER, &[1]),
        element(SET, &algorithm(digest)),
        element(SEQUENCE, &element(OID, DATA)),
        set_of(CONTEXT_0, certificates),
        element(SET, &element(SEQUENCE, &info.concat())),
    ];
    let content = element(CONTEXT_0, &element(SEQUENCE, &signed_data.concat()));
    let message = element(SEQUENCE, &[element(OID, SIGNED_DATA), content].concat());
    check(file, &message, now)?;
    Ok(message)
}

/// As a reader would check it who trusts nobody: that must be all there is to say against it.
fn check(file: &[u8], message: &[u8], now: UnixTime) -> Result<(), SignatureError> {
    let message = message::read(message)?;
    let chain = check_signer(file, &message)?.check_chain(&message, &Anchors::default(), now);
    match chain {
        Err(SignatureError::Untrusted) | Ok(()) => Ok(()),
        Err(other) => Err(other),
    }
}

/// `Attribute` with one value (RFC 5652 §5.3).
fn attribute(name: &[u8], value: &[u8]) -> Vec<u8> {
    element(
        SEQUENCE,
        &[element(OID, name), element(SET, value)].concat(),
    )
}

/// The digest's `AlgorithmIdentifier`, without parameters (RFC 5754 §2).
fn algorithm(digest: Digest) -> Vec<u8> {
    element(SEQUENCE, &element(OID, digest.oid()))
}

/// `IssuerAndSerialNumber` (RFC 5652 §10.2.4).
fn signer_id(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, SignatureError> {
    let Ok(([], certificate)) = X509Certificate::from_der(certificate) else {
        return Err(SignatureError::Certificate(
            "the signer's certificate can not be read",
        ));
    };
    let issuer = certificate.issuer().as_raw();
    let serial = element(INTEGER, certificate.raw_serial());
    Ok(element(SEQUENCE, &[issuer, &serial].concat()))
}
