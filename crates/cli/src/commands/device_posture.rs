//! `stockade device posture` and `stockade device command`.

use serde_json::Value;

use super::{field, items, moment};

/// What a device says of itself.
pub(super) fn text(posture: &Value) -> String {
    let mut lines = vec![format!(
        "{}: evidence {} of {} UTC, agent {}, profile version {}",
        field(posture, "id"),
        field(posture, "number"),
        moment(posture, "came"),
        field(posture, "agent"),
        field(posture, "profile_version"),
    )];
    for protocol in items(posture, "protocols") {
        let verdict = match field(protocol, "verdict").as_str() {
            "good" => "in order",
            "wrong" => "something is wrong",
            "cannot-tell" => "cannot be judged",
            _ => "not judged on the device",
        };
        lines.push(format!("{:<26} {verdict}", field(protocol, "name")));
        for rule in items(protocol, "rules") {
            let severity = match field(rule, "severity").as_str() {
                "-" => "cannot be judged".to_owned(),
                severity => severity.to_owned(),
            };
            lines.push(format!(
                "  {} ({severity}, since {}): {}",
                field(rule, "rule"),
                moment(rule, "since"),
                field(rule, "says"),
            ));
        }
    }
    if let Some(why) = posture["profile_refused"].as_str() {
        lines.push(format!("the profile that is installed was refused: {why}"));
    }
    for command in items(posture, "commands") {
        let outcome = match (command["done"].as_bool(), field(command, "says")) {
            (Some(true), says) => format!("carried out ({says})"),
            (Some(false), says) => format!("not carried out: {says}"),
            (None, _) => "taken; the device did not say what came of it".to_owned(),
        };
        let (number, what) = (field(command, "number"), field(command, "what"));
        lines.push(format!("command {number}: {what}: {outcome}"));
    }
    for waits in items(posture, "waiting") {
        lines.push(format!("waits for the device: {}", field(waits, "what")));
    }
    lines.join("\n")
}

/// A command that waits.
pub(super) fn commanded(answer: &Value) -> String {
    let (id, number) = (field(answer, "id"), field(answer, "number"));
    format!("command {number} waits for {id}; `stockade device posture {id}` says what came of it")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_posture_says_what_is_wrong_where_and_since_when() {
        let posture = json!({
            "id": "porch", "number": 7, "came": "2026-11-22T18:40:03.5Z", "agent": "0.1.0", "profile_version": 7,
            "protocols": [
                { "name": "UPnP", "verdict": "good", "rules": [] },
                { "name": "Secure operating system", "verdict": "wrong", "rules": [
                    { "rule": "credentials/default-password", "severity": "critical", "count": 1,
                      "since": "2026-11-22T18:40:03Z", "says": "account `guest` has the password `guest`" },
                    { "rule": "programs/packages", "severity": null, "count": 0,
                      "since": "2026-11-22T18:40:03Z", "says": "the package database can not be read" },
                ] },
            ],
            "profile_refused": "no key that is trusted has signed it",
            "commands": [
                { "number": 8, "what": "take back what was applied last", "done": false, "says": "nothing was applied" },
                { "number": 7, "what": "mend what is found", "done": true, "says": "2 steps" },
                { "number": 6, "what": "switch UPnP off", "done": null, "says": "" },
            ],
            "waiting": [ { "number": 9, "what": "mend what is found" } ],
        });
        insta::assert_snapshot!(text(&posture));
    }
}
