//! Pseudonyms, and the keys of a data set.

use std::time::Duration;

use aws_lc_rs::hmac;
use stockade_profile::Scope;
use zeroize::Zeroizing;

use super::Treating;
use crate::keys::{KeyError, Keys, to_hex};
use crate::value::Value;

/// Length of a pseudonym before it is written in hex: 128 bits, so that two values meet by chance about never.
const PSEUDONYM_BYTES: usize = 16;

/// The keys by which one data set of one model is treated. They are wiped by the library that holds them.
///
/// Each is of a *pseudonymisation domain* (EDPB 01/2025): whoever holds it and a subject's secret can make that
/// subject's pseudonyms, and nobody else can.
pub struct DataSetKeys {
    pub(super) schema: String,
    pub(super) dataset: hmac::Key,
    device: hmac::Key,
    model: hmac::Key,
    fleet: hmac::Key,
}

impl std::fmt::Debug for DataSetKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataSetKeys({})", self.schema)
    }
}

impl DataSetKeys {
    /// The keys of a data set.
    pub fn new(keys: &Keys, model: &str, schema: &str) -> Result<Self, KeyError> {
        Self::derived(model, schema, |parts| keys.domain_key(parts))
    }

    pub(crate) fn derived(
        model: &str,
        schema: &str,
        domain: impl Fn(&[&[u8]]) -> Result<hmac::Key, KeyError>,
    ) -> Result<Self, KeyError> {
        let (model, name) = (model.as_bytes(), schema.as_bytes());
        Ok(Self {
            schema: schema.to_owned(),
            dataset: domain(&[b"treat dataset", model, name])?,
            device: domain(&[b"treat device", model])?,
            model: domain(&[b"treat model", model])?,
            fleet: domain(&[b"treat fleet"])?,
        })
    }

    /// A key for one field of one subject and one use, of this data set.
    pub(super) fn field_key(&self, label: u8, secret: &[u8; 32], field: &str) -> hmac::Tag {
        labelled(&self.dataset, label, secret, field).sign()
    }
}

impl Treating<'_> {
    /// The pseudonym of a field's value: PRF(domain's key, subject's secret ‖ field ‖ window ‖ value). None for what has
    /// parts or is nothing.
    ///
    /// The field's name is part of it: that two fields hold the same value is not shown. So is the subject's secret:
    /// once that is erased, nobody makes the pseudonym again, whatever other keys they have.
    pub(super) fn pseudonym(
        self,
        scope: Scope,
        window: Option<Duration>,
        field: &str,
        value: &Value,
    ) -> Option<Value> {
        let key = match scope {
            Scope::Device => &self.keys.device,
            Scope::Dataset | Scope::Purpose | Scope::Window => &self.keys.dataset,
            Scope::Model => &self.keys.model,
            Scope::Fleet => &self.keys.fleet,
        };
        let mut input = labelled(key, b'p', self.secret, field);
        if scope == Scope::Window {
            let window = i64::try_from(window?.as_secs()).ok()?;
            input.update(b"w");
            let count = self.at.unix_timestamp().checked_div_euclid(window)?;
            input.update(&count.to_be_bytes());
        }
        input.update(&value_bytes(value)?);
        Some(Value::Text(short(&input.sign())))
    }
}

/// The pseudonym that is shown for one purpose, made from the stored one: what is seen for two purposes does not join,
/// and neither with what is stored. `key` is the purpose's domain.
#[must_use]
pub fn for_purpose(key: &hmac::Key, stored: &str) -> String {
    short(&hmac::sign(key, stored.as_bytes()))
}

fn short(tag: &hmac::Tag) -> String {
    let first = tag.as_ref().get(..PSEUDONYM_BYTES).unwrap_or_default();
    to_hex(first).to_string()
}

/// The start of every input: no two uses, subjects or fields have the same.
fn labelled(key: &hmac::Key, label: u8, secret: &[u8; 32], field: &str) -> hmac::Context {
    let mut input = hmac::Context::with_key(key);
    input.update(&[label]);
    input.update(secret);
    input.update(&(field.len() as u64).to_be_bytes());
    input.update(field.as_bytes());
    input
}

/// A plain value as bytes that no other value has.
pub(super) fn value_bytes(value: &Value) -> Option<Zeroizing<Vec<u8>>> {
    let of = |kind: u8, bytes: &[u8]| Some(Zeroizing::new([&[kind], bytes].concat()));
    match value {
        Value::Text(text) => of(b't', text.as_bytes()),
        Value::Bytes(bytes) => of(b'b', bytes),
        Value::Integer(number) => of(b'i', &number.to_be_bytes()),
        // Zero has two signs.
        Value::Float(number) if number.is_finite() => of(b'f', &(number + 0.0).to_be_bytes()),
        Value::Bool(value) => of(b'y', &[u8::from(*value)]),
        Value::Null | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
    }
}

/// The value of such bytes.
pub(super) fn pull_value(bytes: &[u8]) -> Option<Value> {
    let (kind, rest) = bytes.split_first()?;
    Some(match kind {
        b't' => Value::Text(str::from_utf8(rest).ok()?.to_owned()),
        b'b' => Value::Bytes(rest.to_vec()),
        b'i' => Value::Integer(i128::from_be_bytes(rest.try_into().ok()?)),
        b'f' => Value::Float(f64::from_be_bytes(rest.try_into().ok()?)),
        b'y' => Value::Bool(rest == [1]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use time::OffsetDateTime;

    use super::*;

    /// Python's `hmac`, over the input that this module's documentation describes.
    #[test]
    fn a_pseudonym_is_the_hmac_that_it_says() {
        let key = |parts: &[&[u8]]| Ok(hmac::Key::new(hmac::HMAC_SHA256, &parts.concat()));
        let keys = DataSetKeys::derived("cam-2", "motion", key).expect("keys");
        let of = |scope, window, at| {
            let by = Treating {
                keys: &keys,
                secret: &[7; 32],
                readers: &BTreeMap::new(),
                device: "porch",
                at: OffsetDateTime::from_unix_timestamp(at).expect("a time"),
            };
            by.pseudonym(scope, window, "device", &Value::Text("porch".into()))
        };
        let is = |text: &str| Some(Value::Text(text.into()));
        assert_eq!(
            of(Scope::Dataset, None, 0),
            is("44f607fd56f1386cd3bc017fd7319ddb")
        );
        assert_eq!(
            of(Scope::Window, Some(Duration::from_mins(1)), -1),
            is("63266fb5d70bf68a1325208034b1245d")
        );
    }
}
