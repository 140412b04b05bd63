//! What the kernel says about the server's process.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Length of a tick in /proc: `USER_HZ` is 100 on every Linux we run on.
const TICK: Duration = Duration::from_millis(10);

/// A server to watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// CPU time used so far, user and system, all threads.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let text = fs_err::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name, in brackets, may hold spaces; utime and stime are the 12th and 13th field after it (proc(5)).
        let (_, fields) = text.rsplit_once(')').context("odd /proc stat")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || {
            fields
                .next()
                .and_then(|field| field.parse::<u32>().ok())
                .context("odd /proc stat")
        };
        Ok(TICK * (ticks()? + ticks()?))
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(self) -> Result<u64> {
        let text = fs_err::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("odd /proc status")?;
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .context("odd /proc status")
    }
}

/// Wall and CPU time of a stretch.
#[derive(Debug)]
pub(crate) struct Stretch {
    process: Process,
    started: Instant,
    cpu: Duration,
}

impl Stretch {
    /// Begins now.
    pub(crate) fn begin(process: Process) -> Result<Self> {
        Ok(Self {
            process,
            started: Instant::now(),
            cpu: process.cpu()?,
        })
    }

    /// Wall time and CPU time in seconds since it began.
    pub(crate) fn end(&self) -> Result<(f64, f64)> {
        let cpu = self.process.cpu()?.saturating_sub(self.cpu);
        Ok((self.started.elapsed().as_secs_f64(), cpu.as_secs_f64()))
    }
}
