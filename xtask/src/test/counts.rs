//! How many tests passed, read from what the test runners report.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::command::target;

/// Tests by how they went.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines count nothing.
    pub(crate) fn add_line(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let (_, numbers) = result.split_once(". ").unwrap_or_default();
        for part in numbers.split("; ") {
            let Some((number, word)) = part.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Itself, unless nothing ran: a filter that chooses no test is a fault.
    pub(crate) fn ran(self) -> Result<Self> {
        ensure!(self.passed > 0, "no test ran");
        Ok(self)
    }
}

fn report() -> PathBuf {
    target().join("nextest/ci/junit.xml")
}

/// Removes the report of an earlier run, so that it is not taken for the next one's.
pub(crate) fn forget() {
    // Absent is what is wanted.
    drop(fs_err::remove_file(report()));
}

/// The counts of the report nextest wrote last; zeros without one.
pub(crate) fn last_report() -> Counts {
    fs_err::read_to_string(report()).map_or_else(|_| Counts::default(), |xml| of_junit(&xml))
}

/// One test of a report.
#[derive(Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) binary: String,
    pub(crate) name: String,
    pub(crate) verdict: &'static str,
    pub(crate) seconds: f64,
}

/// The tests of the report nextest wrote last.
pub(crate) fn last_cases() -> Vec<Case> {
    fs_err::read_to_string(report()).map_or_else(|_| Vec::new(), |xml| cases(&xml))
}

fn cases(xml: &str) -> Vec<Case> {
    let of = |text: &str| {
        let (head, body) = text.split_once('>')?;
        let attribute = |name: &str| {
            let (_, rest) = head.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        Some(Case {
            binary: attribute("classname")?,
            name: attribute("name")?,
            verdict: if body.contains("<failure") || body.contains("<error") {
                "FAIL"
            } else if skip(body).is_some() {
                "skipped"
            } else {
                "pass"
            },
            seconds: attribute(" time")?.parse().ok()?,
        })
    };
    xml.split("<testcase ").skip(1).filter_map(of).collect()
}

/// What tests say, at the start of a line, when they have to leave something out; those from outside say who they are before it.
const SKIPPED: &str = "skipped: ";
const FROM_OUTSIDE: &str = "[stockade-e2e] ";

/// Why a test was skipped, or a part of it, as it said on one of its streams.
fn skip(body: &str) -> Option<&str> {
    // The first line of a stream is behind the tag that opens it.
    let mut lines = body.lines().flat_map(|line| line.split("<system-"));
    lines.find_map(|line| {
        let line = ["out>", "err>"]
            .iter()
            .find_map(|tag| line.strip_prefix(tag))
            .unwrap_or(line);
        // On a machine with one core a test's name is before what it says.
        let line = match line.split_once(" ... ") {
            Some((name, said)) if name.starts_with("test ") => said,
            _ => line,
        };
        let line = line.strip_prefix(FROM_OUTSIDE).unwrap_or(line);
        line.strip_prefix(SKIPPED)
    })
}

/// The tests of the report nextest wrote last that were skipped, each with the reason that it gave.
pub(crate) fn last_skips() -> Vec<(String, String)> {
    fs_err::read_to_string(report()).map_or_else(|_| Vec::new(), |xml| skips(&xml))
}

fn skips(xml: &str) -> Vec<(String, String)> {
    let all = xml.split("<testcase ").skip(1).zip(cases(xml));
    all.filter_map(|(text, case)| {
        let why = skip(text)?.split("</system-").next()?;
        Some((format!("{} {}", case.binary, case.name), why.to_owned()))
    })
    .collect()
}

fn of_junit(xml: &str) -> Counts {
    let head = xml
        .split_once("<testsuites")
        .and_then(|(_, rest)| rest.split_once('>'))
        .map_or("", |(head, _)| head);
    let attribute = |name: &str| -> u64 {
        head.split_once(&format!(" {name}=\""))
            .and_then(|(_, rest)| rest.split_once('"'))
            .and_then(|(number, _)| number.parse().ok())
            .unwrap_or(0)
    };
    let failed = attribute("failures") + attribute("errors");
    let skipped = skips(xml).len() as u64;
    Counts {
        passed: attribute("tests").saturating_sub(failed + skipped),
        failed,
        skipped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_test_are_counted() {
        let mut counts = Counts::default();
        counts.add_line("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s");
        counts.add_line(
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        counts.add_line("test result of something else: 9 passed");
        assert_eq!(
            counts,
            Counts {
                passed: 4,
                failed: 2,
                skipped: 1
            }
        );
    }

    #[test]
    fn the_head_of_a_junit_report_is_counted() {
        let xml = r#"<?xml version="1.0"?>
            <testsuites name="nextest-run" tests="12" failures="1" errors="1" uuid="u" timestamp="t" time="2.5">
            <testsuite name="s" tests="12" disabled="0" errors="0" failures="0">
            <testcase name="a" classname="p::one" timestamp="t" time="1.500">
            <system-out>[stockade-e2e] skipped: no chromium</system-out></testcase>"#;
        assert_eq!(
            of_junit(xml),
            Counts {
                passed: 9,
                failed: 2,
                skipped: 1
            }
        );
    }

    #[test]
    fn each_test_of_a_junit_report_is_told() {
        let xml = r#"<testsuites><testsuite name="s">
            <testcase name="a" classname="p::one" timestamp="t" time="1.500"><system-out></system-out></testcase>
            <testcase name="b" classname="p::two" timestamp="t" time="0.25">
            <system-out>[stockade-e2e] skipped: no qemu</system-out></testcase>
            <testcase name="c" classname="p::two" timestamp="t" time="9.0"><failure type="f"/></testcase>"#;
        let told: Vec<_> = cases(xml)
            .into_iter()
            .map(|case| {
                format!(
                    "{} {} {} {}",
                    case.binary, case.name, case.verdict, case.seconds
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "p::one a pass 1.5",
                "p::two b skipped 0.25",
                "p::two c FAIL 9"
            ]
        );
    }

    #[test]
    fn who_was_skipped_is_told_with_the_reason_whichever_stream_it_is_on() {
        let case = |name: &str, body: &str| {
            format!(r#"<testcase name="{name}" classname="p::one" time="1.0">{body}</testcase>"#)
        };
        let xml = [
            case(
                "first",
                "<system-out>skipped: no nft</system-out><system-err></system-err>",
            ),
            case(
                "later",
                "<system-out>a</system-out><system-err>\nskipped: no gcc\nmore</system-err>",
            ),
            case(
                "fine",
                "<system-out>nothing was skipped: all is well</system-out>",
            ),
            case(
                "alone",
                "<system-out>\ntest alone ... skipped: no ip\nok</system-out>",
            ),
            case("dull", ""),
        ]
        .concat();
        let told: Vec<_> = skips(&xml)
            .into_iter()
            .map(|(test, why)| format!("{test}: {why}"))
            .collect();
        assert_eq!(
            told,
            [
                "p::one first: no nft",
                "p::one later: no gcc",
                "p::one alone: no ip"
            ]
        );
    }

    #[test]
    fn a_run_of_nothing_is_a_fault() {
        assert!(Counts::default().ran().is_err());
    }
}
