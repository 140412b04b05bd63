//! What becomes of a report: marked by waivers and a baseline, rendered in each form that was asked for, and an exit code.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use stockade_audit::{Audited, Report, Waivers, harden, output};
use time::OffsetDateTime;

use super::{ended, read_report, text};
use crate::args::audit::{Format, Output, Reporting};
use crate::out::{Out, aside};

/// Refuses what cannot be done before an hour of work was spent on it.
pub(super) fn check(json: bool, asked: &Reporting, plan: bool) -> anyhow::Result<()> {
    ensure!(
        !json || asked.output.is_empty(),
        "--json is short for `-o json`: say either"
    );
    let stdout = asked.output.iter().filter(|it| it.file.is_none()).count();
    ensure!(
        stdout <= 1,
        "standard output holds one report: give the others a file, as in `-o sarif=report.sarif`"
    );
    let term = (!json && asked.output.is_empty())
        || asked.output.iter().any(|it| it.format == Format::Term);
    ensure!(term || !plan, "a plan is printed for people: add `-o term`");
    let mut files: Vec<&Path> = asked
        .output
        .iter()
        .filter_map(|it| it.file.as_deref())
        .collect();
    files.sort_unstable();
    for pair in files.windows(2) {
        if let [one, other] = pair
            && one == other
        {
            bail!("two reports would be written to {}", one.display());
        }
    }
    for output in &asked.output {
        let Some(folder) = output.file.as_deref().and_then(Path::parent) else {
            continue;
        };
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            bail!("there is no directory {}", folder.display());
        }
    }
    Ok(())
}

/// The time that reports may name, and that certificates and waivers are held against: that of `SOURCE_DATE_EPOCH`, else now.
pub(super) fn now() -> anyhow::Result<(OffsetDateTime, Option<u64>)> {
    let Some(told) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok((OffsetDateTime::now_utc(), None));
    };
    let seconds = told.to_str().and_then(|text| text.parse::<u32>().ok());
    let seconds = seconds.context("SOURCE_DATE_EPOCH is no time in seconds since 1970")?;
    let moment = OffsetDateTime::from_unix_timestamp(i64::from(seconds))?;
    Ok((moment, Some(u64::from(seconds))))
}

pub(super) fn write(
    out: Out,
    json: bool,
    audited: &Audited,
    asked: &Reporting,
    plan: bool,
) -> anyhow::Result<ExitCode> {
    let (now, at) = now()?;
    let mut report = Report::of(audited, at);
    if let Some(path) = &asked.waivers {
        let text = super::read_text(path)?;
        let waivers = Waivers::parse(&text).with_context(|| path.display().to_string())?;
        report.waive(&waivers, now);
    }
    if let Some(path) = &asked.baseline {
        report.against(&read_report(path)?)?;
    }
    let plan = plan.then(|| harden::plan(audited));
    let fail_on = asked.fail_on.severity();
    let only = Output {
        format: if json { Format::Json } else { Format::Term },
        file: None,
    };
    let outputs = if asked.output.is_empty() {
        std::slice::from_ref(&only)
    } else {
        &asked.output
    };
    let mut printed = None;
    for output in outputs {
        let on = if output.file.is_some() {
            Out::plain()
        } else {
            out
        };
        let rendered = match output.format {
            Format::Term => text::report(on, &report, plan.as_ref()),
            Format::Json => report.to_json()?,
            Format::Sarif => output::sarif(&report)?,
            Format::Junit => output::junit(&report, fail_on),
            Format::Html => output::html(&report)?,
            Format::CycloneDx => super::look::cyclonedx(audited)?,
        };
        match &output.file {
            Some(file) => whole(file, &rendered)
                .with_context(|| format!("cannot write {}", file.display()))?,
            None => printed = Some(rendered),
        }
    }
    // Last, so that nobody takes for done what failed.
    if let Some(text) = printed {
        out.whole(&text).context("cannot write the report")?;
    }
    let (gating, incomplete) = (report.gating(fail_on), report.incomplete());
    aside(&closing(&report, gating, incomplete, asked, audited));
    Ok(ExitCode::from(ended(gating, incomplete)))
}

/// How it ended and how long it took: what is no part of the report.
fn closing(
    report: &Report,
    gating: usize,
    incomplete: bool,
    asked: &Reporting,
    audited: &Audited,
) -> String {
    let findings = report.open_findings().len();
    let from = match (asked.fail_on.severity(), &report.baseline) {
        (None, _) => "none".to_owned(),
        (Some(least), None) => format!("from {least}"),
        (Some(least), Some(_)) => format!("from {least}, new or worse"),
    };
    let gaps = if incomplete {
        "; not everything could be judged"
    } else {
        ""
    };
    let code = ended(gating, incomplete);
    let seconds = audited.took.as_secs_f64();
    format!(
        "{gating} of {findings} findings count ({from}){gaps}: exit code {code}, after {seconds:.1} s"
    )
}

/// All of it or nothing: whoever reads the file never finds half a report.
fn whole(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A pipe, a device: nothing to exchange. A link stays one: /dev/stdout is.
    if file.symlink_metadata().is_ok_and(|it| !it.is_file()) {
        return Ok(fs_err::write(file, text)?);
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(file.file_name().context("this is no file's name")?);
    name.push(format!(".{}.part", std::process::id()));
    let part = folder.join(name);
    let written = fs_err::File::create_new(&part).and_then(|mut to| {
        to.write_all(text.as_bytes())?;
        to.sync_all()?;
        fs_err::rename(&part, file)
    });
    if written.is_err() {
        let _gone = fs_err::remove_file(&part);
    }
    Ok(written?)
}
