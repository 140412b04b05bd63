//! From what was said to what is done.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::admin::Admin;
use crate::args::{self, Cli, Command};
use crate::commands::{attest, ca, device, events, firewall, guard, link, profile, token, vault};
use crate::config::Config;
use crate::out::Out;
use crate::{demo, server, up};

/// Exit codes are documented API (`docs/cli.md`): something was found.
pub(crate) const FOUND: u8 = 1;
/// Wrong usage or configuration, or the command could not do its work.
pub(crate) const USAGE: u8 = 2;
/// Something could not be reached, read or judged.
pub(crate) const INCOMPLETE: u8 = 3;
/// A bug of ours.
pub(crate) const BUG: u8 = 70;

/// Does it.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Guard(args::guard::Guard::Run(_)) = &cli.command {
        guard::run::give_up_rights()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(Box::pin(dispatch(cli)))
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let out = Out::new();
    let json = cli.json;
    let demo = matches!(&cli.command, Command::Up(up) if up.demo);
    let data = cli.data.unwrap_or_else(|| default_data(demo));
    let admin = Admin::new(&data, &cli.remote)?;
    match cli.command {
        Command::Up(up) => up::run(out, &data, &up).await?,
        Command::Device(command) => return device::run(out, &admin, json, &command).await,
        Command::Profile(command) => return profile::run(out, &admin, json, &command).await,
        Command::Firewall(command) => return firewall::run(out, json, &command).await,
        Command::Guard(command) => return guard::run(out, &data, json, &command).await,
        Command::Attest(command) => return attest::run(out, &admin, json, &command).await,
        Command::Update(command) => return crate::commands::update::run(out, json, &command),
        Command::Rollout(command) => {
            return crate::commands::rollout::run(out, &admin, json, &command).await;
        }
        Command::Grant(command) => {
            return crate::commands::grant::run(out, &admin, json, &command).await;
        }
        Command::Audit(command) => {
            let audit = move || crate::commands::audit::run(out, json, &command);
            return tokio::task::block_in_place(audit);
        }
        Command::Link(command) => link::run(out, &admin, json, &command).await?,
        Command::Vault(command) => {
            return vault::run(out, (&admin, &data), json, &command).await;
        }
        Command::Token(command) => token::run(out, &admin, json, &command).await?,
        Command::Ca(command) => ca::run(out, &data, json, &command).await?,
        Command::Config(command) => config(out, &command)?,
        Command::Admin(args::Admin::ResetPassword) => server::reset_password(out, &data)?,
        Command::Events(asked) => events::run(out, &admin, json, &asked).await?,
        Command::Publish(asked) => publish(out, &admin, &asked).await?,
        Command::Completions { shell } => completions(out, shell)?,
        Command::Man { dir } => man(out, &dir)?,
        Command::DemoDevice(told) => demo::device(out, &told).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Beside the caller, where a newcomer finds it. A service names its own with `--data`.
fn default_data(demo: bool) -> PathBuf {
    PathBuf::from(if demo {
        "stockade-demo"
    } else {
        "stockade-data"
    })
}

fn config(out: Out, command: &args::Config) -> anyhow::Result<()> {
    match command {
        args::Config::Check { file } => {
            let config = Config::read(file)?;
            config.profile_keys()?;
            config.ek_roots()?;
            out.line(&format!("{} is sound", file.display()));
        }
        args::Config::Default => out.line(Config::default().to_toml()?.trim_end()),
    }
    Ok(())
}

async fn publish(out: Out, admin: &Admin, asked: &args::Publish) -> anyhow::Result<()> {
    let command =
        serde_json::json!({ "topic": asked.topic, "payload": asked.payload, "qos": asked.qos });
    admin.post("/api/v1/publish", &command).await?;
    out.line("sent");
    Ok(())
}

fn completions(out: Out, shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stockade", &mut script);
    out.line(
        String::from_utf8(script)
            .context("the script is no text")?
            .trim_end(),
    );
    Ok(())
}

fn man(out: Out, dir: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
    out.line(&format!("manual pages are in {}", dir.display()));
    Ok(())
}
