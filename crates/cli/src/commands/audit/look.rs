//! What is looked at, and by what it is judged.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;
use stockade_advisories::{Db as Advised, import};
use stockade_audit::harden::harden;
use stockade_audit::{Audited, bill, compare_software, image};
use stockade_image::Limits;
use stockade_probe::{host::Ports, line};
use stockade_profile::Profile;
use time::format_description::well_known::Rfc3339;

use super::outputs::now;
use super::text::counted;
use crate::args::audit::{Advisories, Db, DbPlace, Host, Image, Live, Recheck};
use crate::commands::firewall::sound;
use crate::out::{Out, Progress, aside, printable, table};
use crate::run::INCOMPLETE;

/// An image or a root directory; mended first, if a mended copy is wanted.
pub(super) fn image(asked: &Image, progress: &Progress) -> anyhow::Result<Audited> {
    let profile = profile(asked.profile.as_deref())?;
    // What is not there is a slip of the pen, and no gap in an audit.
    if !std::fs::exists(&asked.path).unwrap_or(true) {
        bail!(
            "{}: there is no such file or directory",
            asked.path.display()
        );
    }
    let options = image::Options {
        now: seconds()?,
        limits: Limits {
            depth: asked.max_depth,
            time: asked.max_time,
            ..Limits::default()
        },
    };
    let tell = |text: &str| progress.tell(text);
    let mut audited = match &asked.harden {
        None => image::image(&asked.path, profile.as_ref(), &options, &tell)?,
        Some(copy) => {
            let made = harden(&asked.path, copy, profile.as_ref(), &options, &tell)?;
            progress.done();
            let steps = counted(made.done, "step");
            aside(&format!(
                "{steps} done in {}; the report is about that copy",
                copy.display()
            ));
            made.after
        }
    };
    advised(&mut audited, &asked.advisories)?;
    Ok(audited)
}

/// A host, or each of a range.
pub(super) fn host(asked: &Host, progress: &Progress) -> anyhow::Result<Audited> {
    let profile = profile(asked.profile.as_deref())?;
    let defaults = line::Options::default();
    let options = stockade_probe::Options {
        line: line::Options {
            max_connections: usize::from(asked.max_conns),
            rate: asked.rate,
            timeout: asked.timeout.unwrap_or(defaults.timeout),
            ..defaults
        },
        ports: match &asked.ports {
            Some(ports) => ports.parse::<Ports>().map_err(anyhow::Error::msg)?,
            None => Ports::default(),
        },
        ciphers: asked.ciphers,
        try_credentials: asked.try_credentials,
        active: asked.active,
        second: asked.callback_address,
    };
    let tell = |text: &str| progress.tell(text);
    let (target, profile) = (&asked.target, profile.as_ref());
    Ok(stockade_audit::host(
        target,
        profile,
        &options,
        seconds()?,
        &tell,
    )?)
}

/// This system.
pub(super) fn live(asked: &Live) -> anyhow::Result<Audited> {
    let profile = profile(asked.profile.as_deref())?;
    let mut audited = stockade_audit::live(profile.as_ref(), seconds()?)?;
    advised(&mut audited, &asked.advisories)?;
    Ok(audited)
}

/// A list of software.
pub(super) fn recheck(asked: &Recheck) -> anyhow::Result<Audited> {
    let db = place(&asked.advisories.db)?;
    Ok(stockade_audit::recheck(
        &asked.file,
        &by(&asked.advisories, &db)?,
    )?)
}

fn profile(path: Option<&Path>) -> anyhow::Result<Option<Profile>> {
    let Some(path) = path else { return Ok(None) };
    let text = super::read_text(path)?;
    sound(&text, path).map(Some)
}

/// The time by which certificates and advisories are judged.
fn seconds() -> anyhow::Result<u64> {
    let (now, _) = now()?;
    Ok(u64::try_from(now.unix_timestamp())?)
}

fn advised(audited: &mut Audited, asked: &Advisories) -> anyhow::Result<()> {
    let db = place(&asked.db)?;
    Ok(compare_software(audited, &by(asked, &db)?)?)
}

fn by<'a>(asked: &'a Advisories, db: &'a Path) -> anyhow::Result<stockade_audit::Advisories<'a>> {
    Ok(stockade_audit::Advisories {
        db,
        vex: &asked.vex,
        wanted: !asked.no_vulnerabilities,
        now: seconds()?,
    })
}

/// Where advisories are kept.
fn place(asked: &DbPlace) -> anyhow::Result<PathBuf> {
    if let Some(path) = &asked.db {
        return Ok(path.clone());
    }
    let set = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty());
    let share = match (set("XDG_DATA_HOME"), set("HOME")) {
        (Some(share), _) => PathBuf::from(share),
        (None, Some(home)) => Path::new(&home).join(".local/share"),
        (None, None) => bail!("where advisories are kept is not known: say --db FILE"),
    };
    Ok(share.join("stockade").join(stockade_advisories::FILE))
}

/// The software of an audit as `CycloneDX`.
pub(super) fn cyclonedx(audited: &Audited) -> anyhow::Result<String> {
    let (now, at) = now()?;
    let timestamp = at.map(|_| now.format(&Rfc3339)).transpose()?;
    bill(audited, timestamp).context("this audit found no software: leave `-o cyclonedx` out")
}

/// `stockade audit db …`
pub(super) fn db(
    out: Out,
    json: bool,
    asked: &Db,
    progress: &Progress,
) -> anyhow::Result<ExitCode> {
    match asked {
        Db::Import { paths, db } => {
            let db = place(db)?;
            if let Some(folder) = db.parent() {
                fs_err::create_dir_all(folder)?;
            }
            let done = import(&db, paths, seconds()?, &|text| progress.tell(text))?;
            progress.done();
            for (place, why) in &done.named {
                aside(&printable(&format!("not read: {place}: {why}")));
            }
            if json {
                out.line(&serde_json::to_string_pretty(&json!({
                    "records": done.records,
                    "older": done.older,
                    "bad": done.bad,
                    "ignored": done.ignored,
                }))?);
            } else {
                let count = |of: u64| usize::try_from(of).unwrap_or(usize::MAX);
                let (records, older) = (counted(count(done.records), "record"), done.older);
                let (bad, ignored) = (done.bad, counted(count(done.ignored), "other file"));
                out.line(&format!("{records} brought into {}; {older} older than what was there, {bad} could not be read, {ignored} left alone", db.display()));
            }
            // What could not be read is missing from every audit.
            let nothing = done.records == 0 && done.older == 0;
            if nothing && done.bad == 0 {
                aside("there are no advisories in it");
            }
            if done.bad > 0 || nothing {
                return Ok(ExitCode::from(INCOMPLETE));
            }
        }
        Db::Status(db) => status(out, json, &place(db)?)?,
        Db::Remove { name, db } => {
            if Advised::remove(&place(db)?, name)? == 0 {
                bail!("there is no source `{name}`: `stockade audit db status` lists them");
            }
            out.line(&format!("{name} is gone"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status(out: Out, json: bool, path: &Path) -> anyhow::Result<()> {
    let sources = Advised::open(path)?.sources()?;
    if json {
        out.line(&serde_json::to_string_pretty(&sources)?);
        return Ok(());
    }
    let rows = sources.into_iter().map(|it| {
        let (records, bad) = (it.records.to_string(), it.bad.to_string());
        let digest: String = it.digest.chars().take(16).collect();
        vec![it.form, it.newest, records, bad, digest, it.name]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let head = ["FORM", "NEWEST", "RECORDS", "UNREAD", "SHA-256", "SOURCE"];
    out.line(&table(&head, &rows));
    Ok(())
}
