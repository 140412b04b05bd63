//! Rulesets in the kernel of the calling thread's namespace, and what loading them took.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use stockade_e2e::netlab::space::run;

/// What a run of `nft` took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) time: Duration,
    /// The most memory it had, in KiB.
    pub(crate) memory: u64,
}

/// The word that makes this program run one other program and say what that took.
pub(crate) const CHILD: &str = "child";

/// Loads a file with `nft -f`. In a process of its own, because the system only knows the largest of a process's children.
pub(crate) fn load(file: &Path) -> Result<Cost> {
    let own = std::env::current_exe().context("where is this program?")?;
    let output = Command::new(own)
        .args([CHILD, "nft", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    ensure!(
        output.status.success(),
        "nft -f {}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
            .lines()
            .take(3)
            .collect::<Vec<_>>()
            .join(" / ")
    );
    let said = String::from_utf8(output.stdout)?;
    let (time, memory) = said.trim().split_once(' ').context("odd answer")?;
    Ok(Cost {
        time: Duration::from_micros(time.parse()?),
        memory: memory.parse()?,
    })
}

/// The child's side: microseconds and KiB.
pub(crate) fn child(words: &[String]) -> Result<String> {
    let (program, arguments) = words.split_first().context("nothing to run")?;
    let begun = Instant::now();
    let status = Command::new(program).args(arguments).status()?;
    let time = begun.elapsed();
    ensure!(status.success(), "{program} ended with {status}");
    let memory = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(format!("{} {memory}", time.as_micros()))
}

/// Takes every rule away.
pub(crate) fn clear() -> Result<()> {
    run("nft", &["flush", "ruleset"], "").map(drop)
}

/// Loads a short text.
pub(crate) fn load_text(text: &str) -> Result<()> {
    run("nft", &["-f", "-"], text).map(drop)
}

/// Forgets all connections.
pub(crate) fn forget() {
    // Where there is nothing to forget, conntrack complains.
    drop(run("conntrack", &["-F"], ""));
}
