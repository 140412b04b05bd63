//! What processes take, as the kernel counts it.

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::{Value, json};

use crate::command::capture;
use crate::out;

/// A program that runs; killed when dropped.
pub(super) struct Running {
    name: &'static str,
    child: Child,
}

impl Running {
    pub(super) fn new(name: &'static str, child: Child) -> Self {
        Self { name, child }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing is left to do about a program that is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program and the parts of it that it started, at rest. Sizes in KiB.
pub(super) struct Idle {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    /// What each has in memory; what they share is counted for each.
    pub(super) rss: u64,
    /// The same, where what `n` processes share counts an `n`th for each.
    pub(super) pss: u64,
    /// What is of no file: it can not be read again.
    pub(super) own: u64,
    /// The most that the program itself ever had.
    pub(super) peak: u64,
    /// Of its whole life, then of the start only.
    pub(super) cpu: Duration,
    /// The share of a core while it was watched.
    pub(super) busy: f64,
}

impl Idle {
    /// What was taken since an earlier look.
    pub(super) fn since(mut self, before: &Self, time: Duration) -> Self {
        self.busy = self.cpu.saturating_sub(before.cpu).as_secs_f64() / time.as_secs_f64();
        self.cpu = before.cpu;
        self
    }
}

/// Looks at a program and its parts.
pub(super) fn see(running: &Running) -> Result<Idle> {
    let own = running.child.id();
    let gone = || format!("{} has ended", running.name);
    let mut seen = Idle {
        name: running.name,
        program: fs_err::read_link(format!("/proc/{own}/exe")).with_context(gone)?,
        rss: 0,
        pss: 0,
        own: 0,
        peak: field(&format!("/proc/{own}/status"), "VmHWM:")?,
        cpu: Duration::ZERO,
        busy: 0.0,
    };
    let parts = fs_err::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
    let parts = parts.split_whitespace().map(str::parse);
    for pid in std::iter::once(Ok(own)).chain(parts) {
        let folder = format!("/proc/{}", pid?);
        let rollup = format!("{folder}/smaps_rollup");
        seen.rss += field(&rollup, "Rss:")?;
        seen.pss += field(&rollup, "Pss:")?;
        seen.own += field(&rollup, "Anonymous:")?;
        // utime and stime, with those of threads that ended, in hundredths of a second (proc_pid_stat(5)).
        let text = fs_err::read_to_string(format!("{folder}/stat"))?;
        let fields = text.rsplit(") ").next().unwrap_or_default().split(' ');
        let ticks = fields.skip(11).take(2).map(str::parse::<u64>);
        seen.cpu += Duration::from_millis(ticks.sum::<Result<u64, _>>()? * 10);
    }
    Ok(seen)
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs_err::read_to_string(path)?;
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    let number = found.and_then(|it| it.split_whitespace().next());
    let number = number.with_context(|| format!("{path} says no {name}"))?;
    Ok(number.parse()?)
}

/// What a command took, with all that it started.
pub(in crate::bench) struct Cost {
    /// Seconds of a processor.
    pub(in crate::bench) cpu: f64,
    /// The most that one process of it had, in KiB.
    pub(in crate::bench) peak: u64,
    /// Seconds from its start to its end.
    pub(in crate::bench) wall: f64,
}

/// Runs the command by way of [`cost`]: the kernel adds up what the children of one process took.
pub(in crate::bench) fn cost_of(command: &Command) -> Result<Cost> {
    let mut by = Command::new(std::env::current_exe()?);
    by.args(["bench", "agent", "--cost"]);
    let said = capture(by.arg(command.get_program()).args(command.get_args()))?;
    let said: Value = serde_json::from_str(&said)?;
    Ok(Cost {
        cpu: said["cpu"].as_f64().context("no CPU time")?,
        peak: said["peak"].as_u64().context("no memory")?,
        wall: said["wall"].as_f64().context("no time")?,
    })
}

/// Runs a command, whatever it finds, and says what it took.
pub(super) fn cost(command: &[String]) -> Result<ExitCode> {
    let (name, arguments) = command.split_first().context("the cost of what?")?;
    let start = Instant::now();
    Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    let wall = start.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let total = usage.user_time() + usage.system_time();
    let micros = u64::try_from(total.num_microseconds())?;
    let said = json!({
        "cpu": Duration::from_micros(micros).as_secs_f64(),
        "peak": usage.max_rss(),
        "wall": wall,
    });
    out::line(&said.to_string());
    Ok(ExitCode::SUCCESS)
}
