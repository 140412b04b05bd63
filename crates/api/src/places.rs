//! Where things are on a device.

use std::path::{Path, PathBuf};

/// The paths of Stockade on a device, below one root: another one than `/` for tests and for images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    root: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self::below("/")
    }
}

impl Places {
    /// The paths below this root.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What root says about the device; only root may change what is in it.
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc/stockade")
    }

    /// The settings ([`Settings`](crate::Settings)).
    pub fn settings(&self) -> PathBuf {
        self.etc().join("agent.toml")
    }

    /// The gateway's certificate authority.
    pub fn ca(&self) -> PathBuf {
        self.etc().join("ca.pem")
    }

    /// The keys, one in a file `*.pub`, that may sign profiles and commands.
    pub fn trust(&self) -> PathBuf {
        self.etc().join("trust")
    }

    /// What lasts.
    pub fn var(&self) -> PathBuf {
        self.root.join("var/lib/stockade")
    }

    /// The helper's own: root only.
    pub fn helper_state(&self) -> PathBuf {
        self.var().join("helper")
    }

    /// The key process's own.
    pub fn keys_state(&self) -> PathBuf {
        self.var().join("keys")
    }

    /// The agent's own: its certificates and what waits for the gateway.
    pub fn agent_state(&self) -> PathBuf {
        self.var().join("agent")
    }

    /// The device's certificate, which the agent keeps.
    pub fn certificate(&self) -> PathBuf {
        self.agent_state().join("device.pem")
    }

    /// The firewall's own: root only.
    pub fn firewall_state(&self) -> PathBuf {
        self.var().join("firewall")
    }

    /// Of the program that installs systems: root only.
    pub fn update_state(&self) -> PathBuf {
        self.var().join("update")
    }

    /// Where updates are fetched to, by a user of its own: nothing in it is believed.
    pub fn spool(&self) -> PathBuf {
        self.var().join("spool")
    }

    /// What does not last: sockets.
    pub fn run(&self) -> PathBuf {
        self.root.join("run/stockade")
    }

    /// Where the helper listens.
    pub fn helper_socket(&self) -> PathBuf {
        self.run().join("helper.sock")
    }

    /// Where the key process listens.
    pub fn keys_socket(&self) -> PathBuf {
        self.run().join("keys.sock")
    }

    /// Where the programs are.
    pub fn programs(&self) -> PathBuf {
        self.root.join("usr/lib/stockade")
    }
}
