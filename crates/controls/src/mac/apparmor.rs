//! Profiles of `AppArmor` (apparmor.d(5)).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use stockade_profile::ServiceName;

use super::need::{Need, merged};
use crate::engine::Framework;

/// Where the rest of a profile is what the service was seen to do.
const SEEN: &str = "  # What it was seen to do.";
/// What every program needs and nobody is harmed by, with why.
const BASE: [(&str, &[&str]); 4] = [
    (
        "The linker and the C library.",
        &[
            "/etc/ld.so.cache r,",
            "/etc/ld.so.preload r,",
            "/{usr/,}lib{,32,64}/** mr,",
            "/usr/share/locale/** r,",
            "/usr/share/zoneinfo/** r,",
            "/etc/localtime r,",
            "/proc/sys/vm/overcommit_memory r,",
        ],
    ),
    (
        "Nothing, zeros, randomness.",
        &[
            "/dev/full rw,",
            "/dev/null rw,",
            "/dev/random r,",
            "/dev/urandom r,",
            "/dev/zero rw,",
        ],
    ),
    (
        "To tell systemd that it is ready, and to log.",
        &[
            "/run/systemd/journal/dev-log w,",
            "/run/systemd/journal/socket w,",
            "/run/systemd/journal/stdout rw,",
            "/run/systemd/notify w,",
            "network unix dgram,",
            "network unix stream,",
        ],
    ),
    (
        "To be stopped, and to be looked at.",
        &[
            "ptrace (readby) peer=unconfined,",
            "signal (receive) peer=unconfined,",
        ],
    ),
];

/// A profile: the text is the same for the same needs.
pub(super) fn text(service: &ServiceName, needs: &BTreeSet<Need>, complain: bool) -> String {
    let name = super::name(Framework::Apparmor, service);
    let (says, flags) = if complain {
        ("It only watches as yet", "complain,")
    } else {
        ("It is enforced", "")
    };
    let mut text = format!(
        "# The profile of the service {service}, made by Stockade from what it was seen to do. {says}.\n\
         abi <abi/3.0>,\n\n\
         profile {name} flags=({flags}attach_disconnected,mediate_deleted) {{\n"
    );
    for (why, lines) in BASE {
        let _written = writeln!(text, "  # {why}");
        for line in lines {
            let _written = writeln!(text, "  {line}");
        }
    }
    let _written = writeln!(
        text,
        "  # Its own processes among each other.\n  signal peer={name},\n{SEEN}"
    );
    let mut last = 0;
    for need in merged(needs.iter().cloned()) {
        let (part, why) = match need {
            Need::Capability(_) => (1, "Rights of root that it used."),
            Need::File { .. } => (2, "Files."),
            Need::Network { .. } => (3, "Sockets."),
            Need::Allow { .. } => continue,
        };
        let Some(line) = need.line() else { continue };
        if is_given(&need) {
            continue;
        }
        if part != last {
            let _written = writeln!(text, "  # {why}");
            last = part;
        }
        let _written = writeln!(text, "  {line}");
    }
    text.push_str("}\n");
    text
}

/// What a profile of ours grants beyond what all have.
pub(super) fn needs(text: &str) -> BTreeSet<Need> {
    let seen = text.split_once(SEEN).map_or("", |(_, seen)| seen);
    seen.lines().filter_map(Need::of_line).collect()
}

/// Whether every profile grants it.
pub(super) fn is_given(need: &Need) -> bool {
    let line = need.line().unwrap_or_default();
    BASE.iter().any(|(_, lines)| lines.contains(&line.as_str()))
}
