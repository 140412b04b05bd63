//! Services of systemd, by its files.

use std::collections::{BTreeMap, BTreeSet};

use super::unit::{self, DIRECTORIES, Unit};
use super::{Service, below, names, script};
use crate::engine::{Action, Host, HostPath, Kind, Unseen};

/// What can start a service of the same name.
const STARTERS: [&str; 3] = [".socket", ".timer", ".path"];
/// The suffixes of directories that hold what a unit pulls in.
const PULLS: [&str; 3] = [".wants", ".requires", ".upholds"];

/// What the directories of units hold.
#[derive(Default)]
struct Found {
    /// Names of unit files.
    units: BTreeSet<String>,
    /// Other names of units: link, and the unit that it leads to.
    aliases: BTreeMap<String, String>,
    /// Units that others pull in, with the links by which they do.
    pulled: BTreeMap<String, Vec<HostPath>>,
}

fn look(host: &dyn Host) -> Result<Found, Unseen> {
    let mut found = Found::default();
    for directory in DIRECTORIES.map(HostPath::of) {
        for (name, kind, _) in names(host, &directory)? {
            let path = below(&directory, &name)?;
            if kind == Kind::Directory {
                if PULLS.iter().any(|suffix| name.ends_with(suffix)) {
                    for (unit, _, _) in names(host, &path)? {
                        let link = below(&path, &unit)?;
                        found.pulled.entry(unit).or_default().push(link);
                    }
                }
                continue;
            }
            if kind == Kind::Link {
                let target = host.link(&path)?;
                let target = target.rsplit(|byte| *byte == b'/').next();
                let target = String::from_utf8_lossy(target.unwrap_or_default()).into_owned();
                if target != name && target != "null" {
                    found.aliases.entry(name).or_insert(target);
                    continue;
                }
            }
            found.units.insert(name);
        }
    }
    Ok(found)
}

pub(super) fn list(host: &dyn Host) -> Result<Vec<Service>, Unseen> {
    let found = look(host)?;
    let mut wanted: BTreeSet<&str> = found.units.iter().map(String::as_str).collect();
    wanted.extend(found.pulled.keys().map(String::as_str));
    let mut starters: BTreeMap<String, bool> = BTreeMap::new();
    for name in &wanted {
        let Some((_, suffix)) = STARTERS
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).map(|stem| (stem, suffix)))
        else {
            continue;
        };
        if let Some((service, enabled)) = starter(host, &found, name, suffix)? {
            let known = starters.entry(service).or_default();
            *known = *known || enabled;
        }
    }
    let mut all = Vec::new();
    let services = wanted
        .iter()
        .filter_map(|name| name.strip_suffix(".service"));
    let mut seen = BTreeSet::new();
    for name in services.chain(starters.keys().map(String::as_str)) {
        // A template is nothing yet, unless a socket makes instances of it.
        if (name.ends_with('@') && !starters.contains_key(name)) || !seen.insert(name) {
            continue;
        }
        let whole = format!("{name}.service");
        let unit = match unit::read(host, &whole) {
            Err(Unseen::Absent) => continue,
            unit => unit?,
        };
        let started = starters.get(name).copied().unwrap_or_default();
        let enabled = !unit.masked && (started || found.pulled.contains_key(&whole));
        all.push(service(host, name, &unit, enabled)?);
    }
    let known: BTreeSet<String> = all.iter().map(|it| it.name.clone()).collect();
    // Scripts that no unit stands for: systemd makes units of them.
    let scripts = script::sysv_scripts(host)?;
    all.extend(scripts.into_iter().filter(|it| !known.contains(&it.name)));
    Ok(all)
}

/// Which service a socket, a timer or a path starts, and whether it may.
fn starter(
    host: &dyn Host,
    found: &Found,
    name: &str,
    suffix: &str,
) -> Result<Option<(String, bool)>, Unseen> {
    let unit = match unit::read(host, name) {
        Err(Unseen::Absent) => return Ok(None),
        unit => unit?,
    };
    let stem = name.strip_suffix(suffix).unwrap_or(name);
    let (section, key) = match suffix {
        ".socket" => ("Socket", "Service"),
        ".timer" => ("Timer", "Unit"),
        _ => ("Path", "Unit"),
    };
    let accepts = unit.last("Socket", "Accept");
    let service = match unit.last(section, key) {
        Some(named) => named.strip_suffix(".service").unwrap_or(named).to_owned(),
        None if accepts.is_some_and(|it| matches!(it, "yes" | "true" | "on" | "1")) => {
            format!("{stem}@")
        }
        None => stem.to_owned(),
    };
    Ok(Some((
        service,
        !unit.masked && found.pulled.contains_key(name),
    )))
}

fn service(host: &dyn Host, name: &str, unit: &Unit, enabled: bool) -> Result<Service, Unseen> {
    let processes = match host.processes() {
        Err(Unseen::Offline) => None,
        all => {
            let part = format!("{name}.service");
            let is_it = |cgroup: &str| {
                cgroup.split('/').any(|it| {
                    // Instances that a socket made are of its template.
                    it == part || (name.ends_with('@') && it.starts_with(name))
                })
            };
            let all = all?.iter();
            let own = all.filter(|it| it.cgroup.as_deref().is_some_and(is_it));
            Some(own.map(|it| it.pid).collect())
        }
    };
    Ok(Service {
        name: name.to_owned(),
        unit: unit.path.clone(),
        enabled,
        masked: unit.masked,
        processes,
        program: unit.program(),
        user: unit.user(),
    })
}

/// The units that a service's name stands for: itself and what starts it.
pub(super) fn off(host: &dyn Host, name: &str, mask: bool) -> Result<Vec<Action>, Unseen> {
    let found = look(host)?;
    let etc = HostPath::of(DIRECTORIES[0]);
    let stem = name.strip_suffix('@').unwrap_or(name);
    let mut actions = Vec::new();
    let mut units = vec![format!("{name}.service")];
    for suffix in STARTERS {
        let whole = format!("{stem}{suffix}");
        if found.units.contains(&whole) {
            units.push(whole);
        }
    }
    for unit in &units {
        let links = found
            .pulled
            .get(unit)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let (own, vendors): (Vec<_>, Vec<_>) = links.iter().partition(|it| it.is_in(&etc));
        actions.extend(own.into_iter().cloned().map(|path| Action::Remove { path }));
        for (alias, target) in &found.aliases {
            let path = below(&etc, alias)?;
            if target == unit && host.entry(&path).is_ok_and(|it| it.kind == Kind::Link) {
                actions.push(Action::Remove { path });
            }
        }
        // What the vendor's own links pull in starts unless it is masked.
        if mask || !vendors.is_empty() {
            actions.push(Action::Link {
                path: below(&etc, unit)?,
                target: "/dev/null".to_owned(),
            });
        }
    }
    if !units.iter().any(|unit| found.units.contains(unit)) {
        actions.extend(script::runlevels_off(host, name)?);
    }
    Ok(actions)
}
