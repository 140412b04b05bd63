//! `stockade firewall` on a machine of its own: a network namespace with a cable to nobody.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stockade_e2e::netlab::space::{Space, ip, run, sysctl, unable};
use stockade_e2e::tools::{pause, stockade};

const PROFILE: &str = "schema = 1

[device]
model = \"lamp-1\"
manufacturer = \"Acme\"
version = 3
class = \"linux\"

[[firewall.in]]
from = \"local-network\"
protocol = \"tcp\"
port = 443
rate = \"10/1s\"

[[firewall.out]]
to = \"gateway\"
protocol = \"tcp\"
port = 8883

[[firewall.out]]
to = \"cloud.acme.example\"
protocol = \"tcp\"
port = 443
";

/// A machine that has one interface, and a folder for what it remembers.
struct Machine {
    _space: Space,
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Result<Option<Self>> {
        if unable(&["nft"]) {
            return Ok(None);
        }
        let space = Space::new()?;
        ip("link set dev lo up
            link add name eth0 type veth peer name other
            link set dev eth0 up
            link set dev other up
            addr add 192.0.2.2/24 dev eth0
            route add default via 192.0.2.1
            ")?;
        // An address that the kernel makes of a random one would be another one each time.
        for end in ["eth0", "other"] {
            sysctl(&format!("net/ipv6/conf/{end}/disable_ipv6"), "1")?;
        }
        let folder = tempfile::tempdir()?;
        fs_err::write(folder.path().join("lamp.toml"), PROFILE)?;
        Ok(Some(Self {
            _space: space,
            folder,
        }))
    }

    fn command(&self, arguments: &str) -> Result<Command> {
        let mut command = Command::new(stockade()?);
        command
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .env_remove("SSH_CONNECTION")
            .stdin(Stdio::null());
        let remembers = ["show", "--version"]
            .iter()
            .all(|word| !arguments.contains(word));
        if remembers {
            command.arg("--state").arg(self.state());
        }
        Ok(command)
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn says(&self, arguments: &str) -> Result<(i32, String, String)> {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(arguments)?.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((
            status.code().context("it was killed")?,
            text(&stdout),
            text(&stderr),
        ))
    }

    /// What a command that does well prints.
    fn does(&self, arguments: &str) -> Result<String> {
        let (code, stdout, stderr) = self.says(arguments)?;
        ensure!(
            code == 0,
            "`{arguments}` ended with {code}: {stdout}{stderr}"
        );
        Ok(stdout)
    }
}

const PLACE: &str = "--resolver 192.0.2.53";

#[test]
fn show_says_the_rules_in_words_and_then_for_nft() -> Result<()> {
    let Some(machine) = Machine::new()? else {
        return Ok(());
    };
    insta::assert_snapshot!(machine.does(&format!("firewall show lamp.toml {PLACE}"))?);
    Ok(())
}

#[test]
fn what_the_operator_says_of_the_place_is_in_the_rules() -> Result<()> {
    let Some(machine) = Machine::new()? else {
        return Ok(());
    };
    let profile = PROFILE.replace("cloud.acme.example", "controller:urn:acme:hub");
    fs_err::write(machine.folder.path().join("hub.toml"), profile)?;
    let place =
        "--gateway 192.0.2.1 --gateway-link 02:00:00:00:00:01 --controller urn:acme:hub=192.0.2.7";
    let rules = machine.does(&format!("firewall show hub.toml {PLACE} {place}"))?;
    for rule in [
        "arp saddr ip 192.0.2.1 arp saddr ether != 02:00:00:00:00:01 counter drop",
        "ip daddr 192.0.2.7 tcp dport 443 accept",
    ] {
        ensure!(rules.contains(rule), "no `{rule}` in {rules}");
    }
    Ok(())
}

#[test]
fn a_change_is_tried_confirmed_from_another_session_checked_and_undone() -> Result<()> {
    let Some(machine) = Machine::new()? else {
        return Ok(());
    };
    let (code, stdout, _) = machine.says("firewall check")?;
    assert_eq!(
        (code, stdout.contains("ever confirmed")),
        (3, true),
        "{stdout}"
    );
    let dry = machine.does(&format!("firewall apply lamp.toml {PLACE} --dry-run"))?;
    assert!(dry.contains("nothing was changed"), "{dry}");
    assert_eq!(run("nft", &["list", "ruleset"], "")?, b"");
    let ssh = "192.0.2.9 50022 192.0.2.2 22";
    let mut apply = machine.command(&format!("firewall apply lamp.toml {PLACE}"))?;
    let applied = apply.env("SSH_CONNECTION", ssh).output()?;
    ensure!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    insta::assert_snapshot!(String::from_utf8_lossy(&applied.stdout), @r"
    names are answered and followed only while `stockade firewall run` runs; now it does not
    the rules are in force on trial: run `stockade firewall confirm` from a new session within 60 seconds, or the kernel goes back to the rules from before
    ");
    let status: Value = serde_json::from_str(&machine.does("firewall status --json")?)?;
    assert!(
        status["trial-seconds-left"]
            .as_u64()
            .is_some_and(|left| left > 30),
        "{status}"
    );
    assert_eq!(status["confirmed"], Value::Null);
    // The session that applied proves nothing.
    let mut same = machine.command("firewall confirm")?;
    let same = same.env("SSH_CONNECTION", ssh).output()?;
    assert_eq!(same.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&same.stderr), @"error: this is the session that applied the rules, and it proves nothing: log in anew, and run `stockade firewall confirm` there (or add --same-session)");
    insta::assert_snapshot!(machine.does("firewall confirm")?, @"the rules hold for good");
    let check = machine.does("firewall check")?;
    assert!(check.contains("decide alike"), "{check}");
    // Somebody opens a door by hand.
    run(
        "nft",
        &[
            "insert", "rule", "inet", "stockade", "input", "tcp", "dport", "23", "accept",
        ],
        "",
    )?;
    let (code, stdout, _) = machine.says("firewall check lamp.toml --resolver 192.0.2.53")?;
    assert_eq!(code, 1);
    assert!(stdout.contains("tcp dport 23 accept"), "{stdout}");
    let again = machine.does(&format!("firewall apply lamp.toml {PLACE} --now"))?;
    assert!(again.ends_with("the rules are in force\n"), "{again}");
    machine.does("firewall check")?;
    machine.does("firewall undo")?;
    machine.does("firewall check")?;
    machine.does("firewall off")?;
    assert_eq!(run("nft", &["list", "ruleset"], "")?, b"");
    Ok(())
}

#[test]
fn what_can_not_be_done_is_told_with_the_next_step() -> Result<()> {
    let Some(machine) = Machine::new()? else {
        return Ok(());
    };
    let told = |arguments: &str| -> Result<String> {
        let (code, _, stderr) = machine.says(arguments)?;
        ensure!(code == 2, "{arguments} ended with {code}");
        Ok(stderr)
    };
    let bad = PROFILE.replace("port = 8883", "port = 0");
    fs_err::write(machine.folder.path().join("bad.toml"), bad)?;
    let faults = told("firewall apply bad.toml")?;
    assert!(
        faults.contains("bad.toml") && faults.contains("port"),
        "{faults}"
    );
    let late = told("firewall apply lamp.toml --confirm-within 1s")?;
    assert!(late.contains("from 5 to 3600 seconds"), "{late}");
    insta::assert_snapshot!(told("firewall confirm")?, @"error: no rules are on trial: `stockade firewall apply` starts one");
    insta::assert_snapshot!(told("firewall undo")?, @"error: there is nothing to go back to: no other rules were confirmed before these");
    insta::assert_snapshot!(told("firewall run")?, @"error: no profile was ever confirmed on this machine: name one");
    fs_err::create_dir_all(machine.state())?;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs_err::set_permissions(machine.state(), open)?;
    let others = told("firewall status")?;
    assert!(others.contains("chmod 700"), "{others}");
    Ok(())
}

#[test]
fn watch_tells_the_rule_that_would_have_to_exist() -> Result<()> {
    let Some(machine) = Machine::new()? else {
        return Ok(());
    };
    machine.does(&format!("firewall apply lamp.toml {PLACE} --now"))?;
    let watch = machine
        .command("firewall watch --json --count 1")?
        .stdout(Stdio::piped())
        .spawn()?;
    let socket = UdpSocket::bind("192.0.2.2:0")?;
    let mut watch = Ended(watch);
    let until = Instant::now() + Duration::from_secs(20);
    while watch.0.try_wait()?.is_none() {
        ensure!(Instant::now() < until, "nothing was seen");
        // It is refused here and now; until the watch listens nobody hears of it.
        drop(socket.send_to(b"x", "192.0.2.7:1900"));
        pause(Duration::from_millis(50));
    }
    let mut line = String::new();
    let mut stdout = watch.0.stdout.take().context("its output")?;
    std::io::Read::read_to_string(&mut stdout, &mut line)?;
    let blocked: Value = serde_json::from_str(&line)?;
    assert_eq!(blocked["direction"], "out");
    assert_eq!(blocked["what"], "udp port 1900");
    assert_eq!(blocked["process"], std::process::id());
    assert_eq!(
        blocked["rule"],
        "[[firewall.out]]\nto = \"local-network\"\nprotocol = \"udp\"\nport = 1900"
    );
    Ok(())
}

#[test]
fn run_enforces_the_profile_and_refuses_names_outside_it() -> Result<()> {
    let Some(machine) = Machine::new()? else {
        return Ok(());
    };
    let running = machine
        .command(&format!("firewall run lamp.toml {PLACE}"))?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut running = Ended(running);
    // To any name server: the rules lead it to the forwarder. A question for evil.example, type A (RFC 1035 §4.1).
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend_from_slice(b"\x04evil\x07example\x00\x00\x01\x00\x01");
    let until = Instant::now() + Duration::from_secs(20);
    let code = loop {
        ensure!(Instant::now() < until, "no answer");
        let socket = UdpSocket::bind("192.0.2.2:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        drop(socket.send_to(&question, "198.51.100.53:53"));
        let mut answer = [0; 512];
        if let Ok((length, from)) = socket.recv_from(&mut answer)
            && length > 4
            && answer[..2] == question[..2]
        {
            assert_eq!(from.to_string(), "198.51.100.53:53");
            break answer[3] & 0x0f;
        }
        pause(Duration::from_millis(50));
    };
    assert_eq!(code, 5, "REFUSED");
    let status: Value = serde_json::from_str(&machine.does("firewall status --json")?)?;
    assert_eq!(status["confirmed"]["model"], "lamp-1");
    // Another address, and the rules follow.
    ip("addr add 203.0.113.2/24 dev eth0\n")?;
    let until = Instant::now() + Duration::from_secs(20);
    while !String::from_utf8_lossy(&run("nft", &["list", "ruleset"], "")?)
        .contains("203.0.113.0/24")
    {
        ensure!(Instant::now() < until, "the rules stay behind");
        pause(Duration::from_millis(100));
    }
    running.0.kill()?;
    let mut told = String::new();
    let mut stdout = running.0.stdout.take().context("its output")?;
    std::io::Read::read_to_string(&mut stdout, &mut told)?;
    assert!(
        told.contains("refused the question for evil.example"),
        "{told}"
    );
    // The rules stay.
    machine.does("firewall check")?;
    Ok(())
}

/// A program that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
