//! `stockade-agent`: the process of a device that talks to the network and has no rights.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use stockade_agent::install;
use stockade_api::Places;

const USAGE: &str = "usage: stockade-agent [run] [--root DIR] [--allow-missing-landlock]\n       stockade-agent install|uninstall …";

fn main() -> ExitCode {
    match go(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "stockade-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn go(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut places = Places::default();
    let mut allow_missing_landlock = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "run" => {}
            "install" => return install::install(&install::Arguments::read(arguments)?),
            "uninstall" => return install::uninstall(&install::Arguments::read(arguments)?),
            "--root" => places = Places::below(arguments.next().context(USAGE)?),
            "--allow-missing-landlock" => allow_missing_landlock = true,
            "--version" => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(writeln!(std::io::stdout(), "stockade-agent {version}")?);
            }
            _ => bail!(USAGE),
        }
    }
    stockade_agent::run::run(&places, allow_missing_landlock)
}
