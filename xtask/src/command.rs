//! Running other programs, from the root of the workspace.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::out;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The folder cargo builds into.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program to run from the root, with the tools of the test environment first in its path.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    let tools = crate::prepare::environment().join("bin");
    if let Some(path) = std::env::var_os("PATH") {
        let all = std::iter::once(tools).chain(std::env::split_paths(&path));
        if let Ok(joined) = std::env::join_paths(all) {
            command.env("PATH", joined);
        }
    }
    command
}

/// `cargo` with these arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = program("cargo");
    // The cargo that started us names a fixed toolchain; `+nightly` could not change it otherwise.
    command
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN");
    command.args(arguments);
    command
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Says the command and runs it; its output goes straight to the reader.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let text = shown(command);
    out::line(&format!("$ {text}"));
    let status = command
        .status()
        .with_context(|| format!("cannot run `{text}`"))?;
    ensure!(status.success(), "`{text}` ended with {status}");
    Ok(())
}

/// Runs the command, shows its standard output line by line, and hands each line to `see`.
pub(crate) fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> Result<()> {
    let text = shown(command);
    out::line(&format!("$ {text}"));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{text}`"))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.with_context(|| format!("cannot read what `{text}` prints"))?;
            out::line(&line);
            see(&line);
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{text}`"))?;
    ensure!(status.success(), "`{text}` ended with {status}");
    Ok(())
}

/// What the command prints, without a word to the reader; fails when the command does.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let text = shown(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{text}`"))?;
    ensure!(
        output.status.success(),
        "`{text}` ended with {}",
        output.status
    );
    String::from_utf8(output.stdout).with_context(|| format!("`{text}` prints no UTF-8"))
}

/// Whether the command can be started and succeeds; nothing is shown.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
