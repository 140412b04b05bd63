//! Reading what a device sent.

use crate::value::{Fields, Value};

/// Largest payload that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// CBOR's self-described tag, RFC 8949 §3.4.6.
const SELF_DESCRIBED: &[u8] = &[0xd9, 0xd9, 0xf7];
/// More levels than [`Value`] allows, for its own check to speak first.
const RECURSION: usize = 16;

/// Why a payload cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PayloadError {
    /// It starts neither like a JSON object nor like a CBOR map.
    #[error("neither a JSON object nor a CBOR map")]
    Neither,
    /// It is larger than any record may be.
    #[error("{0} bytes are too many (the limit is {MAX_BYTES})")]
    TooLarge(usize),
    /// It is not the JSON it started as, or beyond the limits.
    #[error("not acceptable JSON: {0}")]
    Json(String),
    /// It is not the CBOR it started as, or beyond the limits.
    #[error("not acceptable CBOR: {0}")]
    Cbor(String),
}

/// The fields of a payload: one JSON object or one CBOR map with text for keys, and nothing behind it.
pub fn decode(payload: &[u8]) -> Result<Fields, PayloadError> {
    if payload.len() > MAX_BYTES {
        return Err(PayloadError::TooLarge(payload.len()));
    }
    let cbor = payload.strip_prefix(SELF_DESCRIBED).unwrap_or(payload);
    let value = match cbor.first() {
        // Major type 5, RFC 8949 §3.1; no JSON text begins with such a byte.
        Some(0xa0..=0xbf) => from_cbor(cbor)?,
        _ if payload.trim_ascii_start().starts_with(b"{") => from_json(payload)?,
        _ => return Err(PayloadError::Neither),
    };
    match value {
        Value::Map(fields) => Ok(fields),
        _ => Err(PayloadError::Neither),
    }
}

fn from_json(bytes: &[u8]) -> Result<Value, PayloadError> {
    serde_json::from_slice(bytes).map_err(|error| PayloadError::Json(error.to_string()))
}

fn from_cbor(bytes: &[u8]) -> Result<Value, PayloadError> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, RECURSION)
        .map_err(|error| PayloadError::Cbor(error.to_string()))?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(PayloadError::Cbor(format!("{} bytes too many", rest.len())))
    }
}
