//! A running `stockade up`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::device::Device;
use crate::tools::{self, eventually, succeed};

/// How long it may take to start, to stop and to tell an event, on a busy machine, in a debug build.
const PATIENCE: Duration = Duration::from_secs(30);

/// `stockade up` on a data directory of its own; stopped when dropped.
#[derive(Debug)]
pub struct Gateway {
    folder: tempfile::TempDir,
    child: Option<Child>,
    addresses: Value,
    demo: bool,
    open_files: Option<u32>,
}

impl Gateway {
    /// Starts with a fresh data directory and the ports the system hands out.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// Starts with more lines in its configuration.
    pub fn start_with(settings: &str) -> Result<Self> {
        let mut gateway = Self::prepared(settings)?;
        gateway.up()?;
        Ok(gateway)
    }

    /// Starts with the demo's devices beside it.
    pub fn demo() -> Result<Self> {
        let mut gateway = Self::prepared("")?;
        gateway.demo = true;
        gateway.up()?;
        Ok(gateway)
    }

    /// Starts where so many files may be open, and no more.
    pub fn with_open_files(limit: u32) -> Result<Self> {
        let mut gateway = Self::prepared("")?;
        gateway.open_files = Some(limit);
        gateway.up()?;
        Ok(gateway)
    }

    /// Configured, not started yet.
    pub fn prepared(settings: &str) -> Result<Self> {
        Self::listening(["127.0.0.1:0"; 3], settings)
    }

    /// Configured with addresses for `mqtt`, `est` and `console`, not started yet.
    pub fn listening([mqtt, est, console]: [&str; 3], settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let listen = format!(
            "[listen]\nmqtt = \"{mqtt}\"\nest = \"{est}\"\nconsole = \"{console}\"\ncoap = \"127.0.0.1:0\"\n"
        );
        fs_err::write(
            folder.path().join("stockade.toml"),
            format!("schema = 1\n\n{listen}\n{settings}"),
        )?;
        Ok(Self {
            folder,
            child: None,
            addresses: Value::Null,
            demo: false,
            open_files: None,
        })
    }

    /// Starts with the test profile installed.
    pub fn with_probe() -> Result<Self> {
        let gateway = Self::start()?;
        gateway.install(&tools::root().join("tests/profiles/probe.toml"))?;
        Ok(gateway)
    }

    /// Starts `up` on the data directory as it is, and waits until it says where it listens.
    pub fn up(&mut self) -> Result<()> {
        self.up_with(|_| ())
    }

    /// The same, with something changed about the command.
    pub fn up_with(&mut self, change: impl FnOnce(&mut Command)) -> Result<()> {
        // Left by an earlier run that was killed; its addresses would be taken for ours.
        drop(fs_err::remove_file(self.said_addresses()));
        let log = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let errors = log.try_clone()?;
        let mut command = self.command(&["up", "--config"]);
        command.arg(self.folder.path().join("stockade.toml"));
        if self.demo {
            command.arg("--demo");
        }
        if let Some(limit) = self.open_files {
            let mut limited = Command::new("prlimit");
            limited
                .current_dir(self.folder.path())
                .arg(format!("--nofile={limit}:{limit}"))
                .arg(command.get_program())
                .args(command.get_args());
            command = limited;
        }
        change(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(log.into_file())
            .stderr(errors.into_file());
        let mut child = command.spawn().context("cannot start stockade")?;
        let file = self.said_addresses();
        let addresses = eventually("run/addresses.json", PATIENCE, || {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("stockade up ended with {status}: {}", self.said());
            }
            // Half-written is as good as not there yet.
            Ok(fs_err::read(&file)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok()))
        });
        self.child = Some(child);
        self.addresses = addresses?;
        Ok(())
    }

    fn said_addresses(&self) -> PathBuf {
        self.data().join("run/addresses.json")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A place for files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("up.log")
    }

    /// Everything `up` has printed so far.
    pub fn said(&self) -> String {
        fs_err::read_to_string(self.log()).unwrap_or_default()
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Where it listens for `mqtt`, `est` or `console`.
    pub fn address(&self, face: &str) -> Result<SocketAddr> {
        let text = self.addresses[face].as_str();
        let text = text
            .with_context(|| format!("run/addresses.json names no `{face}`: {}", self.addresses))?;
        text.parse()
            .with_context(|| format!("`{face}` is at an odd address, {text}"))
    }

    /// `stockade` on this data directory, run from a folder of the test's own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let program = tools::stockade().unwrap_or_else(|_| PathBuf::from("stockade"));
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .arg("--data")
            .arg(self.data())
            .args(arguments);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NO_COLOR", "1");
        command
    }

    /// What a command of the operator prints; it must succeed.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        succeed(&mut self.command(arguments))
    }

    /// What a command of the operator prints with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let text = self.cli(&all)?;
        serde_json::from_str(&text)
            .with_context(|| format!("{arguments:?} printed no JSON: {text}"))
    }

    /// Gives it a profile.
    pub fn install(&self, profile: &Path) -> Result<()> {
        self.cli(&["profile", "install", &profile.to_string_lossy()])
            .map(drop)
    }

    /// Adds a device and enrols it as a stranger with openssl and curl would.
    pub fn enrol(&self, model: &str, id: &str) -> Result<Device> {
        Device::enrol(self, model, id)
    }

    /// The state of a device, in the operator's words.
    pub fn state(&self, id: &str) -> Result<String> {
        let shown = self.json(&["device", "show", id])?;
        // The name alone, or an object that has the name in it.
        let state = &shown["state"];
        let name = state
            .as_str()
            .or_else(|| state["name"].as_str())
            .or_else(|| state["state"].as_str());
        name.map(str::to_lowercase)
            .with_context(|| format!("no state in {shown}"))
    }

    /// Waits for an event whose JSON satisfies `wanted`.
    pub fn event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(what, PATIENCE, || {
            let events = self.json(&["events", "--limit", "1000"])?;
            let list = events
                .as_array()
                .cloned()
                .or_else(|| events["events"].as_array().cloned());
            Ok(list
                .unwrap_or_default()
                .into_iter()
                .find(|event| wanted(event)))
        })
    }

    /// Ends it as a power cut of the program would.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end, as Ctrl-C does; it must do so, cleanly.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            tools::signal("INT", child.id())?;
            let status = eventually("stockade stops", PATIENCE, || Ok(child.try_wait()?));
            if status.is_err() {
                child.kill()?;
                child.wait()?;
            }
            let status = status?;
            ensure!(
                status.success(),
                "stockade up ended with {status} on Ctrl-C: {}",
                self.said()
            );
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nothing more can be done for a process that can not be killed.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            tools::say(&format!("what stockade printed:\n{}", self.said()));
        }
    }
}
