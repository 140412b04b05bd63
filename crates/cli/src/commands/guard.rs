//! `stockade guard …`

pub(crate) mod run;
mod text;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use stockade_gateway::guard::request::{Add, Page, Reason, RegistryId, Request};
use stockade_gateway::guard::socket::Client;

use super::items;
use crate::args::guard::Guard;
use crate::out::Out;
use crate::run::{FOUND, INCOMPLETE};

/// How often `watch` asks for what was blocked since.
const WATCH_EVERY: Duration = Duration::from_millis(300);
/// How many blocked packets are asked for at once.
const WATCH_PAGE: u32 = 500;

/// Does what was said; says how it ended.
pub(crate) async fn run(
    out: Out,
    data: &Path,
    json: bool,
    command: &Guard,
) -> anyhow::Result<ExitCode> {
    if let Guard::Run(asked) = command {
        run::run(out, data, asked).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut guard = Client::connect(&run::socket(data)).await?;
    if let Guard::Watch { count } = command {
        watch(out, &mut guard, json, *count).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (request, text) = request(command)?;
    let answer = guard.ask(&request).await?;
    if json {
        out.line(&answer.to_string());
    } else {
        let text = text(&answer);
        if !text.is_empty() {
            out.line(&text);
        }
    }
    Ok(match request {
        Request::Check => match answer.get("verdict").and_then(Value::as_str) {
            Some("same") => ExitCode::SUCCESS,
            Some("differs") => ExitCode::from(FOUND),
            _ => ExitCode::from(INCOMPLETE),
        },
        _ => ExitCode::SUCCESS,
    })
}

/// How an answer reads.
type Render = fn(&Value) -> String;

fn request(command: &Guard) -> anyhow::Result<(Request, Render)> {
    Ok(match command {
        Guard::Run(_) | Guard::Watch { .. } => anyhow::bail!("not a single request"),
        Guard::Status => (Request::Status, text::status),
        Guard::List => (Request::List, text::list),
        Guard::Show { mac } => (Request::Show { mac: *mac }, text::show),
        Guard::Add(add) => {
            let device = add.device.as_deref().map(RegistryId::new).transpose()?;
            let add = Add {
                mac: add.mac,
                model: add.model.clone(),
                trusted: false,
                addresses: add.address.clone(),
                device,
            };
            (Request::Add(add), text::changed)
        }
        Guard::Trust { mac, address } => {
            let add = Add {
                mac: *mac,
                model: None,
                trusted: true,
                addresses: address.clone(),
                device: None,
            };
            (Request::Add(add), text::changed)
        }
        Guard::Accept { mac } => (Request::Accept { mac: *mac }, text::changed),
        Guard::Quarantine { mac, reason } => {
            let reason = Reason::new(reason)?;
            (Request::Quarantine { mac: *mac, reason }, text::changed)
        }
        Guard::Release { mac } => (Request::Release { mac: *mac }, text::changed),
        Guard::Remove { mac } => (Request::Remove { mac: *mac }, text::removed),
        Guard::Models => (Request::Models, text::models),
        Guard::Install { file } => (install(file)?, text::installed),
        Guard::Uninstall { model } => {
            let model = model.clone();
            (Request::Uninstall { model }, text::uninstalled)
        }
        Guard::Events { after, limit } => {
            let (after, limit) = (*after, *limit);
            (Request::Events(Page { after, limit }), text::events)
        }
        Guard::Check => (Request::Check, text::check),
        Guard::Reload => (Request::Reload, text::reloaded),
        Guard::Off => (Request::Off, text::off),
    })
}

/// The profile's faults are told here, with their places; the guard gets what is sound.
fn install(file: &Path) -> anyhow::Result<Request> {
    let source = fs_err::read_to_string(file)?;
    let checked = stockade_profile::check(&source);
    let profile = checked.profile.with_context(|| {
        let faults: Vec<String> = checked.faults.iter().map(ToString::to_string).collect();
        format!("{}:\n  {}", file.display(), faults.join("\n  "))
    })?;
    let canonical = BASE64.encode(profile.canonical());
    Ok(Request::Install { canonical })
}

/// Tells blocked packets until it is stopped, or until there were so many.
async fn watch(out: Out, guard: &mut Client, json: bool, count: Option<u64>) -> anyhow::Result<()> {
    let mut left = count.unwrap_or(u64::MAX);
    // From now on: what is past is in the events.
    let ask = |after, limit| Request::Blocked(Page { after, limit });
    let now = guard.ask(&ask(u64::MAX, 1)).await?;
    let mut after = now.get("next").and_then(Value::as_u64).unwrap_or(0);
    while left > 0 {
        let answer = guard.ask(&ask(after, WATCH_PAGE)).await?;
        after = answer.get("next").and_then(Value::as_u64).unwrap_or(after);
        if let Some(missed) = answer.get("missed").and_then(Value::as_u64)
            && missed > 0
        {
            out.line(&if json {
                json!({ "missed": missed }).to_string()
            } else {
                format!("… {missed} blocked packets not shown")
            });
        }
        for packet in items(&answer, "blocked") {
            if left == 0 {
                break;
            }
            left -= 1;
            out.line(&if json {
                packet.to_string()
            } else {
                text::blocked(out, packet)
            });
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
    Ok(())
}
