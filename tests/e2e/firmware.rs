//! The firmware of `firmware/` on an emulated Cortex-M4, its serial lines joined to the real gateway and to another of its kind.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use stockade_e2e::Gateway;
use stockade_e2e::tools::{built, eventually, finish, pause, root, text, without};

const PATIENCE: Duration = Duration::from_secs(90);
/// Bytes of stack that the link may take, whatever it does.
const STACK: u32 = 10 * 1024;
/// Where nobody has built the firmware before.
const BUILD: Duration = Duration::from_mins(5);

/// `xtask firmware`, as cargo built it beside this test, with these arguments.
fn firmware(arguments: &[&str]) -> Result<String> {
    let xtask = built()?.join("xtask");
    ensure!(
        xtask.is_file(),
        "{} is not there: `cargo build -p xtask` makes it",
        xtask.display()
    );
    let mut command = Command::new(xtask);
    command.current_dir(root()).arg("firmware").args(arguments);
    let output = finish(&mut command, BUILD)?;
    ensure!(output.status.success(), "{command:?}: {}", text(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An emulated board; its power is off when this is dropped.
struct Board {
    child: Child,
    console: PathBuf,
}

impl Board {
    /// Starts an image with these at its first two serial lines.
    fn start(image: &Path, lines: [&str; 2]) -> Result<Self> {
        let console = image.with_extension("console");
        let log = fs_err::File::create(image.with_extension("log"))?;
        let mut command = Command::new("qemu-system-arm");
        command
            .args([
                "-M",
                "mps2-an386",
                "-display",
                "none",
                "-monitor",
                "none",
                "-kernel",
            ])
            .arg(image)
            .args(lines.iter().flat_map(|line| ["-serial", *line]))
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?.into_file())
            .stderr(log.into_file());
        let child = command.spawn().context("cannot start qemu-system-arm")?;
        Ok(Self { child, console })
    }

    /// What it has told people so far.
    fn told(&self) -> String {
        fs_err::read_to_string(&self.console).unwrap_or_default()
    }

    fn tells(&self, words: &str) -> Result<()> {
        eventually(words, PATIENCE, || {
            Ok(self.told().contains(words).then_some(()))
        })
        .with_context(|| format!("it told: {}", self.told()))
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that nobody has now.
fn port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[test]
fn two_microcontrollers_tell_take_commands_and_meet_without_the_gateway() -> Result<()> {
    if without(&["qemu-system-arm", "/usr/bin/rustc"]) {
        return Ok(());
    }
    let ports = [port()?, port()?];
    let bearers = ports.map(|port| format!("\"serial:tcp:127.0.0.1:{port}\""));
    let settings = format!("[link]\nbearers = [{}]\n", bearers.join(", "));
    let mut gateway = Gateway::start_with(&settings)?;
    gateway.install(&root().join("tests/profiles/sensor-1.toml"))?;
    let between = format!("unix:{}", gateway.folder().join("between").display());
    let ends = [format!("{between},server=on,wait=off"), between];
    let start = |name: &str, port: u16, between: &str| {
        let block = gateway.folder().join(format!("{name}.cbor"));
        let image = gateway.folder().join(format!("{name}.elf"));
        let (block, path) = (block.display().to_string(), image.display().to_string());
        let add = [
            "device",
            "add",
            "--constrained",
            "--new-key",
            &block,
            "--model",
            "sensor-1",
            name,
        ];
        gateway.cli(&add)?;
        firmware(&["--provision", &block, &path])?;
        let serial = format!("tcp:127.0.0.1:{port},server=on,wait=off");
        let board = Board::start(&image, [&serial, between])?;
        board.tells("reading taken")?;
        assert_eq!(gateway.state(name)?, "active", "enrolled by its key");
        anyhow::Ok(board)
    };
    // The one first, so that the gateway has a grant for the other as soon as it comes.
    let cellar = start("cellar", ports[0], &ends[0])?;
    let attic = start("attic", ports[1], &ends[1])?;
    eventually("both in the vault", PATIENCE, || {
        let stored = gateway.json(&[
            "vault",
            "query",
            "--schema",
            "climate",
            "--purpose",
            "operation",
        ])?;
        let all = stored["records"].as_array().cloned().unwrap_or_default();
        let devices: BTreeSet<_> = all
            .iter()
            .map(|record| record["fields"]["device"].to_string())
            .collect();
        Ok((devices.len() == 2).then_some(()))
    })?;
    // One of them in a hurry: it will be too hot there soon, by its own counting. It hears of it once it listens for commands.
    eventually("the command", PATIENCE, || {
        gateway.cli(&["publish", "sensor-1/attic/command", "400"])?;
        pause(Duration::from_secs(1));
        Ok(attic.told().contains("interval 400").then_some(()))
    })?;
    gateway.stop()?;
    assert!(!cellar.told().contains("siren"), "{}", cellar.told());
    cellar.tells("siren on")?;
    attic.tells("alarm taken")?;
    for board in [&attic, &cellar] {
        let told = board.told();
        let stack = told
            .lines()
            .filter_map(|line| line.strip_prefix("stack ")?.parse().ok());
        let most: u32 = stack.max().context("it tells its stack")?;
        assert!(most <= STACK, "{most} bytes of stack");
    }
    Ok(())
}

#[test]
fn what_broke_others_does_not_stop_a_firmware_that_ends_at_any_panic() -> Result<()> {
    if without(&["qemu-system-arm", "/usr/bin/rustc"]) {
        return Ok(());
    }
    let told = firmware(&["--where"])?;
    let images = told.lines().last().context("it told nothing")?;
    let mut command = Command::new("qemu-system-arm");
    command
        .args([
            "-M",
            "mps2-an386",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "null",
        ])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(Path::new(images).join("hostile"));
    let output = finish(&mut command, Duration::from_mins(2))?;
    ensure!(
        output.status.success(),
        "it ended with {}: {}",
        output.status,
        text(&output)
    );
    Ok(())
}
