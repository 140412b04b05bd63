//! The firewall of a device against frames that no honest host sends, each made by hand and put on its cable.

use std::process::Command;

use anyhow::{Result, ensure};
use stockade_e2e::netlab::space::{Space, ip, run, unable};
use stockade_e2e::tools::{eventually, root, stockade, succeed};

const PROGRAMS: [&str; 4] = ["nft", "ip", "python3", "nsenter"];

const PROFILE: &str = r#"schema = 1
[device]
model = "lamp-1"
manufacturer = "Acme"
version = 1
class = "linux"
[[firewall.in]]
from = "local-network"
protocol = "tcp"
port = 8080
[[firewall.out]]
to = "10.9.0.1"
protocol = "udp"
port = 9999
"#;

/// Counts what the firewall let through; neighbour discovery of the two kernels goes on beside the attacks.
const SPY: &str = "table inet spy {
 counter past { }
 chain input {
  type filter hook input priority 200;
  icmpv6 type { nd-neighbor-solicit, mld-listener-query, mld-listener-report } accept
  icmpv6 type nd-neighbor-advert @th,64,128 != 0xfd090000000000000000000000000002 accept
  iifname \"eth0\" counter name past
 }
 chain forward {
  type filter hook forward priority 200;
  counter name past
 }
}
";

#[test]
fn no_hostile_frame_gets_past_the_firewall() -> Result<()> {
    if unable(&PROGRAMS) {
        return Ok(());
    }
    let attacker = Space::new()?;
    ip("link set lo up")?;
    let device = Space::new()?;
    ip(&format!(
        "link set lo up\n\
         link add eth0 address 02:00:00:00:00:02 type veth peer name far address 02:00:00:00:00:01 netns {}\n\
         link set eth0 up\naddr add 10.9.0.2/24 dev eth0\naddr add fd09::2/64 dev eth0 nodad\n\
         route add default via 10.9.0.1",
        attacker.process()
    ))?;
    attacker.enter()?;
    ip("link set far up\naddr add 10.9.0.1/24 dev far\naddr add fd09::1/64 dev far nodad")?;
    device.enter()?;
    // The rules are about addresses: all of them are there before they are made.
    eventually(
        "the device has its addresses",
        std::time::Duration::from_secs(20),
        || {
            let listed = run("ip", &["-6", "addr", "show", "dev", "eth0"], "")?;
            let listed = String::from_utf8(listed)?;
            let settled = listed.contains("fe80::") && !listed.contains("tentative");
            Ok(settled.then_some(()))
        },
    )?;
    let folder = tempfile::tempdir()?;
    let profile = folder.path().join("lamp.toml");
    fs_err::write(&profile, PROFILE)?;
    succeed(
        Command::new(stockade()?)
            .args(["firewall", "apply", "--now", "--state"])
            .arg(folder.path().join("state"))
            .args(["--gateway", "10.9.0.1", "--resolver", "10.9.0.1"])
            .arg(&profile),
    )?;
    run("nft", &["-f", "-"], SPY)?;
    attacker.enter()?;
    let told = succeed(
        Command::new("python3")
            .arg(root().join("tests/clients/hostile_frames.py"))
            .arg(device.process().to_string()),
    )?;
    let attacks = told.lines().count();
    let wrong: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("passed ") != line.contains(" allowed: "))
        .collect();
    ensure!(attacks > 90, "only {attacks} attacks were tried:\n{told}");
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
