//! 10,000 devices of 28 models, and where the names of their rules lead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use stockade_profile::mud::{self, ImportOptions};
use stockade_profile::{Endpoint, Family, HostName, PortRange, Profile, Protocol, Traffic};

use crate::cables::{GATEWAY, Mac};
use crate::flood::Flow;

/// As many models as the measurements had that this one is compared with.
const MODELS: usize = 28;

/// A device: which model, which address of its network card, which address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Device {
    pub(crate) model: usize,
    pub(crate) mac: Mac,
    pub(crate) address: Ipv4Addr,
}

/// All of it.
pub(crate) struct Fleet {
    pub(crate) models: Vec<Profile>,
    pub(crate) devices: Vec<Device>,
    /// An invented address for each name.
    pub(crate) names: BTreeMap<HostName, Ipv4Addr>,
    /// Where the models come from, in words.
    pub(crate) origin: String,
}

impl Fleet {
    /// Devices in turn of each model: the MUD files of the UNSW corpus, or models of the same size where it is not there.
    pub(crate) fn new(corpus: &Path, count: usize) -> Result<Self> {
        let files = files(&corpus.join("unsw"))?;
        let (models, origin) = if files.is_empty() {
            let models: Result<Vec<_>> = (0..MODELS).map(invented).collect();
            (models?, format!("{MODELS} generated models"))
        } else {
            let models: Result<Vec<_>> =
                (0..MODELS).map(|number| imported(&files, number)).collect();
            let origin = format!("{MODELS} models of {} UNSW MUD files", files.len());
            (models?, origin)
        };
        let mut names = BTreeMap::new();
        for profile in &models {
            for rule in &profile.firewall.outward {
                if let Endpoint::Host(name) = &rule.to {
                    // 93.0.0.0/9 is public: no ruleset has a reason of its own against it.
                    let next = u32::try_from(names.len())?;
                    names
                        .entry(name.clone())
                        .or_insert_with(|| Ipv4Addr::from(0x5d00_0100 + next));
                }
            }
        }
        let devices = (0..count)
            .map(|number| device(number, models.len()))
            .collect::<Result<_>>()?;
        Ok(Self {
            models,
            devices,
            names,
            origin,
        })
    }

    /// A flow that each device may open, where its model may open one over UDP to a name.
    pub(crate) fn flows(&self) -> Vec<Flow> {
        let ways: Vec<Option<(Ipv4Addr, u16)>> =
            self.models.iter().map(|model| self.way(model)).collect();
        self.devices
            .iter()
            .filter_map(|device| {
                let (to, port) = ways.get(device.model).copied().flatten()?;
                Some(Flow {
                    mac: device.mac,
                    from: device.address,
                    to,
                    port,
                })
            })
            .collect()
    }

    fn way(&self, model: &Profile) -> Option<(Ipv4Addr, u16)> {
        model.firewall.outward.iter().find_map(|rule| {
            let Endpoint::Host(name) = &rule.to else {
                return None;
            };
            let Traffic {
                protocol,
                port,
                source_port,
                family,
                ..
            } = &rule.traffic;
            let fits = *protocol == Protocol::Udp
                && source_port.is_none()
                && *family != Some(Family::Ipv6);
            let port = port.filter(|_| fits).map(PortRange::first)?;
            Some((*self.names.get(name)?, port))
        })
    }

    /// One rule for each device and rule of its model, as osMUD and others write them: IPv4, new flows only.
    pub(crate) fn linear(&self) -> Result<(String, usize)> {
        let mut text = String::from(
            "table inet linear {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n  \
             ct state established,related accept\n",
        );
        let mut count = 0;
        for device in &self.devices {
            let model = self.models.get(device.model).context("no such model")?;
            let mac = shown(device.mac);
            for rule in &model.firewall.outward {
                let Some(matches) = self.matches(&rule.to, &rule.traffic) else {
                    continue;
                };
                writeln!(
                    text,
                    "  ether saddr {mac} ip saddr {} {matches} accept",
                    device.address
                )?;
                count += 1;
            }
        }
        text.push_str(" }\n}\n");
        Ok((text, count))
    }

    fn matches(&self, to: &Endpoint, traffic: &Traffic) -> Option<String> {
        let to = match to {
            Endpoint::Host(name) => self.names.get(name)?.to_string(),
            Endpoint::Gateway => GATEWAY.to_string(),
            Endpoint::LocalNetwork => "10.77.0.0/16".to_owned(),
            Endpoint::Address(std::net::IpAddr::V4(address)) => address.to_string(),
            _ => return None,
        };
        let port = traffic.port?;
        let ports = if port.first() == port.last() {
            port.first().to_string()
        } else {
            format!("{}-{}", port.first(), port.last())
        };
        let protocol = match traffic.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            _ => return None,
        };
        (traffic.family != Some(Family::Ipv6))
            .then(|| format!("ip daddr {to} {protocol} dport {ports}"))
    }
}

/// A link-layer address as nft and ip write it.
pub(crate) fn shown(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The numbers from 256 on are addresses: those before are the gateway's and its kin's.
pub(crate) fn device(number: usize, models: usize) -> Result<Device> {
    let place = u16::try_from(number + 256).context("more devices than addresses")?;
    let [high, low] = place.to_be_bytes();
    Ok(Device {
        model: number % models,
        mac: [0x02, 0, 0, 1, high, low],
        address: Ipv4Addr::new(10, 77, high, low),
    })
}

/// The MUD files of a folder, in order; none if it is not there.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files: Vec<PathBuf> = fs_err::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|it| it == "json"));
    files.sort();
    Ok(files)
}

/// A model of one of the files; where there are fewer files than models, a file makes several.
fn imported(files: &[PathBuf], number: usize) -> Result<Profile> {
    let path = files.get(number % files.len()).context("no files")?;
    let file = mud::read(&fs_err::read(path)?).with_context(|| path.display().to_string())?;
    let options = ImportOptions {
        model: Some(format!("model-{number}").parse()?),
        ..ImportOptions::default()
    };
    Ok(mud::import(&file, &options).profile)
}

/// Thirty names, as many as a device of the corpus has.
fn invented(number: usize) -> Result<Profile> {
    let mut text = format!(
        "schema = 1\n[device]\nmanufacturer = \"m{number}.example\"\nmodel = \"model-{number}\"\nversion = 1\n\
         class = \"agentless\"\n"
    );
    for rule in 0..30 {
        let (protocol, port) = match rule {
            0 => ("udp", 123),
            1..4 => ("udp", 8_000 + rule),
            _ => ("tcp", if rule % 2 == 0 { 443 } else { 80 }),
        };
        write!(
            text,
            "[[firewall.out]]\nto = \"h{rule}.m{number}.example\"\nprotocol = \"{protocol}\"\nport = {port}\n"
        )?;
    }
    stockade_profile::parse(&text).map_err(|faults| anyhow::anyhow!("{faults:?}"))
}
