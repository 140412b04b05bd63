//! `cargo xtask fuzz`: each target in turn, for a while.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::{cargo, root, succeed, target, works};
use crate::{out, prepare};

/// How long each target runs unless told otherwise.
const SECONDS: u64 = 60;

/// Fuzzes one target, or all.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (seconds, only) = parse(arguments)?;
    ensure!(
        works(&mut cargo(&["+nightly", "--version"])),
        "fuzzing needs a nightly toolchain: `rustup toolchain install nightly --profile minimal`; \
         on stable, `cargo xtask test --only corpus` replays what earlier fuzzing found"
    );
    cargo_fuzz()?;
    let root = root();
    let targets: Vec<String> = names(&root)?
        .into_iter()
        .filter(|name| only.as_ref().is_none_or(|only| only == name))
        .collect();
    ensure!(
        !targets.is_empty(),
        "no such fuzz target; there are: {}",
        names(&root)?.join(", ")
    );
    let mut broken = Vec::new();
    for name in &targets {
        out::line(&format!("\n== {name}, {seconds} s"));
        // New inputs go to a folder of the build; what is worth keeping is copied to fuzz/corpus by hand.
        let grown = target().join("fuzz-corpus").join(name);
        fs_err::create_dir_all(&grown)?;
        let mut command = cargo(&["+nightly", "fuzz", "run", name]);
        command.arg(&grown).arg(root.join("fuzz/corpus").join(name));
        command
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .args(["-timeout=10", "-rss_limit_mb=2048"]);
        if let Err(error) = succeed(&mut command) {
            out::problem(&format!("{name}: {error:#}"));
            broken.push(name.clone());
        }
    }
    if broken.is_empty() {
        out::line(&format!(
            "{} targets held for {seconds} s each",
            targets.len()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    out::problem(&format!(
        "broken: {}; the inputs are in fuzz/artifacts",
        broken.join(", ")
    ));
    Ok(ExitCode::FAILURE)
}

fn parse(arguments: &[String]) -> Result<(u64, Option<String>)> {
    let (mut seconds, mut only) = (SECONDS, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let value = arguments.next().context("--seconds wants a number")?;
            seconds = value
                .parse()
                .with_context(|| format!("`{value}` is no number of seconds"))?;
        } else if argument.starts_with('-') {
            bail!("`fuzz` knows --seconds N and the name of a target, not `{argument}`");
        } else {
            only = Some(argument.clone());
        }
    }
    Ok((seconds, only))
}

/// cargo-fuzz, from the same place as the other cargo tools.
fn cargo_fuzz() -> Result<()> {
    if works(&mut cargo(&["fuzz", "--version"])) {
        return Ok(());
    }
    prepare::python(
        &prepare::environment(),
        &root().join("fuzz/requirements.txt"),
    )
    .context("cargo-fuzz is not there (`cargo install --locked cargo-fuzz` makes it from source)")
}

fn names(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(root.join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.push(
                path.file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    names.sort();
    Ok(names)
}
