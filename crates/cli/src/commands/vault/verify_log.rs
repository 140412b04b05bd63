//! `stockade vault verify-log`: with the files and the public key alone.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};
use stockade_tlog::{Audit, Audited, Difference, Files, VerifierKey, audit};
use stockade_vault::AwsLc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Handle;

use crate::admin::Admin;
use crate::args::vault::VerifyLog;
use crate::out::Out;
use crate::run::{FOUND, INCOMPLETE};

/// Where the console serves the log.
const SERVED: &str = "/api/v1/vault/log";
/// How often a log that somebody writes to meanwhile is read anew.
const AGAIN: usize = 5;

/// Where the files are, and the checkpoint that was read last.
struct Source<'a> {
    place: Place<'a>,
    checkpoint: Vec<u8>,
}

enum Place<'a> {
    Folder(PathBuf),
    Served(&'a Admin),
}

pub(super) fn run(
    out: Out,
    (admin, data): (&Admin, &Path),
    json: bool,
    asked: &VerifyLog,
) -> anyhow::Result<ExitCode> {
    let key = verifier(&asked.key)?;
    let witnesses: Vec<_> = asked
        .witness
        .iter()
        .map(|it| verifier(it))
        .collect::<anyhow::Result<_>>()?;
    let old = asked.old.as_deref().map(fs_err::read).transpose()?;
    let with = Audit {
        key: &key,
        witnesses: &witnesses,
        old: old.as_deref(),
    };
    let at;
    let place = match &asked.log {
        Some(url) if url.starts_with("https://") => {
            at = admin.at(url)?;
            Place::Served(&at)
        }
        Some(dir) => Place::Folder(PathBuf::from(dir)),
        None if admin.is_remote() => Place::Served(admin),
        None => Place::Folder(data.join("vault/log")),
    };
    let mut source = Source {
        place,
        checkpoint: Vec::new(),
    };
    let audited = tokio::task::block_in_place(|| source.audit(&with));
    if let (Ok(_), Some(file)) = (&audited, &asked.keep) {
        fs_err::write(file, &source.checkpoint)?;
    }
    let others = match &audited {
        Ok(audited) => source.others(audited)?,
        Err(_) => Vec::new(),
    };
    out.line(&if json {
        as_json(&audited, &others).to_string()
    } else {
        text(&audited, &others)
    });
    Ok(match audited {
        Ok(_) => ExitCode::SUCCESS,
        Err(Difference::Unread { .. }) => ExitCode::from(INCOMPLETE),
        Err(_) => ExitCode::from(FOUND),
    })
}

/// A key, or what is in the file of this name.
fn verifier(text: &str) -> anyhow::Result<VerifierKey> {
    VerifierKey::parse(text).or_else(|_| {
        let inside = fs_err::read_to_string(text)
            .context("neither a verifier key, NAME+ID+KEY, nor a file with one")?;
        VerifierKey::parse(&inside).with_context(|| text.to_owned())
    })
}

impl Source<'_> {
    /// Reads and compares all, and again if the log grew meanwhile: its last tiles are replaced then.
    fn audit(&mut self, with: &Audit<'_>) -> Result<Audited, Difference> {
        let mut last = audit(self, with, &AwsLc, |_, _| {});
        for _ in 0..AGAIN {
            let before = self.checkpoint.clone();
            let grew = last.is_err()
                && self.read("checkpoint", stockade_tlog::MAX_NOTE).is_ok()
                && self.checkpoint != before;
            if !grew {
                break;
            }
            last = audit(self, with, &AwsLc, |_, _| {});
        }
        last
    }

    /// Files in the folder that are no part of the log that the checkpoint speaks of.
    fn others(&self, audited: &Audited) -> anyhow::Result<Vec<String>> {
        let Place::Folder(dir) = &self.place else {
            return Ok(Vec::new());
        };
        let known: BTreeSet<_> = audited.files.iter().map(|path| dir.join(path)).collect();
        let (mut others, mut folders) = (Vec::new(), vec![dir.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if !known.contains(&entry.path()) {
                    others.push(entry.path().display().to_string());
                }
            }
        }
        others.sort();
        Ok(others)
    }
}

impl Files for Source<'_> {
    fn read(&mut self, path: &str, most: usize) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let bytes = match &self.place {
            Place::Folder(dir) => {
                let mut bytes = Vec::new();
                let limit = u64::try_from(most)?.saturating_add(1);
                fs_err::File::open(dir.join(path))?
                    .take(limit)
                    .read_to_end(&mut bytes)?;
                bytes
            }
            Place::Served(admin) => {
                let file = format!("{SERVED}/{path}");
                Handle::current().block_on(admin.file(&file))?.to_vec()
            }
        };
        if bytes.len() > most {
            return Err(format!("longer than {most} bytes").into());
        }
        if path == "checkpoint" {
            self.checkpoint.clone_from(&bytes);
        }
        Ok(bytes)
    }
}

fn told(difference: &Difference) -> String {
    match difference.source() {
        Some(why) => format!("{difference}: {why}"),
        None => difference.to_string(),
    }
}

fn seen(at_unix: u64) -> String {
    let at = i64::try_from(at_unix)
        .ok()
        .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    at.and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| at_unix.to_string())
}

fn text(audited: &Result<Audited, Difference>, others: &[String]) -> String {
    let audited = match audited {
        Ok(audited) => audited,
        Err(difference) => return format!("NOT VERIFIED: {}", told(difference)),
    };
    let checkpoint = &audited.checkpoint;
    let mut lines = vec![format!(
        "verified: {} entries of {}, {} files, root {}",
        checkpoint.size,
        checkpoint.origin,
        audited.files.len(),
        checkpoint.root
    )];
    let old = audited.old.iter();
    lines
        .extend(old.map(|old| format!("the first {old} are as they were at the older checkpoint")));
    let cosigned = audited.cosigned.iter();
    lines.extend(cosigned.map(|it| format!("seen by {} at {}", it.witness, seen(it.at_unix))));
    let others = others.iter();
    lines.extend(others.map(|other| format!("no part of the log: {other}")));
    lines.join("\n")
}

fn as_json(audited: &Result<Audited, Difference>, others: &[String]) -> Value {
    match audited {
        Ok(audited) => {
            let cosigned: Vec<_> = audited
                .cosigned
                .iter()
                .map(|it| json!({ "witness": it.witness, "at": seen(it.at_unix) }))
                .collect();
            json!({
                "verified": true,
                "origin": audited.checkpoint.origin,
                "size": audited.checkpoint.size,
                "root": audited.checkpoint.root.to_string(),
                "old": audited.old,
                "cosigned": cosigned,
                "files": audited.files.len(),
                "others": others,
            })
        }
        Err(difference) => json!({ "verified": false, "difference": told(difference) }),
    }
}
