//! A network namespace for a test: nothing here touches the machine's own.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod cable;

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Puts the calling thread into a new network namespace. False, with a line that says so, where that can not be done.
pub(crate) fn namespace() -> bool {
    if !rustix::process::geteuid().is_root() {
        say("skipped: network namespaces need root");
        return false;
    }
    if !std::path::Path::new("/usr/sbin/nft").exists() {
        say("skipped: no nft");
        return false;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
    ip("link set lo up");
    true
}

/// A line that the report of the tests counts.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "[stockade-e2e] {text}"));
}

/// A command of iproute2.
pub(crate) fn ip(arguments: &str) {
    run("ip", arguments, "");
}

/// A ruleset, loaded by nft itself: the tests' own eyes.
pub(crate) fn nft(ruleset: &str) {
    run("nft", "-f -", ruleset);
}

/// What nft lists.
pub(crate) fn listed(arguments: &str) -> String {
    run("nft", arguments, "")
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn run(program: &str, arguments: &str, input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("input");
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    assert!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits for something that only time can bring.
pub(crate) fn pause(time: std::time::Duration) {
    let (_never, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let _over = wait.recv_timeout(time);
}
