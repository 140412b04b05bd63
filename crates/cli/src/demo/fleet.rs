//! Starting the demo's devices, and ending them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use stockade_gateway::name::{DeviceId, DeviceName};
use stockade_gateway::registry::{EnrolmentCode, Registry};
use stockade_profile::parse;
use time::OffsetDateTime;
use tokio::process::{Child, Command};

use super::CODE_VARIABLE;

/// What a demo device is: kind, model, id, and whether it is told to the gateway.
const DEVICES: [(&str, &str, &str, bool); 3] = [
    ("honest", "cam-2", "demo-camera", true),
    ("misbehaving", "thermo-1", "demo-thermostat", true),
    ("old", "cam-0", "demo-old", false),
];

/// The profiles of its models.
const PROFILES: [&str; 2] = [
    include_str!("../../../../profiles/cam-2.toml"),
    include_str!("../../../../profiles/thermo-1.toml"),
];

/// Where the operator's commands go.
pub(crate) const COMMAND_TOPIC: &str = "cam-2/demo-camera/command";

/// What every device is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) mqtt: SocketAddr,
    pub(crate) est: SocketAddr,
    pub(crate) ca_fingerprint: String,
}

/// The running devices; they end with this value.
#[derive(Debug)]
pub(crate) struct Fleet {
    children: Vec<Child>,
}

impl Fleet {
    /// Gives each device its code, as an operator would, and starts it as a process of its own.
    pub(crate) fn start(registry: &Registry, told: &Told, dir: &Path) -> anyhow::Result<Self> {
        let now = OffsetDateTime::now_utc();
        fs_err::create_dir_all(dir)?;
        let mut children = Vec::new();
        for (kind, model, id, enrols) in DEVICES {
            let keys = dir.join(id);
            let code = if enrols {
                invite(registry, model, id, &keys, now)?
            } else {
                None
            };
            children.push(spawn(kind, model, id, told, &keys, code.as_ref())?);
        }
        Ok(Self { children })
    }

    /// Ends them all and waits until they are gone.
    pub(crate) async fn stop(mut self) {
        for child in &mut self.children {
            // Gone already is as good.
            let _gone = child.kill().await;
        }
    }
}

/// Tells the gateway what the demo's models may do.
pub(crate) fn install_profiles(registry: &Registry) -> anyhow::Result<()> {
    for source in PROFILES {
        let profile = parse(source).map_err(|_| anyhow::anyhow!("a demo profile has faults"))?;
        registry
            .install_profile(profile, OffsetDateTime::now_utc())
            .context("cannot install the demo's profiles")?;
    }
    Ok(())
}

/// A code for a device that has no certificate yet.
fn invite(
    registry: &Registry,
    model: &str,
    id: &str,
    keys: &Path,
    now: OffsetDateTime,
) -> anyhow::Result<Option<EnrolmentCode>> {
    let device = DeviceId::new(id)?;
    if registry.get(&device, now).is_none() {
        return Ok(Some(registry.add(&DeviceName::new(model, id)?, now)?));
    }
    if keys.join("device.pem").exists() {
        return Ok(None);
    }
    Ok(Some(registry.renew_code(&device, now)?))
}

fn spawn(
    kind: &str,
    model: &str,
    id: &str,
    told: &Told,
    keys: &PathBuf,
    code: Option<&EnrolmentCode>,
) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let log = fs_err::File::create(keys.with_extension("log"))?;
    let mut command = Command::new(program);
    command
        .args(["demo-device", kind, "--id", id, "--model", model])
        .args([
            "--mqtt",
            &told.mqtt.to_string(),
            "--est",
            &told.est.to_string(),
        ])
        .args(["--ca-fingerprint", &told.ca_fingerprint])
        .arg("--keys")
        .arg(keys)
        .stdin(Stdio::null())
        .stderr(log.file().try_clone().context("cannot share a log")?)
        .stdout(log.into_file())
        .kill_on_drop(true);
    if let Some(code) = code {
        command.env(CODE_VARIABLE, code.reveal());
    }
    command
        .spawn()
        .with_context(|| format!("cannot start the demo device {id}"))
}
