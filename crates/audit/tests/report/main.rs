//! A report and all its forms, of one audit that was made up; what is read back; what waivers and baselines do to it.

mod made_up;
mod schema;

use std::collections::BTreeSet;

use made_up::{DEFAULT_PASSWORD, audited, image};
use stockade_audit::{Report, Since, Stand, Unlike, Waivers, compare, output, rules, standards};
use stockade_controls::engine::{Finding, Outcome, Severity, Standing, Verdict};
use time::macros::datetime;

const NOW: time::OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

/// A report, without what other rules or versions would change in it.
fn report() -> Report {
    let mut report = Report::of(&audited(), Some(1_700_000_000));
    "0".repeat(32).clone_into(&mut report.tool.rules);
    "1.2.3".clone_into(&mut report.tool.version);
    report
}

/// The report of an audit of which waivers and an earlier report are known.
fn marked() -> Report {
    let mut report = report();
    report.waive(&waivers(), NOW);
    let mut earlier = audited();
    "fw-1.0.bin".clone_into(&mut earlier.target.name);
    earlier.outcomes = vec![Outcome {
        rule: &DEFAULT_PASSWORD,
        verdict: Verdict::Broken(vec![
            Finding::of(
                &DEFAULT_PASSWORD,
                "account guest",
                "guest has the password guest",
            ),
            Finding::of(
                &DEFAULT_PASSWORD,
                "account admin",
                "admin has the password admin",
            )
            .with(
                Severity::Medium,
                stockade_controls::engine::Confidence::High,
            ),
        ]),
    }];
    report
        .against(&Report::of(&earlier, None))
        .expect("both are images");
    report
}

fn waivers() -> Waivers {
    Waivers::parse(
        "form = 1
[[waiver]]
rule = \"privileges/setuid\"
path = \"*: /usr/bin/*\"
reason = \"the vendor's, gone with 2.0\"
expires = 2026-11-23
[[waiver]]
rule = \"programs/plain-server\"
subject = \"*\"
reason = \"was needed in the factory\"
expires = 2026-11-22
[[waiver]]
rule = \"not-audited\"
path = \"*0x400000*\"
reason = \"calibration data\"
expires = 2027-01-31
[[waiver]]
rule = \"boot/verity\"
subject = \"*\"
reason = \"next model\"
expires = 2027-01-31
",
    )
    .expect("waivers")
}

#[test]
fn json_is_the_whole_report_and_is_read_back() {
    let report = marked();
    let json = report.to_json().expect("JSON");
    insta::assert_snapshot!(json);
    assert_eq!(Report::from_json(&json).expect("read back"), report);
}

#[test]
fn sarif_declares_every_rule_and_has_every_finding() {
    insta::assert_snapshot!(output::sarif(&marked()).expect("SARIF"));
}

#[test]
fn junit_fails_what_gates() {
    insta::assert_snapshot!(output::junit(&marked(), Some(Severity::High)));
}

#[test]
fn html_is_one_page_that_needs_nothing_else() {
    let page = output::html(&marked()).expect("a page");
    for elsewhere in ["http:", "https:", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    insta::assert_snapshot!(page);
}

#[test]
fn the_same_audit_gives_the_same_bytes() {
    assert_eq!(
        marked().to_json().expect("JSON"),
        marked().to_json().expect("JSON")
    );
    let mut turned = audited();
    turned.outcomes.reverse();
    turned.not_audited.reverse();
    for outcome in &mut turned.outcomes {
        if let Verdict::Broken(findings) = &mut outcome.verdict {
            findings.reverse();
        }
    }
    let mut turned = Report::of(&turned, Some(1_700_000_000));
    turned.tool = report().tool;
    assert_eq!(turned, report(), "in whatever order it was found");
}

#[test]
fn the_schema_says_what_reports_are() {
    let schema = include_str!("../../../../docs/audit-report.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).expect("a schema");
    for report in [report(), marked()] {
        let report = serde_json::to_value(&report).expect("JSON");
        assert_eq!(schema::faults(&schema, &report), Vec::<String>::new());
    }
    // Nothing is described that is not there: the report that was made up has everything.
    let mut unmet = schema::properties(&schema);
    for report in [report(), marked()] {
        let report = serde_json::to_value(&report).expect("JSON");
        schema::met(&report, &mut unmet);
    }
    assert_eq!(unmet, BTreeSet::new());
    for wrong in ["\"form\": 2", "\"form\": 1, \"more\": 0"] {
        let text = report()
            .to_json()
            .expect("JSON")
            .replace("\"form\": 1", wrong);
        let value = serde_json::from_str(&text).expect("JSON");
        assert_ne!(schema::faults(&schema, &value), Vec::<String>::new());
        assert!(Report::from_json(&text).is_err(), "{wrong}");
    }
}

#[test]
fn a_report_that_was_damaged_is_refused_or_is_another_report() {
    let json = marked().to_json().expect("JSON").into_bytes();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).expect("small")).expect("small")
    };
    for _ in 0..2_000 {
        let mut bytes = json.clone();
        match next(3) {
            0 => bytes.truncate(next(json.len())),
            1 => bytes[next(json.len())] ^= 1 << next(8),
            _ => {
                let (from, to) = (next(json.len()), next(json.len()));
                bytes.drain(from.min(to)..from.max(to));
            }
        }
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        if let Ok(read) = Report::from_json(&text) {
            let _compared = compare(&read, &report());
        }
    }
}

#[test]
fn a_finding_keeps_its_fingerprint_in_the_next_version() {
    let fingerprints = |name: &str, at: &str| -> BTreeSet<String> {
        let mut audited = audited();
        audited.target.name = name.to_owned();
        for outcome in &mut audited.outcomes {
            if let Verdict::Broken(findings) = &mut outcome.verdict {
                for finding in findings {
                    finding.subject = finding
                        .subject
                        .replace("fw-1.1.bin", name)
                        .replace("0x120200", at);
                }
            }
        }
        let report = Report::of(&audited, None);
        let all = report.findings().map(|(_, it)| it.fingerprint.clone());
        all.collect()
    };
    let old = fingerprints("fw-1.1.bin", "0x120200");
    assert_eq!(old, fingerprints("next/fw-2.0.bin", "0x131000"));
    assert_eq!(old.len(), Report::of(&audited(), None).findings().count());
}

#[test]
fn a_waiver_holds_to_its_last_day_and_no_longer() {
    let mut on_the_day = report();
    on_the_day.waive(&waivers(), NOW);
    let waived = |report: &Report| {
        report
            .findings()
            .filter(|(_, it)| it.waived.is_some())
            .count()
    };
    assert_eq!(waived(&on_the_day), 1);
    let told: Vec<&str> = on_the_day
        .idle_waivers
        .iter()
        .map(|it| it.why.as_str())
        .collect();
    assert_eq!(told, ["over since 2026-11-22", "nothing of this was found"]);
    let mut after = report();
    after.waive(&waivers(), NOW + time::Duration::days(1));
    assert_eq!(waived(&after), 0);
}

#[test]
fn only_what_is_new_or_worse_gates_against_a_baseline() {
    let report = report();
    assert_eq!(report.gating(Some(Severity::High)), 4);
    assert_eq!(report.gating(None), 0);
    let mut same = report.clone();
    same.against(&report).expect("both are images");
    assert_eq!(same.gating(Some(Severity::Info)), 0);
    let baseline = same.baseline.expect("compared");
    assert_eq!((baseline.new, baseline.fixed.len()), (0, 0));

    let marked = marked();
    let since: Vec<(&str, Option<Since>)> = marked
        .findings()
        .filter(|(rule, _)| rule.id == DEFAULT_PASSWORD.id)
        .map(|(_, it)| (it.subject.as_str(), it.since))
        .collect();
    assert_eq!(
        since,
        [
            ("account admin", Some(Since::Worse)),
            ("account root", Some(Since::New))
        ]
    );
}

#[test]
fn what_is_out_of_sight_is_not_mended() {
    let (old, mut new) = (report(), audited());
    new.outcomes.retain(|it| it.rule.id == DEFAULT_PASSWORD.id);
    new.outcomes[0].verdict =
        Verdict::CannotTell("/etc/shadow: it can not be read".to_owned(), vec![]);
    let diff = compare(&old, &Report::of(&new, None)).expect("alike");
    assert_eq!(diff.better.len(), 0);
    assert_eq!(diff.no_longer_judged.len(), 5);
    assert!(diff.incomplete());
    assert_eq!(diff.gating(Some(Severity::Info)), 0);

    // A part of it was not read: what was found in it may be there still.
    let mut new = audited();
    new.outcomes[0].verdict = Verdict::Passed("2 accounts".to_owned());
    let mut seen = Report::of(&new, None);
    let diff = compare(&old, &seen).expect("alike");
    assert_eq!((diff.better.len(), diff.no_longer_judged.len()), (2, 0));
    let first = seen.not_audited.first().cloned().expect("one");
    seen.not_audited.push(first);
    let diff = compare(&old, &seen).expect("alike");
    assert_eq!((diff.better.len(), diff.no_longer_judged.len()), (0, 2));
}

#[test]
fn a_rule_that_was_not_asked_this_time_mends_nothing() {
    let (old, mut new) = (report(), audited());
    new.outcomes[0].verdict = Verdict::DoesNotApply("no accounts".to_owned());
    let diff = compare(&old, &Report::of(&new, None)).expect("alike");
    assert_eq!((diff.better.len(), diff.no_longer_judged.len()), (2, 0));
    new.data = stockade_audit::Data::NotRun {
        why: "nobody wanted it".to_owned(),
    };
    let diff = compare(&old, &Report::of(&new, None)).expect("alike");
    assert_eq!((diff.better.len(), diff.no_longer_judged.len()), (0, 2));
}

#[test]
fn a_finding_whose_waiver_is_over_is_new_to_a_baseline() {
    let mut old = report();
    old.waive(&waivers(), NOW);
    let mut new = report();
    new.waive(&waivers(), NOW + time::Duration::days(1));
    new.against(&old).expect("both are images");
    assert_eq!(new.gating(Some(Severity::High)), 1);
    let su = new.findings().find(|(_, it)| it.subject.ends_with("/su"));
    assert_eq!(su.and_then(|(_, it)| it.since), Some(Since::New));
}

#[test]
fn an_image_is_not_compared_with_a_host() {
    let mut host = audited();
    host.target.kind = stockade_audit::TargetKind::Host;
    let unlike: Result<_, Unlike> = compare(&report(), &Report::of(&host, None));
    assert!(unlike.is_err());
}

#[test]
fn nothing_is_good_of_which_a_part_was_not_seen() {
    let mut seen = image(Standing::Offline);
    seen.outcomes.push(Outcome {
        rule: &DEFAULT_PASSWORD,
        verdict: Verdict::Passed("3 accounts".to_owned()),
    });
    let of = |report: &Report| {
        let it = report
            .protocols
            .iter()
            .find(|it| it.name == "Secure operating system");
        it.map(|it| it.verdict)
    };
    let report = Report::of(&seen, None);
    assert_eq!(
        (of(&report), report.incomplete()),
        (Some(Stand::Good), false)
    );
    seen.not_audited
        .push(("part".to_owned(), "damaged".to_owned()));
    let mut report = Report::of(&seen, None);
    assert_eq!(
        (of(&report), report.incomplete()),
        (Some(Stand::CannotTell), true)
    );
    let accepted = "form = 1\n[[waiver]]\nrule = \"not-audited\"\npath = \"part\"\nreason = \"x\"\nexpires = 2027-01-31\n";
    report.waive(&Waivers::parse(accepted).expect("a waiver"), NOW);
    assert_eq!(
        (of(&report), report.incomplete()),
        (Some(Stand::Good), false)
    );
    // All seven are told of, whatever was asked.
    assert_eq!(report.protocols.len(), 7);
}

#[test]
fn every_provision_that_a_rule_cites_is_known() {
    let unknown: BTreeSet<&str> = rules::all()
        .flat_map(|rule| rule.standards)
        .filter(|id| standards::title(id).is_none())
        .copied()
        .collect();
    assert_eq!(unknown, BTreeSet::new());
    let without: Vec<&str> = rules::all()
        .filter(|rule| rule.standards.is_empty())
        .map(|rule| rule.id)
        .collect();
    assert_eq!(without, Vec::<&str>::new(), "rules that cite nothing");
    let misplaced: Vec<&str> = rules::all()
        .filter(|rule| !rule.id.starts_with(&format!("{}/", rule.control.as_str())))
        .map(|rule| rule.id)
        .collect();
    assert_eq!(
        misplaced,
        Vec::<&str>::new(),
        "an id begins with its control"
    );
}
