//! What each noun's verbs do.

pub(crate) mod ca;
pub(crate) mod device;
pub(crate) mod events;
pub(crate) mod firewall;
pub(crate) mod guard;
pub(crate) mod mud;
pub(crate) mod profile;
pub(crate) mod profile_learn;
pub(crate) mod vault;

use serde_json::Value;

/// A field as text; a dash where there is none.
pub(crate) fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The items of a list in an answer; none if there is no such list.
pub(crate) fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A timestamp to the second: `2026-11-22T18:40:03.123Z` reads `2026-11-22 18:40:03`.
pub(crate) fn moment(value: &Value, name: &str) -> String {
    let text = field(value, name);
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time}"),
        _ => text,
    }
}
