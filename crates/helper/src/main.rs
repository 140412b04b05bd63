//! `stockade-helper`: has the rights on a device, and no network.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use stockade_helper::{Arguments, Role};
use stockade_host::mac::attempt;
use stockade_host::memory;
use stockade_host::sandbox::ids;

/// The users are by name or number: the agent's, the one that holds the keys, the one that miniupnpd runs as.
const USAGE: &str = "usage: stockade-helper [--root DIR] [--agent USER] [--keys USER] [--upnp USER]

Has the rights on a device, and no network: assesses, plans, applies, takes back. The agent and root ask it over a Unix
socket; each request is checked again here.";

fn main() -> ExitCode {
    match go(std::env::args().skip(1)) {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "stockade-helper: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn go(mut words: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    let mut root = "/".to_owned();
    let [mut agent, mut keys, mut upnp] =
        ["stockade-agent", "stockade-keys", "stockade-upnp"].map(str::to_owned);
    while let Some(word) = words.next() {
        let mut value = || words.next().context(USAGE);
        match word.as_str() {
            "--root" => root = value()?,
            "--agent" => agent = value()?,
            "--keys" => keys = value()?,
            "--upnp" => upnp = value()?,
            // Parts of the helper, which it starts itself.
            "--role" => {
                let role = match value()?.as_str() {
                    "launcher" => Role::Launcher,
                    "prober" => Role::Prober,
                    "runner" => Role::Runner,
                    // Of the runner: what tries a policy from inside, and tells by its exit status.
                    "attempt" => return Ok(attempt::run(&value()?, &value()?).into()),
                    _ => bail!(USAGE),
                };
                stockade_helper::launcher(role)?;
                return Ok(ExitCode::SUCCESS);
            }
            "--version" => {
                let version = env!("CARGO_PKG_VERSION");
                writeln!(std::io::stdout(), "stockade-helper {version}")?;
                return Ok(ExitCode::SUCCESS);
            }
            _ => bail!(USAGE),
        }
    }
    memory::frugal();
    stockade_helper::run(&Arguments {
        root: root.into(),
        agent: ids(&agent)?,
        keys: ids(&keys)?,
        upnp: ids(&upnp)?,
    })?;
    Ok(ExitCode::SUCCESS)
}
