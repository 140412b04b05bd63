//! A gateway, a device and a client in its home network, each in a network of its own.
//!
//! The device is a Debian that boots systemd in namespaces of its own; what it changes lies in the test's folder.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use stockade_e2e::Gateway;
use stockade_e2e::netlab::space::{Space, ip, unable};
use stockade_e2e::tools::{self, eventually, finish, say, succeed};

/// What is in the Debian that the device boots, beside its base.
const PACKAGES: &str = "--include=dbus,iproute2,netcat-openbsd,systemd";
/// The gateway, which is the way out too: `UPnP` wants an address outside that is not private.
pub(crate) const GATEWAY: &str = "9.9.9.1";
/// The device in its home network.
pub(crate) const DEVICE: &str = "192.168.7.1";
/// Another machine there.
pub(crate) const CLIENT: &str = "192.168.7.20";

/// How long the device may take for a step, in a debug build.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Lab {
    pub(crate) gateway: Gateway,
    home: Space,
    _outside: Space,
    device: Child,
    first: u32,
    // Last: what was mounted below it is gone with the device.
    folder: tempfile::TempDir,
}

impl Lab {
    /// Boots the device and starts the gateway; none where that can not be.
    pub(crate) fn new() -> Result<Option<Self>> {
        if unable(&[
            "nft",
            "ip",
            "unshare",
            "nsenter",
            "curl",
            "miniupnpd",
            "upnpc",
            "debootstrap",
        ]) {
            return Ok(None);
        }
        let Some(debian) = debian()? else {
            return Ok(None);
        };
        let home = Space::new()?;
        ip("link set lo up\n")?;
        // The thread stays in it: the gateway and what the operator types run there.
        let outside = Space::new()?;
        ip("link set lo up\n")?;
        let folder = tempfile::tempdir_in(debian.parent().context("a folder")?)?;
        for name in ["upper", "work"] {
            fs_err::create_dir(folder.path().join(name))?;
        }
        let log = fs_err::File::create(folder.path().join("boot.log"))?;
        let errors = log.try_clone()?;
        let device = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"])
            .args(["--fork", "--kill-child", "sh"])
            .arg(tools::root().join("tests/e2e/device/boot.sh"))
            .arg(folder.path())
            .arg(fs_err::canonicalize(&debian)?)
            .arg(fs_err::canonicalize(tools::built()?)?)
            .stdin(Stdio::null())
            .stdout(log.into_file())
            .stderr(errors.into_file())
            .spawn()
            .context("cannot run unshare")?;
        let children = format!("/proc/{0}/task/{0}/children", device.id());
        let first = eventually("the device has a first process", PATIENCE, || {
            let text = fs_err::read_to_string(&children)?;
            Ok(text.trim().parse().ok())
        })?;
        let addresses = [
            &format!("{GATEWAY}:8883"),
            &format!("{GATEWAY}:8444"),
            "127.0.0.1:8443",
        ];
        let mut lab = Self {
            gateway: Gateway::listening(addresses.map(|it| it as &str), "")?,
            home,
            _outside: outside,
            device,
            first,
            folder,
        };
        lab.connect()?;
        lab.gateway.up()?;
        eventually("the device is up", PATIENCE, || {
            let asked = finish(
                &mut lab.inside(&["systemctl", "is-active", "multi-user.target"]),
                PATIENCE,
            )?;
            Ok(asked.status.success().then_some(()))
        })
        .with_context(|| lab.booted())?;
        Ok(Some(lab))
    }

    /// The wires: the device between the outside and its home.
    fn connect(&self) -> Result<()> {
        let device = self.first;
        ip(&format!(
            "link add out type veth peer name eth0 netns {device}\naddr add {GATEWAY}/24 dev out\nlink set out up\n"
        ))?;
        let wire = format!(
            "link add lan type veth peer name eth1 netns {device}\naddr add {CLIENT}/24 dev lan\nlink set lan up\n\
             route add default via {DEVICE}"
        );
        for line in wire.lines() {
            succeed(self.at_home("ip").args(line.split_whitespace()))?;
        }
        for line in [
            "addr add 9.9.9.2/24 dev eth0",
            &format!("addr add {DEVICE}/24 dev eth1"),
            "link set eth0 up",
            "link set eth1 up",
            &format!("route add default via {GATEWAY}"),
        ] {
            let words: Vec<&str> = ["ip"].into_iter().chain(line.split_whitespace()).collect();
            succeed(&mut in_network(device, &words))?;
        }
        Ok(())
    }

    /// A program on the device.
    pub(crate) fn inside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.first.to_string(),
                "--all",
                "--root",
                "--wd",
            ])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// What a shell on the device says; it must succeed.
    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        succeed(&mut self.inside(&["sh", "-c", script])).with_context(|| self.logs())
    }

    /// A program on the other machine of the home network.
    pub(crate) fn at_home(&self, program: &str) -> Command {
        in_network(self.home.process(), &[program])
    }

    /// Adds the device at the gateway, and types on the device what that printed; the page's first password.
    pub(crate) fn install(&self, id: &str) -> Result<String> {
        let told = self
            .gateway
            .cli(&["device", "add", "--model", "porch-cam", id])?;
        let (_, line) = told.split_once("./stockade-agent").context(told.clone())?;
        let line = line.split("\n\n").next().unwrap_or_default();
        let said = self.shell(&format!("cd /media/stick && ./stockade-agent{line} 2>&1"))?;
        let (_, password) = said.split_once("for the label: ").context(said.clone())?;
        Ok(password
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned())
    }

    /// Waits until the gateway's events say this of the device, and says how often they do.
    pub(crate) fn event(&self, text: &str) -> Result<usize> {
        let what = format!("the gateway hears `{text}`");
        eventually(&what, PATIENCE, || {
            let told = self.gateway.json(&["events", "--limit", "1000"])?;
            let events = told["events"].as_array().context("events")?;
            let says =
                |event: &&Value| event["reason"].as_str().is_some_and(|it| it.contains(text));
            let count = events.iter().filter(says).count();
            Ok((count > 0).then_some(count))
        })
        .with_context(|| self.logs())
    }

    /// Waits until the device's posture at the gateway has a text in it, or has it no more.
    pub(crate) fn posture(&self, id: &str, text: &str, there: bool) -> Result<()> {
        let what = format!("the posture has `{text}`: {there}");
        eventually(&what, PATIENCE, || {
            let told = self
                .gateway
                .cli(&["device", "posture", id])
                .unwrap_or_default();
            let known = told.contains("evidence ");
            Ok((known && told.contains(text) == there).then_some(()))
        })
        .with_context(|| {
            self.gateway
                .cli(&["device", "posture", id])
                .unwrap_or_default()
        })
        .with_context(|| self.logs())
    }

    fn booted(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("boot.log")).unwrap_or_default()
    }

    fn logs(&self) -> String {
        let words = ["journalctl", "--no-pager", "-n", "40", "-u", "stockade-*"];
        let said = finish(&mut self.inside(&words), PATIENCE);
        let said = said.map(|it| tools::text(&it)).unwrap_or_default();
        format!("{said}\n{}", self.gateway.said())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Its first process goes with it, and all others with that.
        drop(self.device.kill());
        drop(self.device.wait());
        let first = format!("/proc/{}", self.first);
        drop(eventually("the device is off", PATIENCE, || {
            Ok((!fs_err::exists(&first)?).then_some(()))
        }));
    }
}

/// A Debian with systemd, laid down once and kept beside what cargo builds; none where none can be had.
fn debian() -> Result<Option<PathBuf>> {
    let labs = fs_err::canonicalize(tools::built()?)?.join("../labs");
    fs_err::create_dir_all(&labs)?;
    let labs = fs_err::canonicalize(labs)?;
    let done = labs.join("systemd");
    if done.join("lib/systemd/systemd").exists() {
        return Ok(Some(done));
    }
    let part = tempfile::tempdir_in(&labs)?;
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", PACKAGES, "bookworm"]);
    command
        .arg(part.path().join("root"))
        .arg("http://deb.debian.org/debian");
    let made = finish(&mut command, Duration::from_mins(5))?;
    if !made.status.success() {
        say("skipped: debootstrap can not lay down a Debian to boot");
        return Ok(None);
    }
    // Another test may have been faster; then its Debian is taken.
    drop(fs_err::rename(part.path().join("root"), &done));
    Ok(Some(done))
}

fn in_network(of: u32, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["--target", &of.to_string(), "--net"])
        .args(words);
    command
}
