//! `cargo xtask tidy`: what the compiler and clippy can not see.

mod crates;
mod decisions;
mod fuzzing;
mod links;
mod sources;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::command::root;
use crate::out;
use crate::test::Counts;

/// What the checks found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    faults: Vec<String>,
    warnings: Vec<String>,
    checks: u64,
}

impl Report {
    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// Counts one thing that was looked at.
    fn looked(&mut self) {
        self.checks += 1;
    }
}

/// Runs the checks for a person.
pub(crate) fn run() -> ExitCode {
    match check() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            out::problem(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the checks; an error when there is a fault.
pub(crate) fn check() -> Result<Counts> {
    let root = root();
    let mut report = Report::default();
    crates::check(&mut report)?;
    sources::check(&root, &mut report)?;
    links::check(&root, &mut report)?;
    decisions::check(&root, &mut report)?;
    fuzzing::check(&root, &mut report)?;
    for warning in &report.warnings {
        out::line(&format!("warning: {warning}"));
    }
    for fault in &report.faults {
        out::problem(&format!("fault: {fault}"));
    }
    out::line(&format!(
        "tidy: {} things looked at, {} faults, {} warnings",
        report.checks,
        report.faults.len(),
        report.warnings.len()
    ));
    if !report.faults.is_empty() {
        bail!("{} faults", report.faults.len());
    }
    Ok(Counts {
        passed: report.checks,
        ..Counts::default()
    })
}

/// Every file under `folder` whose name ends in `extension`, in order; nothing when the folder is not there.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs_err::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|its| its == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The path as a reader of the repository knows it.
fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}
