//! `[guard]` of `stockade.toml`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use stockade_gateway::guard::mud::{Accept, MudPolicy};
use stockade_gateway::guard::settings::{GuardSettings, MudSettings};
use stockade_profile::mud::signature::Anchors;
use stockade_profile::{ClassUri, Malformed, Network};

/// The LAN guard; without this section there is none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [guard]"
)]
pub(crate) struct Guard {
    /// The LAN's interface: a bridge, or a card.
    pub(crate) interface: String,
    /// Ports of the bridge reach each other through the gateway only, so that it can judge what they send.
    pub(crate) isolate_ports: bool,
    /// The port of the gateway that unknown devices may reach: the console, with its notice.
    pub(crate) notice_port: u16,
    /// Name servers that devices' questions are passed on to; none: those of `/etc/resolv.conf`.
    pub(crate) resolvers: Vec<IpAddr>,
    /// Addresses of classes of controllers that profiles name by URI (RFC 8520 §8.1).
    pub(crate) controllers: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses of the devices' own controllers (`my-controller`).
    pub(crate) my_controllers: Vec<IpAddr>,
    /// MUD files that devices announce.
    pub(crate) mud: Mud,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [guard.mud]"
)]
pub(crate) struct Mud {
    /// Whether they are fetched; over https only.
    pub(crate) fetch: bool,
    /// `ask`: an operator says yes first. `signed`: one with a trusted signature is taken. `any`: every one is.
    pub(crate) accept: Accept,
    /// Files with certificates (PEM) of those whose signature on a MUD file counts.
    pub(crate) signers: Vec<PathBuf>,
    /// Files with further certificates (PEM) that https servers of MUD files may show.
    pub(crate) https_roots: Vec<PathBuf>,
    /// Networks that MUD files may be fetched from though they are not public. A device can have the gateway ask there.
    pub(crate) also: Vec<NetworkText>,
}

/// A network, as text in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct NetworkText(pub(crate) Network);

impl TryFrom<String> for NetworkText {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse().map(Self)
    }
}

impl From<NetworkText> for String {
    fn from(network: NetworkText) -> Self {
        network.0.to_string()
    }
}

impl Guard {
    /// What the guard runs with; files are named from the directory of the configuration file.
    pub(crate) fn settings(&self, beside: &Path) -> anyhow::Result<GuardSettings> {
        let mut controllers = BTreeMap::new();
        for (uri, addresses) in &self.controllers {
            let uri: ClassUri = uri
                .parse()
                .with_context(|| format!("[guard.controllers] `{uri}`"))?;
            controllers.insert(uri, addresses.clone());
        }
        let mut signers = Anchors::default();
        for file in &self.mud.signers {
            let file = beside.join(file);
            signers
                .add(&fs_err::read(&file)?)
                .with_context(|| file.display().to_string())?;
        }
        let mut https_roots = Vec::new();
        for file in &self.mud.https_roots {
            https_roots.extend(fs_err::read(beside.join(file))?);
            https_roots.push(b'\n');
        }
        anyhow::ensure!(
            self.mud.accept != Accept::Signed || !signers.is_empty(),
            "[guard.mud] accept = \"signed\" needs `signers`: files with the certificates of those who are trusted"
        );
        Ok(GuardSettings {
            interface: self.interface.parse()?,
            isolate_ports: self.isolate_ports,
            notice_port: self.notice_port,
            resolvers: self.resolvers.clone(),
            controllers,
            my_controllers: self.my_controllers.clone(),
            mud: MudSettings {
                policy: MudPolicy {
                    fetch: self.mud.fetch,
                    accept: self.mud.accept,
                },
                signers,
                https_roots,
                also: self.mud.also.iter().map(|network| network.0).collect(),
            },
        })
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            interface: String::new(),
            isolate_ports: true,
            notice_port: 8443,
            resolvers: Vec::new(),
            controllers: BTreeMap::new(),
            my_controllers: Vec::new(),
            mud: Mud::default(),
        }
    }
}

impl Default for Mud {
    fn default() -> Self {
        Self {
            fetch: true,
            accept: Accept::Ask,
            signers: Vec::new(),
            https_roots: Vec::new(),
            also: Vec::new(),
        }
    }
}
