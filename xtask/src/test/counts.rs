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
            } else if body.contains(SKIPPED) {
                "skipped"
            } else {
                "pass"
            },
            seconds: attribute(" time")?.parse().ok()?,
        })
    };
    xml.split("<testcase ").skip(1).filter_map(of).collect()
}

/// What the e2e tests say on their output when they have to leave something out.
const SKIPPED: &str = "[stockade-e2e] skipped:";

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
    let skipped = xml.matches(SKIPPED).count() as u64;
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
            <system-out>[stockade-e2e] skipped: no chromium</system-out>"#;
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
    fn a_run_of_nothing_is_a_fault() {
        assert!(Counts::default().ran().is_err());
    }
}
