//! The properties that may appear more than once: user properties and subscription identifiers.

use super::id;
use crate::{
    DecodeError, SubscriptionId, Text, TextError, Version,
    wire::{Reader, Sink},
};

/// The bytes of one property value of a checked block.
fn skip<'a>(reader: &mut Reader<'a>, property: u8) -> Result<(), DecodeError> {
    let _: &'a [u8] = match property {
        id::PAYLOAD_FORMAT
        | id::REQUEST_PROBLEM_INFO
        | id::REQUEST_RESPONSE_INFO
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_AVAILABLE
        | id::SUB_ID_AVAILABLE
        | id::SHARED_AVAILABLE => reader.take(1)?,
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => {
            reader.take(2)?
        }
        id::MESSAGE_EXPIRY | id::SESSION_EXPIRY | id::WILL_DELAY | id::MAXIMUM_PACKET_SIZE => {
            reader.take(4)?
        }
        id::SUBSCRIPTION_ID => {
            reader.varint()?;
            &[]
        }
        id::USER_PROPERTY => {
            reader.binary()?;
            reader.binary()?.as_bytes()
        }
        // All others are strings or binary data; the block was checked, so no unknown identifier is left.
        _ => reader.binary()?.as_bytes(),
    };
    Ok(())
}

/// User properties in order: a checked range of bytes that is walked when asked for.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    /// A checked property block, which may hold other properties too.
    block: &'a [u8],
    /// How many bytes the user properties in it take.
    len: usize,
}

impl<'a> UserProperties<'a> {
    /// The user properties of a block without faults, in which they take `len` bytes.
    pub(crate) const fn checked(block: &'a [u8], len: usize) -> Self {
        Self { block, len }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes they take on the wire.
    pub const fn encoded_len(&self) -> usize {
        self.len
    }

    /// Names and values in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> + use<'a> {
        let block = if self.is_empty() { &[] } else { self.block };
        let mut reader = Reader::new(block, Version::V5);
        std::iter::from_fn(move || {
            while !reader.is_empty() {
                let property = reader.u8().ok()?;
                if property == id::USER_PROPERTY {
                    return Some((reader.text().ok()?, reader.text().ok()?));
                }
                skip(&mut reader, property).ok()?;
            }
            None
        })
    }

    /// A copy that outlives the packet.
    pub fn to_buf(self) -> UserPropertiesBuf {
        let mut bytes = Vec::with_capacity(self.len);
        self.write(&mut bytes);
        UserPropertiesBuf(bytes)
    }

    pub(crate) fn write(&self, out: &mut impl Sink) {
        if self.len == self.block.len() {
            out.put(self.block);
            return;
        }
        for (name, value) in self.iter() {
            out.u8(id::USER_PROPERTY);
            out.string(&name);
            out.string(&value);
        }
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl std::fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// User properties that own their bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UserPropertiesBuf(Vec<u8>);

impl UserPropertiesBuf {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends one.
    pub fn push(&mut self, name: Text<'_>, value: Text<'_>) {
        self.0.u8(id::USER_PROPERTY);
        self.0.string(&name);
        self.0.string(&value);
    }

    /// Takes back what [`UserPropertiesBuf::as_bytes`] gave.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, TextError> {
        let mut reader = Reader::new(&bytes, Version::V5);
        while !reader.is_empty() {
            let one = reader.u8().and_then(|property| {
                reader.text()?;
                reader.text()?;
                Ok(property)
            });
            if one != Ok(id::USER_PROPERTY) {
                return Err(TextError::NotUserProperties);
            }
        }
        Ok(Self(bytes))
    }

    /// The encoded bytes, to store them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The form packets hold.
    pub fn borrow(&self) -> UserProperties<'_> {
        UserProperties {
            block: &self.0,
            len: self.0.len(),
        }
    }
}

impl std::fmt::Debug for UserPropertiesBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.borrow().fmt(f)
    }
}

/// The subscription identifiers of a PUBLISH to a client.
#[derive(Clone, Copy)]
pub struct SubscriptionIds<'a>(Ids<'a>);

#[derive(Clone, Copy)]
enum Ids<'a> {
    /// A checked property block, which holds other properties too.
    Wire(&'a [u8]),
    List(&'a [SubscriptionId]),
}

impl<'a> SubscriptionIds<'a> {
    /// The subscription identifiers of a block without faults.
    pub(crate) const fn checked(block: &'a [u8]) -> Self {
        Self(Ids::Wire(block))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The identifiers in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = SubscriptionId> + use<'a> {
        let (block, list): (&[u8], &[SubscriptionId]) = match self.0 {
            Ids::Wire(block) => (block, &[]),
            Ids::List(list) => (&[], list),
        };
        let mut reader = Reader::new(block, Version::V5);
        let wire = std::iter::from_fn(move || {
            while !reader.is_empty() {
                let property = reader.u8().ok()?;
                if property == id::SUBSCRIPTION_ID {
                    return SubscriptionId::new(reader.varint().ok()?);
                }
                skip(&mut reader, property).ok()?;
            }
            None
        });
        wire.chain(list.iter().copied())
    }

    pub(crate) fn write(&self, out: &mut impl Sink) {
        for value in self.iter() {
            out.u8(id::SUBSCRIPTION_ID);
            out.varint(value.get());
        }
    }
}

impl Default for SubscriptionIds<'_> {
    fn default() -> Self {
        Self(Ids::List(&[]))
    }
}

impl<'a> From<&'a [SubscriptionId]> for SubscriptionIds<'a> {
    fn from(list: &'a [SubscriptionId]) -> Self {
        Self(Ids::List(list))
    }
}

impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

impl std::fmt::Debug for SubscriptionIds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
