//! `cargo xtask bench agent`: the programs of a device at rest and a whole assessment, beside what others do.
//!
//! A device is enrolled at a gateway, both in a network of their own. Its root is a layer over a Debian system: neither that
//! system nor this machine is changed.

pub(super) mod process;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use self::process::{Cost, Idle, Running, cost_of, see};
use super::brokers::{Broker, stockade};
use super::{folder, machine};
use crate::command::{capture, cargo, program, root, succeed, target};
use crate::{out, prepare};

/// What the bench runs, beside our own.
const PROGRAMS: [&str; 5] = ["unshare", "setpriv", "ip", "nft", "debootstrap"];
/// How long a device rests before it is looked at, and for how long it is watched then.
const SETTLE: Duration = Duration::from_secs(20);
const WATCH: Duration = Duration::from_secs(30);

/// Builds, and runs itself in namespaces.
pub(super) fn run(arguments: &[String]) -> Result<ExitCode> {
    match arguments {
        [] => {}
        [word] if word == "--inside" => return inside(),
        [word, command @ ..] if word == "--cost" => return process::cost(command),
        _ => bail!("`bench agent` takes no arguments"),
    }
    ensure!(
        capture(program("id").arg("-u"))?.trim() == "0",
        "namespaces, mounts and users need root"
    );
    for name in PROGRAMS {
        if !prepare::installed(name) {
            bail!(
                "{name} is not installed: `apt-get install util-linux iproute2 nftables debootstrap`"
            );
        }
    }
    succeed(&mut cargo(&["device", "--locked"]))?;
    succeed(&mut cargo(&[
        "build",
        "--release",
        "--locked",
        "-p",
        "stockade-cli",
    ]))?;
    lab()?;
    unpack_mender()?;
    succeed(
        program("unshare")
            .args(["--net", "--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe()?)
            .args(["bench", "agent", "--inside"]),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// A Debian system: one that the tests laid down, or one of our own.
pub(super) fn lab() -> Result<PathBuf> {
    let labs = target().join("labs");
    fs_err::create_dir_all(&labs)?;
    for entry in fs_err::read_dir(&labs)? {
        let path = entry?.path();
        if path.join("etc/debian_version").is_file()
            && path.extension().is_none_or(|it| it != "part")
        {
            return Ok(path);
        }
    }
    let (made, part) = (labs.join("bench"), labs.join("bench.part"));
    succeed(
        program("debootstrap")
            .args([
                "--variant=minbase",
                "--include=systemd,systemd-sysv,openssh-server,nftables,sudo,cron",
            ])
            .arg("bookworm")
            .arg(&part)
            .arg("http://deb.debian.org/debian"),
    )?;
    fs_err::rename(part, &made)?;
    Ok(made)
}

fn inside() -> Result<ExitCode> {
    out::line(&format!("\n{}", machine("device, gateway and scanner")));
    let folder = folder().join("agent");
    if folder.exists() {
        fs_err::remove_dir_all(&folder)?;
    }
    for name in ["changed", "work", "root", "mender"] {
        fs_err::create_dir_all(folder.join(name))?;
    }
    for words in [
        "link set lo up",
        "link add wan type veth peer name far",
        "link set wan up",
        "link set far up",
        "addr add 10.9.0.2/24 dev wan",
    ] {
        succeed(program("ip").args(words.split(' ')))?;
    }
    let lab = lab()?;
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        lab.display(),
        folder.join("changed").display(),
        folder.join("work").display()
    );
    let device = folder.join("root");
    succeed(
        program("mount")
            .args(["-t", "overlay", "bench", "-o", &layers])
            .arg(&device),
    )?;
    let (gateway, est) = Broker::stockade(&folder, "commit")?;
    enrol(&folder, &device, &est, gateway.port)?;
    let mut programs = start(&device)?;
    programs.extend(mender(&folder.join("mender"))?);
    let idle = watch(&programs)?;
    let posture = ours(&folder, &["--json", "device", "posture", "porch"])?;
    ensure!(
        serde_json::from_str::<Value>(&posture)?["number"].is_number(),
        "no evidence came: see what the programs said above"
    );
    drop(programs);
    let profile = root().join("tests/profiles/bench-device.toml");
    let status = |more: &[&str]| {
        let mut words = vec!["--json", "device", "status", "--profile"];
        let profile = profile.display().to_string();
        words.push(&profile);
        words.extend(more);
        cost_of(program(&stockade()).args(words))
    };
    let (live, offline) = (
        status(&[])?,
        status(&["--root", &lab.display().to_string()])?,
    );
    print(&idle, &[live, offline], lynis(&folder)?.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

fn ours(folder: &Path, words: &[&str]) -> Result<String> {
    let mut command = program(&stockade());
    command.arg("--data").arg(folder.join("data")).args(words);
    capture(&mut command)
}

/// Makes the root a device of the gateway, as its owner would.
fn enrol(folder: &Path, device: &Path, est: &str, mqtt: u16) -> Result<()> {
    let profile = root().join("tests/profiles/bench-device.toml");
    ours(
        folder,
        &["profile", "install", &profile.display().to_string()],
    )?;
    let added = ours(
        folder,
        &["--json", "device", "add", "--model", "cam-2", "porch"],
    )?;
    let added: Value = serde_json::from_str(&added)?;
    let of = |name: &str| {
        let found = added[name].as_str();
        found.with_context(|| format!("`device add` says no `{name}`"))
    };
    let fingerprint = of("ca_fingerprint")?.replace(':', "");
    let mut command = Command::new(target().join("device/stockade-agent"));
    command.arg("install").arg("--root").arg(device);
    command.args(["--gateway", est, "--id", "porch", "--code", of("code")?]);
    succeed(command.args(["--ca-fingerprint", &fingerprint]))?;
    // The gateway's other port is one that was free.
    let settings = device.join("etc/stockade/agent.toml");
    let text = fs_err::read_to_string(&settings)?.replace("8883", &mqtt.to_string());
    Ok(fs_err::write(settings, text)?)
}

/// Starts the three as an init system would.
fn start(device: &Path) -> Result<Vec<Running>> {
    let passwd = fs_err::read_to_string(device.join("etc/passwd"))?;
    let user = |name: &str| {
        let mut lines = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        let found = lines.find(|it| it.first() == Some(&name));
        let id = found.and_then(|it| it.get(2).map(|id| (*id).to_owned()));
        id.with_context(|| format!("the user {name} was not made"))
    };
    let (agent, keys, upnp) = (
        user("stockade-agent")?,
        user("stockade-keys")?,
        user("stockade-upnp")?,
    );
    let at = |name: &str| device.join("usr/lib/stockade").join(name);
    let begin = |name: &'static str, command: &mut Command| -> Result<Running> {
        let child = command.arg("--root").arg(device).spawn();
        let running = Running::new(name, child.with_context(|| format!("cannot start {name}"))?);
        // The next one needs the socket of the one before.
        pause(Duration::from_secs(2));
        Ok(running)
    };
    let set = ["--clear-groups", "--reuid", &agent, "--regid", &agent];
    Ok(vec![
        begin(
            "stockade-keys",
            Command::new(at("stockade-keys")).args(["--user", &keys, "--agent", &agent]),
        )?,
        begin(
            "stockade-helper",
            Command::new(at("stockade-helper"))
                .args(["--agent", &agent, "--keys", &keys, "--upnp", &upnp]),
        )?,
        begin(
            "stockade-agent",
            Command::new("setpriv").args(set).arg(at("stockade-agent")),
        )?,
    ])
}

/// Debian's agent of another maker, unpacked but not installed, while there still is a network.
fn unpack_mender() -> Result<()> {
    let folder = target().join("bench-tools/mender");
    if folder.join("usr/bin/mender").exists() {
        return Ok(());
    }
    fs_err::create_dir_all(&folder)?;
    let unpack = "apt-get -qq download mender-client && dpkg -x mender-client_*.deb .";
    let mut command = program("sh");
    let status = command.args(["-c", unpack]).current_dir(&folder).status()?;
    if !status.success() {
        out::line("mender-client can not be had: measured without it");
    }
    Ok(())
}

/// It is at rest without a server.
fn mender(folder: &Path) -> Result<Option<Running>> {
    let program = target().join("bench-tools/mender/usr/bin/mender");
    if !program.exists() {
        return Ok(None);
    }
    let settings = folder.join("mender.conf");
    fs_err::write(&settings, r#"{"ServerURL":"https://127.0.0.1:1"}"#)?;
    let log = fs_err::File::create(folder.join("log"))?.into_file();
    let child: Child = Command::new(program)
        .arg("--no-syslog")
        .args([Path::new("-c"), &settings, Path::new("-b"), &settings])
        .args([Path::new("-d"), folder])
        .arg("daemon")
        .stderr(log)
        .spawn()?;
    Ok(Some(Running::new("mender", child)))
}

fn watch(programs: &[Running]) -> Result<Vec<Idle>> {
    pause(SETTLE);
    let before: Vec<Idle> = programs.iter().map(see).collect::<Result<_>>()?;
    pause(WATCH);
    let after = programs.iter().map(see);
    let since = |(before, after): (&Idle, Result<Idle>)| after.map(|it| it.since(before, WATCH));
    before.iter().zip(after).map(since).collect()
}

/// What another scanner takes for this machine.
fn lynis(folder: &Path) -> Result<Option<Cost>> {
    if !prepare::installed("lynis") {
        out::line("lynis is not installed (`apt-get install lynis`): measured without it");
        return Ok(None);
    }
    let (log, report) = (folder.join("lynis.log"), folder.join("lynis.dat"));
    let mut command = program("lynis");
    command.args(["audit", "system", "--quick", "--quiet", "--no-colors"]);
    command.arg("--logfile").arg(log);
    cost_of(command.arg("--report-file").arg(report)).map(Some)
}

fn print(idle: &[Idle], [live, offline]: &[Cost; 2], lynis: Option<&Cost>) -> Result<()> {
    let mib = |kib: u64| format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024);
    let mut rows = vec![
        [
            "at rest",
            "program, MB",
            "RSS, MiB",
            "Pss, MiB",
            "own, MiB",
            "peak, MiB",
            "CPU, %",
            "start, CPU s",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for it in idle {
        let size = fs_err::metadata(&it.program)?.len() / 10_000;
        rows.push(vec![
            it.name.to_owned(),
            format!("{}.{:02}", size / 100, size % 100),
            mib(it.rss),
            mib(it.pss),
            mib(it.own),
            mib(it.peak),
            format!("{:.3}", it.busy * 100.0),
            format!("{:.2}", it.cpu.as_secs_f64()),
        ]);
    }
    out::line("");
    out::table(&rows);
    let mut rows = vec![
        ["assessment", "CPU, s", "peak, MiB"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let said = [
        ("stockade device status, this machine", Some(live)),
        ("stockade device status, Debian's root", Some(offline)),
        ("lynis, this machine", lynis),
    ];
    for (name, cost) in said {
        if let Some(cost) = cost {
            rows.push(vec![
                name.to_owned(),
                format!("{:.2}", cost.cpu),
                mib(cost.peak),
            ]);
        }
    }
    out::line("");
    out::table(&rows);
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "other processes are left alone for a while"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
