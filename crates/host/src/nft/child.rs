//! A program run to its end, with a limit of time and of output.

use std::io;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The most that is kept of what a program complains.
const MOST_COMPLAINT: usize = 64 * 1024;
const CHUNK: usize = 16 * 1024;

/// How long a program may run, and how much it may print.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The time.
    pub patience: Duration,
    /// The bytes on standard output.
    pub output: usize,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained, cut to a readable length.
    pub stderr: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    TooSlow,
    TooMuch,
}

impl From<io::Error> for Fault {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

impl From<Errno> for Fault {
    fn from(why: Errno) -> Self {
        Self::Io(why.into())
    }
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command, bounds: Bounds) -> Result<Answer, Fault> {
    let deadline = Instant::now() + bounds.patience;
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let gathered = gather(&mut child, bounds, deadline);
    if gathered.is_err() {
        // It may have ended by itself meanwhile; either way it is gone after the wait.
        let _ended = child.kill();
    }
    let status = child.wait()?;
    let (stdout, stderr) = gathered?;
    Ok(Answer {
        status,
        stdout,
        stderr,
    })
}

/// Reads both outputs until they are closed and the program has ended.
fn gather(
    child: &mut Child,
    bounds: Bounds,
    deadline: Instant,
) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    for pipe in [
        out.as_ref().map(|pipe| pipe.as_fd()),
        err.as_ref().map(|pipe| pipe.as_fd()),
    ]
    .into_iter()
    .flatten()
    {
        fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    }
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut running = true;
    while running || out.is_some() || err.is_some() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::TooSlow);
        }
        let mut waiting: Vec<PollFd<'_>> = Vec::with_capacity(3);
        if running {
            waiting.push(PollFd::new(&ended, PollFlags::IN));
        }
        waiting.extend(out.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        waiting.extend(err.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let wait = Timespec::try_from(left).map_err(|_| Fault::TooSlow)?;
        match poll(&mut waiting, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => (),
            Err(errno) => return Err(errno.into()),
        }
        let gone = running && waiting.first().is_some_and(|fd| !fd.revents().is_empty());
        drain(&mut out, &mut stdout, bounds.output, true)?;
        drain(&mut err, &mut stderr, MOST_COMPLAINT, false)?;
        if gone {
            running = false;
            // A grandchild may hold the pipes open; what the program itself wrote is in them by now.
            drain(&mut out, &mut stdout, bounds.output, true)?;
            drain(&mut err, &mut stderr, MOST_COMPLAINT, false)?;
            (out, err) = (None, None);
        }
    }
    Ok((stdout, stderr))
}

/// Reads what is there; a closed pipe becomes none.
fn drain(
    pipe: &mut Option<impl io::Read>,
    into: &mut Vec<u8>,
    most: usize,
    strict: bool,
) -> Result<(), Fault> {
    let Some(open) = pipe else {
        return Ok(());
    };
    let mut chunk = [0; CHUNK];
    loop {
        match open.read(&mut chunk) {
            Ok(0) => {
                *pipe = None;
                return Ok(());
            }
            Ok(length) => {
                let room = most.saturating_sub(into.len());
                if strict && length > room {
                    return Err(Fault::TooMuch);
                }
                let read = chunk.get(..length.min(room)).unwrap_or_default();
                into.extend_from_slice(read);
            }
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => (),
            Err(why) => return Err(why.into()),
        }
    }
}
