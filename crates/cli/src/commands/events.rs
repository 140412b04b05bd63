//! `stockade events`, and the live lines of `stockade up`.

use std::collections::VecDeque;

use serde_json::{Value, json};
use stockade_gateway::events::{Event, Outcome};
use time::UtcOffset;
use time::macros::format_description;

use super::{field, items, moment};
use crate::admin::Admin;
use crate::args::Events;
use crate::out::{Out, Tone};

pub(crate) async fn run(out: Out, admin: &Admin, json: bool, asked: &Events) -> anyhow::Result<()> {
    let (events, next) = newest(admin, asked).await?;
    if json {
        out.line(&json!({ "events": events, "next": next }).to_string());
        return Ok(());
    }
    for event in &events {
        out.line(&past_line(event));
    }
    Ok(())
}

/// The last of them: the gateway gives the oldest first, page by page.
async fn newest(admin: &Admin, asked: &Events) -> anyhow::Result<(VecDeque<Value>, u64)> {
    let keep = usize::try_from(asked.limit)?;
    let (mut kept, mut after) = (VecDeque::new(), asked.after);
    loop {
        let answer = admin.get(&format!("/api/v1/events?after={after}")).await?;
        let page = items(&answer, "events");
        let next = answer.get("next").and_then(Value::as_u64).unwrap_or(after);
        for event in page {
            if kept.len() == keep {
                kept.pop_front();
            }
            if keep > 0 {
                kept.push_back(event.clone());
            }
        }
        if page.is_empty() || next <= after {
            return Ok((kept, next));
        }
        after = next;
    }
}

fn past_line(event: &Value) -> String {
    let who = match field(event, "device") {
        none if none == "-" => field(event, "peer"),
        device => device,
    };
    format!(
        "{}  {:<8}  {:<11}  {who:<15}  {}",
        moment(event, "at"),
        field(event, "outcome"),
        field(event, "control"),
        field(event, "reason")
    )
}

/// An event as it happens, on one line.
pub(crate) fn live_line(out: Out, event: &Event) -> String {
    let format = format_description!("[hour]:[minute]:[second]");
    let time = event
        .at
        .to_offset(UtcOffset::UTC)
        .format(format)
        .unwrap_or_default();
    let tone = match event.outcome {
        Outcome::Admitted => Tone::Good,
        Outcome::Refused => Tone::Bad,
        Outcome::Alarm => Tone::Alarm,
        Outcome::Changed => Tone::Plain,
    };
    let peer = event.peer.map(|p| p.to_string());
    let who = event.device.as_deref().or(peer.as_deref()).unwrap_or("-");
    let outcome = out.paint(tone, &format!("{:<8}", event.outcome.as_str()));
    format!(
        "{}  {outcome}  {:<11}  {who:<15}  {}",
        out.paint(Tone::Dim, &time),
        event.control,
        event.reason
    )
}
