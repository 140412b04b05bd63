//! `cargo xtask vmlab`: the tests that boot guests, and how long each took.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::command::{cargo, root, succeed};
use crate::out;
use crate::prepare::{self, Missing};
use crate::test::{Case, Counts, last_cases, nextest, without};

/// Runs the whole lab, or one file of it.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    ensure!(arguments.len() < 2, "`vmlab` takes one name at most");
    let name = arguments.first().map(String::as_str);
    if let Some(name) = name {
        let names = names()?;
        ensure!(
            names.iter().any(|known| known == name),
            "no such part of the lab; there are: {}",
            names.join(", ")
        );
    }
    let missing = prepare::everything();
    // The guests run what the others' tests run.
    succeed(&mut cargo(&["build", "--locked", "--workspace", "--bins"]))?;
    lab(name, &missing)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs it, and prints the time of each test and of all.
pub(crate) fn lab(name: Option<&str>, missing: &Missing) -> Result<Counts> {
    let begun = Instant::now();
    let filter = name.map_or_else(
        || "package(stockade-e2e) and binary(/^vmlab_/)".to_owned(),
        |name| format!("package(stockade-e2e) and binary(=vmlab_{name})"),
    );
    let result = nextest(&filter, &[without(missing)]);
    let mut rows = vec![
        ["part", "test", "verdict", "time"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for Case {
        binary,
        name,
        verdict,
        seconds,
    } in last_cases()
    {
        let part = binary.trim_start_matches("stockade-e2e::vmlab_").to_owned();
        rows.push(vec![
            part,
            name,
            verdict.to_owned(),
            format!("{seconds:.1} s"),
        ]);
    }
    let all = format!("{:.1} s", begun.elapsed().as_secs_f64());
    rows.push(vec![
        "the whole lab".to_owned(),
        String::new(),
        String::new(),
        all,
    ]);
    out::line("");
    out::table(&rows);
    result
}

fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(root().join("tests/vmlab"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|its| its == "rs") {
            let name = path.file_stem().context("a file has a name")?;
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
