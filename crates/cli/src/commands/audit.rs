//! `stockade audit …`: images, hosts and this system judged from outside, and what becomes of the reports.

mod look;
mod outputs;
mod rules;
mod text;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use stockade_audit::{AuditError, Report, compare};

use crate::args::audit::{Audit, Diff};
use crate::out::{Out, Progress, aside};
use crate::run::{FOUND, INCOMPLETE};

/// Does what was said; says how it ended.
pub(crate) fn run(out: Out, json: bool, asked: &Audit) -> anyhow::Result<ExitCode> {
    let progress = Progress::new();
    let (audited, reporting, plan) = match asked {
        Audit::Diff(asked) => return diff(out, json, asked),
        Audit::Rules { id } => return rules::run(out, json, id.as_deref()),
        Audit::Db(asked) => return look::db(out, json, asked, &progress),
        Audit::Image(asked) => {
            outputs::check(json, &asked.reporting, asked.plan)?;
            (look::image(asked, &progress), &asked.reporting, asked.plan)
        }
        Audit::Host(asked) => {
            outputs::check(json, &asked.reporting, false)?;
            (look::host(asked, &progress), &asked.reporting, false)
        }
        Audit::Live(asked) => {
            outputs::check(json, &asked.reporting, asked.plan)?;
            (look::live(asked), &asked.reporting, asked.plan)
        }
        Audit::Recheck(asked) => {
            outputs::check(json, &asked.reporting, false)?;
            (look::recheck(asked), &asked.reporting, false)
        }
    };
    progress.done();
    match audited {
        Ok(audited) => outputs::write(out, json, &audited, reporting, plan),
        // Not a wrong question, but no answer.
        Err(error) => match error.downcast::<AuditError>() {
            Ok(AuditError::Incomplete(why)) => {
                aside(&format!("error: {why}"));
                Ok(ExitCode::from(INCOMPLETE))
            }
            Ok(usage @ AuditError::Usage(_)) => Err(usage.into()),
            Err(error) => Err(error),
        },
    }
}

fn diff(out: Out, json: bool, asked: &Diff) -> anyhow::Result<ExitCode> {
    let (old, new) = (read_report(&asked.old)?, read_report(&asked.new)?);
    let diff = compare(&old, &new)?;
    if json {
        out.line(&serde_json::to_string_pretty(&diff)?);
    } else {
        out.line(text::diff(out, &diff).trim_end());
    }
    Ok(ExitCode::from(ended(
        diff.gating(asked.fail_on.severity()),
        diff.incomplete(),
    )))
}

/// Findings weigh more than gaps: whoever mends them looks again, and then the gaps are seen.
fn ended(gating: usize, incomplete: bool) -> u8 {
    match (gating, incomplete) {
        (0, false) => 0,
        (0, true) => INCOMPLETE,
        _ => FOUND,
    }
}

/// A document of text that somebody names.
fn read_text(path: &Path) -> anyhow::Result<String> {
    let bytes = stockade_audit::document(path)?;
    String::from_utf8(bytes).with_context(|| format!("{}: no UTF-8", path.display()))
}

/// An earlier report.
fn read_report(path: &Path) -> anyhow::Result<Report> {
    let text = read_text(path)?;
    Report::from_json(&text).with_context(|| path.display().to_string())
}
