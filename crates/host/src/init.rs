//! Services of the system that runs, through its own init: systemd, `OpenRC`, procd, `BusyBox` or System V.
//!
//! What services there are, and which files keep them from starting, is read by [`stockade_controls::services`].

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stockade_controls::engine::{Host as _, InitSystem, Unseen};
use stockade_controls::services;
use stockade_profile::ServiceName;

use crate::process::{end, is};
use crate::program::{self, ProgramError, find};
use crate::view::Live;

/// A stop may take as long as systemd lets it (`DefaultTimeoutStopSec=`, 90 s).
const PATIENCE: Duration = Duration::from_secs(100);
/// The units that one name stands for.
const SUFFIXES: [&str; 4] = [".service", ".socket", ".timer", ".path"];

/// Why a service is not as it was to be.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The init system's own program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// What runs is not known.
    #[error("services: {0}")]
    Unseen(#[from] Unseen),
    /// It is not there.
    #[error("there is no service `{0}`")]
    NoService(String),
    /// It can not be done to it.
    #[error("`{0}` is no script, so it can only be stopped")]
    NoScript(String),
    /// It runs on.
    #[error("`{0}` still runs")]
    StillRuns(String),
}

/// The init system that runs.
#[derive(Debug, Clone, Copy)]
pub struct Init {
    system: InitSystem,
}

impl Init {
    /// Finds out which one runs; none where systemd is installed and was not started, as in a container.
    pub fn detect() -> Result<Option<Self>, InitError> {
        let system = Live::open()?.init()?;
        // sd_booted(3).
        let idle = system == InitSystem::Systemd && !Path::new("/run/systemd/system").is_dir();
        Ok((!idle).then_some(Self { system }))
    }

    /// Which one it is.
    pub fn system(self) -> InitSystem {
        self.system
    }

    /// What a service's name stands for, and whether each runs. Nothing: there is no such service.
    pub fn states(self, name: &ServiceName) -> Result<Vec<(String, bool)>, InitError> {
        let name = name.as_str();
        if self.system == InitSystem::Systemd {
            let stem = name.strip_suffix('@').unwrap_or(name);
            let units = SUFFIXES
                .iter()
                .filter(|it| !name.ends_with('@') || **it != ".service");
            let mut states = Vec::new();
            for suffix in units {
                let unit = format!("{stem}{suffix}");
                if let Some(runs) = Self::unit_runs(&unit)? {
                    states.push((unit, runs));
                }
            }
            return Ok(states);
        }
        let live = Live::open()?;
        let all = services::list(&live)?;
        let found = all.iter().find(|service| service.name == name);
        let Some(service) = found else {
            return Ok(Vec::new());
        };
        let runs = match self.system {
            // A service without a process may be started too.
            InitSystem::OpenRc => Self::script_says(name, "status")?,
            // What has ended and is not collected yet runs no more.
            _ => live.processes()?.iter().any(|it| {
                let own = service.processes.as_deref().unwrap_or_default();
                own.contains(&it.pid) && is(it.pid, it.started)
            }),
        };
        Ok(vec![(name.to_owned(), runs)])
    }

    /// Whether a unit of systemd runs, or is about to; none if there is no such unit.
    fn unit_runs(unit: &str) -> Result<Option<bool>, InitError> {
        let shown = Self::show(unit, &["LoadState", "ActiveState"])?;
        let [load, active] = shown.as_slice() else {
            return Ok(None);
        };
        let runs = matches!(
            active.as_str(),
            "active" | "activating" | "reloading" | "refreshing"
        );
        Ok((load != "not-found" || runs).then_some(runs))
    }

    /// Properties of a unit of systemd, in the order in which they are asked for.
    pub(crate) fn show(unit: &str, properties: &[&str]) -> Result<Vec<String>, InitError> {
        let mut command = Command::new(find("systemctl")?);
        command.args(["show", "--no-pager", "--property"]);
        command.arg(properties.join(",")).arg("--").arg(unit);
        let text = program::succeed(command, PATIENCE)?;
        let text = String::from_utf8_lossy(&text);
        let value = |name: &&str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let found = lines.find(|(key, _)| key == name);
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        Ok(properties.iter().map(value).collect())
    }

    /// Starts what [`Init::states`] named.
    pub fn start(self, unit: &str) -> Result<(), InitError> {
        match self.order(unit, "start") {
            // Init starts what stands in its table as soon as it reads it.
            Err(InitError::NoScript(_)) => self.reread(),
            started => started,
        }
    }

    /// Stops what [`Init::states`] named, and sees that it has stopped.
    pub fn stop(self, unit: &str) -> Result<(), InitError> {
        if self.system == InitSystem::Systemd {
            return self.order(unit, "stop");
        }
        match self.order(unit, "stop") {
            // A line of the table has no script, and one that is masked can not be run: its processes are ended below.
            Ok(()) | Err(InitError::NoScript(_)) => (),
            Err(InitError::Program(ProgramError::Start { why, .. }))
                if why.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(why) => return Err(why),
        }
        // A script may say that it stopped what it did not know of.
        let live = Live::open()?;
        let all = services::list(&live)?;
        let of_it = all.iter().filter(|service| service.name == unit);
        let numbers = of_it.filter_map(|it| it.processes.as_ref()).flatten();
        let processes = live.processes()?;
        for process in processes
            .iter()
            .filter(|it| numbers.clone().any(|pid| *pid == it.pid))
        {
            if !end(process.pid, process.started).unwrap_or_default() {
                return Err(InitError::StillRuns(unit.to_owned()));
            }
        }
        Ok(())
    }

    /// Starts anew what runs.
    pub fn restart(self, unit: &str) -> Result<(), InitError> {
        self.order(unit, "restart")
    }

    /// Makes what runs read its configuration, or starts it anew where it can not.
    pub fn reload(self, unit: &str) -> Result<(), InitError> {
        match self.system {
            InitSystem::Systemd => self.order(unit, "reload-or-restart"),
            _ => self.order(unit, "reload").or_else(|_| self.restart(unit)),
        }
    }

    /// Makes init read its files anew.
    pub fn reread(self) -> Result<(), InitError> {
        match self.system {
            InitSystem::Systemd => {
                let mut command = Command::new(find("systemctl")?);
                command.arg("daemon-reload");
                program::succeed(command, PATIENCE)?;
                Ok(())
            }
            InitSystem::Busybox => {
                // init(8): the table is read again.
                let failed = |why: rustix::io::Errno| Unseen::Failed(why.to_string());
                Ok(kill_process(Pid::INIT, Signal::HUP).map_err(failed)?)
            }
            InitSystem::OpenRc | InitSystem::Procd => Ok(()),
        }
    }

    fn order(self, unit: &str, verb: &str) -> Result<(), InitError> {
        let command = match self.system {
            InitSystem::Systemd => {
                let mut command = Command::new(find("systemctl")?);
                command.args([verb, "--"]).arg(unit);
                command
            }
            InitSystem::OpenRc => {
                let mut command = Command::new(find("rc-service")?);
                command.args(["--nocolor", "--", unit, verb]);
                command
            }
            InitSystem::Procd | InitSystem::Busybox => {
                let mut command = Command::new(script(unit)?);
                command.arg(verb);
                command
            }
        };
        program::succeed(command, PATIENCE)?;
        Ok(())
    }

    fn script_says(name: &str, verb: &str) -> Result<bool, InitError> {
        let mut command = Command::new(find("rc-service")?);
        command.args(["--nocolor", "--", name, verb]);
        Ok(program::ask(command, PATIENCE)?.status.success())
    }
}

/// The script of a service: by its name, or numbered as `BusyBox` has it.
fn script(name: &str) -> Result<PathBuf, InitError> {
    let directory = Path::new("/etc/init.d");
    let plain = directory.join(name);
    if plain.is_file() {
        return Ok(plain);
    }
    let numbered = |file: &str| {
        let rest = file.strip_prefix('S').and_then(|it| it.split_at_checked(2));
        rest.is_some_and(|(number, rest)| number.parse::<u8>().is_ok() && rest == name)
    };
    let files = fs_err::read_dir(directory).into_iter().flatten().flatten();
    let mut found = files.filter(|it| it.file_name().to_str().is_some_and(numbered));
    let found = found.next().map(|it| it.path());
    found.ok_or_else(|| InitError::NoScript(name.to_owned()))
}
