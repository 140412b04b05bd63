//! `stockade-keys`: holds a device's private keys, and signs with them what it understands.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use stockade_api::{Places, Settings};
use stockade_host::memory;
use stockade_host::sandbox::ids;

/// The users are by name or number: the one that this process becomes, and the one that may ask, besides root.
const USAGE: &str = "usage: stockade-keys [--root DIR] [--user USER] [--agent USER] [--token-directory DIR]… [--allow-missing-landlock]

Holds a device's private keys, and signs with them what it understands. A PKCS#11 module keeps its tokens in DIR.";

fn main() -> ExitCode {
    match go(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "stockade-keys: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn go(mut words: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut places = Places::default();
    let (mut user, mut agent) = ("stockade-keys".to_owned(), "stockade-agent".to_owned());
    let mut token_directories = Vec::new();
    let mut allow_missing_landlock = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().context(USAGE);
        match word.as_str() {
            "--root" => places = Places::below(value()?),
            "--user" => user = value()?,
            "--agent" => agent = value()?,
            "--token-directory" => token_directories.push(value()?.into()),
            "--allow-missing-landlock" => allow_missing_landlock = true,
            "--version" => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(writeln!(std::io::stdout(), "stockade-keys {version}")?);
            }
            _ => bail!(USAGE),
        }
    }
    memory::frugal();
    let text = fs_err::read_to_string(places.settings())?;
    let settings =
        Settings::parse(&text).with_context(|| places.settings().display().to_string())?;
    stockade_keys::serve(&stockade_keys::Settings {
        place: settings.key.parse()?,
        places,
        own: ids(&user)?,
        agent: ids(&agent)?,
        token_directories,
        allow_missing_landlock,
    })
}
