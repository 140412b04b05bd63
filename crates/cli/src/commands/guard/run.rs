//! `stockade guard run`: one process that has the rights to change the LAN's rules, and nothing else.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use stockade_gateway::guard::run::{self, Guard};
use stockade_gateway::guard::settings::GuardSettings;
use stockade_store::DataDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::guard::Run;
use crate::config::{self, Config};
use crate::out::Out;

/// The guard's directory, in the data directory.
const DIRECTORY: &str = "guard";

/// Where the guard answers.
pub(crate) fn socket(data: &Path) -> PathBuf {
    data.join(DIRECTORY).join("guard.sock")
}

/// Gives up every right but those that the guard needs. Before any thread is started: rights are a thread's.
pub(crate) fn give_up_rights() -> anyhow::Result<()> {
    run::give_up_rights().context("cannot give up rights that the guard does not need")
}

/// Runs until it is told to stop. The rules stay: a guard that ended, however it did, leaves nothing open.
pub(super) async fn run(out: Out, data: &Path, asked: &Run) -> anyhow::Result<()> {
    let config = read_config(data, asked)?;
    crate::up::start_log(&config)?;
    let settings = settings(data, asked, &config)?;
    let (mut stop, mut end) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    // A directory of the gateway's form, also where there is no gateway yet.
    if !data.join("FORMAT").try_exists()? {
        drop(DataDir::open(data)?);
    }
    let dir = DataDir::open(&data.join(DIRECTORY))?;
    let guard = Guard::start(&dir, settings).await?;
    out.line(&guard.banner());
    let stopped = async {
        tokio::select! {
            _ = stop.recv() => {}
            _ = end.recv() => {}
            () = input_ends(), if asked.until_input_ends => {}
        }
    };
    let ended = guard.run(stopped).await?;
    out.line(match ended {
        run::Ended::Stopped => {
            "stopped; the rules stay in force (`stockade guard off` takes them away)"
        }
        run::Ended::Off => "off",
    });
    Ok(())
}

/// The pipe to whoever started this closes, however that process ended.
async fn input_ends() {
    let (closed, heard) = oneshot::channel();
    std::thread::spawn(move || {
        // What comes is of no interest; a pipe that can not be read is as good as closed.
        let _copied = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // Nobody listens to a guard's input when it ends for another reason.
        let _late = closed.send(());
    });
    let _closed = heard.await;
}

fn read_config(data: &Path, asked: &Run) -> anyhow::Result<Config> {
    match config_file(data, asked) {
        Some(file) => Config::read(&file),
        None => Ok(Config::default()),
    }
}

fn config_file(data: &Path, asked: &Run) -> Option<PathBuf> {
    let usual = data.join("stockade.toml");
    asked
        .config
        .clone()
        .or_else(|| usual.exists().then_some(usual))
}

/// The file's section, and over it what was said on the command line.
fn settings(data: &Path, asked: &Run, config: &Config) -> anyhow::Result<GuardSettings> {
    let mut guard: config::Guard = config.guard.clone().unwrap_or_default();
    if let Some(interface) = &asked.interface {
        guard.interface.clone_from(interface);
    }
    anyhow::ensure!(
        !guard.interface.is_empty(),
        "which interface is the LAN's? `stockade guard run --interface br-lan`, or [guard] interface in stockade.toml"
    );
    if let Some(accept) = &asked.mud_accept {
        guard.mud.accept = serde_json::from_value(serde_json::Value::String(accept.clone()))
            .context("--mud-accept: ask, signed or any")?;
    }
    if !asked.resolver.is_empty() {
        guard.resolvers.clone_from(&asked.resolver);
    }
    let file = config_file(data, asked);
    let beside = file.as_deref().and_then(Path::parent);
    guard.settings(beside.unwrap_or_else(|| Path::new(".")))
}
