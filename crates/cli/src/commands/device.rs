//! `stockade device …`

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{constrained, field, items, mend, moment};
use crate::admin::{Admin, segment};
use crate::args::Device;
use crate::out::{Out, table};

pub(crate) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Device,
) -> anyhow::Result<ExitCode> {
    let (answer, text): (Value, fn(&Value) -> String) = match command {
        Device::Mend(asked) => return mend::run(out, json, asked),
        Device::Add {
            model,
            id,
            allow_policy_findings,
            constrained: asked,
        } => {
            let named = json!({
                "model": model,
                "id": id,
                "allow-policy-findings": allow_policy_findings,
            });
            if asked.constrained {
                let name = (&**model, &**id);
                let added = constrained::add(admin, name, named, asked).await?;
                (added, constrained::text)
            } else {
                let added = admin.post("/api/v1/devices", &named).await?;
                (with_id(added, id), added_text)
            }
        }
        Device::Code { id } => (
            with_id(admin.post(&path(id, "/code"), &json!({})).await?, id),
            added_text,
        ),
        Device::Remove { id } => (
            with_id(admin.delete(&path(id, "")).await?, id),
            removed_text,
        ),
        Device::List => (admin.get("/api/v1/devices").await?, list_text),
        Device::Show { id } => (admin.get(&path(id, "")).await?, show_text),
        Device::Posture { id } => (
            admin.get(&path(id, "/posture")).await?,
            super::device_posture::text,
        ),
        Device::Command { id, what } => (
            admin
                .post(&path(id, "/command"), &json!({ "do": what }))
                .await?,
            super::device_posture::commanded,
        ),
        Device::Quarantine { id, reason } => {
            (change(admin, id, "/quarantine", reason).await?, state_text)
        }
        Device::Release { id, reason } => {
            (change(admin, id, "/release", reason).await?, state_text)
        }
        Device::ClearTamper {
            id: Some(id),
            reason,
            ..
        } => (
            change(admin, id, "/clear-tamper", reason).await?,
            state_text,
        ),
        Device::ClearTamper {
            id: None,
            reason,
            places,
        } => return mend::clear_tamper(out, json, reason, places.as_deref()),
        Device::Revoke { id, reason } => (change(admin, id, "/revoke", reason).await?, state_text),
    };
    out.line(&if json {
        answer.to_string()
    } else {
        text(&answer)
    });
    Ok(ExitCode::SUCCESS)
}

/// Has a device's state changed.
async fn change(admin: &Admin, id: &str, verb: &str, reason: &str) -> anyhow::Result<Value> {
    admin
        .post(&path(id, verb), &json!({ "reason": reason }))
        .await
}

/// The answer, with the device it is about.
fn with_id(mut answer: Value, id: &str) -> Value {
    if answer.is_null() {
        answer = json!({});
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("id".to_owned(), json!(id));
    }
    answer
}

fn removed_text(answer: &Value) -> String {
    format!("{} is removed", field(answer, "id"))
}

fn path(id: &str, verb: &str) -> String {
    format!("/api/v1/devices/{}{verb}", segment(id))
}

fn added_text(added: &Value) -> String {
    let (id, code, est) = (
        field(added, "id"),
        field(added, "code"),
        field(added, "est_url"),
    );
    let print = field(added, "ca_fingerprint");
    format!(
        "one-time code  {code}\nexpires        {} UTC\nenrolment      {est}\nCA SHA-256     {print}\n\n\
         On the device, as root, with stockade-agent, stockade-helper and stockade-keys in one directory:\n\n  \
         ./stockade-agent install --gateway {} --id {id} --code {code} \\\n    \
         --ca-fingerprint {print}\n\n\
         Any other device enrols with the code as its password (RFC 7030). With openssl and curl, and the\n\
         gateway's CA as ca.pem (`stockade ca show` tells where it is):\n\n  \
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / \\\n    \
         -keyout {id}.key -outform DER -out {id}.csr\n  \
         openssl base64 -in {id}.csr | curl -sS --cacert ca.pem -u {id}:{code} \\\n    \
         -H 'Content-Type: application/pkcs10' --data-binary @- {est}/simpleenroll |\n    \
         openssl base64 -d | openssl pkcs7 -inform DER -print_certs -out {id}.pem",
        moment(added, "expires"),
        gateway(&est),
    )
}

/// `HOST`, or `HOST:PORT` where the port is not the usual one, of the address for enrolment.
fn gateway(est: &str) -> &str {
    let rest = est.strip_prefix("https://").unwrap_or(est);
    let host = rest.split('/').next().unwrap_or_default();
    host.strip_suffix(":8444").unwrap_or(host)
}

fn list_text(answer: &Value) -> String {
    let devices = items(answer, "devices");
    if devices.is_empty() {
        return "no devices yet; add one: stockade device add --model MODEL ID".to_owned();
    }
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|device| {
            vec![
                field(device, "id"),
                field(device, "model"),
                field(device, "state"),
                moment(device, "last_seen"),
                field(device, "violations"),
                items(device, "reasons")
                    .first()
                    .and_then(Value::as_str)
                    .unwrap_or("")
                    .to_owned(),
            ]
        })
        .collect();
    table(
        &[
            "DEVICE",
            "MODEL",
            "STATE",
            "LAST SEEN (UTC)",
            "BREACHES",
            "REASON",
        ],
        &rows,
    )
}

fn state_text(device: &Value) -> String {
    format!("{} is {}", field(device, "id"), field(device, "state"))
}

fn show_text(device: &Value) -> String {
    let mut lines = vec![
        format!("device       {}", field(device, "id")),
        format!("name         {}", field(device, "spiffe")),
        format!(
            "model        {} (profile version {})",
            field(device, "model"),
            field(device, "profile_version")
        ),
        format!("state        {}", field(device, "state")),
    ];
    for reason in items(device, "reasons") {
        lines.push(format!(
            "             because {}",
            reason.as_str().unwrap_or_default()
        ));
    }
    let there = |name: &str| device.get(name).filter(|value| !value.is_null());
    lines.push(match there("last_seen") {
        Some(_) => format!(
            "last seen    {} from {}",
            moment(device, "last_seen"),
            field(device, "last_peer")
        ),
        None => "last seen    never".to_owned(),
    });
    if let Some(link) = there("link") {
        lines.push(format!(
            "link         short name {}, key {}",
            field(link, "kid"),
            field(link, "key")
        ));
    }
    match there("certificate") {
        Some(certificate) => lines.push(format!(
            "certificate  until {}",
            moment(certificate, "not_after")
        )),
        None if there("link").is_some() => {}
        None => lines.push("certificate  none".to_owned()),
    }
    lines.push(format!(
        "breaches     {} ({} in the last minute)",
        field(device, "violations"),
        field(device, "violations_last_minute")
    ));
    for violation in items(device, "recent_violations") {
        lines.push(format!(
            "             {} {}: {}",
            moment(violation, "at"),
            field(violation, "control"),
            field(violation, "reason")
        ));
    }
    lines.push(String::new());
    lines.extend(words(items(device, "words")));
    lines.join("\n")
}

/// Sentences, each after the control it belongs to; those that the gateway does not enforce come last, and say why.
fn words(words: &[Value]) -> Vec<String> {
    let line = |word: &Value| format!("{:<12} {}", field(word, "control"), field(word, "text"));
    let mut groups: BTreeMap<Option<&str>, Vec<String>> = BTreeMap::new();
    for word in words {
        let why = word.get("not_here").and_then(Value::as_str);
        groups.entry(why).or_default().push(line(word));
    }
    let mut lines = Vec::new();
    for (why, sentences) in groups {
        lines.extend(why.map(|why| format!("\nsaid by the profile, {why}:")));
        lines.extend(sentences);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_prints_as_a_table() {
        let answer = json!({ "devices": [
            { "id": "porch", "model": "cam-2", "state": "active", "last_seen": "2026-11-22T18:40:03.5Z", "violations": 0, "reasons": [] },
            { "id": "hall", "model": "thermo-1", "state": "quarantined", "last_seen": null, "violations": 31,
              "reasons": ["more than 30 breaches in a minute"] },
        ]});
        insta::assert_snapshot!(list_text(&answer));
    }

    #[test]
    fn what_a_device_does_not_have_is_not_shown_as_if_it_had() {
        let mut device = json!({
            "id": "bed", "spiffe": "spiffe://stockade.local/device/soil-1/bed", "model": "soil-1", "profile_version": 1,
            "state": "pending", "reasons": [], "last_seen": null, "last_peer": null, "certificate": null, "violations": 0,
            "violations_last_minute": 0, "recent_violations": [], "words": [], "link": { "kid": "00", "key": "dede1c1a" },
        });
        let constrained = show_text(&device);
        assert!(
            constrained
                .contains("last seen    never\nlink         short name 00, key dede1c1a\nbreaches"),
            "{constrained}"
        );
        device["link"] = Value::Null;
        assert!(show_text(&device).contains("last seen    never\ncertificate  none\n"));
    }

    #[test]
    fn a_new_device_is_told_all_that_it_is_installed_with() {
        insta::assert_snapshot!(added_text(&json!({
            "id": "porch",
            "code": "7K3F-9Q2M-XW0D-4T8B-HJ5V-N6RC-1ZPE",
            "expires": "2026-11-23T18:40:03Z",
            "est_url": "https://gw.example:8444/.well-known/est",
            "ca_fingerprint": "3F:0A",
        })));
        assert_eq!(
            gateway("https://[2001:db8::1]:9444/.well-known/est"),
            "[2001:db8::1]:9444"
        );
    }

    #[test]
    fn an_empty_fleet_says_the_next_step() {
        assert!(list_text(&json!({ "devices": [] })).contains("stockade device add"));
    }
}
