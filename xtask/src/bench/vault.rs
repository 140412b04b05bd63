//! `cargo xtask bench vault`: tables measured and released beside pycanon and anjana in the same run, and the vault's own rates beside their aims.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::machine;
use crate::command::{capture, cargo, program, root, succeed, target};
use crate::prepare::{environment, libraries};
use crate::{out, prepare};

/// Programs of ours, by crate.
const EXAMPLES: [(&str, &str); 6] = [
    ("stockade-anonymity", "anonymity_speed"),
    ("stockade-anonymity", "stream_rate"),
    ("stockade-vault", "treat_rate"),
    ("stockade-vault", "ingest_rate"),
    ("stockade-vault", "rotate"),
    ("stockade-store", "store_rate"),
];

/// What one of them prints: the first number after some words.
struct Rate {
    example: &'static str,
    after: &'static str,
    what: &'static str,
    aim: Option<f64>,
}

const RATES: [Rate; 7] = [
    Rate {
        example: "treat_rate",
        after: "",
        what: "records treated a second, one core",
        aim: Some(300_000.0),
    },
    Rate {
        example: "ingest_rate",
        after: "clear, on the bus:",
        what: "messages a second onto the bus, as they come",
        aim: None,
    },
    Rate {
        example: "ingest_rate",
        after: "sealed, on the bus:",
        what: "messages a second onto the bus, treated and sealed before",
        aim: None,
    },
    Rate {
        example: "ingest_rate",
        after: "durable blocks:",
        what: "records taken in a second, durable",
        aim: Some(100_000.0),
    },
    Rate {
        example: "ingest_rate",
        after: "read all 5200000:",
        what: "records a second when a data set of 5.2 million is read",
        aim: None,
    },
    Rate {
        example: "stream_rate",
        after: "",
        what: "rows a second through a streaming release",
        aim: Some(100_000.0),
    },
    Rate {
        example: "rotate",
        after: "a rotation wraps",
        what: "subjects a second wrapped anew by a rotation of a million",
        aim: None,
    },
];

/// What the judges and ours take for known to strangers.
const QUASI: [&str; 8] = [
    "sex",
    "age",
    "race",
    "marital-status",
    "education",
    "native-country",
    "workclass",
    "occupation",
];

/// Builds, measures and prints.
pub(super) fn run(arguments: &[String]) -> Result<ExitCode> {
    ensure!(arguments.is_empty(), "`bench vault` takes no arguments");
    out::line(&format!("\n{}", machine("ours and theirs, in turn")));
    build()?;
    tables()?;
    rates()?;
    stores()?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the examples at once, with everything that makes them fast.
fn build() -> Result<()> {
    let mut build = cargo(&["build", "--release", "--locked"]);
    for (package, example) in EXAMPLES {
        build.args(["-p", package, "--example", example]);
    }
    succeed(&mut build)
}

/// What an example prints.
fn example(name: &str, arguments: &[&str]) -> Result<String> {
    let path = target().join("release/examples").join(name);
    capture(program(&path.to_string_lossy()).args(arguments))
}

/// A report and a search on Adult.
fn tables() -> Result<()> {
    let ours: Value = serde_json::from_str(&example("anonymity_speed", &[])?)?;
    if ours.is_null() {
        out::line("../shared/data/vault is not there: no tables to measure");
        return Ok(());
    }
    let theirs = judged()?;
    let number = |said: &Value, at: &str| {
        said.pointer(at)
            .and_then(Value::as_f64)
            .context("no number")
    };
    let mut report = 0.0;
    for part in ["/pycanon_k", "/pycanon_l", "/pycanon_t"] {
        report += number(&theirs, part)?;
    }
    let anjana = number(&theirs, "/anjana/milliseconds")?;
    let heads = [
        "on Adult, 30,162 rows, 8 quasi-identifiers",
        "ours, ms",
        "theirs, ms",
        "times as fast",
        "aim",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for (what, at, theirs, aim) in [
        (
            "k, l and t of the table (pycanon)",
            "/report",
            Some(report),
            50.0,
        ),
        (
            "release of k = 5, one level a column (anjana)",
            "/whole/milliseconds",
            Some(anjana),
            500.0,
        ),
        (
            "release of k = 5, local recoding (anjana)",
            "/local/milliseconds",
            Some(anjana),
            500.0,
        ),
        (
            "the same with t = 0.2, one level a column",
            "/whole_t/milliseconds",
            None,
            500.0,
        ),
        (
            "the same with t = 0.2, local recoding",
            "/local_t/milliseconds",
            None,
            500.0,
        ),
    ] {
        let ours = number(&ours, at)?;
        rows.push(vec![
            what.to_owned(),
            format!("{ours:.1}"),
            theirs.map_or_else(|| "-".to_owned(), |theirs| format!("{theirs:.0}")),
            theirs.map_or_else(|| "-".to_owned(), |theirs| format!("{:.0}", theirs / ours)),
            reached(ours <= aim, aim),
        ]);
    }
    out::line("");
    out::table(&rows);
    out::line(&format!(
        "\nrows left out: {} and {}, anjana {}; loss: {:.3} and {:.3}, anjana {:.3} (ARX 0.252, with the same 1,458 rows as our first)",
        ours["whole"]["suppressed"],
        ours["local"]["suppressed"],
        theirs["anjana"]["suppressed"],
        number(&ours, "/whole/loss")?,
        number(&ours, "/local/loss")?,
        number(&theirs, "/anjana/loss")?,
    ));
    Ok(())
}

/// What pycanon and anjana say, and how long it takes them.
fn judged() -> Result<Value> {
    prepare::python(&environment(), &root().join("tests/requirements.txt"))?;
    libraries("vault-judges")?;
    let data = root().join("../shared/data/vault");
    let mut judge = program(&environment().join("bin/python").to_string_lossy());
    judge
        .env("PYTHONPATH", target().join("labs/python-vault-judges-1"))
        .arg(root().join("tests/clients/vault_judge.py"))
        .args(["speed"])
        .arg(data.join("adult_arx.csv"))
        .arg(data.join("adult_hierarchies"))
        .args(QUASI);
    Ok(serde_json::from_str(&capture(&mut judge)?)?)
}

fn rates() -> Result<()> {
    let mut rows = vec![
        ["the vault's own rates", "ours", "aim"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut said = BTreeMap::new();
    for (_, name) in EXAMPLES {
        if RATES.iter().all(|rate| rate.example != name) {
            continue;
        }
        // A large data set, where the others are made, on a disk: /tmp may be memory.
        let place = target().to_string_lossy().into_owned();
        let arguments: &[&str] = match name {
            "ingest_rate" => &[&place, "5000000"],
            _ => &[],
        };
        let text = example(name, arguments)?;
        out::line(text.trim_end());
        said.insert(name, text);
    }
    for rate in RATES {
        let found = said
            .get(rate.example)
            .and_then(|said| number_after(said, rate.after));
        let found = found.with_context(|| format!("{} says no rate", rate.example))?;
        rows.push(vec![
            rate.what.to_owned(),
            format!("{found:.0}"),
            rate.aim
                .map_or_else(|| "-".to_owned(), |aim| reached(found >= aim, aim)),
        ]);
    }
    out::line("");
    out::table(&rows);
    Ok(())
}

/// The stores under blocks as the vault writes them, and the limit: COPY without any of ours.
fn stores() -> Result<()> {
    let said = example("store_rate", &[])?;
    let rates: Vec<(&str, f64)> = said
        .lines()
        .filter_map(|line| {
            let (name, rate) = line.split_once(": ")?;
            Some((name, number_after(rate, "")?))
        })
        .collect();
    // With as many records in each.
    let copy = |name: &str| {
        let alike = |other: &str| number_after(other, "") == number_after(name, "");
        let mut copies = rates
            .iter()
            .filter(|(other, _)| other.starts_with("plain COPY"));
        copies.find(|(other, _)| alike(other))
    };
    let mut rows = vec![
        ["records of 150 bytes, durable", "a second", "of COPY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (name, rate) in &rates {
        let share =
            copy(name).map_or_else(|| "-".to_owned(), |(_, copy)| format!("{:.2}", rate / copy));
        rows.push(vec![(*name).to_owned(), format!("{rate:.0}"), share]);
    }
    out::line("");
    out::table(&rows);
    Ok(())
}

fn reached(is: bool, aim: f64) -> String {
    format!("{aim}: {}", if is { "yes" } else { "no" })
}

fn number_after(said: &str, words: &str) -> Option<f64> {
    let (_, said) = said.split_once(words)?;
    let mut words = said.split_whitespace();
    words.find_map(|word| word.replace(',', "").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_first_number_after_its_words() {
        assert_eq!(number_after("1,234 records/s of 3", ""), Some(1_234.0));
        assert_eq!(number_after("taken: 7/s\nkept: 8 /s", "kept:"), Some(8.0));
        assert_eq!(number_after("nothing", ""), None);
    }
}
