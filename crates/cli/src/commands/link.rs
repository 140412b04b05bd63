//! `stockade link …`

use serde_json::Value;

use super::{field, items};
use crate::admin::Admin;
use crate::args::Link;
use crate::out::{Out, table};

pub(crate) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    Link::Status: &Link,
) -> anyhow::Result<()> {
    let answer = admin.get("/api/v1/link").await?;
    out.line(&if json {
        answer.to_string()
    } else {
        status_text(&answer)
    });
    Ok(())
}

fn status_text(link: &Value) -> String {
    let of = |name| field(link, name);
    let mut lines = vec![
        format!(
            "sessions    {} ({} bytes), {} active",
            of("sessions"),
            of("session_bytes"),
            of("active")
        ),
        format!(
            "handshakes  {} done, {} under way, {} refused, {} asked to echo, {} not answered",
            of("handshakes"),
            of("handshakes_under_way"),
            of("handshakes_refused"),
            of("echoes"),
            of("silenced")
        ),
        format!(
            "requests    {} good, {} with a wrong tag, {} came again, {} without protection",
            of("requests"),
            of("bad_tags"),
            of("replays"),
            of("unprotected")
        ),
    ];
    let rows: Vec<Vec<String>> = items(link, "bearers")
        .iter()
        .map(|bearer| vec![field(bearer, "bearer"), bearer_text(bearer)])
        .collect();
    if !rows.is_empty() {
        lines.push(format!("\n{}", table(&["BEARER", "NOW"], &rows)));
    }
    lines.join("\n")
}

fn bearer_text(bearer: &Value) -> String {
    match bearer.get("state").and_then(Value::as_str) {
        Some("starts") => "not open yet".to_owned(),
        Some("open") => "open; nobody was heard so far".to_owned(),
        Some("failed") => format!(
            "failed: {}; tried again until it works",
            field(bearer, "why")
        ),
        _ => field(bearer, "state"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bearer_that_failed_is_seen_with_why() {
        let answer = json!({
            "sessions": 214, "session_bytes": 42_800, "active": 12, "handshakes_under_way": 1, "handshakes": 391,
            "handshakes_refused": 2, "echoes": 40, "silenced": 0, "requests": 88_012, "bad_tags": 3, "replays": 7,
            "unprotected": 19,
            "bearers": [
                { "bearer": "serial:/dev/ttyACM0", "state": "failed", "why": "No such file or directory (os error 2)" },
                { "bearer": "serial:/dev/ttyUSB1", "state": "open", "why": null },
                { "bearer": "nfc", "state": "works", "why": null },
                { "bearer": "ble:hci0", "state": "starts", "why": null },
            ],
        });
        insta::assert_snapshot!(status_text(&answer));
    }
}
