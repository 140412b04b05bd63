//! JSON as it stands: objects keep their order, and a key that is said twice is refused, since what counts would be anybody's guess.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::fault::quote;

/// A JSON value (RFC 8259).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Reads a whole text; the error says where.
    pub(crate) fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn number(number: impl Into<Number>) -> Self {
        Self::Number(number.into())
    }

    pub(crate) fn object<const N: usize>(entries: [(&str, Self); N]) -> Self {
        let entries = entries.into_iter();
        Self::Object(
            entries
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// The entries of an object; none of anything else.
    pub(crate) fn entries(&self) -> &[(String, Self)] {
        if let Self::Object(entries) = self {
            entries
        } else {
            &[]
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self {
            Some(items)
        } else {
            None
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(crate) fn as_integer(&self) -> Option<i64> {
        if let Self::Number(number) = self {
            number.as_i64()
        } else {
            None
        }
    }

    /// What it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// The value on one line.
    pub(crate) fn compact(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Layout::Tight);
        out
    }

    /// Whether it reads well on one line: nothing in it has parts of its own, and little of that.
    fn is_short(&self) -> bool {
        const FEW: usize = 3;
        let plain = |value: &Self| match value {
            Self::Object(entries) => entries.is_empty(),
            Self::List(items) => items.as_slice() == [Self::Null],
            Self::Text(text) => text.len() <= 64,
            Self::Null | Self::Boolean(_) | Self::Number(_) => true,
        };
        match self {
            Self::Object(entries) => {
                entries.len() <= FEW && entries.iter().all(|(_, value)| plain(value))
            }
            Self::List(items) => {
                items
                    .iter()
                    .all(|item| matches!(item, Self::Number(_) | Self::Null))
                    || (items.len() <= FEW && items.iter().all(plain))
            }
            Self::Null | Self::Boolean(_) | Self::Number(_) | Self::Text(_) => true,
        }
    }

    /// The value over many lines, as people read it, with a line's end.
    pub(crate) fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Layout::Lines(0));
        out.push('\n');
        out
    }

    fn write(&self, out: &mut String, layout: Layout) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Text(text) => out.push_str(&escaped(text)),
            Self::List(_) | Self::Object(_)
                if matches!(layout, Layout::Lines(_)) && self.is_short() =>
            {
                self.write(out, Layout::Line);
            }
            Self::List(items) => {
                let each = |item: &Self, out: &mut String, layout| item.write(out, layout);
                bracketed(out, layout, ('[', ']'), items, each);
            }
            Self::Object(entries) => {
                let colon = match layout {
                    Layout::Tight => ":",
                    Layout::Line | Layout::Lines(_) => ": ",
                };
                let each = |(key, value): &(String, Self), out: &mut String, layout| {
                    out.push_str(&escaped(key));
                    out.push_str(colon);
                    value.write(out, layout);
                };
                bracketed(out, layout, ('{', '}'), entries, each);
            }
        }
    }
}

/// How much room a value takes.
#[derive(Clone, Copy)]
enum Layout {
    /// No blanks at all.
    Tight,
    /// One line.
    Line,
    /// A line for each part, this deep.
    Lines(usize),
}

fn bracketed<T>(
    out: &mut String,
    layout: Layout,
    (open, close): (char, char),
    items: &[T],
    each: impl Fn(&T, &mut String, Layout),
) {
    let (deeper, comma) = match layout {
        Layout::Tight => (layout, ","),
        Layout::Line => (layout, ", "),
        Layout::Lines(indent) => (Layout::Lines(indent.saturating_add(1)), ","),
    };
    let line = |out: &mut String, layout: Layout| {
        if let Layout::Lines(indent) = layout {
            out.push('\n');
            out.push_str(&"  ".repeat(indent));
        }
    };
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(comma);
        }
        line(out, deeper);
        each(item, out, deeper);
    }
    if !items.is_empty() {
        line(out, layout);
    }
    out.push(close);
}

/// Text in quotes (RFC 8259 §7).
fn escaped(text: &str) -> String {
    // Text can always be written as JSON.
    serde_json::to_string(text).unwrap_or_default()
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Boolean(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        Number::from_f64(number)
            .map(Json::Number)
            .ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::text(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Json)> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while let Some((key, value)) = entries.next_entry::<String, Json>()? {
            if !seen.insert(key.clone()) {
                let twice = format!("the key `{}` is said twice in one object", quote(&key));
                return Err(A::Error::custom(twice));
            }
            object.push((key, value));
        }
        Ok(Json::Object(object))
    }
}
