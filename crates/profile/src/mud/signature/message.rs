//! A detached CMS signature, taken apart: `SignedData` with one signer (RFC 5652 §5).

use super::der::{
    CONTEXT_0, CONTEXT_0_PRIMITIVE, CONTEXT_1, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, SET,
};
use super::{MAX_CERTIFICATES, SignatureError};

/// id-signedData, 1.2.840.113549.1.7.2 (RFC 5652 §5.1).
pub(super) const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// id-data, 1.2.840.113549.1.7.1 (RFC 5652 §4).
pub(super) const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// id-ct-mudtype, 1.2.840.113549.1.9.16.1.41 (RFC 8520 §11).
const MUD_TYPE: &[u8] = &[
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x29,
];
/// id-contentType, 1.2.840.113549.1.9.3 (RFC 5652 §11.1).
pub(super) const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// id-messageDigest, 1.2.840.113549.1.9.4 (RFC 5652 §11.2).
pub(super) const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];

/// How the message names its signer's certificate (RFC 5652 §5.3, `SignerIdentifier`).
#[derive(Debug, Clone, Copy)]
pub(super) enum SignerId<'a> {
    /// The issuer's name, as it is encoded, and the content of the serial number.
    IssuerAndSerial { issuer: &'a [u8], serial: &'a [u8] },
    /// The certificate's subject key identifier.
    KeyId(&'a [u8]),
}

/// What a detached signature says, none of it believed yet.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// The certificates that came with it.
    pub(super) certificates: Vec<&'a [u8]>,
    pub(super) signer: SignerId<'a>,
    /// The `AlgorithmIdentifier` of the digest, without its outermost tag and length.
    pub(super) digest_algorithm: &'a [u8],
    /// The digest of the file, as the signed attributes have it.
    pub(super) message_digest: &'a [u8],
    /// The signed attributes as they were signed.
    pub(super) signed: Vec<u8>,
    /// The `AlgorithmIdentifier` of the signature, without its outermost tag and length.
    pub(super) signature_algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

const fn wrong(what: &'static str) -> SignatureError {
    SignatureError::Message(what)
}

/// Takes a message apart.
pub(super) fn read(bytes: &[u8]) -> Result<Message<'_>, SignatureError> {
    // ContentInfo ::= SEQUENCE { contentType, content [0] EXPLICIT } (§3)
    let mut outermost = Reader::new(bytes, "the bytes are no CMS message in DER");
    let mut info = outermost.inside(SEQUENCE)?;
    outermost.or_say("bytes follow the CMS message").end()?;
    if info.expect(OID)?.content != SIGNED_DATA {
        return Err(wrong("the CMS message is no signature"));
    }
    let mut content = info.inside(CONTEXT_0)?;
    info.end()?;
    let data = content.inside(SEQUENCE)?;
    content.end()?;
    signed_data(data.or_say("the SignedData can not be read"))
}

/// `SignedData` (§5.1).
fn signed_data(mut data: Reader<'_>) -> Result<Message<'_>, SignatureError> {
    // 1 and 3; 4 and 5 go with other kinds of certificates and revocation lists.
    if !matches!(data.expect(INTEGER)?.content, [1 | 3]) {
        return Err(wrong("the SignedData is of a version other than 1 and 3"));
    }
    let digests = data.inside(SET)?;
    let mut encapsulated = data.inside(SEQUENCE)?;
    let content_type = encapsulated.expect(OID)?.content;
    // The content type of an openssl detached signature, and that of RFC 8520.
    if content_type != DATA && content_type != MUD_TYPE {
        return Err(wrong("the signed content is something else than a file"));
    }
    // RFC 8520 §13.1: the signature is a file of its own.
    encapsulated
        .or_say("the signature carries content of its own: it must be detached")
        .end()?;
    let certificates = match data.optional(CONTEXT_0)? {
        Some(set) => certificates(set.content)?,
        None => Vec::new(),
    };
    if data.optional(CONTEXT_1)?.is_some() {
        return Err(wrong(
            "the signature carries revocation lists, which are not looked at",
        ));
    }
    let mut signers = data.inside(SET)?.or_say("the message has no signer");
    data.end()?;
    let signer = signers.inside(SEQUENCE)?;
    // Which of two would have to be trusted, no one could say.
    signers
        .or_say("the message has more than one signer: one must answer for the file")
        .end()?;
    let signer = signer.or_say("the SignerInfo can not be read");
    let message = signer_info(signer, content_type, certificates)?;
    if !is_among(digests, message.digest_algorithm)? {
        return Err(wrong("the signer's digest is not among those announced"));
    }
    Ok(message)
}

/// `CertificateSet` (§10.2.3): X.509 certificates and nothing else.
fn certificates(set: &[u8]) -> Result<Vec<&[u8]>, SignatureError> {
    let unreadable = "among the certificates is something that is none (RFC 5652 §10.2.2)";
    let mut set = Reader::new(set, unreadable);
    let mut found = Vec::new();
    while !set.is_empty() {
        let certificate = set.expect(SEQUENCE)?;
        if found.len() == MAX_CERTIFICATES {
            return Err(wrong("the signature carries too many certificates"));
        }
        found.push(certificate.whole);
    }
    Ok(found)
}

/// Whether the set has an `AlgorithmIdentifier` with the object identifier of `identifier`.
fn is_among(mut set: Reader<'_>, identifier: &[u8]) -> Result<bool, SignatureError> {
    let used = Reader::new(identifier, "the digest algorithm can not be read").expect(OID)?;
    while !set.is_empty() {
        if set.inside(SEQUENCE)?.expect(OID)?.content == used.content {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `SignerInfo` (§5.3).
fn signer_info<'a>(
    mut info: Reader<'a>,
    content_type: &[u8],
    certificates: Vec<&'a [u8]>,
) -> Result<Message<'a>, SignatureError> {
    let version = info.expect(INTEGER)?.content;
    let id = info.any()?;
    let signer = match (version, id.tag) {
        ([1], SEQUENCE) => {
            let mut id = Reader::new(id.content, "the signer's name can not be read");
            let issuer = id.expect(SEQUENCE)?.whole;
            let serial = id.expect(INTEGER)?.content;
            id.end()?;
            SignerId::IssuerAndSerial { issuer, serial }
        }
        ([3], CONTEXT_0_PRIMITIVE) => SignerId::KeyId(id.content),
        _ => return Err(wrong("the version of the SignerInfo is wrong (§5.3)")),
    };
    let digest_algorithm = info.expect(SEQUENCE)?.content;
    // Without them the signature would be over the file itself, and one over attributes could be passed off as one
    // over a file, or the other way round.
    let attributes = info
        .optional(CONTEXT_0)?
        .ok_or(wrong("the signature has no signed attributes"))?;
    let signature_algorithm = info.expect(SEQUENCE)?.content;
    let signature = info.expect(OCTET_STRING)?.content;
    // unsignedAttrs: whoever carries the message may write there; nothing of it is used.
    info.optional(CONTEXT_1)?;
    info.end()?;
    let message_digest = signed_attributes(attributes.content, content_type)?;
    // §5.4: signed as a SET OF, though sent as [0].
    let mut signed = attributes.whole.to_vec();
    if let Some(tag) = signed.first_mut() {
        *tag = SET;
    }
    Ok(Message {
        certificates,
        signer,
        digest_algorithm,
        message_digest,
        signed,
        signature_algorithm,
        signature,
    })
}

/// The digest among the signed attributes; content type and digest must be there once, with one value (§11.1, §11.2).
fn signed_attributes<'a>(
    attributes: &'a [u8],
    content_type: &[u8],
) -> Result<&'a [u8], SignatureError> {
    let mut attributes = Reader::new(attributes, "the signed attributes can not be read");
    let (mut kind, mut digest) = (None, None);
    while !attributes.is_empty() {
        let mut attribute = attributes.inside(SEQUENCE)?;
        let name = attribute.expect(OID)?.content;
        let mut values = attribute.inside(SET)?;
        attribute.end()?;
        let (slot, tag) = match name {
            CONTENT_TYPE => (&mut kind, OID),
            MESSAGE_DIGEST => (&mut digest, OCTET_STRING),
            _ => continue,
        };
        let value = values.expect(tag)?;
        values.end()?;
        if slot.replace(value.content).is_some() {
            return Err(wrong("a signed attribute is there twice"));
        }
    }
    if kind.ok_or(wrong("the signed attributes name no content type"))? != content_type {
        return Err(wrong(
            "the signed attributes name another content type than the message",
        ));
    }
    digest.ok_or(wrong("the signed attributes have no digest of the file"))
}
