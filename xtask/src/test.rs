//! `cargo xtask test`: every check, one after the other, and a table of how each went.

mod counts;
mod link;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub(crate) use self::counts::{Case, Counts, last_cases};
use crate::command::{capture, cargo, program, root, succeed, target, watch, works};
use crate::prepare::{self, Missing};
use crate::{out, tidy, vmlab};

/// One check: its name, whether `--fast` runs it, and what it does.
struct Step {
    name: &'static str,
    fast: bool,
    run: fn(&Missing) -> Result<Counts>,
}

const STEPS: [Step; 15] = [
    Step {
        name: "fmt",
        fast: true,
        run: fmt,
    },
    Step {
        name: "tidy",
        fast: true,
        run: |_| tidy::check(),
    },
    Step {
        name: "clippy",
        fast: true,
        run: clippy,
    },
    Step {
        name: "build",
        fast: true,
        run: build,
    },
    Step {
        name: "tests",
        fast: true,
        run: |_| nextest("not package(stockade-e2e) and not binary(/corpus$/)", &[]),
    },
    Step {
        name: "corpus",
        fast: true,
        run: |_| nextest("binary(/corpus$/)", &[]),
    },
    Step {
        name: "fuzz-targets",
        fast: false,
        run: fuzz_targets,
    },
    Step {
        name: "doc-tests",
        fast: false,
        run: doc_tests,
    },
    Step {
        name: "docs",
        fast: false,
        run: docs,
    },
    Step {
        name: "deny",
        fast: false,
        run: deny,
    },
    Step {
        name: "reference",
        fast: false,
        run: reference,
    },
    Step {
        name: "lakers",
        fast: false,
        run: link::lakers,
    },
    Step {
        name: "firmware",
        fast: false,
        run: link::firmware,
    },
    Step {
        name: "e2e",
        fast: false,
        run: |missing| nextest(E2E, &[without(missing)]),
    },
    Step {
        name: "vmlab",
        fast: false,
        run: |missing| vmlab::lab(None, missing),
    },
];

/// Those from outside; and those of two crates that boot, or judge, a Debian which those from outside lay down (`.config/nextest.toml`
/// has them come last). Where nothing was laid down yet, the step before had to skip them.
const E2E: &str = "(package(stockade-e2e) and not binary(/^vmlab_/)) \
    or (package(stockade-host) and binary(apply_init)) or (package(stockade-audit) and test(=a_distribution_is_judged_whole_and_has_nothing_that_is_let_in))";

struct Outcome {
    name: &'static str,
    took: Duration,
    passed: bool,
    /// Of a check that failed, what its tests had reported by then.
    counts: Counts,
}

/// Runs the checks the arguments choose; fails when one of them does.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let steps = chosen(arguments)?;
    let started = Instant::now();
    warn_of_a_full_disk();
    let missing = prepare::everything();
    let mut outcomes = Vec::new();
    for step in steps {
        out::line(&format!("\n== {}", step.name));
        let begun = Instant::now();
        counts::forget();
        let result = (step.run)(&missing);
        if let Err(error) = &result {
            out::problem(&format!("{}: {error:#}", step.name));
        }
        outcomes.push(Outcome {
            name: step.name,
            took: begun.elapsed(),
            passed: result.is_ok(),
            counts: result.unwrap_or_else(|_| counts::last_report()),
        });
    }
    Ok(summary(&outcomes, started.elapsed(), &missing))
}

/// What a build from nothing and its tests take on disk, in MiB, and some room (`du -sm target` after a run).
const ROOM: u64 = 20_000;

/// A linker that finds no room says so in words nobody understands.
fn warn_of_a_full_disk() {
    let place = target();
    let place = if place.exists() { place } else { root() };
    let free = capture(
        program("df")
            .args(["--output=avail", "--block-size=1M"])
            .arg(&place),
    );
    let free = free
        .ok()
        .and_then(|text| text.lines().last()?.trim().parse::<u64>().ok());
    if let Some(free) = free.filter(|free| *free < ROOM) {
        out::problem(&format!(
            "{} has {free} MiB free, and a build from nothing takes up to {ROOM}: `cargo clean` removes what older builds left",
            place.display()
        ));
    }
}

fn chosen(arguments: &[String]) -> Result<Vec<&'static Step>> {
    let mut steps: Vec<&Step> = STEPS.iter().collect();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--fast" => steps.retain(|step| step.fast),
            "--only" => {
                let name = arguments.next().map_or("", String::as_str);
                steps.retain(|step| step.name == name);
            }
            other => bail!("`test` knows --fast and --only NAME, not `{other}`"),
        }
    }
    if steps.is_empty() {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("no check has that name; there are: {}", names.join(", "));
    }
    Ok(steps)
}

fn summary(outcomes: &[Outcome], total: Duration, missing: &Missing) -> ExitCode {
    let mut rows = vec![
        ["check", "verdict", "passed", "failed", "skipped", "time"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for outcome in outcomes {
        let verdict = if outcome.passed { "pass" } else { "FAIL" };
        let counts = outcome.counts;
        let shown = |count: u64| {
            if count == 0 {
                "-".to_owned()
            } else {
                count.to_string()
            }
        };
        rows.push(vec![
            outcome.name.to_owned(),
            verdict.to_owned(),
            shown(counts.passed),
            shown(counts.failed),
            shown(counts.skipped),
            seconds(outcome.took),
        ]);
    }
    out::line("");
    out::table(&rows);
    if !missing.is_empty() {
        out::line(&format!("  skipped for want of: {}", missing.names()));
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    out::line(&format!(
        "\n{} of {} checks passed in {}",
        outcomes.len() - failed,
        outcomes.len(),
        seconds(total)
    ));
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn fmt(_: &Missing) -> Result<Counts> {
    succeed(&mut cargo(&["fmt", "--all", "--check"]))?;
    Ok(Counts::default())
}

fn clippy(_: &Missing) -> Result<Counts> {
    succeed(&mut cargo(&[
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(Counts::default())
}

/// Everything the later checks run, so that their times are their own.
fn build(_: &Missing) -> Result<Counts> {
    succeed(&mut cargo(&[
        "build",
        "--locked",
        "--workspace",
        "--all-targets",
    ]))?;
    // What `cargo run` and a release are made of: without the features that only tests bring. Whether it compiles is seen without
    // compiling it all again; tidy sees that `cargo run`, the README's first command, finds its program.
    succeed(&mut cargo(&["check", "--locked"]))?;
    succeed(program(&target().join("debug/stockade").to_string_lossy()).arg("--version"))?;
    Ok(Counts::default())
}

/// Names for the tests what could not be had.
pub(crate) fn without(missing: &Missing) -> (&'static str, String) {
    ("STOCKADE_TESTS_WITHOUT", missing.names())
}

/// The tests a filter chooses, in this environment: with nextest where it can be had, else with `cargo test`. Always of the whole
/// workspace: of a part alone, cargo would build most of what is used with fewer features, that is, again.
pub(crate) fn nextest(filter: &str, environment: &[(&str, String)]) -> Result<Counts> {
    let environment = || environment.iter().map(|(name, value)| (name, value));
    if works(&mut cargo(&["nextest", "--version"])) {
        let mut command = cargo(&[
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--profile",
            "ci",
            "-E",
            filter,
        ]);
        succeed(command.envs(environment()))?;
        for (test, why) in counts::last_skips() {
            out::line(&format!("{test} skipped: {why}"));
        }
        return Ok(counts::last_report());
    }
    out::line("cargo-nextest is not there: `cargo test` it is");
    let mut command = match filter {
        // Guests are among them here: `cargo test` can not leave out some of many.
        E2E => cargo(&["test", "--locked", "-p", "stockade-e2e", "--no-fail-fast"]),
        lab if lab.contains("binary(/^vmlab_/)") || lab.contains("binary(=vmlab_") => cargo(&[
            "test",
            "--locked",
            "-p",
            "stockade-e2e",
            "--test",
            "vmlab_*",
            "--no-fail-fast",
        ]),
        "binary(/corpus$/)" => cargo(&[
            "test",
            "--locked",
            "--workspace",
            "--test",
            "*corpus",
            "--no-fail-fast",
        ]),
        CONFORMANCE => cargo(&[
            "test",
            "--locked",
            "-p",
            "stockade-conformance",
            "--no-fail-fast",
        ]),
        _ => cargo(&[
            "test",
            "--locked",
            "--workspace",
            "--exclude",
            "stockade-e2e",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
        ]),
    };
    let mut counts = Counts::default();
    watch(command.envs(environment()), |line| counts.add_line(line))?;
    counts.ran()
}

const CONFORMANCE: &str = "package(stockade-conformance)";

/// The MQTT conformance tests against the reference: proof that they ask for what others do, too.
fn reference(missing: &Missing) -> Result<Counts> {
    if missing.names().split(',').any(|name| name == "mosquitto") {
        out::line("mosquitto is not there: the conformance tests meet no reference");
        return Ok(Counts::default());
    }
    let which = ("STOCKADE_MQTT_UNDER_TEST", "mosquitto".to_owned());
    nextest(CONFORMANCE, &[which])?.ran()
}

/// The fuzz targets compile on the stable toolchain too; only fuzzing needs a nightly one.
fn fuzz_targets(_: &Missing) -> Result<Counts> {
    let target = target();
    let folder = target.to_string_lossy();
    succeed(&mut cargo(&[
        "check",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target-dir",
        &folder,
    ]))?;
    Ok(Counts::default())
}

fn doc_tests(_: &Missing) -> Result<Counts> {
    let mut counts = Counts::default();
    watch(
        &mut cargo(&["test", "--locked", "--doc", "--workspace"]),
        |line| counts.add_line(line),
    )?;
    Ok(counts)
}

fn docs(_: &Missing) -> Result<Counts> {
    succeed(
        cargo(&["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    Ok(Counts::default())
}

const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

/// Licences, bans and sources always; advisories where their database can be reached.
fn deny(_: &Missing) -> Result<Counts> {
    if capture(&mut cargo(&["deny", "--version"])).is_err() {
        bail!("cargo-deny is not there: `cargo install --locked cargo-deny`, then try again");
    }
    succeed(&mut cargo(&[
        "deny", "--locked", "check", "bans", "licenses", "sources",
    ]))?;
    if works(program("timeout").args(["20", "git", "ls-remote", "--heads", ADVISORIES])) {
        succeed(&mut cargo(&["deny", "--locked", "check", "advisories"]))?;
    } else {
        out::line(&format!(
            "advisories not checked: {ADVISORIES} can not be reached from here"
        ));
    }
    Ok(Counts::default())
}
