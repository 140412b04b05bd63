//! The certificates of a certs-only CMS message, as EST answers with (RFC 7030 §4.1.3, RFC 5652 §5).

use rustls::pki_types::CertificateDer;

/// Longest answer that is looked at, in bytes.
const MAX_MESSAGE: usize = 256 * 1024;
/// Most certificates that are taken from one answer.
const MAX_CERTIFICATES: usize = 16;

/// The message is no certs-only CMS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no certs-only CMS message (RFC 5652)")]
pub struct NotCertsOnly;

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0xa0;
/// id-signedData, 1.2.840.113549.1.7.2 (RFC 5652 §5.1).
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

/// Reads DER elements one after the other (X.690 §8.1, §10.1).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag, its content, and the whole of it.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            // 0 would be BER's indefinite length; more than 3 bytes is more than MAX_MESSAGE.
            if count == 0 || count > 3 {
                return None;
            }
            let (bytes, rest) = rest.split_at_checked(count)?;
            (
                bytes.iter().fold(0, |n, &b| (n << 8) | usize::from(b)),
                rest,
            )
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some((tag, content, whole))
    }

    /// The content of the next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|&(found, ..)| found == tag)
            .map(|(_, content, _)| content)
    }
}

/// The certificates of the message, in its order.
pub fn certificates(message: &[u8]) -> Result<Vec<CertificateDer<'static>>, NotCertsOnly> {
    if message.len() > MAX_MESSAGE {
        return Err(NotCertsOnly);
    }
    read(message)
        .filter(|found| !found.is_empty())
        .ok_or(NotCertsOnly)
}

fn read(message: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    // ContentInfo ::= SEQUENCE { contentType, content [0] EXPLICIT } (RFC 5652 §3)
    let mut info = Reader(Reader(message).expect(SEQUENCE)?);
    if info.expect(OID)? != SIGNED_DATA {
        return None;
    }
    // SignedData ::= SEQUENCE { version, digestAlgorithms, encapContentInfo, certificates [0] … } (§5.1)
    let mut signed = Reader(Reader(info.expect(CONTEXT_0)?).expect(SEQUENCE)?);
    signed.expect(INTEGER)?;
    signed.expect(SET)?;
    signed.expect(SEQUENCE)?;
    let mut set = Reader(signed.expect(CONTEXT_0)?);
    let mut found = Vec::new();
    while !set.0.is_empty() {
        let (tag, _, whole) = set.next()?;
        if tag != SEQUENCE || found.len() == MAX_CERTIFICATES {
            return None;
        }
        found.push(CertificateDer::from(whole.to_vec()));
    }
    Some(found)
}

/// Bodies of fuzz targets.
#[doc(hidden)]
pub mod fuzzing {
    /// Any bytes as an EST answer: what comes out of it is a part of it, and not too much.
    pub fn est_answer(data: &[u8]) {
        let found = super::certificates(data).unwrap_or_default();
        assert!(found.len() <= super::MAX_CERTIFICATES);
        for one in &found {
            assert!(data.windows(one.len()).any(|part| part == &**one));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, u8::try_from(content.len()).unwrap()];
        out.extend(content);
        out
    }

    fn certs_only(certificates: &[u8]) -> Vec<u8> {
        let mut signed = element(INTEGER, &[1]);
        signed.extend(element(SET, &[]));
        signed.extend(element(SEQUENCE, &element(OID, &[1])));
        signed.extend(element(CONTEXT_0, certificates));
        signed.extend(element(SET, &[]));
        let mut info = element(OID, SIGNED_DATA);
        info.extend(element(CONTEXT_0, &element(SEQUENCE, &signed)));
        element(SEQUENCE, &info)
    }

    #[test]
    fn the_certificates_come_out_whole_and_in_order() {
        let (a, b) = (element(SEQUENCE, &[1, 2, 3]), element(SEQUENCE, &[4]));
        let found = certificates(&certs_only(&[a.clone(), b.clone()].concat())).unwrap();
        assert_eq!(found, [CertificateDer::from(a), CertificateDer::from(b)]);
    }

    #[test]
    fn no_prefix_of_a_message_passes_for_one() {
        let whole = certs_only(&element(SEQUENCE, &[1, 2, 3]));
        for end in 0..whole.len() {
            assert_eq!(certificates(&whole[..end]), Err(NotCertsOnly), "{end}");
        }
    }

    #[test]
    fn indefinite_and_absurd_lengths_are_refused() {
        for bad in [
            &[0x30, 0x80, 0, 0][..],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30],
            &[],
        ] {
            assert_eq!(certificates(bad), Err(NotCertsOnly));
        }
    }
}
