//! `stockade device status|plan|apply|undo`: the loop of the device, on the device.

mod helper;
mod here;
mod ports;
pub(super) mod text;
mod update;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;
use stockade_api::helper::{Outcome, Progress, StepState, Which};
use stockade_controls::engine::{Plan, Report};

use crate::args::mend::{Mend, Subject};
use crate::out::{Out, Tone, aside};
use crate::run::{FOUND, INCOMPLETE};

/// A device that can be judged and mended: through its helper, or by this very process.
enum Device {
    Helper(helper::Helper),
    Here(Box<here::Here>),
}

/// One look: what is wrong and what would mend it.
struct Look {
    report: Report,
    plan: Plan,
    /// Names this very plan.
    digest: String,
}

impl Device {
    fn of(subject: &Subject) -> anyhow::Result<Self> {
        Ok(match &subject.profile {
            Some(profile) => Self::Here(Box::new(here::Here::of(subject, profile)?)),
            None => Self::Helper(helper::Helper::below(subject.places.as_deref())),
        })
    }

    fn look(&self) -> anyhow::Result<Look> {
        match self {
            Self::Helper(it) => it.look(),
            Self::Here(it) => it.look(),
        }
    }

    fn apply(&self, look: &Look, progress: &mut dyn FnMut(&Progress)) -> anyhow::Result<Outcome> {
        match self {
            Self::Helper(it) => it.apply(&look.digest, progress),
            Self::Here(it) => it.apply(&look.plan, progress),
        }
    }

    fn undo(&self, which: Which, progress: &mut dyn FnMut(&Progress)) -> anyhow::Result<Outcome> {
        match self {
            Self::Helper(it) => it.undo(which, progress),
            Self::Here(it) => it.undo(which, progress),
        }
    }
}

/// Does what was said; says how it ended.
pub(crate) fn run(out: Out, json: bool, asked: &Mend) -> anyhow::Result<ExitCode> {
    match asked {
        Mend::Status(subject) => status(out, json, subject),
        Mend::Plan(subject) => plan(out, json, subject),
        Mend::Apply { subject, yes } => apply(out, json, subject, *yes),
        Mend::Undo { subject, all } => undo(out, json, subject, *all),
        Mend::Ports(asked) => ports::run(out, json, asked),
        Mend::Update(asked) => update::run(out, json, asked),
        Mend::ResetPassword { places } => reset_password(out, json, places.as_deref()),
    }
}

/// How the device stands.
fn status(out: Out, json: bool, subject: &Subject) -> anyhow::Result<ExitCode> {
    let look = Device::of(subject)?.look()?;
    out.line(&if json {
        serde_json::to_string(&look.report)?
    } else {
        text::status(out, &look.report)
    });
    Ok(verdict(&look.report))
}

/// What would be done. Nothing is changed.
fn plan(out: Out, json: bool, subject: &Subject) -> anyhow::Result<ExitCode> {
    let look = Device::of(subject)?.look()?;
    out.line(&if json {
        let plan = serde_json::to_value(&look.plan)?;
        json!({ "digest": look.digest, "plan": plan }).to_string()
    } else {
        text::plan(out, &look.report, &look.plan)
            .trim_end()
            .to_owned()
    });
    Ok(verdict(&look.report))
}

/// Shows the plan, asks, does it with progress, and looks again.
fn apply(out: Out, json: bool, subject: &Subject, yes: bool) -> anyhow::Result<ExitCode> {
    let device = Device::of(subject)?;
    let look = device.look()?;
    if look.plan.is_empty() {
        out.line(&if json {
            json!({ "done": 0 }).to_string()
        } else {
            text::plan(out, &look.report, &look.plan)
                .trim_end()
                .to_owned()
        });
        return Ok(verdict(&look.report));
    }
    if !yes {
        if json || !std::io::stdin().is_terminal() {
            bail!("nobody is there to be asked: look at `stockade device plan`, then add --yes");
        }
        out.line(&text::plan(out, &look.report, &look.plan));
        agreed()?;
    }
    let outcome = device.apply(&look, &mut |progress| told(out, json, progress))?;
    finish(
        out,
        json,
        &outcome,
        "done",
        "take it back: stockade device undo",
    )?;
    let after = device.look()?;
    if !json {
        out.line(&text::summary(&after.report));
    }
    if !outcome.failed.is_empty() {
        return Ok(ExitCode::from(FOUND));
    }
    Ok(verdict(&after.report))
}

/// Takes back what was applied.
fn undo(out: Out, json: bool, subject: &Subject, all: bool) -> anyhow::Result<ExitCode> {
    let device = Device::of(subject)?;
    let which = if all { Which::All } else { Which::Last };
    let outcome = device.undo(which, &mut |progress| told(out, json, progress))?;
    finish(out, json, &outcome, "taken back", "")?;
    Ok(if outcome.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INCOMPLETE)
    })
}

/// A new password for the device's page.
fn reset_password(out: Out, json: bool, places: Option<&Path>) -> anyhow::Result<ExitCode> {
    let password = helper::Helper::below(places).reset_password()?;
    let password = password.expose();
    out.line(&if json {
        json!({ "password": password }).to_string()
    } else {
        format!("password of the device's page, told this once: {password}\nit must be changed at log-in")
    });
    Ok(ExitCode::SUCCESS)
}

/// This device's case was opened, and that was looked after.
pub(super) fn clear_tamper(
    out: Out,
    json: bool,
    reason: &str,
    places: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    helper::Helper::below(places).clear_tamper(reason)?;
    out.line(&if json {
        json!({ "cleared": true }).to_string()
    } else {
        "cleared: that the case was opened is kept in the log, with the reason".to_owned()
    });
    Ok(ExitCode::SUCCESS)
}

/// Findings, something that cannot be judged, or neither (`docs/cli.md`).
fn verdict(report: &Report) -> ExitCode {
    if report.findings().next().is_some() {
        ExitCode::from(FOUND)
    } else if report.unjudged().next().is_some() {
        ExitCode::from(INCOMPLETE)
    } else {
        ExitCode::SUCCESS
    }
}

fn agreed() -> anyhow::Result<()> {
    aside("Do all of this? Type yes:");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim() != "yes" {
        bail!("nothing was changed");
    }
    Ok(())
}

fn told(out: Out, json: bool, progress: &Progress) {
    if json {
        if let Ok(line) = serde_json::to_string(progress) {
            aside(&line);
        }
        return;
    }
    let (tone, word) = match &progress.state {
        StepState::Begun => return,
        StepState::Done => (Tone::Good, "done".to_owned()),
        StepState::Failed(why) => (Tone::Bad, format!("failed: {why}")),
        StepState::TakenBack => (Tone::Alarm, "taken back".to_owned()),
    };
    let (step, of, says) = (progress.step, progress.of, &progress.says);
    out.line(&format!(
        "{step:>3}/{of}  {says}  {}",
        out.paint(tone, &word)
    ));
}

fn finish(out: Out, json: bool, outcome: &Outcome, word: &str, next: &str) -> anyhow::Result<()> {
    if json {
        out.line(&serde_json::to_string(outcome)?);
        return Ok(());
    }
    for failed in &outcome.failed {
        out.line(&out.paint(Tone::Bad, failed));
    }
    for told in &outcome.told {
        let (account, password) = (&told.account, told.password.expose());
        out.line(&format!(
            "new password of {account}, told this once: {password}"
        ));
    }
    let steps = super::counted(usize::try_from(outcome.done)?, "step");
    let next = if next.is_empty() || outcome.done == 0 {
        String::new()
    } else {
        format!(" ({next})")
    };
    out.line(&format!("{steps} {word}{next}"));
    Ok(())
}
