//! From TOML text to the tree, with the place of every part.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::fault::{At, Faulted, Faults, Malformed};
use crate::read::{Entry, Node, Value};

/// Deeper than any profile, and far from the end of the stack.
const MAX_DEPTH: usize = 8;

/// Reads what can be read; the faults say what could not.
pub(crate) fn tree(source: &str, faults: &Faults) -> Node {
    let (root, wrong) = DeTable::parse_recoverable(source);
    for wrong in wrong {
        let span = wrong.span().unwrap_or_default();
        let at = At {
            start: span.start,
            end: span.end,
        };
        if wrong.message() == "duplicate key" {
            let twice = Malformed::new("this key is said twice");
            let _: Faulted = faults.error(at, twice.help("remove one of the two"));
        } else {
            let _: Faulted = faults.syntax(at, Malformed::new(wrong.message()));
        }
    }
    Node {
        at: At::default(),
        value: Value::Table(entries(root.get_ref(), 0, faults)),
    }
}

fn node(value: &Spanned<DeValue<'_>>, depth: usize, faults: &Faults) -> Node {
    let span = value.span();
    let at = At {
        start: span.start,
        end: span.end,
    };
    if depth > MAX_DEPTH {
        let _: Faulted = faults.syntax(at, Malformed::new("nested too deeply"));
        return Node {
            at,
            value: Value::Other("nothing"),
        };
    }
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other("a number that is too large"),
        },
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Array(items) => Value::List(list(items, depth, faults)),
        DeValue::Table(table) => Value::Table(entries(table, depth, faults)),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date or a time"),
    };
    Node { at, value }
}

fn list(items: &DeArray<'_>, depth: usize, faults: &Faults) -> Vec<Node> {
    items
        .iter()
        .map(|item| node(item, depth.saturating_add(1), faults))
        .collect()
}

fn entries(table: &DeTable<'_>, depth: usize, faults: &Faults) -> Vec<Entry> {
    let entry = |(key, value): (&Spanned<_>, _)| {
        let span = key.span();
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        Entry {
            key: key.clone().into_owned(),
            key_at: At {
                start: span.start,
                end: span.end,
            },
            node: node(value, depth.saturating_add(1), faults),
        }
    };
    table.iter().map(entry).collect()
}
