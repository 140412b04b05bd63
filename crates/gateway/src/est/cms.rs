//! The two ASN.1 values that EST sends, written as DER (X.690 §8, §10).
//!
//! Both are fixed but for the certificates inside, so a few lines replace a dependency.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;

/// id-signedData, 1.2.840.113549.1.7.2 (RFC 5652 §5.1)
const SIGNED_DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// id-data, 1.2.840.113549.1.7.1 (RFC 5652 §4)
const DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// `CMSVersion` 1 (RFC 5652 §5.1: no attribute certificates, id-data, no signers)
const VERSION_1: &[u8] = &[0x02, 1, 1];
/// id-ecPublicKey, 1.2.840.10045.2.1 (RFC 5480 §2.1.1)
const EC_PUBLIC_KEY: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// secp256r1, 1.2.840.10045.3.1.7 (RFC 5480 §2.1.1.1)
const SECP256R1: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// ecdsa-with-SHA256, 1.2.840.10045.4.3.2 (RFC 5758 §3.2)
const ECDSA_SHA256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// Tag, length and content (X.690 §8.1; the length in as few bytes as possible, §10.1).
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if let Ok(short @ 0..=127) = u8::try_from(length) {
        out.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let significant = bytes
            .iter()
            .position(|&byte| byte != 0)
            .unwrap_or(bytes.len());
        let bytes = bytes.get(significant..).unwrap_or_default();
        // At most eight bytes on any machine.
        out.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
        out.extend_from_slice(bytes);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A certs-only message (RFC 7030 §4.1.3 and §4.2.3; RFC 5652 §3 and §5.1): signed data with nobody's signature.
pub fn certs_only(certificates: &[&[u8]]) -> Vec<u8> {
    // DER orders the elements of a SET OF by their bytes (X.690 §11.6).
    let mut sorted = certificates.to_vec();
    sorted.sort_unstable();
    let digest_algorithms = tlv(SET, &[]);
    let content = tlv(SEQUENCE, &[DATA]);
    let certificates = tlv(CONTEXT_0, &sorted);
    let signers = tlv(SET, &[]);
    let signed = tlv(
        SEQUENCE,
        &[
            VERSION_1,
            &digest_algorithms,
            &content,
            &certificates,
            &signers,
        ],
    );
    tlv(SEQUENCE, &[SIGNED_DATA, &tlv(CONTEXT_0, &[&signed])])
}

/// What a request should look like (RFC 7030 §4.5.2): a key on P-256, signed with SHA-256. Others are accepted too.
pub(super) fn csr_attributes() -> Vec<u8> {
    let key = tlv(SEQUENCE, &[EC_PUBLIC_KEY, &tlv(SET, &[SECP256R1])]);
    tlv(SEQUENCE, &[&key, ECDSA_SHA256])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_der_demands() {
        for (length, head) in [
            (0, vec![4, 0]),
            (127, vec![4, 127]),
            (128, vec![4, 0x81, 128]),
            (255, vec![4, 0x81, 255]),
            (256, vec![4, 0x82, 1, 0]),
            (65_536, vec![4, 0x83, 1, 0, 0]),
        ] {
            let written = tlv(4, &[&vec![7; length]]);
            assert_eq!(written[..head.len()], head, "{length}");
            assert_eq!(written.len(), head.len() + length);
        }
    }

    #[test]
    fn csr_attributes_are_those_of_the_rfc() {
        let expected =
            "301506072a8648ce3d020131 0a06082a8648ce3d030107 06082a8648ce3d040302".replace(' ', "");
        assert!(
            crate::registry::hex(&csr_attributes()).ends_with(&expected),
            "{:02x?}",
            csr_attributes()
        );
    }
}
