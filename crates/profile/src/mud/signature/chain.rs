//! Whether a certificate may sign MUD files: its key usage, its time, its chain to an anchor (RFC 8520 §13.2, RFC 5280).

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::message::SignerId;
use super::{Anchors, SignatureError, algorithm};

/// Purposes of a certificate that signs files, where it names purposes at all: e-mail (what openssl asks of a signer),
/// code, documents (RFC 9336), any.
const PURPOSES: [&[usize]; 4] = [
    &[1, 3, 6, 1, 5, 5, 7, 3, 4],
    &[1, 3, 6, 1, 5, 5, 7, 3, 3],
    &[1, 3, 6, 1, 5, 5, 7, 3, 36],
    &[2, 5, 29, 37, 0],
];

/// RFC 5280 §4.2.1.12, for the signer and every authority above it that names purposes.
struct Purpose;

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let mut named = false;
        for purpose in iter {
            named = true;
            if PURPOSES.contains(&purpose?.to_decoded_oid().as_slice()) {
                return Ok(());
            }
        }
        if named { Err(PURPOSE) } else { Ok(()) }
    }
}

/// The library's nearest word for a purpose that does not fit; only this file reads it.
const PURPOSE: Error = Error::ExtensionValueInvalid;

/// The certificate the message names.
pub(super) fn find<'a>(certificates: &[&'a [u8]], id: SignerId<'_>) -> Option<&'a [u8]> {
    certificates
        .iter()
        .copied()
        .find(|der| match X509Certificate::from_der(der) {
            Ok(([], certificate)) => is_named(&certificate, id),
            _ => false,
        })
}

fn is_named(certificate: &X509Certificate<'_>, id: SignerId<'_>) -> bool {
    match id {
        SignerId::IssuerAndSerial { issuer, serial } => {
            certificate.issuer().as_raw() == issuer && certificate.raw_serial() == serial
        }
        SignerId::KeyId(id) => certificate.extensions().iter().any(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(key) if key.0 == id)
        }),
    }
}

/// RFC 8520 §13.2: key usage must be there and have digitalSignature. Gives the subject: in words, and as it is encoded.
pub(super) fn signer(der: &[u8]) -> Result<(String, Vec<u8>), SignatureError> {
    let unreadable = SignatureError::Certificate("the signer's certificate can not be read");
    let Ok(([], certificate)) = X509Certificate::from_der(der) else {
        return Err(unreadable);
    };
    let usage = certificate.key_usage().map_err(|_| unreadable)?;
    if !usage.is_some_and(|usage| usage.value.digital_signature()) {
        return Err(SignatureError::Certificate(
            "the signer's certificate is not for signatures (key usage without digitalSignature, RFC 8520 §13.2)",
        ));
    }
    let subject = certificate.subject();
    Ok((in_words(&subject.to_string()), subject.as_raw().to_vec()))
}

/// A name from a certificate, safe to print and not too long.
fn in_words(name: &str) -> String {
    name.chars()
        .take(200)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Whether the certificate's chain ends at an anchor, and all of it holds at that time.
pub(super) fn verify(
    certificate: &EndEntityCert<'_>,
    others: &[CertificateDer<'_>],
    anchors: &Anchors,
    now: UnixTime,
) -> Result<(), SignatureError> {
    let anchors: Vec<TrustAnchor<'_>> = anchors
        .0
        .iter()
        .map(webpki::anchor_from_trusted_cert)
        .collect::<Result<_, _>>()
        .map_err(|_| SignatureError::Anchors)?;
    certificate
        .verify_for_usage(
            &algorithm::supported(),
            &anchors,
            others,
            now,
            Purpose,
            None,
            None,
        )
        .map(|_| ())
        .map_err(told)
}

/// The library's errors in the words of this one.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library has 40 errors, and more to come: the rest is told in its own words"
)]
fn told(error: Error) -> SignatureError {
    match error {
        Error::CertExpired { .. } => SignatureError::Expired,
        Error::CertNotValidYet { .. } => SignatureError::NotYetValid,
        Error::UnknownIssuer => SignatureError::Untrusted,
        PURPOSE => SignatureError::Certificate(
            "a certificate of the chain is for other purposes than signing files",
        ),
        Error::CaUsedAsEndEntity => {
            SignatureError::Certificate("the signer's certificate is that of an authority")
        }
        Error::EndEntityUsedAsCa => SignatureError::Certificate(
            "a certificate of the chain was issued by one that is no authority",
        ),
        other => SignatureError::Chain(other),
    }
}
