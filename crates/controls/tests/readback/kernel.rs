//! The kernel's nftables, in a network namespace of its own.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What the commands print; `input` is what they read.
fn unshared(commands: &str, input: &str) -> Vec<u8> {
    let mut child = Command::new("unshare")
        .args(["-n", "-m", "sh", "-e", "-c", commands])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let mut stdin = child.stdin.take().expect("it has an input");
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    drop(feeder.join());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    output.stdout
}

/// Whether there is no nft that may be used here; the line printed is counted as a skipped test.
pub(crate) fn absent() -> bool {
    let works = Command::new("unshare")
        .args(["-n", "-m", "nft", "list", "tables"])
        .output();
    if works.is_ok_and(|output| output.status.success()) {
        return false;
    }
    let line = "skipped: no nft, or no right to make a network namespace";
    drop(writeln!(std::io::stdout(), "{line}"));
    true
}

/// Loads rules and lists them: as JSON and as text. There are a cgroup `stk/camera` and interfaces `lan` and `wan`.
pub(crate) fn loaded(rules: &str) -> (Vec<u8>, String) {
    let before = "mount -t cgroup2 none /sys/fs/cgroup; mkdir -p /sys/fs/cgroup/stk/camera; \
                  ip link add lan type veth peer name wan; nft -f -;";
    let json = unshared(&format!("{before} nft -j list ruleset"), rules);
    let text = unshared(&format!("{before} nft list ruleset"), rules);
    (json, String::from_utf8(text).expect("nft prints UTF-8"))
}
