//! What is done to the system itself: a closed list of errands, each with a program and a check of its own.
//!
//! The helper asks for them over the launcher's sockets; they are done in a part that was started before the helper gave up its
//! rights, that has no network, and that takes nothing but what stands here.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stockade_api::update::{Job, Said, Standing};
use stockade_controls::engine::{Framework, HostPath};
use stockade_controls::mac::Attempt;
use stockade_host::mac::{self, attempt};
use stockade_host::program::{find, succeed};
use stockade_profile::ServiceName;

/// The longest label of a process that is tried.
const LONGEST_LABEL: usize = 4096;

/// Something to do. What it says was read again when it arrived: a name is a name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Errand {
    /// Set a setting of the kernel, one of those that a plan may change.
    Set(HostPath, String),
    /// Load the policy of a service, from where it is kept.
    LoadPolicy(Framework, ServiceName),
    /// Unload it.
    UnloadPolicy(Framework, ServiceName),
    /// Try what is forbidden to processes of this label.
    Attempt(Framework, String),
    /// For which of these labels of `SELinux` the kernel only watches.
    Permissive(BTreeSet<String>),
    /// A job of the program that installs systems, in this root.
    Update(String, Job),
    /// Start the system again.
    Restart,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Came {
    Done,
    Attempts(Vec<Attempt>),
    Permissive(BTreeSet<String>),
    Update(Box<Standing>),
}

impl Errand {
    /// How long it may take.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            Self::LoadPolicy(..) | Self::UnloadPolicy(..) => mac::PATIENCE,
            Self::Set(..) => Duration::from_secs(5),
            Self::Attempt(..) | Self::Permissive(_) => Duration::from_secs(25),
            Self::Update(..) => Duration::from_hours(2),
            Self::Restart => Duration::from_mins(2),
        }
    }

    /// Does it, in the runner; lines of progress may be told meanwhile.
    pub(crate) fn carry_out(self, line: &mut dyn FnMut(String)) -> Result<Came, String> {
        let patience = self.patience();
        match self {
            Self::Set(path, value) => stockade_host::apply::set(&path, &value)
                .map(|()| Came::Done)
                .map_err(|why| why.to_string()),
            Self::LoadPolicy(framework, service) => mac::load(framework, &service)
                .map(|()| Came::Done)
                .map_err(|why| why.to_string()),
            Self::UnloadPolicy(framework, service) => mac::unload(framework, &service)
                .map(|()| Came::Done)
                .map_err(|why| why.to_string()),
            Self::Attempt(framework, label) => {
                let program = || {
                    let mut command = Command::new("/proc/self/exe");
                    command.args(["--role", "attempt"]);
                    command
                };
                attempt::made(program, framework, plain(&label)?).map(Came::Attempts)
            }
            Self::Permissive(labels) => {
                let mut found = BTreeSet::new();
                for label in labels {
                    if mac::is_permissive(plain(&label)?).map_err(|why| why.to_string())? {
                        found.insert(label);
                    }
                }
                Ok(Came::Permissive(found))
            }
            Self::Update(root, job) => work(&root, &job, patience, line)
                .map(|standing| Came::Update(Box::new(standing)))
                .map_err(|why| why.to_string()),
            Self::Restart => restart()
                .map(|()| Came::Done)
                .map_err(|why| why.to_string()),
        }
    }
}

/// Has the program that installs systems do a job: it reads it as a line, and answers in lines.
fn work(
    root: &str,
    job: &Job,
    patience: Duration,
    line: &mut dyn FnMut(String),
) -> io::Result<Standing> {
    let mut child = Command::new(crate::update::program()?)
        .args(["work", "--root", root])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let process = rustix::process::pidfd_open(
        rustix::process::Pid::from_child(&child),
        rustix::process::PidfdFlags::empty(),
    )?;
    // It ends with this function, or when its time is over.
    let (done, over) = std::sync::mpsc::sync_channel::<()>(0);
    std::thread::spawn(move || {
        if over.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _gone = rustix::process::pidfd_send_signal(process, rustix::process::Signal::KILL);
        }
    });
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{}", serde_json::to_string(job)?)?;
    }
    let said = child
        .stdout
        .take()
        .into_iter()
        .flat_map(|it| io::BufReader::new(it).lines());
    let mut last = Err(io::Error::other("stockade-update ended without an answer"));
    for said in said {
        match serde_json::from_str(&said?)? {
            Said::Doing(doing) => line(doing),
            Said::Done(standing) => last = Ok(standing),
            Said::Refused(why) => last = Err(io::Error::other(why)),
        }
    }
    child.wait()?;
    drop(done);
    last
}

/// Starts the system again: as its init does it, or by the kernel where that does not.
fn restart() -> io::Result<()> {
    if let Ok(program) = find("reboot")
        && succeed(Command::new(program), Duration::from_mins(1)).is_ok()
    {
        return Ok(());
    }
    rustix::fs::sync();
    Ok(rustix::system::reboot(
        rustix::system::RebootCommand::Restart,
    )?)
}

/// A label that is one word of a sentence to the kernel.
fn plain(label: &str) -> Result<&str, String> {
    let fits = !label.is_empty() && label.len() <= LONGEST_LABEL;
    if fits && label.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(label)
    } else {
        Err("this is no label of a process".to_owned())
    }
}
