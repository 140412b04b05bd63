//! `stockade profile learn` as an operator uses it: a capture of tcpdump's, a live interface, and files that are none.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stockade_e2e::netlab::space::{Space, ip, sysctl, unable};
use stockade_e2e::tools::{finish, signal, stockade};

const PATIENCE: Duration = Duration::from_secs(20);
const LAMP: &str = "02:00:00:00:00:0d";

/// What a command prints on its two streams, and the code it ends with.
fn learn(folder: &Path, arguments: &[&str]) -> Result<(i32, String, String)> {
    let mut command = Command::new(stockade()?);
    command.current_dir(folder).args(["profile", "learn"]);
    let output = finish(command.args(arguments), PATIENCE)?;
    let code = output.status.code().context("ended by a signal")?;
    let (said, aside) = (output.stdout, output.stderr);
    Ok((code, String::from_utf8(said)?, String::from_utf8(aside)?))
}

/// A program that has said on standard error that it listens.
fn listening(command: &mut Command, word: &str) -> Result<Child> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("no standard error")?);
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        ensure!(
            lines.read_line(&mut line)? > 0,
            "it ended before it listened"
        );
    }
    // It may say more, which nobody reads.
    std::thread::spawn(move || lines.lines().for_each(drop));
    Ok(child)
}

/// The rules, as sentences.
fn rules(printed: &str) -> Result<Vec<String>> {
    let value: Value = serde_json::from_str(printed)?;
    let rules = value["rules"].as_array().context("no rules")?;
    let words = rules.iter().filter_map(|rule| rule["rule"].as_str());
    Ok(words.map(ToOwned::to_owned).collect())
}

/// A namespace whose kernel says nothing of its own accord: no neighbour discovery.
fn quiet() -> Result<Space> {
    let space = Space::new()?;
    for which in ["all", "default"] {
        sysctl(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1")?;
    }
    Ok(space)
}

/// A lamp that talks and is talked to, on a cable of its own.
fn talk(lamp: &Space, lan: &Space) -> Result<()> {
    lamp.enter()?;
    let socket = UdpSocket::bind("192.0.2.20:4000")?;
    socket.set_broadcast(true)?;
    socket.send_to(b"I am here", "192.0.2.255:9999")?;
    socket.send_to(b"what time is it", "192.0.2.1:123")?;
    // Nobody listens; to have asked is enough.
    let near = Duration::from_millis(500);
    drop(TcpStream::connect_timeout(&"192.0.2.1:8883".parse()?, near));
    lan.enter()?;
    drop(TcpStream::connect_timeout(&"192.0.2.20:80".parse()?, near));
    Ok(())
}

#[test]
fn a_live_interface_and_a_capture_of_it_teach_the_same() -> Result<()> {
    if unable(&["ip", "tcpdump"]) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let lamp = quiet()?;
    let lan = quiet()?;
    ip(&format!(
        "link add lan type veth peer name lamp address {LAMP} netns {}\nlink set lan up\naddr add 192.0.2.1/24 dev lan\n",
        lamp.process()
    ))?;
    lamp.enter()?;
    ip("link set lamp up\naddr add 192.0.2.20/24 dev lamp\n")?;
    lan.enter()?;
    let file = folder.path().join("lamp.pcap");
    let mut tcpdump = Command::new("tcpdump");
    tcpdump
        .args(["-i", "lan", "--immediate-mode", "-U", "-w"])
        .arg(&file);
    let mut tcpdump = listening(&mut tcpdump, "listening on")?;
    let mut live = Command::new(stockade()?);
    live.args(["--json", "profile", "learn", "--interface", "lan"]);
    live.args(["--for", "1h", "--device", LAMP]);
    let live = listening(&mut live, "watching")?;
    talk(&lamp, &lan)?;
    // Frames are handed over in a moment; then Ctrl-C ends it with what was seen.
    stockade_e2e::tools::pause(Duration::from_millis(1_500));
    signal("INT", live.id())?;
    let output = live.wait_with_output()?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    signal("INT", tcpdump.id())?;
    tcpdump.wait()?;

    let (code, said, aside) = learn(folder.path(), &["--json", "lamp.pcap", "--device", LAMP])?;
    assert_eq!(code, 0, "{aside}");
    let expected = [
        "may be reached from the local network on tcp port 80",
        "may connect to the local network on tcp port 8883",
        "may connect to the local network on udp port 123",
        "may connect to the local network on udp port 9999",
    ];
    assert_eq!(rules(&said)?, expected);
    assert_eq!(rules(&String::from_utf8(output.stdout)?)?, expected);

    // For people: the report beside the profile, which is sound, and what another capture would have been allowed.
    let asked = ["lamp.pcap", "--device", LAMP, "--test", "lamp.pcap"];
    let (code, profile, report) = learn(folder.path(), &asked)?;
    assert_eq!(code, 0, "{report}");
    insta::assert_snapshot!(format!("{report}---\n{profile}"));
    let (code, _, aside) = learn(
        folder.path(),
        &["lamp.pcap", "--device", "02:00:00:00:00:0e"],
    )?;
    assert_eq!(code, 2);
    assert!(aside.contains("those who send most are "), "{aside}");
    assert!(aside.contains(LAMP), "{aside}");
    Ok(())
}

#[test]
fn what_is_no_capture_gives_no_profile() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let header = [
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
    ];
    let lying = [&header[..], &[0xff; 16]].concat();
    for (name, bytes, told) in [
        ("empty", &b""[..], "the input is empty"),
        ("text", b"not a capture", "neither pcap nor pcapng"),
        ("packed", &[0x1f, 0x8b, 8, 0, 0], "unpack it first"),
        (
            "lying",
            &lying,
            "at byte 24: a frame claims 4294967295 bytes",
        ),
        ("nobody", &header, "nor of any other station"),
    ] {
        fs_err::write(folder.path().join(name), bytes)?;
        let asked = [name, "--device", LAMP, "--output", "made.toml"];
        let (code, said, aside) = learn(folder.path(), &asked)?;
        assert_eq!((code, said.as_str()), (2, ""), "{name}");
        assert!(aside.contains(told), "{name}: {aside}");
        assert!(!folder.path().join("made.toml").exists(), "{name}");
    }
    Ok(())
}
