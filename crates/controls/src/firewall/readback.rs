//! What the kernel says of our tables, as the same data that we wrote.
//!
//! The text is that of `nft -j list table`. Whatever we never write is named, with its table, chain and handle; nothing is
//! passed over: a rule that is not understood might be the one that lets everything through.

mod devices;
mod list;
mod rule;
mod set;
mod symbol;

use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::nft::{Family, Ruleset};
use list::Listing;

pub use devices::devices;

/// Why a listing is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadbackError {
    /// It is no listing at all.
    #[error("nft's listing can not be read: {0}")]
    Listing(String),
    /// There is something in it that we do not write.
    #[error("{}", spoken(.0))]
    Foreign(Vec<Foreign>),
}

/// Something in our tables that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Where: `inet stockade`, and the chain or set.
    pub place: String,
    /// The kernel's number of it, as `nft -a list` shows it.
    pub handle: Option<u64>,
    /// What is there.
    pub what: String,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if let Some(handle) = self.handle {
            write!(f, ", handle {handle}")?;
        }
        write!(f, ": {}", self.what)
    }
}

fn spoken(foreign: &[Foreign]) -> String {
    let lines: Vec<String> = foreign.iter().map(Foreign::to_string).collect();
    format!("not written by us: {}", lines.join("; "))
}

/// How many foreign things are named; a table of someone else could hold any number.
const NAMED: usize = 32;

/// Reads one listing, of one table or of several.
///
/// nft 1.0.6 leaves three things out of its JSON: the flag `dynamic` of a set, the level of `socket cgroupv2`, and the device
/// of a chain of the family netdev. The first reads as false, the second is the depth of the path, the third is told by
/// [`devices`].
pub fn from_json(json: &[u8]) -> Result<Ruleset, ReadbackError> {
    let mut listing = Listing::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read = deserializer
        .deserialize_map(Root(&mut listing))
        .and_then(|()| deserializer.end());
    read.map_err(|error| ReadbackError::Listing(error.to_string()))?;
    let (ruleset, foreign) = listing.finish();
    if foreign.is_empty() {
        Ok(ruleset)
    } else {
        Err(ReadbackError::Foreign(foreign))
    }
}

/// `{"nftables": [object, ...]}`, one object at a time: a listing of ten thousand devices is never in memory as a whole.
struct Root<'a>(&'a mut Listing);

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list `nftables`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "nftables" && !seen {
                map.next_value_seed(Objects(self.0))?;
                seen = true;
            } else {
                map.next_value::<IgnoredAny>()?;
                return Err(de::Error::custom("a second part beside `nftables`"));
            }
        }
        if seen {
            Ok(())
        } else {
            Err(de::Error::missing_field("nftables"))
        }
    }
}

struct Objects<'a>(&'a mut Listing);

impl<'de> DeserializeSeed<'de> for Objects<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(object) = sequence.next_element::<Map<String, Value>>()? {
            self.0.object(object);
        }
        Ok(())
    }
}

/// What is wrong with a part of a rule or set, in words.
#[derive(Debug)]
struct Strange(String);

type Read<T> = Result<T, Strange>;

fn strange<T>(what: impl Into<String>) -> Read<T> {
    Err(Strange(what.into()))
}

/// A JSON value as it stands, cut short: it may be any length.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// The members of an object, each to be taken; what is left at the end is strange.
struct Members(Map<String, Value>);

impl Members {
    fn of(value: Value) -> Read<Self> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            other => strange(shown(&other)),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    fn need(&mut self, name: &str) -> Read<Value> {
        let found = self.take(name);
        found.ok_or_else(|| Strange(format!("no `{name}`")))
    }

    fn text(&mut self, name: &str) -> Read<String> {
        match self.need(name)? {
            Value::String(text) => Ok(text),
            other => strange(format!("`{name}` is {}", shown(&other))),
        }
    }

    fn number(&mut self, name: &str) -> Read<Option<u64>> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let number = value.as_u64();
        number.map_or_else(
            || strange(format!("`{name}` is {}", shown(&value))),
            |it| Ok(Some(it)),
        )
    }

    fn done(self) -> Read<()> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, value)) => strange(format!("`{name}`: {}", shown(&value))),
        }
    }
}

fn small<T: TryFrom<u64>>(name: &str, number: u64) -> Read<T> {
    T::try_from(number).map_err(|_| Strange(format!("`{name}` is {number}")))
}

fn family(text: &str) -> Read<Family> {
    match text {
        "inet" => Ok(Family::Inet),
        "arp" => Ok(Family::Arp),
        "netdev" => Ok(Family::Netdev),
        other => strange(format!("family {other}")),
    }
}

/// The only member of an object: a statement or an expression by its name.
fn only(value: Value) -> Read<(String, Value)> {
    let mut members = Members::of(value)?.0.into_iter();
    match (members.next(), members.next()) {
        (Some(one), None) => Ok(one),
        (one, _) => strange(one.map_or_else(
            || "{}".to_owned(),
            |(name, _)| format!("more than `{name}`"),
        )),
    }
}
