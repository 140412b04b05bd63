//! Programs that lend rights, and files that everybody may write: what the one walk found.

use std::collections::BTreeSet;

use stockade_profile::AbsolutePath;

use super::rules;
use crate::engine::{
    Action, Case, Entry, Finding, HostPath, Inventory, Judged, Kind, Notable, Rule, Severity,
    Stage, Step,
};

/// What stops working without the bit, for the programs that people know.
const KNOWN: &[(&str, &str)] = &[
    ("chage", "users can no longer see when their password ends"),
    (
        "chfn",
        "users can no longer change their name in /etc/passwd",
    ),
    ("chsh", "users can no longer change their shell"),
    ("crontab", "users can no longer change their own crontab"),
    (
        "dbus-daemon-launch-helper",
        "D-Bus can no longer start services of the system on demand",
    ),
    ("doas", "nobody can become root with doas"),
    ("fusermount", "users can no longer mount with FUSE"),
    ("fusermount3", "users can no longer mount with FUSE"),
    ("gpasswd", "users can no longer manage groups"),
    ("mount", "users can no longer mount what fstab lets them"),
    (
        "newgrp",
        "users can no longer change their group in a session",
    ),
    ("passwd", "users can no longer change their own password"),
    ("ping", "only root can ping, unless the kernel lets all"),
    ("pkexec", "nobody can become root with pkexec"),
    (
        "polkit-agent-helper-1",
        "polkit can no longer ask for passwords",
    ),
    (
        "ssh-keysign",
        "host-based authentication of ssh ends, which hardly anybody uses",
    ),
    ("su", "only root can change the user with su"),
    ("sudo", "nobody can become root with sudo"),
    ("umount", "users can no longer unmount what fstab lets them"),
    (
        "unix_chkpwd",
        "programs without root's rights can no longer check a user's password, for example a screen lock",
    ),
];

/// The letters of `security.capability` (capabilities(7), linux/capability.h), by their bit.
pub(super) const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Judges what the walk found; files in `told` belong to another rule already.
pub(super) fn judge(case: &Case<'_>, told: &BTreeSet<HostPath>, judged: &mut Judged) {
    let inventory = match case.host.inventory() {
        Ok(inventory) => inventory,
        Err(why) => {
            for rule in [&rules::SETUID, &rules::CAPABILITY, &rules::OPEN_FILE] {
                judged.unseen(rule, "the files", &why);
            }
            return;
        }
    };
    let allowed = |path: &HostPath| is_named(case, path);
    let mut setuid = Vec::new();
    let mut capability = Vec::new();
    let mut open = Vec::new();
    for it in &inventory.notable {
        if it.entry.kind == Kind::File && !allowed(&it.path) {
            setuid.extend(lends(it, told.contains(&it.path)));
            capability.extend(has_capability(it));
        }
        if it.entry.mode & 0o002 != 0 && !told.contains(&it.path) {
            open.extend(is_open(it, allowed(&it.path)));
        }
    }
    for (rule, findings) in [
        (&rules::SETUID, setuid),
        (&rules::CAPABILITY, capability),
        (&rules::OPEN_FILE, open),
    ] {
        told_of(inventory, rule, findings, judged);
    }
}

fn told_of(
    inventory: &Inventory,
    rule: &'static Rule,
    findings: Vec<Finding>,
    judged: &mut Judged,
) {
    match inventory.unseen.as_slice() {
        [] => judged.judged(rule, format!("{} files", inventory.looked_at), findings),
        [(path, why), more @ ..] => {
            let more = match more.len() {
                0 => String::new(),
                n => format!(", and {n} more places"),
            };
            judged.cannot_tell(rule, format!("`{path}`: {why}{more}"), findings);
        }
    }
}

/// Whether the profile names a program that lends rights.
pub(super) fn is_named(case: &Case<'_>, path: &HostPath) -> bool {
    let list = &case.profile.privileges.setuid;
    list.iter().any(|it| same(it, path))
}

/// Mode and owner of what is right in every respect: each rule that minds the same file asks for the same, so that no step
/// undoes another. `guarded`: only root may write there.
pub(super) fn settled(entry: &Entry, named: bool, guarded: bool) -> (u32, (u32, u32)) {
    let lends = if entry.kind == Kind::File && !named {
        0o6000
    } else {
        0
    };
    let (others, owner) = if guarded {
        (0o022, 0)
    } else {
        (0o002, entry.owner)
    };
    (entry.mode & !(lends | others), (owner, entry.group))
}

/// `/bin` is `/usr/bin` where the two are merged; a list may name either.
fn same(named: &AbsolutePath, path: &HostPath) -> bool {
    let strip = |path: &str| path.strip_prefix("/usr").map(str::to_owned);
    let (named, path) = (named.as_str(), path.to_string());
    named == path
        || strip(&path).is_some_and(|short| {
            short == named
                && ["/bin/", "/sbin/", "/lib"]
                    .iter()
                    .any(|it| short.starts_with(it))
        })
}

fn lends(it: &Notable, guarded: bool) -> Option<Finding> {
    let Entry {
        mode, owner, group, ..
    } = it.entry;
    let user = mode & 0o4000 != 0;
    // Without the right to execute, setgid once meant locking, and lends nothing (stat(2)).
    let of_group = mode & 0o2010 == 0o2010;
    if !user && !of_group {
        return None;
    }
    let whose = match (user, owner) {
        (true, 0) => "root".to_owned(),
        (true, owner) => format!("user {owner}"),
        (false, _) => format!("group {group}"),
    };
    let name = String::from_utf8_lossy(it.path.name());
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    let risk = match known {
        Some((_, what)) => format!("Without it {what}."),
        None => "What is started by others than its owner may no longer work.".to_owned(),
    };
    let severity = if user && owner == 0 {
        Severity::High
    } else {
        Severity::Medium
    };
    let (settled, owner_after) = settled(&it.entry, false, guarded);
    let finding = Finding::of(
        &rules::SETUID,
        it.path.to_string(),
        format!("`{}` gives the rights of {whose} to whoever starts it, and the profile does not name it", it.path),
    )
    .seen(it.path.to_string(), format!("mode {mode:04o}, owner {owner}, group {group}"));
    Some(
        Finding {
            severity,
            ..finding
        }
        .mended_by(vec![Step::risky(
            Stage::Change,
            Action::Mode {
                path: it.path.clone(),
                mode: settled,
                owner: owner_after,
            },
            format!("Take from `{}` that it lends rights", it.path),
            risk,
        )]),
    )
}

fn has_capability(it: &Notable) -> Option<Finding> {
    let names = capability_names(it.capability.as_deref()?);
    let finding = Finding::of(
        &rules::CAPABILITY,
        it.path.to_string(),
        format!(
            "`{}` gives {names} to whoever starts it, and the profile does not name it",
            it.path
        ),
    );
    Some(
        finding
            .seen(it.path.to_string(), names)
            .mended_by(vec![Step::risky(
                Stage::Change,
                Action::NoCapability {
                    path: it.path.clone(),
                },
                format!("Take the file capability from `{}`", it.path),
                "What is started by others than root may no longer work.",
            )]),
    )
}

/// The permitted set of `security.capability`, versions 1 to 3 (`struct vfs_cap_data` of linux/capability.h).
pub(super) fn capability_names(value: &[u8]) -> String {
    let word = |at: usize| {
        let bytes = value.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let (Some(_), Some(low)) = (word(0), word(4)) else {
        return "a damaged file capability".to_owned();
    };
    let high = word(12).unwrap_or(0);
    let bits = u64::from(high).wrapping_shl(32) | u64::from(low);
    let names: Vec<String> = CAPABILITIES
        .iter()
        .zip(0_u32..)
        .filter(|(_, bit)| bits.wrapping_shr(*bit) & 1 == 1)
        .map(|(name, _)| format!("cap_{name}"))
        .collect();
    if names.is_empty() {
        return "an empty file capability".to_owned();
    }
    names.join(", ")
}

fn is_open(it: &Notable, named: bool) -> Option<Finding> {
    let Entry {
        kind,
        mode,
        owner,
        group,
        ..
    } = it.entry;
    let (thing, severity) = match kind {
        Kind::File if mode & 0o111 != 0 => ("program", Severity::High),
        Kind::File => ("file", Severity::Medium),
        Kind::Directory => ("directory", Severity::Medium),
        Kind::Link | Kind::Device | Kind::Other => return None,
    };
    let for_all = ["/tmp", "/var/tmp", "/dev/shm"].map(HostPath::of);
    let (mode_after, says) = if for_all.contains(&it.path) {
        // Everybody's, but each only takes away what is his own.
        (
            mode | 0o1000,
            format!("Let only owners remove files from `{}`", it.path),
        )
    } else {
        (
            settled(&it.entry, named, false).0,
            format!("Take everybody's right to write from `{}`", it.path),
        )
    };
    let finding = Finding::of(
        &rules::OPEN_FILE,
        it.path.to_string(),
        format!("The {thing} `{}` may be written by everybody", it.path),
    )
    .seen(
        it.path.to_string(),
        format!("mode {mode:04o}, owner {owner}, group {group}"),
    );
    Some(
        Finding {
            severity,
            ..finding
        }
        .mended_by(vec![Step::risky(
            Stage::Change,
            Action::Mode {
                path: it.path.clone(),
                mode: mode_after,
                owner: (owner, group),
            },
            says,
            "A program that relies on writing there as another user no longer can.",
        )]),
    )
}
