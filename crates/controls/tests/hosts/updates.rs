use stockade_controls::engine::{Assessment, MemoryHost, Process, Verdict};
use stockade_controls::updates::{
    Looked, Offered, PENDING, Pending, Returned, STATE, Slot, State, Trial, Updates, waiting,
};

use super::{look, profile, told};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;
const PACKAGES: &str = "[updates]\nsource = \"https://updates.example.org/cam-2\"\nmax-age = \"30d\"\nsecurity-within = \"72h\"\n";
const SLOTS: &str = "slots = { kind = \"rauc\" }\n";
const LIST: &str = "/var/lib/apt/lists/deb.example.org_debian-security_dists_bookworm-security_main_binary-amd64_Packages";
const RELEASE: &str =
    "/var/lib/apt/lists/deb.example.org_debian-security_dists_bookworm-security_InRelease";
/// Thu, 14 Jan 2027 08:00:00 UTC: a day before now.
const YESTERDAY: &str = "Origin: Debian\nDate: Thu, 14 Jan 2027 08:00:00 UTC\n";

const STATUS: &str = "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.9-1\n\n\
    Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12.4\n\n\
    Package: libc6\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u3\n\n\
    Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.36-9+deb12u1\n\n\
    Package: sudo\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1.0\n";
const OFFERS: &str = "Package: openssl\nVersion: 3.0.9-1+deb12u1\nArchitecture: amd64\n\n\
    Package: libc6\nVersion: 2.36-9+deb12u3\nArchitecture: amd64\n\n\
    Package: sudo\nVersion: 2.0\nArchitecture: amd64\n";

fn running(mut host: MemoryHost) -> MemoryHost {
    host.processes = Some(Vec::<Process>::new());
    host
}

fn debian(offers: &str, release: &str) -> MemoryHost {
    running(
        MemoryHost::new()
            .file("/var/lib/dpkg/status", 0o644, STATUS)
            .file(
                "/etc/apt/sources.list",
                0o644,
                "deb https://deb.example.org/debian bookworm main\n",
            )
            .file(LIST, 0o644, offers)
            .file(RELEASE, 0o644, release),
    )
}

fn of(host: &MemoryHost, more: &str) -> Assessment {
    look(&Updates, host, &profile(&format!("{PACKAGES}{more}")))
}

fn verdict(assessment: &Assessment, rule: &str) -> Verdict {
    let outcome = assessment.outcomes.iter().find(|it| it.rule.id == rule);
    outcome.expect("a rule").verdict.clone()
}

fn remembered(host: MemoryHost, since: u64) -> MemoryHost {
    let pending = Pending::default().now(["openssl"].into_iter(), since);
    host.file(
        PENDING,
        0o600,
        &serde_json::to_string(&pending).expect("JSON"),
    )
}

fn with_state(state: &State) -> MemoryHost {
    let text = serde_json::to_string(state).expect("JSON");
    running(MemoryHost::new().file(STATE, 0o600, &text))
}

/// A device with two slots whose last look was yesterday.
fn good() -> State {
    let slot = |name: &str, version, running| Slot {
        name: name.to_owned(),
        version,
        running,
        good: true,
    };
    State {
        looked: Some(Looked {
            at: NOW - DAY,
            source: "https://updates.example.org/cam-2".to_owned(),
        }),
        running: Some(12),
        slots: vec![slot("a", Some(12), true), slot("b", Some(11), false)],
        ..State::new()
    }
}

#[test]
fn a_device_that_is_up_to_date_has_no_finding() {
    insta::assert_snapshot!(
        "up_to_date_by_slots",
        told(&of(&with_state(&good()), SLOTS))
    );
    let offers = OFFERS.replace("+deb12u1", "");
    insta::assert_snapshot!(
        "up_to_date_by_packages",
        told(&of(&debian(&offers, YESTERDAY), ""))
    );
}

#[test]
fn everything_that_is_wrong_with_slots_is_found() {
    let mut state = good();
    state.looked = Some(Looked {
        at: NOW - 40 * DAY,
        source: "https://evil.example.org/cam-2".to_owned(),
    });
    state.failing = Some("the source did not answer".to_owned());
    state.offered = Some(Offered {
        version: 14,
        name: None,
        security: true,
        since: NOW - 41 * DAY,
    });
    state.slots[1].good = false;
    state.trial = Some(Trial {
        version: 13,
        until: None,
    });
    state.returned = Some(Returned {
        version: 13,
        at: NOW - DAY,
        why: "service `camera` did not run".to_owned(),
    });
    insta::assert_snapshot!(told(&of(&with_state(&state), SLOTS)));
}

#[test]
fn everything_that_is_wrong_with_packages_is_found() {
    let host = remembered(debian(OFFERS, YESTERDAY), NOW - 4 * DAY)
        .file("/run/reboot-required", 0o644, "")
        .file("/etc/apt/sources.list.d/own.list", 0o644, "# ours\ndeb [arch=amd64 trusted=yes] http://apt.example.org ./\n")
        .file("/etc/apt/sources.list.d/x.sources", 0o644, "Types: deb\nURIs: http://x.example.org\nTrusted: yes\n")
        .file(
            "/etc/apt/apt.conf.d/99x",
            0o644,
            "// APT::Get::AllowUnauthenticated \"true\";\nAcquire {\n  Check-Valid-Until \"false\"; /* no */\n  AllowInsecureRepositories \"no\";\n};\n",
        )
        .file("/etc/opkg.conf", 0o644, "dest root /\n#option check_signature\n");
    insta::assert_snapshot!(told(&of(&host, "")));
}

#[test]
fn a_security_update_may_wait_as_long_as_the_profile_says_and_no_longer() {
    let waits = |days: u64| {
        verdict(
            &of(&remembered(debian(OFFERS, YESTERDAY), NOW - days * DAY), ""),
            "updates/security-pending",
        )
    };
    assert!(matches!(waits(2), Verdict::Passed(_)), "{:?}", waits(2));
    assert!(matches!(waits(4), Verdict::Broken(_)), "{:?}", waits(4));
}

#[test]
fn what_nobody_remembers_is_not_taken_as_fine() {
    let rule = "updates/security-pending";
    let fresh = of(&debian(OFFERS, YESTERDAY), "");
    assert!(
        matches!(verdict(&fresh, rule), Verdict::CannotTell(_, findings) if findings.is_empty())
    );
    // The list itself proves how long: it was made ten days ago.
    let older = of(&debian(OFFERS, "Date: Tue, 05 Jan 2027 08:00:00 UTC\n"), "");
    assert!(matches!(verdict(&older, rule), Verdict::Broken(_)));
}

#[test]
fn lists_that_are_too_old_mean_that_nobody_looked() {
    let old = of(&debian("", "Date: Mon, 02 Nov 2026 08:00:00 UTC\n"), "");
    assert!(matches!(
        verdict(&old, "updates/looked"),
        Verdict::Broken(_)
    ));
    assert!(matches!(
        verdict(&old, "updates/security-pending"),
        Verdict::CannotTell(..)
    ));
    let none = running(MemoryHost::new().file("/var/lib/dpkg/status", 0o644, STATUS));
    assert!(matches!(
        verdict(&of(&none, ""), "updates/looked"),
        Verdict::Broken(_)
    ));
    let unsigned = of(&debian("", "Origin: Debian\n"), "");
    assert!(matches!(
        verdict(&unsigned, "updates/looked"),
        Verdict::CannotTell(..)
    ));
    let never = of(&with_state(&State::new()), SLOTS);
    assert!(matches!(
        verdict(&never, "updates/looked"),
        Verdict::Broken(_)
    ));
}

#[test]
fn managers_that_do_not_tell_what_is_of_security_cannot_be_judged() {
    for path in [
        "/lib/apk/db/installed",
        "/usr/lib/opkg/status",
        "/var/lib/rpm/rpmdb.sqlite",
    ] {
        let found = of(&running(MemoryHost::new().file(path, 0o644, "P:x\n")), "");
        assert!(
            matches!(
                verdict(&found, "updates/security-pending"),
                Verdict::CannotTell(..)
            ),
            "{path}"
        );
        assert!(
            matches!(verdict(&found, "updates/looked"), Verdict::CannotTell(..)),
            "{path}"
        );
    }
    let compressed: &'static str =
        "/var/lib/apt/lists/x_dists_bookworm-security_main_binary-amd64_Packages.lz4";
    let host = running(
        MemoryHost::new()
            .file("/var/lib/dpkg/status", 0o644, STATUS)
            .file(compressed, 0o644, ""),
    );
    assert!(matches!(
        verdict(&of(&host, ""), "updates/security-pending"),
        Verdict::CannotTell(..)
    ));
}

#[test]
fn what_is_remembered_and_damaged_is_never_taken_as_fine() {
    for text in ["", "{", "{\"form\":9}", "[]"] {
        let host = running(MemoryHost::new().file(STATE, 0o600, text));
        for rule in [
            "updates/looked",
            "updates/applied",
            "updates/security-pending",
            "updates/health",
            "updates/slots",
        ] {
            let found = verdict(&of(&host, SLOTS), rule);
            assert!(
                matches!(found, Verdict::CannotTell(..)),
                "{rule}: {found:?}"
            );
        }
    }
}

#[test]
fn without_a_section_nothing_applies_and_an_image_is_not_blamed_for_not_having_looked() {
    let none = look(&Updates, &debian(OFFERS, YESTERDAY), &profile(""));
    assert!(
        none.outcomes
            .iter()
            .all(|it| matches!(it.verdict, Verdict::DoesNotApply(_)))
    );
    let image = of(
        &MemoryHost::new().file("/var/lib/dpkg/status", 0o644, STATUS),
        SLOTS,
    );
    assert!(image.findings().next().is_none());
}

#[test]
fn who_waits_is_named_once_and_keeps_its_time() {
    let names = waiting(&debian(OFFERS, YESTERDAY)).expect("lists");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["openssl"]);
    let first = Pending::default().now(["a", "b"].into_iter(), 5);
    let then = first.now(["b", "c"].into_iter(), 9);
    assert_eq!(
        then.since,
        [("b".to_owned(), 5), ("c".to_owned(), 9)].into()
    );
}
