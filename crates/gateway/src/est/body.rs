//! The body of a request: base64 of DER (RFC 7030 §4, as clarified by RFC 8951 §3).
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A body that is not what it should be. The texts are for the device's maker, who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Nothing.
    #[error("the body is empty: send a PKCS#10 request")]
    Empty,
    /// PEM.
    #[error("the body is PEM: send the base64 text without its BEGIN and END lines")]
    Pem,
    /// DER.
    #[error("the body is bare DER: send it as base64 text")]
    Der,
    /// Something else.
    #[error("the body is not base64 text")]
    NotBase64,
}

/// Decodes base64 with or without line breaks.
pub fn decode(body: &[u8]) -> Result<Vec<u8>, BodyError> {
    if body.starts_with(b"-----BEGIN") {
        return Err(BodyError::Pem);
    }
    // RFC 4648 §3.3: nothing outside the alphabet but the line breaks that this protocol allows.
    let text: Vec<u8> = body
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | b'\t'))
        .collect();
    if text.is_empty() {
        return Err(BodyError::Empty);
    }
    BASE64.decode(&text).map_err(|_| match body {
        [0x30, 0x82 | 0x81, ..] => BodyError::Der,
        _ => BodyError::NotBase64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_of_any_kind_are_allowed() {
        for text in [
            "MAMCAQA=",
            "MAMC\r\nAQA=\r\n",
            "MAMC\nAQA=\n",
            "  MAMC AQA=\t",
        ] {
            assert_eq!(
                decode(text.as_bytes()).unwrap(),
                [0x30, 3, 2, 1, 0],
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_people_send_by_mistake_is_named() {
        assert_eq!(decode(b""), Err(BodyError::Empty));
        assert_eq!(decode(b"\r\n"), Err(BodyError::Empty));
        assert_eq!(
            decode(b"-----BEGIN CERTIFICATE REQUEST-----\nMAMC"),
            Err(BodyError::Pem)
        );
        assert_eq!(decode(&[0x30, 0x82, 1, 2]), Err(BodyError::Der));
        for bad in [
            "MAMCAQA",
            "MAMC!QA=",
            "MAMC-_A=",
            "MAMCAQB=",
            "MAMCAQA=MAMCAQA=",
        ] {
            assert_eq!(decode(bad.as_bytes()), Err(BodyError::NotBase64), "{bad}");
        }
    }
}
