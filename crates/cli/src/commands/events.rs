//! `stockade events`, and the live lines of `stockade up`.

use serde_json::Value;
use stockade_gateway::events::{Event, Outcome};
use time::UtcOffset;
use time::macros::format_description;

use super::{field, items, moment};
use crate::admin::Admin;
use crate::args::Events;
use crate::out::{Out, Tone};

pub(crate) async fn run(out: Out, admin: &Admin, json: bool, asked: &Events) -> anyhow::Result<()> {
    let path = format!("/api/v1/events?after={}&limit={}", asked.after, asked.limit);
    let answer = admin.get(&path).await?;
    if json {
        out.line(&answer.to_string());
        return Ok(());
    }
    for event in items(&answer, "events") {
        out.line(&past_line(event));
    }
    Ok(())
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
