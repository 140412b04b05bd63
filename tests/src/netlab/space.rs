//! Network namespaces: a network of our own, gone with the process.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

use crate::tools::say;

/// Whether this test can not have namespaces of its own; the line printed is counted as a skipped test.
#[must_use = "the test is to end here when this is true"]
pub fn unable(programs: &[&str]) -> bool {
    if crate::tools::without(programs) {
        return true;
    }
    if !nix::unistd::geteuid().is_root() {
        say("skipped: network namespaces need root");
        return true;
    }
    false
}

/// A network namespace, held by a process that sleeps in it.
#[derive(Debug)]
pub struct Space {
    handle: OwnedFd,
    holder: Child,
}

impl Space {
    /// A new, empty one. The calling thread is in it afterwards.
    pub fn new() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let handle = fs_err::File::open("/proc/thread-self/ns/net")?;
        let holder = Command::new("sleep")
            .arg("3600")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sleep")?;
        Ok(Self {
            handle: handle.into_parts().0.into(),
            holder,
        })
    }

    /// Puts the calling thread into it: sockets and programs made from here on are of this namespace.
    pub fn enter(&self) -> Result<()> {
        setns(&self.handle, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")
    }

    /// A process of this namespace, for `ip link ... netns`.
    pub fn process(&self) -> u32 {
        self.holder.id()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// Runs a program to its end, with `input` on its standard input, and gives what it printed.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let text = input.to_owned();
    let feeder = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    drop(feeder.join());
    ensure!(
        output.status.success(),
        "{program} {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// Runs `ip` over a list of commands, one a line.
pub fn ip(commands: &str) -> Result<()> {
    run("ip", &["-batch", "-"], commands).map(drop)
}

/// Sets a value under /proc/sys of the namespace the calling thread is in.
pub fn sysctl(path: &str, value: &str) -> Result<()> {
    fs_err::write(format!("/proc/sys/{path}"), value)?;
    Ok(())
}
