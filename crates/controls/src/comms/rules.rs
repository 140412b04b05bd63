//! The rules, and how each is judged.

use stockade_profile::{Control, KeyStore};

use super::facts;
use crate::engine::{
    Action, Case, Confidence, Finding, HostPath, Judged, Kind, Rule, Severity, Stage, Standing,
    Step, Unseen,
};

/// All of them.
pub(super) static RULES: &[&Rule] = &[
    &KEY_PLACE,
    &KEY_PRIVATE,
    &KEY_IN_IMAGE,
    &CERTIFICATE,
    &TRUST,
];

static KEY_PLACE: Rule = Rule {
    id: "comms/key-place",
    control: Control::Comms,
    title: "The device's key is where the profile wants it",
    why: "a key in a file can be copied by whoever reads the flash; one in a TPM or a token can not",
    severity: Severity::High,
    advice: "set `key` in /etc/stockade/agent.toml as the profile says, and enrol again with a new code",
    standards: &[
        "EN 303 645 5.4-1",
        "EN 303 645 5.4-2",
        "CRA I.I(2)(e)",
        "ISVS 2.4.4",
    ],
};

static KEY_PRIVATE: Rule = Rule {
    id: "comms/key-private",
    control: Control::Comms,
    title: "Only the key process can read the device's keys",
    why: "who reads the key is the device, to the gateway and to other devices",
    severity: Severity::Critical,
    advice: "give the keys to the user stockade-keys, mode 0600 in a directory of 0700, and make new ones: enrol again",
    standards: &[
        "EN 303 645 5.4-1",
        "CRA I.I(2)(d)",
        "NISTIR 8259A Data Protection",
    ],
};

static KEY_IN_IMAGE: Rule = Rule {
    id: "comms/no-key-in-image",
    control: Control::Comms,
    title: "An image holds no device's key",
    why: "every device made from the image would have the same key: who has one device has all of them",
    severity: Severity::Critical,
    advice: "take the key out of the image, and let every device make its own when it is installed",
    standards: &["EN 303 645 5.4-2", "EN 303 645 5.4-4", "CRA I.I(2)(d)"],
};

static CERTIFICATE: Rule = Rule {
    id: "comms/certificate",
    control: Control::Comms,
    title: "The device's certificate is in date and as short-lived as the profile says",
    why: "a certificate that lives long is good for a thief as long; without one there are no updates and no repair from the gateway",
    severity: Severity::Medium,
    advice: "look at the agent's log for why renewal fails; once the gateway's window to come back is over, enrol with a new code",
    standards: &["EN 303 645 5.5-1", "CRA I.I(2)(d)", "ISVS 2.1.3"],
};

static TRUST: Rule = Rule {
    id: "comms/trust",
    control: Control::Comms,
    title: "Whom the device trusts is written down and only root can change it",
    why: "who changes the CA or a signer's key is believed to be the gateway, and can install any profile",
    severity: Severity::High,
    advice: "put the CA and the signer's key back: `stockade-agent install` fetches both",
    standards: &["EN 303 645 5.5-1", "EN 303 645 5.7-1", "CRA I.I(2)(f)"],
};

/// An image is made before a device is enrolled.
fn not_yet(case: &Case<'_>, why: &Unseen) -> bool {
    case.host.standing() == Standing::Offline && *why == Unseen::Absent
}

pub(super) fn key_place(case: &Case<'_>, judged: &mut Judged) {
    let wanted = case.profile.comms.key;
    match facts::key_place(case.host) {
        Ok(place) if place == wanted => judged.judged(&KEY_PLACE, said(place), Vec::new()),
        Ok(place) => {
            let what = format!(
                "The key is {}, and the profile wants it {}.",
                said(place),
                said(wanted)
            );
            let found = Finding::of(&KEY_PLACE, "key", what).seen(facts::SETTINGS, said(place));
            // A TPM where a token was wanted is no way in.
            let found = match place {
                KeyStore::File => found,
                _ => found.with(Severity::Low, Confidence::High),
            };
            judged.judged(&KEY_PLACE, "", vec![found]);
        }
        Err(why) if not_yet(case, &why) => judged.does_not_apply(&KEY_PLACE, "an image has no key"),
        Err(why) => judged.unseen(&KEY_PLACE, facts::SETTINGS, &why),
    }
}

fn said(place: KeyStore) -> &'static str {
    match place {
        KeyStore::File => "in a file",
        KeyStore::Pkcs11 => "in a PKCS#11 token",
        KeyStore::Tpm => "in a TPM",
    }
}

pub(super) fn key_private(case: &Case<'_>, judged: &mut Judged) {
    let (directory, files) = match facts::key_files(case.host) {
        Ok(found) => found,
        Err(why) if not_yet(case, &why) => {
            return judged.does_not_apply(&KEY_PRIVATE, "an image has no keys");
        }
        Err(why) => return judged.unseen(&KEY_PRIVATE, facts::KEYS, &why),
    };
    let looked_at = format!("{} files", files.len());
    let all = files
        .into_iter()
        .chain([(HostPath::of(facts::KEYS), directory)]);
    let mut findings = Vec::new();
    for (path, entry) in all {
        let right = if entry.kind == Kind::Directory {
            0o700
        } else {
            0o600
        };
        let open = entry.mode & !right & 0o7777 != 0;
        if entry.kind == Kind::Link || !(open || entry.owner != directory.owner) {
            continue;
        }
        let what = format!("Others than the key process can reach `{path}`.");
        let seen = format!("mode {:o}, owner {}", entry.mode, entry.owner);
        let mode = Action::Mode {
            path: path.clone(),
            mode: right,
            owner: (directory.owner, directory.group),
        };
        let step = Step::safe(Stage::Change, mode, format!("Close `{path}` to others"));
        let found = Finding::of(&KEY_PRIVATE, path.to_string(), what);
        findings.push(found.seen(path.to_string(), seen).mended_by(vec![step]));
    }
    judged.judged(&KEY_PRIVATE, looked_at, findings);
}

pub(super) fn key_not_in_an_image(case: &Case<'_>, judged: &mut Judged) {
    if case.host.standing() == Standing::Live {
        return judged.does_not_apply(&KEY_IN_IMAGE, "this is no image");
    }
    let files = match facts::key_files(case.host) {
        Ok((_, files)) => files,
        Err(Unseen::Absent) => Vec::new(),
        Err(why) => return judged.unseen(&KEY_IN_IMAGE, facts::KEYS, &why),
    };
    let finding = |(path, _): (HostPath, _)| {
        let what = format!("The image holds a key of a device: `{path}`.");
        let action = Action::Remove { path: path.clone() };
        let says = format!("Remove `{path}`");
        let risk = "If this is the disk of one device and no image, it has to be enrolled again.";
        let step = Step::risky(Stage::Change, action, says, risk);
        Finding::of(&KEY_IN_IMAGE, path.to_string(), what).mended_by(vec![step])
    };
    let findings = files.into_iter().map(finding).collect();
    judged.judged(&KEY_IN_IMAGE, "no keys", findings);
}

pub(super) fn certificate(case: &Case<'_>, judged: &mut Judged) {
    let certificate = match facts::certificate(case.host, facts::CERTIFICATE) {
        Ok(certificate) => certificate,
        Err(why) if not_yet(case, &why) => {
            return judged.does_not_apply(&CERTIFICATE, "an image has no certificate");
        }
        // Nobody has made it a device of ours: the other rules say so as well.
        Err(why) if case.host.entry(&HostPath::of(facts::SETTINGS)) == Err(Unseen::Absent) => {
            return judged.unseen(&CERTIFICATE, facts::SETTINGS, &why);
        }
        Err(Unseen::Absent) => {
            let what = "The device has no certificate: the gateway does not know it.";
            let found = Finding::of(&CERTIFICATE, "certificate", what);
            let found = found.with(Severity::High, Confidence::High);
            return judged.judged(&CERTIFICATE, "", vec![found]);
        }
        Err(why) => return judged.unseen(&CERTIFICATE, facts::CERTIFICATE, &why),
    };
    let mut findings = Vec::new();
    let mut found = |severity, what: String| {
        let finding =
            Finding::of(&CERTIFICATE, "certificate", what).with(severity, Confidence::High);
        findings.push(finding.seen(
            facts::CERTIFICATE,
            format!("good until {}", certificate.not_after),
        ));
    };
    let days = |seconds: u64| match seconds.div_euclid(86_400) {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    if case.now >= certificate.not_after {
        let ago = days(case.now.saturating_sub(certificate.not_after));
        found(
            Severity::High,
            format!("The device's certificate expired {ago} ago."),
        );
    } else if case.now
        >= certificate
            .renew_at()
            .saturating_add(certificate.life().div_euclid(6))
    {
        let left = days(certificate.not_after.saturating_sub(case.now));
        let what = format!(
            "The device's certificate should have been renewed; it is good for {left} more."
        );
        found(Severity::Medium, what);
    }
    // A gateway dates certificates back by minutes, for slow clocks.
    let wanted = case.profile.comms.certificate_life.as_secs();
    if certificate.life() > wanted.saturating_add(3600) {
        let (life, wanted) = (certificate.life().div_euclid(3600), wanted.div_euclid(3600));
        let what = format!(
            "The device's certificate lives for {life} hours, and the profile says {wanted}."
        );
        found(Severity::Low, what);
    }
    judged.judged(&CERTIFICATE, "the device's certificate", findings);
}

pub(super) fn trust(case: &Case<'_>, judged: &mut Judged) {
    match facts::certificate(case.host, facts::CA) {
        Ok(_) => (),
        Err(why) if not_yet(case, &why) => {
            return judged.does_not_apply(&TRUST, "an image trusts nobody yet");
        }
        Err(why) => return judged.unseen(&TRUST, facts::CA, &why),
    }
    let directory = HostPath::of(facts::TRUST);
    let names = match case.host.list(&directory) {
        Ok(names) => names,
        Err(why) => return judged.unseen(&TRUST, facts::TRUST, &why),
    };
    let mut findings = Vec::new();
    let signers = names.iter().filter(|(name, _)| name.ends_with(b".pub"));
    let signers: Vec<_> = signers
        .filter_map(|(name, _)| directory.join(name).ok())
        .collect();
    if signers.is_empty() {
        let what = "No key may sign profiles: the device takes none.";
        findings.push(Finding::of(&TRUST, "signers", what).seen(facts::TRUST, "empty"));
    }
    let looked_at = format!("the CA and {} signers", signers.len());
    let fixed = [facts::CA, facts::SETTINGS, facts::TRUST, "/etc/stockade"].map(HostPath::of);
    for path in fixed.into_iter().chain(signers) {
        let entry = match case.host.entry(&path) {
            Ok(entry) => entry,
            Err(why) => return judged.cannot_tell(&TRUST, format!("{path}: {why}"), findings),
        };
        if entry.owner == 0 && entry.mode & 0o022 == 0 && entry.kind != Kind::Link {
            continue;
        }
        let what = format!("Others than root can change `{path}`.");
        let seen = format!("mode {:o}, owner {}", entry.mode, entry.owner);
        let found = Finding::of(&TRUST, path.to_string(), what).seen(path.to_string(), seen);
        let mode = Action::Mode {
            path: path.clone(),
            mode: entry.mode & 0o755,
            owner: (0, 0),
        };
        let step = Step::safe(
            Stage::Change,
            mode,
            format!("Let only root change `{path}`"),
        );
        findings.push(if entry.kind == Kind::Link {
            found
        } else {
            found.mended_by(vec![step])
        });
    }
    judged.judged(&TRUST, looked_at, findings);
}
