//! An audit that was made up: every kind of verdict, text that must be escaped, and one of everything a report can have.

use std::time::Duration;

use stockade_advisories::{Component, Distribution, Inventory};
use stockade_audit::{
    Audited, ByProfile, Data, DataSource, PartRow, PortRow, Spent, Target, TargetKind,
};
use stockade_controls::engine::{
    Action, Confidence, Control, Finding, HostPath, Outcome, Rule, Severity, Stage, Standing, Step,
    Verdict,
};

/// A rule with texts of its own: those of the controls may change.
const fn rule(
    id: &'static str,
    control: Control,
    severity: Severity,
    title: &'static str,
    standards: &'static [&'static str],
) -> Rule {
    Rule {
        id,
        control,
        title,
        why: "Whoever knows it is in, & can do <anything>.",
        severity,
        advice: "Mend it by hand.",
        standards,
    }
}

pub(crate) static DEFAULT_PASSWORD: Rule = rule(
    "credentials/default-password",
    Control::Credentials,
    Severity::Critical,
    "No account has a password that is known",
    &["EN 303 645 5.1-1", "CRA I.I(2)(d)", "ISVS 2.1.10"],
);
static SETUID: Rule = rule(
    "privileges/setuid",
    Control::Privileges,
    Severity::High,
    "No program lends its owner's rights",
    &["EN 303 645 5.6-7"],
);
static PLAIN: Rule = rule(
    "programs/plain-server",
    Control::Programs,
    Severity::High,
    "No server speaks in plain text",
    &["EN 303 645 5.6-5"],
);
static VERITY: Rule = rule(
    "boot/verity",
    Control::Boot,
    Severity::High,
    "What is read is checked",
    &["EN 303 645 5.7-1"],
);
static UPNP: Rule = rule(
    "upnp/listener",
    Control::Upnp,
    Severity::High,
    "Nothing answers to UPnP",
    &["EN 303 645 5.6-5"],
);
static FIREWALL: Rule = rule(
    "firewall/in-force",
    Control::Firewall,
    Severity::High,
    "The profile's rules are in force",
    &["NISTIR 8425 interface access control"],
);

pub(crate) fn image(standing: Standing) -> Audited {
    Audited::of(
        Target {
            kind: TargetKind::Image,
            name: "fw-1.1.bin".to_owned(),
            sha256: Some([0xab; 32]),
        },
        standing,
    )
}

fn outcomes() -> Vec<Outcome> {
    let root = Finding::of(
        &DEFAULT_PASSWORD,
        "account root",
        "root has the password \"root\"",
    )
    .seen(
        "fw-1.1.bin, squashfs at 0x120200: /etc/shadow:1",
        "SHA-512, the password of many makers",
    );
    let admin = Finding::of(
        &DEFAULT_PASSWORD,
        "account admin",
        "admin has the password admin",
    )
    .seen("/etc/shadow:2", "MD5")
    .mended_by(vec![Step {
        stage: Stage::Change,
        action: Action::Remove {
            path: HostPath::of("/etc/shadow-"),
        },
        says: "Remove /etc/shadow-".to_owned(),
        risk: None,
    }]);
    let su = Finding::of(
        &SETUID,
        "fw-1.1.bin, squashfs at 0x120200: /usr/bin/su",
        "/usr/bin/su is setuid root",
    )
    .seen("fw-1.1.bin, squashfs at 0x120200: /usr/bin/su", "mode 4755");
    let odd = Finding::of(
        &SETUID,
        "fw-1.1.bin, squashfs at 0x120200: /opt/<b>&\u{1b}[31m",
        "/opt/<b>&\u{1b}[31m is setuid root",
    )
    .with(Severity::Medium, Confidence::Low)
    .seen(
        "fw-1.1.bin, squashfs at 0x120200: /opt/<b>&\u{1b}[31m",
        "mode 6755",
    );
    let telnet = Finding::of(&PLAIN, "telnetd", "telnetd is started at boot")
        .seen("/etc/inittab:7", "::respawn:/usr/sbin/telnetd -l /bin/sh");
    let outcome = |rule, verdict| Outcome { rule, verdict };
    vec![
        outcome(&DEFAULT_PASSWORD, Verdict::Broken(vec![root, admin])),
        outcome(&SETUID, Verdict::Broken(vec![su, odd])),
        outcome(
            &SETUID,
            Verdict::Passed("12 files of another system".to_owned()),
        ),
        outcome(
            &PLAIN,
            Verdict::CannotTell(
                "/etc/inetd.conf: it can not be read".to_owned(),
                vec![telnet],
            ),
        ),
        outcome(
            &VERITY,
            Verdict::CannotTell("no table of partitions".to_owned(), vec![]),
        ),
        outcome(&UPNP, Verdict::Passed("31 programs".to_owned())),
        outcome(
            &FIREWALL,
            Verdict::DoesNotApply("only a running system can tell".to_owned()),
        ),
    ]
}

pub(crate) fn audited() -> Audited {
    let mut audited = image(Standing::Offline);
    audited.profile = Some(ByProfile {
        model: "cam-2".to_owned(),
        version: 7,
    });
    audited.outcomes = outcomes();
    audited.parts = vec![
        PartRow {
            place: "fw-1.1.bin".to_owned(),
            format: "trx".to_owned(),
            at: 0,
            length: None,
            files: None,
            notes: Vec::new(),
        },
        PartRow {
            place: "fw-1.1.bin, squashfs at 0x120200".to_owned(),
            format: "squashfs".to_owned(),
            at: 0x12_0200,
            length: Some(6_291_456),
            files: Some(1_204),
            notes: vec![("compressor".to_owned(), "xz".to_owned())],
        },
    ];
    audited.not_audited = vec![
        (
            "fw-1.1.bin at 0x400000".to_owned(),
            "65536 bytes of nothing we know".to_owned(),
        ),
        (
            "fw-1.1.bin, squashfs at 0x120200: /data.img".to_owned(),
            "encrypted".to_owned(),
        ),
    ];
    audited.inventory = Some(Inventory {
        distribution: Some(Distribution {
            id: "openwrt".to_owned(),
            version: "23.05".to_owned(),
        }),
        components: vec![Component::detected("busybox", "1.36.1", "/bin/busybox")],
        unread: vec![(
            "/usr/lib/opkg/status".to_owned(),
            "it is damaged".to_owned(),
        )],
    });
    audited.data = Data::Used {
        sources: vec![DataSource {
            name: "Debian.zip".to_owned(),
            kind: "osv".to_owned(),
            date: "2026-11-20".to_owned(),
            sha256: "cd".repeat(32),
            records: 5_680,
            bad: 1,
        }],
    };
    audited.ports = vec![PortRow {
        address: "192.0.2.7".to_owned(),
        transport: "tcp".to_owned(),
        port: 23,
        state: "open".to_owned(),
        service: Some("telnet".to_owned()),
        says: "login:".to_owned(),
    }];
    audited.spent = Some(Spent {
        connections: 6,
        segments: 54,
        datagrams: 0,
        bytes: 1_234,
    });
    audited.took = Duration::from_millis(1_234);
    audited
}
