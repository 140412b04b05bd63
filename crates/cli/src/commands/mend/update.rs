//! `stockade device update`: what is there, installing it, and what became of it.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use stockade_api::helper::{UpdateRequest, UpdateStatus};
use stockade_controls::engine::UnixSeconds;
use time::OffsetDateTime;

use super::helper::Helper;
use crate::args::mend::Update;
use crate::out::{Out, aside};
use crate::run::FOUND;

/// How often it is asked how far it is.
const BEAT: Duration = Duration::from_millis(300);

pub(super) fn run(out: Out, json: bool, asked: &Update) -> anyhow::Result<ExitCode> {
    let (here, what) = match asked {
        Update::Status(here) => (here, None),
        Update::Look(here) => (here, Some(UpdateRequest::Look)),
        Update::Confirm(here) => (here, Some(UpdateRequest::Confirm)),
        Update::Install { version, here } => {
            let version = *version;
            (here, Some(UpdateRequest::Install { version }))
        }
        Update::Bundle { path, here } => {
            let path = std::path::absolute(path)?.display().to_string();
            (here, Some(UpdateRequest::Bundle { path }))
        }
    };
    let helper = Helper::below(here.places.as_deref());
    let status = match what {
        None => helper.updates()?,
        Some(what) => {
            helper.update(what)?;
            followed(&helper)?
        }
    };
    out.line(&if json {
        serde_json::to_string(&status)?
    } else {
        text(&status)
    });
    Ok(if status.failed.is_some() {
        ExitCode::from(FOUND)
    } else {
        ExitCode::SUCCESS
    })
}

/// Waits until it is done, and tells what goes on.
fn followed(helper: &Helper) -> anyhow::Result<UpdateStatus> {
    let mut told = None;
    loop {
        let status = helper.updates()?;
        if status.doing.is_none() {
            return Ok(status);
        }
        if status.doing != told {
            told.clone_from(&status.doing);
            aside(told.as_deref().unwrap_or_default());
        }
        std::thread::park_timeout(BEAT);
    }
}

fn text(status: &UpdateStatus) -> String {
    let state = &status.state;
    let mut text = match state.running {
        Some(version) => format!("version {version} runs"),
        None => "the system that runs does not say its version".to_owned(),
    };
    for slot in &state.slots {
        let version = slot
            .version
            .map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        let runs = if slot.running { ", runs" } else { "" };
        let good = if slot.good {
            ""
        } else {
            ", nothing starts from it"
        };
        let _written = write!(
            text,
            "\n  slot {}: version {version}{runs}{good}",
            slot.name
        );
    }
    let _written = match &state.looked {
        Some(looked) => write!(
            text,
            "\nlooked at {} on {}",
            looked.source,
            spoken(looked.at)
        ),
        None => write!(text, "\nnobody looked for updates yet"),
    };
    if let Some(offered) = &state.offered {
        let security = if offered.security {
            ", which mends a vulnerability"
        } else {
            ""
        };
        let name = offered
            .name
            .as_ref()
            .map_or_else(String::new, |it| format!(" ({})", it.escape_debug()));
        let _written = write!(
            text,
            "\nversion {}{name} is there{security}: stockade device update install",
            offered.version
        );
    }
    if let Some(trial) = &state.trial {
        let _written = match trial.until {
            Some(until) => write!(
                text,
                "\nversion {} is on trial until {}",
                trial.version,
                spoken(until)
            ),
            None => write!(
                text,
                "\nversion {} starts with the next start of the device",
                trial.version
            ),
        };
    }
    if let Some(returned) = &state.returned {
        let _written = write!(
            text,
            "\nthe device came back from version {}: {}",
            returned.version, returned.why
        );
    }
    for (word, what) in [
        ("now", &status.doing),
        ("failed", &status.failed),
        ("the last look failed", &state.failing),
    ] {
        if let Some(what) = what {
            let _written = write!(text, "\n{word}: {what}");
        }
    }
    text
}

fn spoken(at: UnixSeconds) -> String {
    let format = &time::format_description::well_known::Rfc3339;
    let at = i64::try_from(at)
        .ok()
        .and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok());
    at.and_then(|it| it.format(format).ok()).unwrap_or_default()
}
