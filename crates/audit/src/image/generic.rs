//! What is judged when nobody gave a profile, and what of a verdict only a running system can give.

use std::collections::BTreeMap;

use stockade_controls::engine::{CONTROLS, Outcome, Rule, Standing, Unseen, Verdict};
use stockade_profile::Profile;

const GENERIC: &str = include_str!("generic.toml");

/// Rules that do nothing but compare with what a profile names. What is dangerous in itself (telnet, an empty password, a program
/// that is setuid in an odd place, a debugger) is judged by others, and those are judged always.
const COMPARES: &[&str] = &[
    "boot/kexec",
    "credentials/password-logins",
    "credentials/ssh-off",
    "firewall/confirmed",
    "firewall/in-force",
    "ports/network",
    "ports/radios",
    "ports/storage",
    "ports/usb",
    "ports/usb-default",
    "privileges/root-service",
    "privileges/unconfined",
    "programs/package",
    "programs/process",
    "programs/service",
    "protocols/front",
    "protocols/tls-version",
    "upnp/window",
];
/// Rules about what a device did since it was made; an image did nothing yet.
const SINCE: &[&str] = &[
    "updates/applied",
    "updates/health",
    "updates/looked",
    "updates/security-pending",
    "updates/slots",
];
/// Rules that read what an image names and a device has: `/dev/mtd1` of `/etc/fw_env.config`.
const OF_A_DEVICE: &[&str] = &["boot/bootloader-locked", "boot/u-boot-environment"];

/// The profile that is judged by when none is given.
#[expect(
    clippy::expect_used,
    reason = "it is part of the program, and a test reads it"
)]
pub(crate) fn profile() -> Profile {
    stockade_profile::parse(GENERIC).expect("the generic profile is right")
}

/// Makes of what a control says what holds for this audit: without a profile nothing is compared with one, and an image is not
/// asked what only a running system can tell.
pub(crate) fn settled(outcome: Outcome, profiled: bool, standing: Standing) -> Outcome {
    let rule = outcome.rule;
    let id = &rule.id;
    if !profiled && COMPARES.contains(id) {
        return none(rule, "no profile was given to compare with");
    }
    let (offline, absent) = (Unseen::Offline.to_string(), Unseen::Absent.to_string());
    // That keys of Stockade's are not there says nothing of a system that has nothing of it.
    let nothing = match &outcome.verdict {
        Verdict::Passed(_) => standing == Standing::Offline,
        Verdict::CannotTell(why, found) => found.is_empty() && why.ends_with(&absent),
        Verdict::Broken(_) | Verdict::DoesNotApply(_) => false,
    };
    if !profiled && id.starts_with("comms/") && nothing {
        return none(
            rule,
            "no profile was given, and nothing of Stockade's is there",
        );
    }
    if standing == Standing::Live {
        return outcome;
    }
    if !profiled && SINCE.contains(id) {
        return none(rule, "an image has not looked for updates yet");
    }
    let Verdict::CannotTell(why, findings) = outcome.verdict else {
        return outcome;
    };
    let of_a_device = |reason: &str| {
        reason.ends_with(&offline) || OF_A_DEVICE.contains(id) && reason.ends_with(&absent)
    };
    let verdict = if !why.split("; ").all(of_a_device) {
        Verdict::CannotTell(why, findings)
    } else if findings.is_empty() {
        Verdict::DoesNotApply(offline)
    } else {
        Verdict::Broken(findings)
    };
    Outcome { rule, verdict }
}

pub(super) fn none(rule: &'static Rule, why: &str) -> Outcome {
    Outcome {
        rule,
        verdict: Verdict::DoesNotApply(why.to_owned()),
    }
}

/// The rule of a control by its id.
///
/// # Panics
/// If there is none: a bug, which a test finds.
#[expect(
    clippy::expect_used,
    reason = "only for ids that are written in the program"
)]
pub(super) fn rule(id: &str) -> &'static Rule {
    static BY_ID: std::sync::LazyLock<BTreeMap<&str, &Rule>> = std::sync::LazyLock::new(|| {
        let all = CONTROLS.iter().flat_map(|control| control.rules());
        all.map(|rule| (rule.id, *rule)).collect()
    });
    BY_ID.get(id).expect("a rule of a control")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generic_profile_is_right_and_the_tables_name_rules() {
        assert!(profile().updates.is_some());
        for id in COMPARES.iter().chain(SINCE).chain(OF_A_DEVICE) {
            assert_eq!(rule(id).id, *id);
        }
    }

    #[test]
    fn an_image_is_not_incomplete_for_what_only_a_device_can_tell() {
        let told = |id: &str, why: &str, standing| {
            let verdict = Verdict::CannotTell(why.to_owned(), Vec::new());
            let outcome = Outcome {
                rule: rule(id),
                verdict,
            };
            settled(outcome, true, standing).verdict
        };
        let offline = "what listens: only a running system can tell";
        let cannot = |verdict: &Verdict| matches!(verdict, Verdict::CannotTell(..));
        assert!(!cannot(&told("upnp/listener", offline, Standing::Offline)));
        assert!(cannot(&told("upnp/listener", offline, Standing::Live)));
        let both = format!("{offline}; /etc/x: no right to look");
        assert!(cannot(&told("upnp/listener", &both, Standing::Offline)));
        let absent = "the environment of U-Boot: it is not there";
        assert!(!cannot(&told(
            "boot/u-boot-environment",
            absent,
            Standing::Offline
        )));
        assert!(cannot(&told(
            "upnp/listener",
            "x: it is not there",
            Standing::Offline
        )));
    }
}
