//! What becomes of what a rule matches.

use super::json::Json;
use super::matches::Why;
use crate::fault::quote;

/// What becomes of what a rule matches (RFC 8519 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forwarding {
    Accept,
    /// `drop` or `reject`.
    Refuse,
}

/// RFC 8519 §4.1, `actions`.
pub(crate) fn forwarding(
    ace: &Json,
    matches: &Json,
    warnings: &mut Vec<String>,
) -> Result<Forwarding, Why> {
    let outside = ace.get("actions").filter(|actions| **actions != Json::Null);
    let actions = match (outside, matches.get("actions")) {
        (Some(_), Some(_)) => return Err("it says twice what becomes of its packets".to_owned()),
        (Some(actions), None) => actions,
        (None, Some(actions)) => {
            warnings.push("its `actions` stand among its `matches`".to_owned());
            actions
        }
        (None, None) => return Err("it does not say what becomes of its packets".to_owned()),
    };
    let mut said = None;
    for (key, value) in actions.entries() {
        match (key.as_str(), value) {
            ("forwarding", Json::Text(word)) => said = Some(word.as_str()),
            ("logging", _) => warnings.push("its `logging` is ignored".to_owned()),
            ("permit" | "deny", _) => said = Some(key),
            _ => return Err(format!("its action `{}` is not known", quote(key))),
        }
    }
    let said = said.ok_or("it does not say what becomes of its packets")?;
    let plain = said
        .strip_prefix("ietf-access-control-list:")
        .unwrap_or(said);
    let small = plain.to_ascii_lowercase();
    let meant = match small.as_str() {
        "accept" | "permit" => Forwarding::Accept,
        "drop" | "reject" | "deny" => Forwarding::Refuse,
        _ => return Err(format!("its action `{}` is not known", quote(said))),
    };
    if !matches!(plain, "accept" | "drop" | "reject") {
        let written = if meant == Forwarding::Accept {
            "accept"
        } else {
            "drop"
        };
        warnings.push(format!(
            "its action `{}` is written `{written}`",
            quote(said)
        ));
    }
    Ok(meant)
}
