//! Starting the demo's devices, and ending them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use stockade_gateway::link::keys::LinkKeys;
use stockade_gateway::name::{DeviceId, DeviceName};
use stockade_gateway::registry::{EnrolmentCode, Registry};
use stockade_profile::{PcrSet, Profile, parse};
use time::OffsetDateTime;
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::{CODE_VARIABLE, soil, street};

/// A demo device, as its operator sees it.
#[derive(Debug, Clone, Copy)]
struct Device {
    kind: &'static str,
    model: &'static str,
    id: &'static str,
    /// Each has an address of its own, as in a real network: refusals are told by address.
    source: Ipv4Addr,
    enrols: Enrols,
}

/// How a device comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enrols {
    Never,
    ByCode,
    ByKey,
    /// All of its meters, each by a code of its own.
    AsStreet,
}

const DEVICES: [Device; 5] = [
    Device {
        kind: "honest",
        model: "cam-2",
        id: "demo-camera",
        source: Ipv4Addr::new(127, 0, 0, 11),
        enrols: Enrols::ByCode,
    },
    Device {
        kind: "misbehaving",
        model: "thermo-1",
        id: "demo-thermostat",
        source: Ipv4Addr::new(127, 0, 0, 12),
        enrols: Enrols::ByCode,
    },
    Device {
        kind: "old",
        model: "cam-0",
        id: "demo-old",
        source: Ipv4Addr::new(127, 0, 0, 13),
        enrols: Enrols::Never,
    },
    Device {
        kind: "constrained",
        model: "soil-1",
        id: "demo-soil",
        source: Ipv4Addr::new(127, 0, 0, 14),
        enrols: Enrols::ByKey,
    },
    Device {
        kind: "street",
        model: "meter-1",
        id: "demo-meter",
        source: Ipv4Addr::new(127, 0, 0, 15),
        enrols: Enrols::AsStreet,
    },
];

/// The camera's profile.
const CAMERA: &str = include_str!("../../../../profiles/cam-2.toml");
/// The thermostat's.
const THERMOSTAT: &str = include_str!("../../../../profiles/thermo-1.toml");

/// The soil sensor's.
const SOIL: &str = include_str!("../../../../profiles/soil-1.toml");

/// The meters'.
const METER: &str = include_str!("../../../../profiles/meter-1.toml");

/// Where the operator's commands go.
pub(crate) const COMMANDS: [&str; 2] = ["cam-2/demo-camera/command", "soil-1/demo-soil/command"];

/// What every device is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) mqtt: SocketAddr,
    pub(crate) est: SocketAddr,
    pub(crate) coap: SocketAddr,
    pub(crate) ca_fingerprint: String,
}

/// The running devices; they end with this value.
#[derive(Debug)]
pub(crate) struct Fleet {
    children: Vec<Child>,
}

impl Fleet {
    /// Gives each device its code, as an operator would, and starts it as a process of its own.
    pub(crate) fn start(
        registry: &Registry,
        link: &LinkKeys,
        told: &Told,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let now = OffsetDateTime::now_utc();
        fs_err::create_dir_all(dir)?;
        let mut children = Vec::new();
        for device in DEVICES {
            let keys = dir.join(device.id);
            let code = match device.enrols {
                Enrols::Never => None,
                Enrols::ByCode => {
                    let id = DeviceId::new(device.id)?;
                    invite(registry, device.model, &id, &keys, now)?
                        .map(|code| Zeroizing::new(code.reveal().to_owned()))
                }
                Enrols::AsStreet => {
                    fs_err::create_dir_all(&keys)?;
                    let street = (device.model, device.id);
                    Some(street::invite(registry, street, &keys, now)?)
                }
                Enrols::ByKey => {
                    let name = DeviceName::new(device.model, device.id)?;
                    soil::provision(registry, link, &name, &keys, now)?;
                    None
                }
            };
            children.push(spawn(
                device,
                told,
                &keys,
                code.as_ref().map(|code| code.as_str()),
            )?);
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

fn shipped(source: &str) -> anyhow::Result<Profile> {
    parse(source).map_err(|_| anyhow::anyhow!("a demo profile has faults"))
}

/// What the camera's model may do. The camera is a process of this machine and has no TPM: it is not asked how it started.
pub(super) fn camera() -> anyhow::Result<Profile> {
    let mut profile = shipped(CAMERA)?;
    profile.boot.measured = PcrSet::default();
    Ok(profile)
}

/// Tells the gateway what the demo's models may do.
pub(crate) fn install_profiles(registry: &Registry) -> anyhow::Result<()> {
    for profile in [
        camera()?,
        shipped(THERMOSTAT)?,
        shipped(SOIL)?,
        shipped(METER)?,
    ] {
        registry
            .install_profile(profile, OffsetDateTime::now_utc())
            .context("cannot install the demo's profiles")?;
    }
    Ok(())
}

/// A code for a device that has no certificate yet.
pub(super) fn invite(
    registry: &Registry,
    model: &str,
    id: &DeviceId,
    keys: &Path,
    now: OffsetDateTime,
) -> anyhow::Result<Option<EnrolmentCode>> {
    if registry.get(id, now).is_none() {
        let name = DeviceName::new(model, id.as_str())?;
        return Ok(Some(registry.add(&name, now)?));
    }
    if keys.join("device.pem").exists() {
        return Ok(None);
    }
    Ok(Some(registry.renew_code(id, now)?))
}

fn spawn(device: Device, told: &Told, keys: &Path, code: Option<&str>) -> anyhow::Result<Child> {
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
            "--coap",
            &told.coap.to_string(),
        ])
        .args(["--ca-fingerprint", &told.ca_fingerprint])
        .arg("--keys")
        .arg(keys)
        .stdin(Stdio::null())
        .stderr(log.file().try_clone().context("cannot share a log")?)
        .stdout(log.into_file())
        .kill_on_drop(true);
    if let Some(code) = code {
        command.env(CODE_VARIABLE, code);
    }
    command
        .spawn()
        .with_context(|| format!("cannot start the demo device {}", device.id))
}
