//! A street of electricity meters, all in one process, each with a key, a certificate and a session of its own: enough
//! devices for aggregates and for a release.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::ClientConfig;
use serde_json::json;
use stockade_agent::session::{Incoming, Session};
use stockade_gateway::events::{Event, Outcome};
use stockade_gateway::name::DeviceId;
use stockade_gateway::registry::Registry;
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, Time};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::interval;
use zeroize::Zeroizing;

use super::CODE_VARIABLE;
use crate::args::DemoDevice;
use crate::out::Out;

/// So many meters.
pub(super) const METERS: u32 = 40;
/// Between two readings of one meter; well under the keep-alive.
const EVERY: Duration = Duration::from_secs(20);
/// How much is drawn in each hour of a day, as shares.
const DAY: [u32; 24] = [
    2, 2, 2, 2, 2, 3, 6, 8, 6, 4, 4, 5, 7, 5, 4, 4, 5, 8, 12, 13, 11, 8, 5, 3,
];

/// A meter's name: `demo-meter-07`.
pub(super) fn name(street: &str, number: u32) -> String {
    format!("{street}-{number:02}")
}

/// Whether the operator's terminal shows it: of forty meters that do the same, one is enough. Faults are always shown.
pub(crate) fn is_worth_a_line(event: &Event) -> bool {
    let ordinary = matches!(event.outcome, Outcome::Admitted | Outcome::Changed);
    let another = event
        .device
        .as_deref()
        .and_then(|device| device.strip_prefix("demo-meter-"))
        .is_some_and(|number| number != "01");
    !(ordinary && another)
}

/// What to ask the vault, once the meters have sent the day before.
pub(crate) fn questions(program: &str, data: &str) -> String {
    let today = OffsetDateTime::now_utc().date();
    let day = today.previous_day().unwrap_or(today);
    format!(
        "\n  \
         A street of {METERS} meters sends its readings of {day}; below, demo-meter-01 speaks for all. In a minute:\n    \
         {program} vault stat --data {data} --schema meter --epsilon 1 'mean kwh from {day} to {today}'\n    \
         {program} vault risk --data {data} meter --from {day}T00:00:00Z --to {today}T00:00:00Z\n    \
         {program} vault release --data {data} meter --from {day}T00:00:00Z --to {today}T00:00:00Z --dry-run\n"
    )
}

/// A code for each meter that has no certificate yet, as `NAME=CODE` with blanks between.
pub(super) fn invite(
    registry: &Registry,
    (model, street): (&str, &str),
    keys: &Path,
    now: OffsetDateTime,
) -> anyhow::Result<Zeroizing<String>> {
    let mut codes = Zeroizing::new(String::new());
    for number in 1..=METERS {
        let id = DeviceId::new(&name(street, number))?;
        if let Some(code) =
            super::fleet::invite(registry, model, &id, &keys.join(id.as_str()), now)?
        {
            for part in [id.as_str(), "=", code.reveal(), " "] {
                codes.push_str(part);
            }
        }
    }
    Ok(codes)
}

/// Is the street: forty sessions in one thread.
pub(super) async fn run(out: Out, told: &DemoDevice) -> anyhow::Result<()> {
    LocalSet::new().run_until(street(out, told)).await
}

async fn street(out: Out, told: &DemoDevice) -> anyhow::Result<()> {
    let codes = Zeroizing::new(std::env::var(CODE_VARIABLE).unwrap_or_default());
    let mut meters = JoinSet::new();
    for number in 1..=METERS {
        let id = name(&told.id, number);
        let code = codes
            .split(' ')
            .find_map(|one| one.strip_prefix(&id)?.strip_prefix('='))
            .map(|code| Zeroizing::new(code.to_owned()));
        let told = DemoDevice {
            keys: told.keys.join(&id),
            id,
            ..told.clone()
        };
        // One connects while the next enrols.
        match super::enrolled_by(out, &told, code).await {
            Ok(identity) => {
                meters.spawn_local(live(out, number, told, identity.tls()?));
            }
            Err(reason) => out.line(&format!("{}: {reason:#}", told.id)),
        }
    }
    while let Some(ended) = meters.join_next().await {
        ended??;
    }
    Ok(())
}

async fn live(
    out: Out,
    number: u32,
    told: DemoDevice,
    tls: Arc<ClientConfig>,
) -> anyhow::Result<()> {
    let meter = Meter {
        number,
        told: &told,
    };
    let work = async |session: &mut Session| meter.work(session).await;
    super::live(out, &told, &tls, work).await
}

struct Meter<'a> {
    number: u32,
    told: &'a DemoDevice,
}

impl Meter<'_> {
    /// Sends the day before, if it did not yet, then how it stands.
    async fn work(&self, session: &mut Session) -> anyhow::Result<()> {
        let mut clock = interval(EVERY);
        loop {
            clock.tick().await;
            let now = OffsetDateTime::now_utc();
            self.catch_up(session, now.date().previous_day().context("the first day")?)
                .await?;
            self.report(session, now).await?;
        }
    }

    async fn catch_up(&self, session: &mut Session, day: Date) -> anyhow::Result<()> {
        let (note, text) = (self.told.keys.join("sent"), day.to_string());
        if fs_err::read_to_string(&note).is_ok_and(|sent| sent == text) {
            return Ok(());
        }
        for hour in 0..24 {
            let at = day.with_time(Time::from_hms(hour, 0, 0)?).assume_utc();
            self.report(session, at).await?;
        }
        fs_err::write(note, text)?;
        Ok(())
    }

    /// One reading, and the gateway's answer to it.
    async fn report(&self, session: &mut Session, at: OffsetDateTime) -> anyhow::Result<()> {
        let topic = format!("{}/{}/reading", self.told.model, self.told.id);
        let sent = session
            .publish(&topic, reading(self.number, at)?.as_bytes())
            .await?;
        loop {
            match session.next().await? {
                Incoming::Published(id, reason) if id == sent => {
                    anyhow::ensure!(!reason.is_error(), "reading refused: {}", reason.as_str());
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

/// What a home draws: by the hour, how many live there, what kind of home it is, and chance. The same each time for the same hour.
fn reading(number: u32, at: OffsetDateTime) -> anyhow::Result<String> {
    let (kind, people) = (number % 3, 1 + mixed(number) % 4);
    let share = DAY.get(usize::from(at.hour())).copied().unwrap_or(0);
    let chance = mixed(number * 1000 + u32::from(at.ordinal()) * 24 + u32::from(at.hour())) % 60;
    let watt_hours = 60 + 20 * kind + share * (12 * people + 8 * kind) + chance;
    let of = |names: &[&'static str], which: u32| {
        let which = usize::try_from(which).unwrap_or(0);
        names.get(which).copied().unwrap_or_default()
    };
    Ok(json!({
        "time": at.format(&Rfc3339).context("the clock is out of range")?,
        "kwh": f64::from(watt_hours) / 1000.0,
        "house": of(&["flat", "terraced", "detached"], kind),
        "side": of(&["north", "south"], number / 2 % 2),
        "tariff": of(&["day", "night", "social", "day"], mixed(number + 7) % 4),
        "holder": format!("contract {}", 70_000 + number),
    })
    .to_string())
}

/// Evenly spread, and no secret.
fn mixed(number: u32) -> u32 {
    let spread = (number ^ (number >> 16)).wrapping_mul(0x7feb_352d);
    let spread = (spread ^ (spread >> 15)).wrapping_mul(0x846c_a68b);
    spread ^ (spread >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_within_what_the_profile_takes_and_the_same_each_time() {
        let at = time::macros::datetime!(2026-11-22 19:00 UTC);
        for number in 1..=METERS {
            let text = reading(number, at).unwrap();
            assert!(text.len() <= 256, "{text}");
            assert_eq!(text, reading(number, at).unwrap());
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let kwh = value["kwh"].as_f64().unwrap();
            assert!(0.0 < kwh && kwh < 1.0, "{kwh}");
        }
        insta::assert_snapshot!(reading(7, at).unwrap(), @r#"{"holder":"contract 70007","house":"terraced","kwh":0.664,"side":"south","tariff":"social","time":"2026-11-22T19:00:00Z"}"#);
    }
}
