//! The system that runs here, as its agent would see it.

use std::path::Path;
use std::time::{Duration, Instant};

use stockade_advisories::{Inventory, detect};
use stockade_controls::engine::{
    CONTROLS, Case, Host, HostPath, Kind, Own, Standing, UnixSeconds, Unseen, assess,
};
use stockade_host::firewall::{self, standing};
use stockade_host::tls;
use stockade_host::view::Live;
use stockade_profile::Profile;

use crate::audited::{AuditError, Audited, Target, TargetKind};
use crate::image::generic;

/// Where programs and libraries are.
const PROGRAMS: [&str; 10] = [
    "/bin",
    "/sbin",
    "/lib",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/libexec",
    "/usr/local",
    "/opt",
    "/app",
];
/// The most bytes of them that are read, of one and of all, and the time that it may take: a device's are less.
const LONGEST: usize = 256 << 20;
const MOST_READ: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_mins(1);

/// Audits this system. What this process may not see is told as what cannot be judged.
pub fn live(profile: Option<&Profile>, now: UnixSeconds) -> Result<Audited, AuditError> {
    let begun = Instant::now();
    let opened = Live::open().map_err(|why| AuditError::Incomplete(why.to_string()))?;
    let host = opened
        .with_prober(tls::ask)
        .with_firewall(|| standing(Path::new(firewall::FOLDER)));
    let name = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let target = Target {
        kind: TargetKind::Live,
        name: name.trim().to_owned(),
        sha256: None,
    };
    let generic = generic::profile();
    let own = Own::default();
    let case = Case {
        host: &host,
        profile: profile.unwrap_or(&generic),
        now,
        own: &own,
    };
    let mut audited = Audited::of(target, Standing::Live);
    audited.profile = profile.map(Into::into);
    let outcomes = assess(&case, CONTROLS).outcomes.into_iter();
    audited.outcomes = outcomes
        .map(|outcome| generic::settled(outcome, profile.is_some(), Standing::Live))
        .collect();
    let mut inventory = stockade_advisories::inventory(&host);
    say_of_themselves(&host, MOST_READ, &mut inventory);
    audited.inventory = Some(inventory);
    audited.took = begun.elapsed();
    Ok(audited)
}

/// Adds what programs and libraries say that they are; that some were not asked is told.
fn say_of_themselves(host: &dyn Host, most: u64, inventory: &mut Inventory) {
    let begun = Instant::now();
    let is_directory =
        |path: &HostPath| host.entry(path).is_ok_and(|it| it.kind == Kind::Directory);
    let mut open: Vec<HostPath> = PROGRAMS
        .map(HostPath::of)
        .into_iter()
        .filter(is_directory)
        .collect();
    let (mut found, mut left) = (Vec::new(), most);
    while let Some(directory) = open.pop() {
        let names = host.list(&directory).unwrap_or_else(|why| {
            inventory
                .unread
                .push((directory.to_string(), why.to_string()));
            Vec::new()
        });
        for (name, entry) in names {
            let Ok(path) = directory.join(&name) else {
                continue;
            };
            if entry.kind == Kind::Directory {
                open.push(path);
                continue;
            }
            let library = name.windows(3).any(|it| it == b".so");
            if entry.kind != Kind::File || (entry.mode & 0o111 == 0 && !library) {
                continue;
            }
            let Some(rest) = left
                .checked_sub(entry.size)
                .filter(|_| begun.elapsed() < PATIENCE)
            else {
                let why =
                    "there are more programs than are asked for their version: the rest was not";
                inventory.unread.push((path.to_string(), why.to_owned()));
                return inventory.add_detected(found);
            };
            left = rest;
            match host.read(&path, LONGEST) {
                Ok(content) => found.extend(detect(&path.to_string(), &content)),
                // Gone meanwhile.
                Err(Unseen::Absent) => (),
                Err(why) => inventory.unread.push((path.to_string(), why.to_string())),
            }
        }
    }
    inventory.add_detected(found);
}

#[cfg(test)]
mod tests {
    use stockade_controls::engine::MemoryHost;

    use super::*;

    #[test]
    fn programs_say_what_they_are_and_it_is_told_if_some_were_not_asked() {
        const BUSYBOX: &str = "\x7fELF\0BusyBox v1.36.1 (2024-01-01 00:00:00 UTC)\0";
        let host = MemoryHost::new()
            .file("/usr/lib/x/libz.so.1", 0o644, "\x7fELF\0")
            .file("/usr/local/bin/box", 0o755, BUSYBOX)
            .file("/usr/local/bin/text", 0o644, BUSYBOX)
            .file("/var/box", 0o755, BUSYBOX);
        let said = |most| {
            let mut inventory = Inventory::default();
            say_of_themselves(&host, most, &mut inventory);
            let found = inventory.components.iter();
            let found = found.map(|it| (it.name.clone(), it.version.clone(), it.place.clone()));
            (found.collect::<Vec<_>>(), inventory.unread.len())
        };
        let busybox = ("busybox", "1.36.1", "/usr/local/bin/box at 0x5");
        let (name, version, place) = busybox;
        let busybox = (name.to_owned(), version.to_owned(), place.to_owned());
        assert_eq!(said(MOST_READ), (vec![busybox], 0));
        assert_eq!(said(20), (Vec::new(), 1));
    }
}
