//! Services, whoever starts them: what there is, what starts at boot, what runs, and how it is kept from starting.

mod script;
mod systemd;
pub mod unit;

#[cfg(test)]
mod tests;

use stockade_profile::ServiceName;

use crate::engine::{Action, Host, HostPath, InitSystem, Kind, Process, ServiceChange, Unseen};

/// The longest unit or script that is read.
const MOST: usize = 1024 * 1024;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name, without a suffix; an instance of a template with its own name (`getty@tty1`).
    pub name: String,
    /// The file that says how it is started: a unit, a script, or the table of init.
    pub unit: HostPath,
    /// Whether it starts at boot or when something asks for it: by a target, a runlevel, a socket, a timer, or a path.
    pub enabled: bool,
    /// Whether nothing can start it.
    pub masked: bool,
    /// Its processes; none if the host does not run.
    pub processes: Option<Vec<u32>>,
    /// Its program, as far as the unit or script says.
    pub program: Option<HostPath>,
    /// The user that it runs as, if one is named; a user made up at each start is `(dynamic)`.
    pub user: Option<String>,
}

impl Service {
    /// Whether it runs; none if the host does not.
    pub fn runs(&self) -> Option<bool> {
        self.processes.as_ref().map(|all| !all.is_empty())
    }
}

/// All services, by name.
pub fn list(host: &dyn Host) -> Result<Vec<Service>, Unseen> {
    let mut all = match host.init()? {
        InitSystem::Systemd => systemd::list(host)?,
        InitSystem::OpenRc => script::openrc(host)?,
        InitSystem::Procd => script::procd(host)?,
        InitSystem::Busybox => script::sysv(host)?,
    };
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup_by(|a, b| a.name == b.name);
    Ok(all)
}

/// What has to be done to files so that a service does not start at boot ([`ServiceChange::Disable`]), or not at all
/// ([`ServiceChange::Mask`]); nothing for other changes.
pub fn files(
    host: &dyn Host,
    name: &ServiceName,
    change: ServiceChange,
) -> Result<Vec<Action>, Unseen> {
    let mask = match change {
        ServiceChange::Disable => false,
        ServiceChange::Mask => true,
        ServiceChange::Stop | ServiceChange::Restart | ServiceChange::Reload => {
            return Ok(Vec::new());
        }
    };
    match host.init()? {
        InitSystem::Systemd => systemd::off(host, name.as_str(), mask),
        InitSystem::OpenRc => script::openrc_off(host, name.as_str(), mask),
        InitSystem::Procd => script::procd_off(host, name.as_str(), mask),
        InitSystem::Busybox => script::sysv_off(host, name.as_str(), mask),
    }
}

/// The processes of a service that no cgroup tells: by its pid file, by its program, or by its name.
fn processes_of(
    host: &dyn Host,
    name: &str,
    program: Option<&HostPath>,
) -> Result<Option<Vec<u32>>, Unseen> {
    let all = match host.processes() {
        Err(Unseen::Offline) => return Ok(None),
        all => all?,
    };
    let noted = pid_file(host, name);
    let is_it = |process: &&Process| {
        let by_cgroup = process.cgroup.as_deref().is_some_and(|path| {
            path.split('/')
                .any(|part| part == name || part.strip_prefix("openrc.") == Some(name))
        });
        let by_program = program.is_some() && process.program.as_ref() == program;
        // The kernel keeps 15 bytes of a name.
        let short: String = name.chars().take(15).collect();
        by_cgroup || by_program || Some(process.pid) == noted || process.name == short
    };
    Ok(Some(all.iter().filter(is_it).map(|it| it.pid).collect()))
}

fn pid_file(host: &dyn Host, name: &str) -> Option<u32> {
    let places = [
        format!("/run/{name}.pid"),
        format!("/var/run/{name}.pid"),
        format!("/run/{name}/{name}.pid"),
    ];
    places.iter().find_map(|place| {
        let path = HostPath::from_bytes(place.as_bytes()).ok()?;
        let text = host.read(&path, 64).ok()?;
        str::from_utf8(&text).ok()?.trim().parse().ok()
    })
}

/// A directory's names as text with their kinds; none if it is not there.
fn names(host: &dyn Host, directory: &HostPath) -> Result<Vec<(String, Kind, u32)>, Unseen> {
    match host.list(directory) {
        Ok(names) => Ok(names
            .into_iter()
            .filter_map(|(name, entry)| {
                let text = String::from_utf8(name.into_vec()).ok()?;
                Some((text, entry.kind, entry.mode))
            })
            .collect()),
        Err(Unseen::Absent) => Ok(Vec::new()),
        Err(why) => Err(why),
    }
}

fn below(directory: &HostPath, name: &str) -> Result<HostPath, Unseen> {
    directory
        .join(name.as_bytes())
        .map_err(|why| Unseen::Damaged(why.to_string()))
}
