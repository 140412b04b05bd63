//! The statements, the tests that cover them, and the table of both in `docs/conformance.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::{cases, v5, v311};

/// Who has to keep to a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Applies {
    Server,
    Client,
    Both,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Statement {
    id: String,
    applies: Applies,
    gist: String,
    note: Option<String>,
    not_applicable: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    statement: Vec<Statement>,
}

/// One specification: its statements as listed here, and the tests.
struct Specification {
    title: &'static str,
    prefix: &'static str,
    statements: Vec<Statement>,
    tests: &'static [&'static str],
    /// Section and highest number, as the specification's Appendix B has them.
    sections: &'static [(&'static str, u32)],
    /// Where the numbers of a section do not begin at 1.
    begins_at_2: &'static [&'static str],
}

fn specifications() -> [Specification; 2] {
    let parse = |text| toml::from_str::<File>(text).expect("statements").statement;
    [
        Specification {
            title: "MQTT 5.0",
            prefix: "mqtt5_",
            statements: parse(include_str!("../statements-v5.toml")),
            tests: v5::NAMES,
            sections: SECTIONS_V5,
            begins_at_2: &["2.2.1"],
        },
        Specification {
            title: "MQTT 3.1.1",
            prefix: "mqtt311_",
            statements: parse(include_str!("../statements-v311.toml")),
            tests: v311::NAMES,
            sections: SECTIONS_V311,
            begins_at_2: &[],
        },
    ]
}

const SECTIONS_V5: &[(&str, u32)] = &[
    ("1.5.4", 3),
    ("1.5.5", 1),
    ("1.5.7", 1),
    ("2.1.3", 1),
    ("2.2.1", 6),
    ("2.2.2", 1),
    ("3.1.0", 2),
    ("3.1.2", 30),
    ("3.1.3", 12),
    ("3.1.4", 6),
    ("3.2.0", 2),
    ("3.2.2", 22),
    ("3.3.1", 13),
    ("3.3.2", 20),
    ("3.3.4", 10),
    ("3.4.2", 3),
    ("3.5.2", 3),
    ("3.6.1", 1),
    ("3.6.2", 3),
    ("3.7.2", 3),
    ("3.8.1", 1),
    ("3.8.3", 5),
    ("3.8.4", 8),
    ("3.9.2", 2),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.11.2", 2),
    ("3.11.3", 2),
    ("3.12.4", 1),
    ("3.14.0", 1),
    ("3.14.1", 1),
    ("3.14.2", 4),
    ("3.14.4", 3),
    ("3.15.1", 1),
    ("3.15.2", 3),
    ("4.1.0", 2),
    ("4.2", 1),
    ("4.3.1", 1),
    ("4.3.2", 5),
    ("4.3.3", 13),
    ("4.4.0", 2),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.0", 1),
    ("4.7.1", 2),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.2", 6),
    ("4.9.0", 3),
    ("4.12.0", 7),
    ("4.12.1", 2),
    ("4.13.1", 1),
    ("4.13.2", 1),
    ("6.0.0", 4),
];

const SECTIONS_V311: &[(&str, u32)] = &[
    ("1.5.3", 3),
    ("2.2.2", 2),
    ("2.3.1", 7),
    ("3.1.0", 2),
    ("3.1.2", 24),
    ("3.1.3", 11),
    ("3.1.4", 5),
    ("3.2.0", 1),
    ("3.2.2", 6),
    ("3.3.1", 12),
    ("3.3.2", 3),
    ("3.3.4", 1),
    ("3.3.5", 2),
    ("3.6.1", 1),
    ("3.8.1", 1),
    ("3.8.3", 4),
    ("3.8.4", 6),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.12.4", 1),
    ("3.14.1", 1),
    ("3.14.4", 3),
    ("4.1.0", 2),
    ("4.3.1", 1),
    ("4.3.2", 2),
    ("4.3.3", 2),
    ("4.4.0", 1),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.1", 3),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.0", 2),
    ("6.0.0", 4),
    ("7.0.0", 2),
    ("7.1.1", 1),
    ("7.1.2", 1),
];

/// `3.3.2-2` of `mqtt5_3_3_2_2_topic_must_not_contain_wildcards`.
fn id_of(prefix: &str, test: &str) -> String {
    let rest = test
        .strip_prefix(prefix)
        .unwrap_or_else(|| panic!("{test} does not begin with {prefix}"));
    let numbers: Vec<&str> = rest
        .split('_')
        .take_while(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    let (last, section) = numbers.split_last().expect("an id in the name");
    format!("{}-{last}", section.join("."))
}

impl Specification {
    fn covered_by(&self) -> BTreeMap<String, Vec<&'static str>> {
        let mut covered: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
        for test in self.tests {
            covered
                .entry(id_of(self.prefix, test))
                .or_default()
                .push(test);
        }
        covered
    }
}

#[test]
fn every_statement_is_listed_once() {
    for specification in specifications() {
        let mut expected = Vec::new();
        for (section, last) in specification.sections {
            let first = if specification.begins_at_2.contains(section) {
                2
            } else {
                1
            };
            expected.extend((first..=*last).map(|number| format!("{section}-{number}")));
        }
        let listed: Vec<&String> = specification.statements.iter().map(|s| &s.id).collect();
        assert_eq!(
            listed,
            expected.iter().collect::<Vec<_>>(),
            "{}",
            specification.title
        );
    }
}

#[test]
fn every_statement_for_a_server_is_tested_or_says_why_not() {
    for specification in specifications() {
        let covered = specification.covered_by();
        for Statement {
            id,
            applies,
            not_applicable,
            ..
        } in &specification.statements
        {
            let tested = covered.contains_key(id);
            match (applies, not_applicable) {
                (_, Some(_)) => assert!(!tested, "{id} is tested, so it is applicable"),
                (Applies::Client, None) => {}
                (_, None) => assert!(
                    tested,
                    "{} {id} has neither test nor reason",
                    specification.title
                ),
            }
        }
        let known: BTreeSet<&String> = specification.statements.iter().map(|s| &s.id).collect();
        for (id, tests) in &covered {
            assert!(
                known.contains(id),
                "{tests:?} name a statement that does not exist"
            );
        }
    }
}

#[test]
fn known_failures_name_tests_that_exist() {
    let all: BTreeSet<&str> = v5::NAMES.iter().chain(v311::NAMES).copied().collect();
    for (name, _) in cases::all_known() {
        assert!(
            all.contains(name),
            "{name} is listed as a known failure, but there is no such test"
        );
    }
}

#[test]
fn the_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let rendered = render();
    if std::env::var_os("UPDATE").is_some() {
        fs_err::write(&path, rendered).expect("docs/conformance.md can be written");
        return;
    }
    let found = fs_err::read_to_string(&path).unwrap_or_default();
    assert!(
        found == rendered,
        "docs/conformance.md is stale: UPDATE=1 cargo nextest run -p stockade-conformance the_document"
    );
}

const INTRODUCTION: &str = "\
# MQTT conformance

<!-- Rendered by tests/conformance: UPDATE=1 cargo nextest run -p stockade-conformance the_document -->

Every normative statement of MQTT 5.0 and MQTT 3.1.1 that binds a server is either tested, black box
and over the wire, or listed with the reason why it does not apply. The tests make and read their bytes
themselves and share no code with the gateway; whatever a server may never send fails the test that
reads it. Tests named `probe_…` play a server that is wrong on purpose and show that this is seen.

Each test has a gateway of its own, reached over TLS 1.3 with mutual authentication. The same tests run
against mosquitto, which shows that they ask for no more than others do; where they do, it is listed
below. A test that is listed must fail, so that the lists shrink as soon as they can.

    cargo nextest run -p stockade-conformance
    STOCKADE_MQTT_UNDER_TEST=mosquitto cargo nextest run -p stockade-conformance

The devices' profile lets them subscribe to `t/#` and publish to some topics below `t`: a profile can
allow no more than named topics. The gists are ours; the specifications are at
<https://docs.oasis-open.org/mqtt/>. \"Both\" binds client and server.
";

fn render() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n| | statements | bind a server | tested | not applicable | tests |\n");
    out.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
    for specification in specifications() {
        let covered = specification.covered_by();
        let binding: Vec<&Statement> = specification
            .statements
            .iter()
            .filter(|s| s.applies != Applies::Client)
            .collect();
        let tested = binding
            .iter()
            .filter(|s| covered.contains_key(&s.id))
            .count();
        let not = binding
            .iter()
            .filter(|s| s.not_applicable.is_some())
            .count();
        writeln!(
            out,
            "| {} | {} | {} | {tested} | {not} | {} |",
            specification.title,
            specification.statements.len(),
            binding.len(),
            specification.tests.len()
        )
        .expect("a string");
    }
    known_failures(&mut out);
    for specification in specifications() {
        table(&mut out, &specification);
    }
    out
}

fn known_failures(out: &mut String) {
    for (title, list) in [
        ("the gateway", cases::known_ours()),
        ("mosquitto 2.0.11 (Debian 12)", cases::known_mosquitto()),
    ] {
        writeln!(out, "\n## Known failures of {title}\n").expect("a string");
        if list.is_empty() {
            out.push_str("None.\n");
        }
        for (name, why) in list {
            writeln!(out, "- `{name}`: {why}").expect("a string");
        }
    }
}

fn table(out: &mut String, specification: &Specification) {
    let covered = specification.covered_by();
    writeln!(out, "\n## {}\n", specification.title).expect("a string");
    out.push_str("| statement | binds | gist | covered by |\n| --- | --- | --- | --- |\n");
    for statement in &specification.statements {
        let binds = match statement.applies {
            Applies::Server => "server",
            Applies::Client => "client",
            Applies::Both => "both",
        };
        let mut how = match (covered.get(&statement.id), &statement.not_applicable) {
            (Some(tests), _) => tests
                .iter()
                .map(|test| format!("`{test}`"))
                .collect::<Vec<_>>()
                .join("<br>"),
            (None, Some(why)) => format!("not applicable: {why}"),
            (None, None) => "not applicable: binds clients".to_owned(),
        };
        if let Some(note) = &statement.note {
            how.push_str("<br>");
            how.push_str(note);
        }
        let gist = statement.gist.replace('|', "\\|");
        writeln!(out, "| {} | {binds} | {gist} | {how} |", statement.id).expect("a string");
    }
}
