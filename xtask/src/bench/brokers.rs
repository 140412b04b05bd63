//! Starting brokers, each behind mutual TLS 1.3 on the loopback.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{folder, load};
use crate::command::{cargo, program, root, succeed, target};
use crate::out;

/// How long a broker may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Debian's.
    Mosquitto,
    /// `cargo install mqttv5-cli`.
    Mqttv5,
}

impl Peer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::Mqttv5 => "mqttv5",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Mosquitto => 18_831,
            Self::Mqttv5 => 18_832,
        }
    }
}

/// A running broker; killed when dropped.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    pub(super) port: u16,
    /// What stands between a device and its slot in a client id.
    pub(super) separator: char,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nothing is left to do about a broker that is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A shell that lifts the limit on open files as far as the system allows, then becomes the program.
fn unlimited(name: &str) -> Command {
    let mut command = program("sh");
    command.args(["-c", "ulimit -n $(ulimit -Hn); exec \"$0\" \"$@\"", name]);
    command.stdin(Stdio::null());
    command
}

fn logged(command: &mut Command, name: &str) -> Result<Child> {
    fs_err::create_dir_all(folder())?;
    let log = fs_err::File::create(folder().join(format!("{name}.log")))?.into_file();
    let errors = log.try_clone()?;
    command
        .stdout(log)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

impl Broker {
    /// The process to watch.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Starts a peer with the devices of `target/bench/peers`.
    pub(super) fn peer(peer: Peer) -> Result<Self> {
        let keys = folder().join("peers");
        let at = |name: &str| keys.join(name).display().to_string();
        let port = peer.port();
        let mut command = match peer {
            Peer::Mosquitto => {
                let settings = folder().join("mosquitto.conf");
                let text = format!(
                    "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
                     use_identity_as_username true\ntls_version tlsv1.3\nset_tcp_nodelay true\npersistence false\n\
                     max_inflight_messages 1000\nmax_queued_messages 100000\nuser root\n",
                    at("ca.pem"),
                    at("server.pem"),
                    at("server.key")
                );
                fs_err::write(&settings, text)?;
                let mut command = unlimited("mosquitto");
                // Debian keeps it out of a user's path.
                let path = std::env::var("PATH").unwrap_or_default();
                command.env("PATH", format!("{path}:/usr/sbin"));
                command.arg("-c").arg(settings);
                command
            }
            Peer::Mqttv5 => {
                let mut command = unlimited(
                    &target()
                        .join("bench-tools/bin/mqttv5")
                        .display()
                        .to_string(),
                );
                command.args([
                    "broker",
                    "--host",
                    "127.0.0.1:18839",
                    "--tls-host",
                    &format!("127.0.0.1:{port}"),
                ]);
                command.args([
                    "--tls-cert",
                    &at("server.pem"),
                    "--tls-key",
                    &at("server.key"),
                ]);
                command.args(["--tls-ca-cert", &at("ca.pem"), "--tls-require-client-cert"]);
                command.args([
                    "--allow-anonymous",
                    "true",
                    "--max-clients",
                    "20000",
                    "--storage-backend",
                    "memory",
                ]);
                command
            }
        };
        let mut broker = Self {
            child: logged(&mut command, peer.name())?,
            port,
            separator: if peer == Peer::Mqttv5 { '-' } else { '/' },
        };
        broker.wait_until(peer.name(), || TcpStream::connect(("127.0.0.1", port)).ok())?;
        Ok(broker)
    }

    /// Starts ours on `folder`; the second value is where devices enrol.
    pub(super) fn stockade(folder: &Path, durability: &str) -> Result<(Self, String)> {
        let settings = folder.join("stockade.toml");
        fs_err::write(
            &settings,
            format!(
                "schema = 1\n\n[listen]\nmqtt = \"127.0.0.1:0\"\nest = \"127.0.0.1:0\"\nconsole = \"127.0.0.1:0\"\ncoap = \"127.0.0.1:0\"\n\n\
                 [storage]\ndurability = \"{durability}\"\n"
            ),
        )?;
        let data = folder.join("data");
        let said = data.join("run/addresses.json");
        // What an earlier start wrote must not be taken for what this one writes.
        drop(fs_err::remove_file(&said));
        let mut command = unlimited(&stockade());
        command
            .arg("--data")
            .arg(&data)
            .arg("up")
            .arg("--config")
            .arg(&settings);
        let mut broker = Self {
            child: logged(&mut command, "stockade")?,
            port: 0,
            separator: '/',
        };
        let addresses: Value = broker.wait_until("stockade", || {
            fs_err::read(&said)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok())
        })?;
        let face = |name: &str| {
            addresses[name]
                .as_str()
                .with_context(|| format!("run/addresses.json names no `{name}`"))
        };
        let (_, port) = face("mqtt")?.rsplit_once(':').context("an odd address")?;
        broker.port = port.parse().context("an odd port")?;
        Ok((broker, face("est")?.to_owned()))
    }

    #[expect(clippy::disallowed_methods, reason = "waits for another process")]
    fn wait_until<T>(&mut self, name: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = ready() {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{name} ended with {status}; see {}",
                    folder().join(format!("{name}.log")).display()
                );
            }
            ensure!(
                Instant::now() < until,
                "{name} does not listen after {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The program under test.
pub(super) fn stockade() -> String {
    target().join("release/stockade").display().to_string()
}

/// Installs the profile of the bench's model and enrols its devices through the public faces.
pub(super) fn enrol(folder: &Path, est: &str, count: usize) -> Result<()> {
    let data = folder.join("data");
    let profile = root().join("tests/profiles/bench.toml");
    succeed(
        program(&stockade())
            .arg("--data")
            .arg(&data)
            .args(["profile", "install"])
            .arg(profile),
    )?;
    succeed(load().args([
        "enrol".to_owned(),
        format!("dir={}", folder.join("devices").display()),
        format!("data={}", data.display()),
        format!("stockade={}", stockade()),
        format!("est={est}"),
        format!("n={count}"),
    ]))
}

/// Makes the second peer from source, once.
pub(super) fn install_mqttv5() -> Result<()> {
    let tools = target().join("bench-tools");
    if tools.join("bin/mqttv5").exists() {
        return Ok(());
    }
    out::line(
        "will build mqttv5-cli from the Rust registry, about 6 minutes on 2 cores, once (--without-mqttv5: not)",
    );
    // Not --locked: the lock file it was published with names a version that was withdrawn.
    succeed(
        cargo(&["install", "mqttv5-cli", "--version", "0.29.10", "--root"])
            .arg(&tools)
            .env("CARGO_TARGET_DIR", tools.join("build")),
    )
}
