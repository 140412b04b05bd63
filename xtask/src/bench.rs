//! `cargo xtask bench gateway`.

use std::process::ExitCode;

use anyhow::Result;

pub(crate) fn run(_arguments: &[String]) -> Result<ExitCode> {
    anyhow::bail!("not here yet")
}
