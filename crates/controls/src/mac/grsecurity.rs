//! Policies for the RBAC system of grsecurity, as text for a person: no kernel with it could be had, so nothing here was tried.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use stockade_profile::ServiceName;

use super::need::{Need, merged};
use crate::engine::HostPath;

/// A subject for the policy of `gradm`, in learned form: the same text for the same needs.
pub(super) fn text(service: &ServiceName, program: &HostPath, needs: &BTreeSet<Need>) -> String {
    let mut text = format!(
        "# The subject of the service {service}, made by Stockade from what it was seen to do.\n\
         # Never tried in a kernel with grsecurity: read it, put it into the role that starts the service, then `gradm -C`.\n\
         subject {program} o {{\n\t/ h\n\t/lib rx\n\t/lib64 rx\n\t/usr/lib rx\n\t/dev/null rw\n\t/dev/urandom r\n"
    );
    let (mut capabilities, mut inet) = (BTreeSet::new(), false);
    for need in merged(needs.iter().cloned()) {
        match need {
            Need::File { path, access } => {
                // Object modes: r, w (with create and delete), x; patterns of `**` are directories here.
                let modes: BTreeSet<&str> = access
                    .chars()
                    .map(|it| match it {
                        'w' => "wcd",
                        'x' => "x",
                        'm' => "rx",
                        _ => "r",
                    })
                    .collect();
                let path = path.trim_end_matches("/**");
                let modes: BTreeSet<char> = modes.iter().flat_map(|it| it.chars()).collect();
                let modes: String = "rwxcd".chars().filter(|it| modes.contains(it)).collect();
                let _written = writeln!(text, "\t{path} {modes}");
            }
            Need::Capability(name) => {
                capabilities.insert(name);
            }
            Need::Network { family, .. } => inet |= family.starts_with("inet"),
            Need::Allow { .. } => (),
        }
    }
    text.push_str("\t-CAP_ALL\n");
    for name in capabilities {
        let _written = writeln!(text, "\t+CAP_{}", name.to_ascii_uppercase());
    }
    if !inet {
        text.push_str("\tbind disabled\n\tconnect disabled\n");
    }
    text.push_str("}\n");
    text
}
