//! Modules of `SELinux`, in its intermediate language (CIL reference guide).
//!
//! What may not exist in a policy, as attributes and classes of the reference policy, stands in blocks `optional`: they are left
//! out where it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use stockade_profile::ServiceName;

use super::need::{Need, word};
use crate::engine::{Framework, HostPath};

/// Where the rest of a module is what the service was seen to do.
const SEEN: &str = "; What it was seen to do.";

/// A context, taken apart: the level is the lowest of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) user: String,
    pub(super) role: String,
    pub(super) domain: String,
    /// With its colon; nothing where the policy has no levels.
    pub(super) level: String,
}

impl Context {
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim_end_matches(['\0', '\n']);
        let mut parts = text.splitn(4, ':');
        let mut next = || word(parts.next()?);
        let (user, role, domain) = (next()?, next()?, next()?);
        let level = match parts.next() {
            Some(level) => {
                let lowest = level.split('-').next()?;
                let plain = |c: char| c.is_ascii_alphanumeric() || "_.,:".contains(c);
                lowest.chars().all(plain).then(|| format!(":{lowest}"))?
            }
            None => String::new(),
        };
        Some(Self {
            user,
            role,
            domain,
            level,
        })
    }

    /// The context that a service is started in: that of whoever starts it, with the service's own domain.
    pub(super) fn of(&self, service: &ServiceName) -> String {
        let domain = domain(service);
        format!("{}:{}:{domain}{}", self.user, self.role, self.level)
    }
}

/// The domain of a service.
pub(super) fn domain(service: &ServiceName) -> String {
    format!("{}_t", super::name(Framework::Selinux, service))
}

/// A module: the text is the same for the same needs. `starter` starts the service, `helper` tries the policy from inside, and
/// `own` are the directories that are the service's alone.
pub(super) fn text(
    service: &ServiceName,
    (starter, helper): (&Context, &Context),
    own: &[HostPath],
    needs: &BTreeSet<Need>,
    complain: bool,
) -> String {
    let domain = domain(service);
    let (init, role) = (&starter.domain, &starter.role);
    let mut text = format!(
        "; The module of the service {service}, made by Stockade from what it was seen to do.\n\
         (type {domain})\n(roletype {role} {domain})\n"
    );
    if complain {
        let _written = writeln!(text, "; It only watches as yet.\n(typepermissive {domain})");
    }
    let _written = write!(
        text,
        "; It is started, and what starts it may stop it and take it up when it ends.\n\
         (allow {init} {domain} (process (transition)))\n\
         (optional {domain}_signals (allow {init} {domain} (process (sigkill signal sigstop signull getattr))))\n\
         (optional {domain}_start (allow {init} {domain} (process (siginh rlimitinh noatsecure))))\n\
         (optional {domain}_bounds (allow {init} {domain} (process2 (nnp_transition nosuid_transition))))\n\
         (optional {domain}_end (allow {domain} {init} (process (sigchld))))\n\
         (optional {domain}_open (allow {domain} {init} (fd (use))))\n\
         ; A domain like others, where the policy has rules for all.\n\
         (optional {domain}_domain (typeattributeset domain ({domain})))\n\
         ; Stockade tries it from inside.\n\
         (allow {} {domain} (process (dyntransition)))\n",
        helper.domain
    );
    if !own.is_empty() {
        let _written = writeln!(text, "; What is its own, for `restorecon` to mark.");
        let (user, level) = (&starter.user, starter.level.trim_start_matches(':'));
        let range = if level.is_empty() {
            "((s0) (s0))".to_owned()
        } else {
            format!("(({level}) ({level}))")
        };
        let files = format!("{domain}_own");
        let _written = writeln!(
            text,
            "(optional {files}_type\n  (type {files})\n  (roletype object_r {files})\n  (typeattributeset file_type ({files}))\n  \
             (allow {domain} {files} (dir (add_name create getattr open read remove_name rename rmdir search setattr write)))\n  \
             (allow {domain} {files} (file (append create getattr lock map open read rename setattr unlink write)))"
        );
        for path in own {
            let regex: String = path.to_string().chars().fold(String::new(), |mut out, c| {
                if "\\.+*?[]{}()^$|\"".contains(c) {
                    out.push('\\');
                }
                out.push(c);
                out
            });
            let _written = writeln!(
                text,
                "  (filecon \"{regex}(/.*)?\" any ({user} object_r {files} {range}))"
            );
        }
        text.push_str(")\n");
    }
    let _written = writeln!(text, "{SEEN}");
    let mut rules: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for need in needs {
        if let Need::Allow {
            to,
            class,
            permission,
        } = need
        {
            rules.entry((to, class)).or_default().insert(permission);
        }
    }
    for ((to, class), permissions) in rules {
        let to = if to == domain { "self" } else { to };
        let permissions = permissions.into_iter().collect::<Vec<_>>().join(" ");
        let _written = writeln!(text, "(allow {domain} {to} ({class} ({permissions})))");
    }
    text
}

/// What a module of ours grants beyond what all have.
pub(super) fn needs(text: &str) -> BTreeSet<Need> {
    let seen = text.split_once(SEEN).map_or("", |(_, seen)| seen);
    let rule = |line: &str| {
        let rest = line.strip_prefix("(allow ")?.strip_suffix(")))")?;
        let (head, permissions) = rest.rsplit_once(" (")?;
        let (head, class) = head.rsplit_once(" (")?;
        let (domain, to) = head.split_once(' ')?;
        let to = word(if to == "self" { domain } else { to })?;
        let class = word(class)?;
        Some(
            permissions
                .split(' ')
                .filter_map(move |permission| {
                    Some(Need::Allow {
                        to: to.clone(),
                        class: class.clone(),
                        permission: word(permission)?,
                    })
                })
                .collect::<Vec<_>>(),
        )
    };
    seen.lines().filter_map(rule).flatten().collect()
}
