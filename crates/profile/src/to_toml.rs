//! A profile as TOML text that reads back as the same profile.

use std::fmt::Write as _;

use crate::Profile;
use crate::read::{Entry, Form as _, Node, Value};

/// What stands on one line of its own is no longer than this; a longer list gets a line for each item.
const WIDTH: usize = 100;

impl Profile {
    /// The profile as a text that [`parse`](crate::parse) reads back as the same profile.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        if let Value::Table(entries) = self.write() {
            table(&mut out, "", &entries);
        }
        out
    }
}

/// What has a line of its own first, then what has a header.
fn table(out: &mut String, path: &str, entries: &[Entry]) {
    for Entry { key, node, .. } in entries {
        if !has_header(path, &node.value) {
            let value = inline(&node.value, key);
            let line = format!("{} = {value}", bare(key));
            if let (Value::List(items), true) = (&node.value, line.len() > WIDTH) {
                list(out, key, items);
            } else {
                // Writing to a string does not fail.
                let _: std::fmt::Result = writeln!(out, "{line}");
            }
        }
    }
    for Entry { key, node, .. } in entries
        .iter()
        .filter(|entry| has_header(path, &entry.node.value))
    {
        let inside = match path {
            "" => bare(key),
            path => format!("{path}.{}", bare(key)),
        };
        match &node.value {
            Value::Table(inner) => {
                let headers_only = !inner.is_empty()
                    && inner
                        .iter()
                        .all(|entry| has_header(&inside, &entry.node.value));
                if !headers_only {
                    let _: std::fmt::Result = writeln!(out, "\n[{inside}]");
                }
                table(out, &inside, inner);
            }
            Value::List(items) => {
                for item in items {
                    let _: std::fmt::Result = writeln!(out, "\n[[{inside}]]");
                    if let Value::Table(inner) = &item.value {
                        table(out, &inside, inner);
                    }
                }
            }
            Value::Integer(_) | Value::Text(_) | Value::Boolean(_) | Value::Other(_) => (),
        }
    }
}

/// A section, a data set, or a list of tables in a section; anything deeper stands in its line.
fn has_header(path: &str, value: &Value) -> bool {
    match value {
        Value::Table(_) => path.is_empty() || path == "data" || path == "vault",
        Value::List(items) => {
            !path.contains('.')
                && !path.is_empty()
                && !items.is_empty()
                && items
                    .iter()
                    .all(|item| matches!(item.value, Value::Table(_)))
        }
        Value::Integer(_) | Value::Text(_) | Value::Boolean(_) | Value::Other(_) => false,
    }
}

fn list(out: &mut String, key: &str, items: &[Node]) {
    let _: std::fmt::Result = writeln!(out, "{} = [", bare(key));
    for item in items {
        let _: std::fmt::Result = writeln!(out, "  {},", inline(&item.value, key));
    }
    out.push_str("]\n");
}

fn inline(value: &Value, key: &str) -> String {
    match value {
        // People know these by their hexadecimal form.
        Value::Integer(number) if key == "ethertype" => format!("{number:#06x}"),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Text(text) => quoted(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| inline(&item.value, key)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|entry| {
                    let value = inline(&entry.node.value, &entry.key);
                    format!("{} = {value}", bare(&entry.key))
                })
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        // A profile writes none of these.
        Value::Other(_) => String::new(),
    }
}

/// A key without quotes where it may stand without.
fn bare(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(plain) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

fn quoted(text: &str) -> String {
    if text.contains(['"', '\\']) && !text.contains('\'') && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _: std::fmt::Result = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
