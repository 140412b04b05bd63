//! What each noun's verbs do.

pub(crate) mod attest;
pub(crate) mod audit;
pub(crate) mod ca;
mod constrained;
pub(crate) mod device;
mod device_posture;
pub(crate) mod events;
pub(crate) mod firewall;
pub(crate) mod grant;
pub(crate) mod guard;
pub(crate) mod link;
pub(crate) mod mend;
pub(crate) mod mud;
pub(crate) mod profile;
pub(crate) mod profile_learn;
pub(crate) mod rollout;
pub(crate) mod token;
pub(crate) mod update;
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

/// `1 finding`, `2 findings`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
