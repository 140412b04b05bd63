//! Reading and writing a document's tree: one reader for TOML and for the canonical bytes, so that both are checked alike.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::fault::{At, Faulted, Faults, Malformed, nearest, quote};

/// The most entries that one list or one table may have.
const MAX_ENTRIES: usize = 256;

/// A place in the document and what stands there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

impl Node {
    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value {
            Some(text)
        } else {
            None
        }
    }

    pub(crate) fn as_integer(&self) -> Option<i64> {
        if let Value::Integer(number) = self.value {
            Some(number)
        } else {
            None
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        if let Value::List(items) = &self.value {
            Some(items)
        } else {
            None
        }
    }

    pub(crate) fn as_table(&self) -> Option<&[Entry]> {
        if let Value::Table(entries) = &self.value {
            Some(entries)
        } else {
            None
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Integer(i64),
    Text(String),
    Boolean(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// What TOML has and a profile has not, by its name.
    Other(&'static str),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: At,
    pub(crate) node: Node,
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "a whole number",
            Self::Text(_) => "text",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// What can be read from a document and written to one: `read(write(x)) == x`.
pub(crate) trait Form: Sized {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted>;
    fn write(&self) -> Value;
}

/// Marks what is written as text.
pub(crate) trait Text: FromStr<Err = Malformed> + Display {}

impl<T: Text> Form for T {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let text = text(node, faults)?;
        text.parse().map_err(|wrong: Malformed| {
            // A blank or a capital too many is worth more than a word about the grammar.
            let plain = text.split_whitespace().collect::<String>();
            let meant = [plain.to_lowercase(), plain];
            let meant = meant
                .iter()
                .find(|meant| *meant != text && meant.parse::<T>().is_ok());
            let help = meant.map(|meant| format!("did you mean \"{}\"?", quote(meant)));
            faults.error(
                node.at,
                Malformed {
                    help: help.or(wrong.help),
                    ..wrong
                },
            )
        })
    }

    fn write(&self) -> Value {
        Value::Text(self.to_string())
    }
}

impl Form for bool {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let Value::Boolean(flag) = node.value else {
            return Err(mistyped(node, "true or false", faults));
        };
        Ok(flag)
    }

    fn write(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Form for u64 {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let Value::Integer(number) = node.value else {
            return Err(mistyped(node, "a whole number", faults));
        };
        Self::try_from(number)
            .map_err(|_| faults.error(node.at, Malformed::new("must not be negative")))
    }

    fn write(&self) -> Value {
        // The largest number TOML can say; nothing larger was ever read.
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

/// A smaller number is a `u64` with its own bound.
macro_rules! bounded {
    ($($number:ty),+) => {$(
        impl Form for $number {
            fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
                let number = u64::read(node, faults)?;
                Self::try_from(number).map_err(|_| {
                    let most = format!("must be at most {}", Self::MAX);
                    faults.error(node.at, Malformed::new(most))
                })
            }

            fn write(&self) -> Value {
                u64::from(*self).write()
            }
        }
    )+};
}

bounded!(u8, u32);

/// A list without repetitions.
impl<T: Form + PartialEq> Form for Vec<T> {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let nodes = list(node, faults)?;
        let mut items = Self::with_capacity(nodes.len());
        let mut outcome = Ok(());
        for node in nodes {
            match T::read(node, faults) {
                Ok(item) if items.contains(&item) => outcome = Err(twice(node.at, faults)),
                Ok(item) => items.push(item),
                Err(faulted) => outcome = Err(faulted),
            }
        }
        outcome.map(|()| items)
    }

    fn write(&self) -> Value {
        Value::List(self.iter().map(|item| plain(item.write())).collect())
    }
}

/// A table whose keys are names the author chose.
impl<K: Text + Ord, T: Form> Form for BTreeMap<K, T> {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut map = Self::new();
        let mut outcome = Ok(());
        for entry in table(node, faults)? {
            let key = entry
                .key
                .parse::<K>()
                .map_err(|wrong| faults.error(entry.key_at, wrong));
            match (key, T::read(&entry.node, faults)) {
                (Ok(key), Ok(value)) => {
                    map.insert(key, value);
                }
                (Err(faulted), _) | (_, Err(faulted)) => outcome = Err(faulted),
            }
        }
        outcome.map(|()| map)
    }

    fn write(&self) -> Value {
        let entries = self
            .iter()
            .map(|(key, value)| entry(&key.to_string(), value.write()));
        Value::Table(entries.collect())
    }
}

/// A table with known keys: each is asked for by name, [`Keys::finish`] refuses the others.
pub(crate) struct Keys<'n> {
    at: At,
    entries: &'n [Entry],
    faults: &'n Faults,
    known: Vec<&'static str>,
}

impl<'n> Keys<'n> {
    pub(crate) fn of(node: &'n Node, faults: &'n Faults) -> Result<Self, Faulted> {
        Ok(Self {
            at: node.at,
            entries: table(node, faults)?,
            faults,
            known: Vec::new(),
        })
    }

    pub(crate) fn optional<T: Form>(&mut self, key: &'static str) -> Result<Option<T>, Faulted> {
        self.known.push(key);
        self.node(key)
            .map(|node| T::read(node, self.faults))
            .transpose()
    }

    pub(crate) fn or<T: Form>(&mut self, key: &'static str, default: T) -> Result<T, Faulted> {
        Ok(self.optional(key)?.unwrap_or(default))
    }

    pub(crate) fn or_default<T: Form + Default>(
        &mut self,
        key: &'static str,
    ) -> Result<T, Faulted> {
        Ok(self.optional(key)?.unwrap_or_default())
    }

    /// A key that must be there; `example` shows a value for it.
    pub(crate) fn required<T: Form>(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Result<T, Faulted> {
        self.optional(key)?.ok_or_else(|| {
            let help = format!("for example `{key} = {example}`");
            self.faults
                .missing(self.at, Malformed::new(missing(key)).help(help))
        })
    }

    /// A list that must name something.
    pub(crate) fn some<T: Form + PartialEq>(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Result<Vec<T>, Faulted> {
        let items: Vec<T> = self.required(key, example)?;
        if items.is_empty() {
            let empty = Malformed::new(format!("`{key}` must name at least one"));
            return Err(self.error(key, empty.help(format!("for example `{key} = {example}`"))));
        }
        Ok(items)
    }

    /// Refuses a value out of bounds.
    pub(crate) fn within<T: Form + PartialOrd>(
        &self,
        key: &'static str,
        value: Result<T, Faulted>,
        bounds: &RangeInclusive<T>,
    ) -> Result<T, Faulted> {
        let value = value?;
        if bounds.contains(&value) {
            return Ok(value);
        }
        let (least, most) = (show(&bounds.start().write()), show(&bounds.end().write()));
        let wrong = Malformed::new(format!("`{key}` must be from {least} to {most}"));
        Err(self.error(key, wrong))
    }

    /// Refuses two rules for the same thing: which of them counts would be anybody's guess.
    pub(crate) fn distinct<T>(
        &self,
        key: &'static str,
        rules: Result<Vec<T>, Faulted>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Result<Vec<T>, Faulted> {
        let rules = rules?;
        let nodes = self.node(key).and_then(Node::as_list).unwrap_or_default();
        let mut outcome = Ok(());
        for (index, (rule, node)) in rules.iter().zip(nodes).enumerate() {
            if rules.iter().take(index).any(|earlier| same(earlier, rule)) {
                outcome = Err(twice(node.at, self.faults));
            }
        }
        outcome.map(|()| rules)
    }

    /// Reports an error at a key's value, or at the table where the key is absent.
    pub(crate) fn error(&self, key: &str, wrong: Malformed) -> Faulted {
        self.faults.error(self.place(key), wrong)
    }

    /// Warns at a key's value, or at the table where the key is absent.
    pub(crate) fn warn(&self, key: &str, wrong: Malformed) {
        self.faults.warn(self.place(key), wrong);
    }

    /// The text of a key, if it is text; the key is not taken as known.
    pub(crate) fn text(&self, key: &str) -> Option<&'n str> {
        self.node(key).and_then(Node::as_text)
    }

    /// Makes keys known that this table has only in other cases.
    pub(crate) fn know(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// Refuses every key that was not asked for.
    pub(crate) fn finish(self) -> Result<(), Faulted> {
        let known = |key: &str| self.known.contains(&key);
        let absent = self
            .known
            .iter()
            .copied()
            .filter(|key| self.node(key).is_none());
        let absent: Vec<&str> = absent.collect();
        let mut outcome = Ok(());
        for entry in self.entries.iter().filter(|entry| !known(&entry.key)) {
            let unknown = Malformed::new(format!("unknown key `{}`", quote(&entry.key)));
            let unknown = match nearest(&entry.key, absent.iter().copied()) {
                Some(meant) => {
                    self.faults.retract(self.at, &missing(meant));
                    unknown.help(format!("did you mean `{meant}`?"))
                }
                None => unknown.help(format!("known here: {}", known_words(&self.known))),
            };
            outcome = Err(self.faults.error(entry.key_at, unknown));
        }
        outcome
    }

    fn node(&self, key: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    fn place(&self, key: &str) -> At {
        self.node(key).map_or(self.at, |node| node.at)
    }
}

/// Writes a table: what is at its default is left out, so that a key added later changes no older profile's bytes.
#[derive(Default)]
pub(crate) struct Writer(Vec<Entry>);

impl Writer {
    pub(crate) fn put<T: Form>(mut self, key: &str, value: &T) -> Self {
        self.0.push(entry(key, value.write()));
        self
    }

    pub(crate) fn unless<T: Form + PartialEq>(self, key: &str, value: &T, default: &T) -> Self {
        if value == default {
            self
        } else {
            self.put(key, value)
        }
    }

    pub(crate) fn unless_default<T: Form + PartialEq + Default>(
        self,
        key: &str,
        value: &T,
    ) -> Self {
        self.unless(key, value, &T::default())
    }

    pub(crate) fn some<T: Form>(self, key: &str, value: Option<&T>) -> Self {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }

    pub(crate) fn done(self) -> Value {
        Value::Table(self.0)
    }
}

pub(crate) fn text<'n>(node: &'n Node, faults: &Faults) -> Result<&'n str, Faulted> {
    node.as_text().ok_or_else(|| mistyped(node, "text", faults))
}

pub(crate) fn list<'n>(node: &'n Node, faults: &Faults) -> Result<&'n [Node], Faulted> {
    let items = node
        .as_list()
        .ok_or_else(|| mistyped(node, "a list", faults))?;
    few(items, node.at, faults)
}

fn table<'n>(node: &'n Node, faults: &Faults) -> Result<&'n [Entry], Faulted> {
    let entries = node
        .as_table()
        .ok_or_else(|| mistyped(node, "a table", faults))?;
    few(entries, node.at, faults)
}

fn few<'n, T>(entries: &'n [T], at: At, faults: &Faults) -> Result<&'n [T], Faulted> {
    let count = entries.len();
    if count <= MAX_ENTRIES {
        return Ok(entries);
    }
    Err(faults.error(
        at,
        Malformed::new(format!("{count} entries; at most {MAX_ENTRIES} are taken")),
    ))
}

/// Reports a value of the wrong type.
pub(crate) fn mistyped(node: &Node, wanted: &str, faults: &Faults) -> Faulted {
    let wrong = Malformed::new(format!("this must be {wanted}, not {}", node.value.kind()));
    let help = match (&node.value, wanted) {
        (Value::Integer(number), "text") => Some(format!("in quotes: \"{number}\"")),
        (Value::Boolean(flag), "text") => Some(format!("in quotes: \"{flag}\"")),
        (Value::Text(text), "a whole number") if text.parse::<u32>().is_ok() => {
            Some(format!("without quotes: {text}"))
        }
        (Value::Text(text), "true or false") if text == "true" || text == "false" => {
            Some(format!("without quotes: {text}"))
        }
        (Value::Text(_) | Value::Integer(_), "a list") => Some("in brackets: [...]".to_owned()),
        (Value::Table(_), "a list") => Some("in double brackets: [[...]]".to_owned()),
        (Value::List(_), "a table") => Some("in single brackets: [...]".to_owned()),
        _ => None,
    };
    faults.error(node.at, Malformed { help, ..wrong })
}

pub(crate) fn twice(at: At, faults: &Faults) -> Faulted {
    faults.error(
        at,
        Malformed::new("this is said twice").help("remove one of the two"),
    )
}

/// A value with no place: one that is being written.
pub(crate) fn plain(value: Value) -> Node {
    Node {
        at: At::default(),
        value,
    }
}

fn entry(key: &str, value: Value) -> Entry {
    Entry {
        key: key.to_owned(),
        key_at: At::default(),
        node: plain(value),
    }
}

/// A value as a message shows it.
fn show(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Boolean(flag) => flag.to_string(),
        Value::List(_) | Value::Table(_) | Value::Other(_) => value.kind().to_owned(),
    }
}

fn missing(key: &str) -> String {
    format!("missing key `{key}`")
}

/// Words in backticks, with commas.
pub(crate) fn known_words(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
