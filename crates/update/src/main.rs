//! `stockade-update`: fetches updates, as one process, and installs them, as another.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use stockade_api::Places;
use stockade_api::update::{Job, Said};
use stockade_host::sandbox::{Sandbox, become_id, ids};
use stockade_update::{Version, Wanted, carry_out, fetch, reset};

const USAGE: &str = "usage: stockade-update fetch --source URL --model MODEL [--version N | --newest] [--user USER] [--root DIR]
       stockade-update work [--root DIR]     (a job of the helper's, as JSON on standard input)
       stockade-update reset [--root DIR]

The helper starts the first two. `reset` forgets what stands against older systems, the TPM's counter too.";

/// How long a source may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// The least bytes in a second from a source.
const LEAST: u64 = 256;

fn main() -> ExitCode {
    match go(std::env::args().skip(1)) {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "stockade-update: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn go(mut words: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    let what = words.next().context(USAGE)?;
    let (mut root, mut user) = (PathBuf::from("/"), None);
    let (mut source, mut model, mut version) = (None, None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().context(USAGE);
        match (what.as_str(), word.as_str()) {
            (_, "--root") => root = value()?.into(),
            ("fetch", "--source") => source = Some(value()?),
            ("fetch", "--model") => model = Some(value()?),
            ("fetch", "--version") => version = Some(Version::Exactly(value()?.parse()?)),
            ("fetch", "--newest") => version = Some(Version::Newest),
            ("fetch", "--user") => user = Some(value()?),
            _ => bail!(USAGE),
        }
    }
    let places = Places::below(root);
    match what.as_str() {
        "--version" => {
            let version = env!("CARGO_PKG_VERSION");
            writeln!(std::io::stdout(), "stockade-update {version}")?;
        }
        "reset" => reset(&places)?,
        "work" => return work(&places),
        "fetch" => {
            let wanted = Wanted {
                source: source.context(USAGE)?.parse().map_err(anyhow::Error::msg)?,
                model: model.context(USAGE)?,
                version,
                authorities: fs_err::read(places.etc().join("update/ca.pem")).ok(),
                silence: SILENCE,
                least: LEAST,
            };
            if let Some(user) = user {
                let (user, group) = ids(&user)?;
                become_id(user, group)?;
            }
            // Where there is no Landlock, user and seccomp are left.
            let _entered = Sandbox::fetcher(&places, wanted.port()).enter(true)?;
            let root = places.etc().join("update/root.json");
            let failed = places.spool().join("failed");
            // Why it failed is for the helper, which has no other way to hear it.
            drop(fs_err::remove_file(&failed));
            if let Err(why) = fetch(&places.spool(), &root, &wanted) {
                let why = anyhow::Error::from(why);
                drop(fs_err::write(&failed, format!("{why:#}")));
                return Err(why);
            }
        }
        _ => bail!(USAGE),
    }
    Ok(ExitCode::SUCCESS)
}

/// One job; what becomes of it is told in lines.
fn work(places: &Places) -> anyhow::Result<ExitCode> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line).context("the job makes no sense")?;
    let said = carry_out(places, &job, &mut |doing| say(&Said::Doing(doing)));
    let (said, code) = match said {
        Ok(standing) => (Said::Done(standing), ExitCode::SUCCESS),
        Err(why) => {
            let why = format!("{:#}", anyhow::Error::from(why));
            (Said::Refused(why), ExitCode::FAILURE)
        }
    };
    say(&said);
    Ok(code)
}

fn say(said: &Said) {
    let line = serde_json::to_string(said).unwrap_or_default();
    // Who asked may be gone: the work goes on.
    drop(writeln!(std::io::stdout(), "{line}"));
}
