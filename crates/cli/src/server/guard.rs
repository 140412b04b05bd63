//! The LAN guard beside the gateway: its process, and what the registry decides told to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use stockade_gateway::guard::request::{Reason, RegistryId, Request};
use stockade_gateway::guard::socket::{AskError, Client};
use stockade_gateway::name::{DeviceId, ModelName};
use stockade_gateway::registry::{Registry, State};
use time::OffsetDateTime;
use tokio::process::{Child, Command};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::commands::guard::run::socket;

/// Between two tries to reach a guard that does not answer, or to start one that ended.
const AGAIN: Duration = Duration::from_secs(2);
/// The longest time the guard has to end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the guard's process until `stop`. One that ends is started again; the rules stay in force meanwhile.
pub(super) async fn keep_running(
    data: PathBuf,
    config: Option<PathBuf>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let ended = match start(&data, config.as_deref()) {
            Ok(mut child) => {
                // While this end is open the guard knows that the gateway is there, however it may end.
                let _alive = child.stdin.take();
                let ended = tokio::select! {
                    ended = child.wait() => Some(ended),
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                match ended {
                    Some(ended) => ended.map(|status| status.to_string()).unwrap_or_default(),
                    None => return end(child).await,
                }
            }
            Err(error) => format!("{error:#}"),
        };
        tracing::error!(%ended, "the LAN guard ended; its rules stay in force, and it is started again");
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn start(data: &Path, config: Option<&Path>) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("where is this program?")?;
    let mut command = Command::new(program);
    command
        .arg("--data")
        .arg(data)
        .args(["guard", "run", "--until-input-ends"]);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    // It is handed no file and no secret of the gateway: what it needs it opens itself.
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().context("cannot start the LAN guard")
}

/// Asks it to end; the rules stay.
async fn end(mut child: Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(id) = id.and_then(rustix::process::Pid::from_raw)
        && let Err(error) = rustix::process::kill_process(id, rustix::process::Signal::TERM)
    {
        tracing::debug!(%error, "the LAN guard is gone already");
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        tracing::warn!("the LAN guard did not end in time and is stopped");
    }
}

/// Tells the guard what the registry decides, until `stop`: whom to isolate, and the profiles there are. After any failure
/// all of it is told again, so that a guard that was away misses nothing.
pub(super) async fn inform(
    data: PathBuf,
    registry: Arc<Registry>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let socket = socket(&data);
        let told = tell(&socket, &registry);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            Err(error) = told => tracing::debug!(%error, "the LAN guard can not be told"),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn tell(socket: &Path, registry: &Registry) -> Result<(), AskError> {
    // Watched before all is told, so that nothing falls between.
    let mut changes = registry.changes();
    let mut guard = Client::connect(socket).await?;
    let mut versions = BTreeMap::new();
    all(&mut guard, registry, &mut versions).await?;
    loop {
        match changes.recv().await {
            Ok(id) => {
                models(&mut guard, registry, &mut versions).await?;
                one(&mut guard, registry, &id).await?;
            }
            Err(RecvError::Lagged(_)) => all(&mut guard, registry, &mut versions).await?,
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

async fn all(
    guard: &mut Client,
    registry: &Registry,
    versions: &mut BTreeMap<ModelName, u64>,
) -> Result<(), AskError> {
    models(guard, registry, versions).await?;
    for device in registry.list(OffsetDateTime::now_utc()) {
        one(guard, registry, &device.name.id).await?;
    }
    Ok(())
}

/// Gives the guard the profiles that it was not given yet.
async fn models(
    guard: &mut Client,
    registry: &Registry,
    versions: &mut BTreeMap<ModelName, u64>,
) -> Result<(), AskError> {
    for model in registry.models() {
        let version = model.profile.device.version;
        if versions.get(&model.name) == Some(&version) {
            continue;
        }
        let canonical = BASE64.encode(&model.canonical);
        match guard.ask(&Request::Install { canonical }).await {
            // The guard has a newer one: an operator gave it to it.
            Ok(_) | Err(AskError::Refused(_)) => {
                versions.insert(model.name.clone(), version);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether this device is to be isolated. One that was removed stays as it is: `stockade guard remove` ends it.
async fn one(guard: &mut Client, registry: &Registry, id: &DeviceId) -> Result<(), AskError> {
    let state = registry
        .get(id, OffsetDateTime::now_utc())
        .map(|device| device.state);
    let isolated = match state {
        Some(State::Pending | State::Active) => None,
        Some(state) => Some(Reason::cut(&state.reasons().join("; "))),
        None => return Ok(()),
    };
    let Ok(device) = RegistryId::new(id.as_str()) else {
        return Ok(());
    };
    guard.ask(&Request::Gateway { device, isolated }).await?;
    Ok(())
}
