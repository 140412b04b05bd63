//! `stockade up`: start, say what a person needs, tell what happens, stop in good order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use stockade_gateway::link::Bearer;

use crate::args::Up;
use crate::commands::events::live_line;
use crate::config::{Config, LogFormat};
use crate::demo::{self, Fleet};
use crate::out::{self, Out};
use crate::server::Server;

/// The demo's operator sends the camera a command this often.
const COMMAND_EVERY: Duration = Duration::from_secs(20);

/// Runs until it is told to stop.
pub(crate) async fn run(out: Out, data: &Path, up: &Up) -> anyhow::Result<()> {
    let mut config = read_config(data, up.config.as_deref())?;
    for bearer in &up.bearer {
        bearer.parse::<Bearer>()?;
        config.link.bearers.push(bearer.clone());
    }
    if up.demo {
        config.listen = config.listen.on_loopback();
    }
    start_log(&config)?;
    raise_open_files();
    let (mut stop, mut end) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );

    let mut server = Server::start(&config, data).await?;
    if config.guard.is_some() {
        server.start_guard(config_file(data, up.config.as_deref()));
    }
    let mut events = server.events.watch();
    if up.demo {
        demo::install_profiles(&server.registry)?;
    }
    out.line(&banner(&server, data, up.demo));
    let fleet = if up.demo {
        Some(Fleet::start(
            &server.registry,
            server.grants.keys(),
            &server.told_to_devices(),
            &server.data_dir("demo")?,
        )?)
    } else {
        None
    };
    let mut command = interval(COMMAND_EVERY);
    command.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u32;
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            _ = end.recv() => break,
            failed = server.failed() => return Err(failed),
            event = events.recv() => match event {
                Ok(event) if up.demo && !demo::is_worth_a_line(&event) => {}
                Ok(event) => out.line(&live_line(out, &event)),
                Err(RecvError::Lagged(missed)) => out.line(&format!("… {missed} events not shown")),
                Err(RecvError::Closed) => break,
            },
            _ = command.tick(), if fleet.is_some() => {
                count = count.wrapping_add(1);
                let light = if count.is_multiple_of(2) { "on" } else { "off" };
                for topic in demo::COMMANDS {
                    server.command(topic, &format!(r#"{{"light":"{light}"}}"#)).await;
                }
            }
        }
    }
    out.line("stopping");
    if let Some(fleet) = fleet {
        fleet.stop().await;
    }
    server.stop().await;
    out.line("stopped");
    Ok(())
}

/// The configuration that was named, or the data directory's own.
pub(crate) fn read_config(data: &Path, named: Option<&Path>) -> anyhow::Result<Config> {
    match config_file(data, named) {
        Some(file) => Config::read(&file),
        None => Ok(Config::default()),
    }
}

fn config_file(data: &Path, named: Option<&Path>) -> Option<PathBuf> {
    let usual = data.join("stockade.toml");
    named
        .map(Path::to_owned)
        .or_else(|| usual.exists().then_some(usual))
}

/// Every connection is an open file. The usual soft limit of 1,024 is there for programs that use select(2).
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

pub(crate) fn start_log(config: &Config) -> anyhow::Result<()> {
    // rustls warns of what peers send: that is for the events, once, and not for the log.
    let filter =
        tracing_subscriber::EnvFilter::try_new(format!("rustls=error,{}", config.log.level))
            .context("[log] level")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(out::colours_on_stderr());
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// What a newcomer needs in order to go on.
fn banner(server: &Server, data: &Path, demo: bool) -> String {
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "stockade".to_owned());
    let data = data.display();
    let login = match &server.password {
        Some(password) => format!("user admin, one-time password {}", password.expose()),
        None => format!("user admin; password lost? {program} admin reset-password --data {data}"),
    };
    let models = server.registry.models();
    let first = match models.first() {
        Some(model) => format!(
            "{program} device add --data {data} --model {} porch",
            model.name
        ),
        None => format!(
            "{program} profile install --data {data} PROFILE.toml\n    \
             {program} device add --data {data} --model MODEL ID"
        ),
    };
    let ask = if demo {
        demo::questions(&program, &data.to_string())
    } else {
        String::new()
    };
    format!(
        "Stockade {version} on {data}\n\n  \
         console    https://{console}   {login}\n  \
         enrolment  https://{est}   EST (RFC 7030)\n  \
         devices    mqtts://{mqtt}   MQTT 5 and 3.1.1 over {tls}, both sides with certificates\n  \
         link       coap://{coap}   CoAP with EDHOC and OSCORE, for constrained devices{bearers}\n  \
         CA         SHA-256 {fingerprint}\n             {ca}\n\n  \
         Add a device, in another terminal:\n    {first}\n{ask}\n\
         Ctrl-C stops. What happens (UTC):\n",
        version = env!("CARGO_PKG_VERSION"),
        console = server.shown.console,
        est = server.shown.est,
        mqtt = server.shown.mqtt,
        tls = server.shown.tls,
        coap = server.shown.coap,
        bearers = server.shown.bearers,
        fingerprint = server.ca_fingerprint,
        ca = server.data_path("ca.pem").display(),
    )
}
