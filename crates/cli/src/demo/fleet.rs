//! Starting the demo's devices, and ending them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use stockade_gateway::name::{DeviceId, DeviceName};
use stockade_gateway::registry::{EnrolmentCode, Registry};
use stockade_profile::parse;
use time::OffsetDateTime;
use tokio::process::{Child, Command};

use super::CODE_VARIABLE;

/// A demo device, as its operator sees it.
#[derive(Debug, Clone, Copy)]
struct Device {
    kind: &'static str,
    model: &'static str,
    id: &'static str,
    /// Each has an address of its own, as in a real network: refusals are told by address.
    source: Ipv4Addr,
    enrols: bool,
}

const DEVICES: [Device; 3] = [
    Device {
        kind: "honest",
        model: "cam-2",
        id: "demo-camera",
        source: Ipv4Addr::new(127, 0, 0, 11),
        enrols: true,
    },
    Device {
        kind: "misbehaving",
        model: "thermo-1",
        id: "demo-thermostat",
        source: Ipv4Addr::new(127, 0, 0, 12),
        enrols: true,
    },
    Device {
        kind: "old",
        model: "cam-0",
        id: "demo-old",
        source: Ipv4Addr::new(127, 0, 0, 13),
        enrols: false,
    },
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
        for device in DEVICES {
            let keys = dir.join(device.id);
            let code = if device.enrols {
                invite(registry, device, &keys, now)?
            } else {
                None
            };
            children.push(spawn(device, told, &keys, code.as_ref())?);
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
    device: Device,
    keys: &Path,
    now: OffsetDateTime,
) -> anyhow::Result<Option<EnrolmentCode>> {
    let id = DeviceId::new(device.id)?;
    if registry.get(&id, now).is_none() {
        return Ok(Some(
            registry.add(&DeviceName::new(device.model, device.id)?, now)?,
        ));
    }
    if keys.join("device.pem").exists() {
        return Ok(None);
    }
    Ok(Some(registry.renew_code(&id, now)?))
}

fn spawn(
    device: Device,
    told: &Told,
    keys: &Path,
    code: Option<&EnrolmentCode>,
) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let log = fs_err::File::create(keys.with_extension("log"))?;
    let mut command = Command::new(program);
    command
        .args([
            "demo-device",
            device.kind,
            "--id",
            device.id,
            "--model",
            device.model,
        ])
        .args(["--source", &device.source.to_string()])
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
        .with_context(|| format!("cannot start the demo device {}", device.id))
}
