//! One telemetry message as it travels from a gateway to the vault.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer, de};

/// The version written here.
pub const VERSION: u8 = 1;

/// A published message whose profile rule names a schema; CBOR on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// Version of this form.
    pub v: u8,
    /// The device's id.
    pub device: Cow<'a, str>,
    /// Its model.
    pub model: Cow<'a, str>,
    /// The version of the profile that allowed the message.
    pub profile_version: u64,
    /// The schema that the profile's rule names.
    pub schema: Cow<'a, str>,
    /// The topic it was published to.
    pub topic: Cow<'a, str>,
    /// When the gateway received it: milliseconds since 1970, UTC.
    pub at_unix_ms: i64,
    /// The payload as the device sent it.
    #[serde(serialize_with = "as_bytes", deserialize_with = "from_bytes")]
    pub payload: Cow<'a, [u8]>,
}

/// Why bytes from the bus are not a telemetry record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer gateway.
    #[error("telemetry record of version {0}; this version knows {VERSION}")]
    Newer(u8),
    /// Not a record at all.
    #[error("not a telemetry record: {0}")]
    Malformed(String),
}

impl Record<'_> {
    /// The bytes for the bus.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + self.payload.len());
        let written = ciborium::into_writer(self, &mut out);
        // Only the writer can fail, and a Vec does not.
        debug_assert!(written.is_ok(), "encoding into memory failed");
        out
    }
}

impl Record<'static> {
    /// The record in `bytes`, which must hold nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        /// All that every version has in common.
        #[derive(Deserialize)]
        struct Versioned {
            v: u8,
        }

        let mut rest = bytes;
        match ciborium::from_reader::<Self, _>(&mut rest) {
            Ok(record) if record.v != VERSION => Err(RecordError::Newer(record.v)),
            Ok(_) if !rest.is_empty() => Err(RecordError::Malformed(format!(
                "{} bytes too many",
                rest.len()
            ))),
            Ok(record) => Ok(record),
            Err(error) => match ciborium::from_reader::<Versioned, _>(bytes) {
                Ok(newer) if newer.v > VERSION => Err(RecordError::Newer(newer.v)),
                _ => Err(RecordError::Malformed(error.to_string())),
            },
        }
    }
}

/// A byte string, where serde's default would be a list of numbers.
#[expect(clippy::ptr_arg, reason = "serde hands over the field as it is")]
fn as_bytes<S: Serializer>(bytes: &Cow<'_, [u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn from_bytes<'de, 'a, D: de::Deserializer<'de>>(
    deserializer: D,
) -> Result<Cow<'a, [u8]>, D::Error> {
    struct Bytes;

    impl de::Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a byte string")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }

    deserializer.deserialize_byte_buf(Bytes).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record<'static> {
        Record {
            v: VERSION,
            device: "porch".into(),
            model: "cam-2".into(),
            profile_version: 7,
            schema: "motion".into(),
            topic: "cam-2/porch/motion".into(),
            at_unix_ms: 1_790_000_000_123,
            payload: vec![0, 255, 7].into(),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(Record::decode(&sample().encode()).unwrap(), sample());
    }

    #[test]
    fn a_newer_record_is_refused_by_its_version_whatever_its_form() {
        let mut newer = sample();
        newer.v = 2;
        assert!(matches!(
            Record::decode(&newer.encode()),
            Err(RecordError::Newer(2))
        ));
        // {"v": 3}
        assert!(matches!(
            Record::decode(&[0xa1, 0x61, b'v', 3]),
            Err(RecordError::Newer(3))
        ));
    }

    #[test]
    fn half_a_record_and_a_record_and_a_half_are_refused() {
        let bytes = sample().encode();
        let (half, _) = bytes.split_at(bytes.len() / 2);
        assert!(matches!(
            Record::decode(half),
            Err(RecordError::Malformed(_))
        ));
        let more = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(
            Record::decode(&more),
            Err(RecordError::Malformed(_))
        ));
    }
}
