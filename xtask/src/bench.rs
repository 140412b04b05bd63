//! `cargo xtask bench gateway`: the gateway and other brokers under the same load in the same run.

mod agent;
mod audit;
mod brokers;
mod firewall;
mod link;
mod measure;
mod report;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};

use self::brokers::{Broker, Peer};
use self::measure::{Measured, Plan};
use crate::command::{capture, cargo, program, succeed, target};
use crate::{out, prepare};

/// Devices that take part; the idle connections beyond as many are slots of them, of which ours gives a device 16.
const DEVICES: usize = 640;

/// Where the run keeps its files.
fn folder() -> PathBuf {
    target().join("bench")
}

/// Runs a bench.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    match arguments.split_first() {
        Some((name, rest)) if name == "firewall" => firewall::run(rest),
        Some((name, rest)) if name == "agent" => agent::run(rest),
        Some((name, rest)) if name == "audit" => audit::run(rest),
        Some((name, rest)) if name == "link" => link::run(rest),
        Some((name, rest)) if name == "vault" => vault::run(rest),
        _ => gateway(arguments),
    }
}

fn gateway(arguments: &[String]) -> Result<ExitCode> {
    let mut plan = Plan::full();
    let (mut ours, mut mqttv5, mut gateway) = (true, true, false);
    for argument in arguments {
        match argument.as_str() {
            "gateway" => gateway = true,
            "--quick" => plan = Plan::quick(),
            "--idle" => plan = Plan::idle(),
            "--peers-only" => ours = false,
            "--without-mqttv5" => mqttv5 = false,
            other => bail!(
                "`bench gateway` knows --quick, --idle, --peers-only and --without-mqttv5, not `{other}`"
            ),
        }
    }
    ensure!(
        gateway,
        "which bench? `bench gateway`, `bench firewall`, `bench agent`, `bench audit`, `bench link` or `bench vault`"
    );
    build(ours)?;
    let peers = prepare_peers(mqttv5)?;
    ensure!(ours || !peers.is_empty(), "nothing to measure");

    out::line(&format!("\n{}", machine("broker and load")));
    let mut results = Vec::new();
    if ours {
        results.extend(measure_ours(&plan)?);
    }
    for peer in peers {
        out::line(&format!("\n== {}", peer.name()));
        let broker = Broker::peer(peer)?;
        results.push(measure::all(
            &plan,
            &broker,
            &folder().join("peers"),
            peer.name(),
        ));
    }
    report::print(&results);
    Ok(ExitCode::SUCCESS)
}

fn build(ours: bool) -> Result<()> {
    let mut command = cargo(&["build", "--release", "--locked", "-p", "stockade-load"]);
    if ours {
        command.args(["-p", "stockade-cli"]);
    }
    succeed(&mut command)
}

/// The peers that are here, with the devices they are to trust.
fn prepare_peers(mqttv5: bool) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    if prepare::installed("mosquitto") {
        peers.push(Peer::Mosquitto);
    } else {
        out::line("mosquitto is not installed (`apt-get install mosquitto`): measured without it");
    }
    if mqttv5 {
        brokers::install_mqttv5()?;
        peers.push(Peer::Mqttv5);
    }
    let devices = folder().join("peers");
    let dir = format!("dir={}", devices.display());
    succeed(load().args(["identities", &dir, &format!("n={DEVICES}")]))?;
    Ok(peers)
}

/// The load generator, allowed as many files as the system lets a process have.
fn load() -> std::process::Command {
    let mut command = program("sh");
    let generator = target().join("release/stockade-load");
    command
        .args(["-c", "ulimit -n $(ulimit -Hn); exec \"$0\" \"$@\""])
        .arg(generator);
    command
}

/// Ours twice: acknowledged once on disk, and acknowledged before; the policy is on, as there is no other way.
fn measure_ours(plan: &Plan) -> Result<Vec<Measured>> {
    let folder = folder().join("ours");
    if folder.exists() {
        fs_err::remove_dir_all(&folder)?;
    }
    fs_err::create_dir_all(&folder)?;
    let mut results = Vec::new();
    let modes = [
        ("commit", "stockade"),
        ("interval", "stockade, not durable"),
    ];
    for (durability, name) in modes {
        out::line(&format!("\n== {name}"));
        let (broker, est) = Broker::stockade(&folder, durability)?;
        if durability == "commit" {
            brokers::enrol(&folder, &est, DEVICES)?;
        }
        let mut measured = measure::all(plan, &broker, &folder.join("devices"), name);
        if durability == "interval" {
            measure::revoke(&mut measured, &broker, &folder);
        }
        results.push(measured);
    }
    Ok(results)
}

/// One line about the machine, whose cores are shared by these.
fn machine(sharing: &str) -> String {
    let cpu = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = fs_err::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs_err::read_to_string("/proc/loadavg").unwrap_or_default();
    let rustc = capture(&mut program_of_rust()).unwrap_or_default();
    format!(
        "{}, {cores} cores shared by {sharing}, Linux {}, {}, load average before {}",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        rustc.trim(),
        load.split(' ').next().unwrap_or("unknown")
    )
}

fn program_of_rust() -> std::process::Command {
    let mut command = program("rustc");
    command.arg("--version");
    command
}
