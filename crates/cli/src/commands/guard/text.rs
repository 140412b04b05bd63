//! How the guard's answers read.

use serde_json::Value;

use crate::commands::{field, items, moment};
use crate::out::{Out, Tone, table};

fn strings<'v>(value: &'v Value, name: &str) -> Vec<&'v str> {
    items(value, name)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

fn addresses(device: &Value) -> String {
    let all: Vec<String> = items(device, "addresses")
        .iter()
        .map(|binding| field(binding, "address"))
        .collect();
    if all.is_empty() {
        "-".to_owned()
    } else {
        all.join(" ")
    }
}

pub(super) fn status(answer: &Value) -> String {
    let mut lines = vec![
        format!("interface  {}", field(answer, "interface")),
        format!("addresses  {}", strings(answer, "own").join(" ")),
        format!("networks   {}", strings(answer, "lan").join(" ")),
        format!(
            "devices    {} ({} active, {} trusted, {} quarantined, {} unknown)",
            field(answer, "devices"),
            field(answer, "active"),
            field(answer, "trusted"),
            field(answer, "quarantined"),
            field(answer, "unknown"),
        ),
        format!("models     {}", field(answer, "models")),
        format!("rules      {}", field(answer, "rules")),
        format!("isolation  {}", field(answer, "isolation")),
        format!("names      {}", field(answer, "names")),
        format!("MUD files  {}", field(answer, "mud")),
    ];
    lines.extend(
        strings(answer, "warnings")
            .into_iter()
            .map(|warning| format!("warning    {warning}")),
    );
    lines.join("\n")
}

pub(super) fn list(answer: &Value) -> String {
    let devices = items(answer, "devices");
    if devices.is_empty() {
        return "no device was seen yet; one that is to come: stockade guard add MAC --model MODEL"
            .to_owned();
    }
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|device| {
            vec![
                field(device, "mac"),
                field(device, "role"),
                field(device, "state"),
                addresses(device),
                moment(device, "last_seen"),
                field(device, "hostname"),
            ]
        })
        .collect();
    table(
        &[
            "DEVICE",
            "IS",
            "STATE",
            "ADDRESSES",
            "LAST SEEN (UTC)",
            "CALLS ITSELF",
        ],
        &rows,
    )
}

pub(super) fn show(device: &Value) -> String {
    let mut lines = vec![
        format!("device       {}", field(device, "mac")),
        format!("calls itself {}", field(device, "hostname")),
        format!(
            "is           {} (from {})",
            field(device, "role"),
            field(device, "origin")
        ),
        format!("state        {}", field(device, "state")),
    ];
    for reason in strings(device, "reasons") {
        lines.push(format!("             because {reason}"));
    }
    if let Some(id) = device.get("device").and_then(Value::as_str) {
        lines.push(format!("registry     {id}"));
    }
    for binding in items(device, "addresses") {
        let why = match field(binding, "by").as_str() {
            "hand" => "given by an operator".to_owned(),
            "lease" => format!("leased until {}", moment(binding, "until")),
            _ => format!("claimed first, last seen {}", moment(binding, "seen")),
        };
        lines.push(format!(
            "address      {} ({why})",
            field(binding, "address")
        ));
    }
    if let Some(mud) = device.get("mud").filter(|mud| !mud.is_null()) {
        lines.push(format!(
            "MUD file     {} (by {}): {}",
            field(mud, "url"),
            field(mud, "via"),
            field(mud, "state")
        ));
        if let Some(why) = mud.get("why").and_then(Value::as_str) {
            lines.push(format!("             {why}"));
        }
        lines.extend(
            strings(mud, "report")
                .into_iter()
                .map(|line| format!("             {line}")),
        );
    }
    if let Some(other) = device.get("other_mud").and_then(Value::as_str) {
        lines.push(format!(
            "             announced later, not followed: {other}"
        ));
    }
    lines.push(format!(
        "seen         {} to {}",
        moment(device, "first_seen"),
        moment(device, "last_seen")
    ));
    lines.push(format!("blocked      {} packets", field(device, "blocked")));
    let words = strings(device, "words");
    if !words.is_empty() {
        lines.push(String::new());
        lines.extend(words.into_iter().map(str::to_owned));
    }
    lines.join("\n")
}

pub(super) fn changed(device: &Value) -> String {
    format!(
        "{} is {}, {}",
        field(device, "mac"),
        field(device, "role"),
        field(device, "state")
    )
}

pub(super) fn removed(answer: &Value) -> String {
    format!("{} is forgotten", field(answer, "mac"))
}

pub(super) fn models(answer: &Value) -> String {
    let models = items(answer, "models");
    if models.is_empty() {
        return "no profiles yet: stockade guard install PROFILE.toml".to_owned();
    }
    let rows: Vec<Vec<String>> = models
        .iter()
        .map(|model| {
            vec![
                field(model, "model"),
                field(model, "version"),
                field(model, "devices"),
                moment(model, "installed"),
                field(model, "origin"),
            ]
        })
        .collect();
    table(
        &["MODEL", "VERSION", "DEVICES", "INSTALLED (UTC)", "FROM"],
        &rows,
    )
}

pub(super) fn installed(model: &Value) -> String {
    format!(
        "{} version {} is installed; {} devices are of it",
        field(model, "model"),
        field(model, "version"),
        field(model, "devices")
    )
}

pub(super) fn uninstalled(answer: &Value) -> String {
    format!("{} is forgotten", field(answer, "model"))
}

pub(super) fn events(answer: &Value) -> String {
    let lines: Vec<String> = items(answer, "events")
        .iter()
        .map(|event| {
            format!(
                "{}  {:<8}  {:<17}  {}",
                moment(event, "at"),
                field(event, "outcome"),
                field(event, "device"),
                field(event, "reason")
            )
        })
        .collect();
    lines.join("\n")
}

pub(super) fn check(answer: &Value) -> String {
    let mut lines = vec![field(answer, "summary")];
    lines.extend(
        strings(answer, "differences")
            .into_iter()
            .map(|difference| format!("  {difference}")),
    );
    lines.join("\n")
}

pub(super) fn reloaded(answer: &Value) -> String {
    field(answer, "rules")
}

pub(super) fn off(_answer: &Value) -> String {
    "the rules are gone, the interface is as it was before; devices reach everything now".to_owned()
}

/// A blocked packet, and on the next line the rule that would let it pass.
pub(super) fn blocked(out: Out, packet: &Value) -> String {
    let mut text = format!(
        "{}  {}  {} {}",
        moment(packet, "at"),
        out.paint(Tone::Bad, "blocked"),
        field(packet, "device"),
        field(packet, "text"),
    );
    for line in strings(packet, "rule") {
        text.push_str("\n    ");
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn devices_print_as_a_table() {
        let answer = json!({ "devices": [
            { "mac": "02:00:00:00:00:05", "role": "cam-2", "state": "active", "last_seen": "2026-11-22T18:40:03Z",
              "hostname": "$(reboot)\"'", "addresses": [{ "address": "192.0.2.5" }, { "address": "fe80::5" }] },
            { "mac": "02:00:00:00:00:06", "role": "unknown", "state": "waiting", "last_seen": "2026-11-22T18:41:00Z",
              "hostname": null, "addresses": [] },
        ]});
        insta::assert_snapshot!(list(&answer));
    }

    #[test]
    fn one_device_prints_with_all_that_is_known() {
        let device = json!({
            "mac": "02:00:00:00:00:05", "role": "cam-2", "state": "quarantined", "reasons": ["odd traffic"],
            "origin": "https://mud.example.com/cam.json, signed", "device": "porch", "hostname": "cam\\u{1b}[2J",
            "addresses": [
                { "address": "192.0.2.5", "by": "lease", "until": "2026-11-22T19:40:03Z", "seen": "2026-11-22T18:40:03Z" },
                { "address": "192.0.2.6", "by": "hand", "until": null, "seen": "2026-11-22T18:40:03Z" },
            ],
            "mud": { "url": "https://mud.example.com/cam.json", "via": "DHCP", "state": "read", "report": ["3 of 3 rules"] },
            "other_mud": "https://evil.example/x.json",
            "first_seen": "2026-11-22T18:00:00Z", "last_seen": "2026-11-22T18:41:00Z", "blocked": 7,
            "words": ["may connect to the gateway on tcp port 8883"],
        });
        insta::assert_snapshot!(show(&device));
    }

    #[test]
    fn an_empty_lan_says_the_next_step() {
        assert!(list(&json!({ "devices": [] })).contains("stockade guard add"));
        assert!(models(&json!({ "models": [] })).contains("stockade guard install"));
    }
}
