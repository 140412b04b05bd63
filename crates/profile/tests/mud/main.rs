//! MUD files: what their rules become, what is refused and why, and the way back.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

#[path = "../arbitrary/firewall.rs"]
mod arbitrary;
mod cases;
mod decisions;
mod files;
mod hostile;
mod there_and_back;
mod world;

use stockade_profile::mud::{ImportOptions, Imported, import, read};

/// A MUD file whose policies have these rules, each given by its matches, in one list of IPv4 each way.
fn file(from: &[&str], to: &[&str]) -> String {
    listed("ipv4-acl-type", from, to)
}

fn listed(kind: &str, from: &[&str], to: &[&str]) -> String {
    let accept = |(index, matches): (usize, &&str)| {
        let (action, matches) = matches.split_once("! ").unwrap_or(("accept", matches));
        format!(
            r#"{{"name": "rule-{}", "matches": {{{matches}}}, "actions": {{"forwarding": "{action}"}}}}"#,
            index + 1
        )
    };
    let list = |name: &str, rules: &[&str]| {
        let rules: Vec<String> = rules.iter().enumerate().map(accept).collect();
        format!(
            r#"{{"name": "{name}", "type": "{kind}", "aces": {{"ace": [{}]}}}}"#,
            rules.join(", ")
        )
    };
    let policy =
        |name: &str| format!(r#"{{"access-lists": {{"access-list": [{{"name": "{name}"}}]}}}}"#);
    format!(
        r#"{{"ietf-mud:mud": {{"mud-version": 1, "mud-url": "https://acme.example/cam-2.json",
            "last-update": "2026-11-22T12:00:00Z", "cache-validity": 48, "is-supported": true,
            "systeminfo": "A camera", "from-device-policy": {}, "to-device-policy": {}}},
            "ietf-access-control-list:acls": {{"acl": [{}, {}]}}}}"#,
        policy("from"),
        policy("to"),
        list("from", from),
        list("to", to)
    )
}

fn imported(text: &str) -> Imported {
    import(&read(text.as_bytes()).unwrap(), &ImportOptions::default())
}

/// What became of each rule, and what is odd, without the summary.
fn fates(text: &str) -> String {
    let report = imported(text).report(true);
    report[1..].join("\n")
}
