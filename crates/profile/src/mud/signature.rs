//! The signature of a MUD file: a CMS message beside it (RFC 8520 §13, RFC 5652).
//!
//! [`sign`] makes one, [`verify`] checks one against the authorities an operator trusts. Not looked at: whether a
//! certificate was revoked. `docs/mud.md` says so to operators.

mod algorithm;
mod chain;
mod der;
mod message;
mod sign;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use rustls_pki_types::CertificateDer;
pub use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::PemObject as _;
use webpki::EndEntityCert;

pub use sign::{Identity, sign};

use algorithm::Digest;
use message::Message;

/// The largest signature that is looked at, in bytes.
pub const MAX_SIGNATURE: usize = 256 * 1024;
/// The largest file of trusted certificates, in bytes.
pub const MAX_ANCHORS: usize = 4 * 1024 * 1024;
/// The most authorities an operator may trust.
const MOST_ANCHORS: usize = 1024;
/// The most certificates a signature may carry.
const MAX_CERTIFICATES: usize = 16;

/// Why a signature is not taken, or can not be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// More bytes than any signature has.
    #[error("a signature has at most {MAX_SIGNATURE} bytes, this has {0}")]
    TooLarge(usize),
    /// The bytes are no detached CMS signature as RFC 8520 wants it.
    #[error("this is no signature of a MUD file: {0}")]
    Message(&'static str),
    /// An algorithm that is too weak, or unknown.
    #[error("the algorithm is not accepted: {0}")]
    Weak(&'static str),
    /// The message does not carry the certificate it names.
    #[error("the signature does not carry its signer's certificate")]
    NoSigner,
    /// The signature is that of another file.
    #[error("the signature is that of another file, or the file was changed")]
    Digest,
    /// The signer's key did not make it.
    #[error("the signature is wrong")]
    Signature,
    /// A certificate may not sign MUD files.
    #[error("{0}")]
    Certificate(&'static str),
    /// A certificate of the chain has expired.
    #[error("a certificate of the chain has expired")]
    Expired,
    /// A certificate of the chain does not hold yet.
    #[error("a certificate of the chain does not hold yet")]
    NotYetValid,
    /// The chain ends at no authority that is trusted.
    #[error("the signer's certificate leads to no authority that is trusted")]
    Untrusted,
    /// Another fault of the chain.
    #[error("the certificate chain is refused: {0}")]
    Chain(#[source] webpki::Error),
    /// The authorities that were given to trust can not be read.
    #[error("no certificate of an authority to trust can be read (PEM or DER)")]
    Anchors,
    /// The private key can not be used.
    #[error("the private key can not be used: {0}")]
    Key(&'static str),
}

/// The authorities whose signers are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anchors(Vec<CertificateDer<'static>>);

impl Anchors {
    /// Adds the certificates of a file: PEM with one or more, or one in DER.
    pub fn add(&mut self, file: &[u8]) -> Result<(), SignatureError> {
        if file.len() > MAX_ANCHORS {
            return Err(SignatureError::Anchors);
        }
        let mut found = if file.first() == Some(&der::SEQUENCE) {
            vec![CertificateDer::from(file.to_vec())]
        } else {
            CertificateDer::pem_slice_iter(file)
                .collect::<Result<_, _>>()
                .map_err(|_| SignatureError::Anchors)?
        };
        let sound = found
            .iter()
            .all(|one| webpki::anchor_from_trusted_cert(one).is_ok());
        if found.is_empty() || !sound || self.0.len().saturating_add(found.len()) > MOST_ANCHORS {
            return Err(SignatureError::Anchors);
        }
        self.0.append(&mut found);
        Ok(())
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A MUD file whose signature was right.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Signed<'a> {
    file: &'a [u8],
    signer: String,
    subject: Vec<u8>,
}

impl<'a> Signed<'a> {
    /// The file.
    pub fn file(&self) -> &'a [u8] {
        self.file
    }

    /// The subject of the signer's certificate, in words.
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// Whether the signer's subject is this X.501 name in DER, as a device's certificate demands it in
    /// id-pe-mudsigner (RFC 8520 §13.2).
    pub fn is_by(&self, name: &[u8]) -> bool {
        self.subject == name
    }
}

/// Checks the signature of a MUD file (RFC 8520 §13.2): who signed must lead to one of `anchors` at the time `now`.
pub fn verify<'a>(
    file: &'a [u8],
    signature: &[u8],
    anchors: &Anchors,
    now: UnixTime,
) -> Result<Signed<'a>, SignatureError> {
    if signature.len() > MAX_SIGNATURE {
        return Err(SignatureError::TooLarge(signature.len()));
    }
    let message = message::read(signature)?;
    let signer = check_signer(file, &message)?;
    signer.check_chain(&message, anchors, now)?;
    Ok(Signed {
        file,
        signer: signer.name,
        subject: signer.subject,
    })
}

/// Who made a signature that is right; whether it is somebody to trust is still open.
struct Signer<'a> {
    certificate: CertificateDer<'a>,
    name: String,
    subject: Vec<u8>,
}

/// RFC 5652 §5.4 and §5.6: the digest is the file's, and the signer's key signed the attributes that hold it.
fn check_signer<'a>(file: &[u8], message: &Message<'a>) -> Result<Signer<'a>, SignatureError> {
    let digest = Digest::read(message.digest_algorithm)?;
    let der = chain::find(&message.certificates, message.signer).ok_or(SignatureError::NoSigner)?;
    let certificate = CertificateDer::from(der);
    let (name, subject) = chain::signer(der)?;
    algorithm::verify(
        &end_entity(&certificate)?,
        digest,
        message.signature_algorithm,
        &message.signed,
        message.signature,
    )?;
    verify_slices_are_equal(digest.of(file).as_ref(), message.message_digest)
        .map_err(|_| SignatureError::Digest)?;
    Ok(Signer {
        certificate,
        name,
        subject,
    })
}

impl Signer<'_> {
    fn check_chain(
        &self,
        message: &Message<'_>,
        anchors: &Anchors,
        now: UnixTime,
    ) -> Result<(), SignatureError> {
        let others: Vec<CertificateDer<'_>> = message
            .certificates
            .iter()
            .map(|one| CertificateDer::from(*one))
            .collect();
        chain::verify(&end_entity(&self.certificate)?, &others, anchors, now)
    }
}

fn end_entity<'a>(der: &'a CertificateDer<'_>) -> Result<EndEntityCert<'a>, SignatureError> {
    EndEntityCert::try_from(der).map_err(SignatureError::Chain)
}
