//! What others' programs say of tables and of releases: pycanon of k, l and t, anonymeter of who can be singled out; and of
//! aggregates.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use stockade_anonymity::csv::Formulas;
use stockade_anonymity::{
    Column, Diversity, Goal, Hierarchy, Recoding, Role, Table, csv, report, search,
};
use stockade_e2e::real::vault_judges;
use stockade_e2e::tools::{finish, say, script, text, without};

#[path = "../../crates/anonymity/tests/anonymity/adult.rs"]
mod adult;
#[path = "vault_judges/aggregates.rs"]
mod aggregates;
#[path = "../../crates/anonymity/tests/anonymity/town.rs"]
mod town;

/// For one judgement on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

type Trees = BTreeMap<String, Hierarchy>;

const K5: Goal = Goal {
    k: 5,
    l: None,
    t: None,
    suppress: 0.05,
};

/// A generated table, and Adult where it is.
fn tables() -> Vec<(Table, Trees)> {
    let mut tables = vec![town::town()];
    match adult::adult() {
        Some(adult) => tables.push(adult),
        None => say("without Adult: ../shared/data/vault is not there"),
    }
    tables
}

fn judge(arguments: &[&str]) -> Result<Value> {
    let mut judge = script("vault_judge.py")?;
    judge.env("PYTHONPATH", vault_judges()?).args(arguments);
    let said = finish(&mut judge, PATIENCE)?;
    ensure!(said.status.success(), "{arguments:?}: {}", text(&said));
    Ok(serde_json::from_slice(&said.stdout)?)
}

/// A table as a file: the columns' names, then a line for each row.
fn csv_of(table: &Table) -> String {
    let mut text = csv::line(table.columns().iter().map(Column::name), Formulas::Raw);
    for row in 0..table.rows() {
        text += &csv::line(
            table.columns().iter().filter_map(|it| it.text(row)),
            Formulas::Raw,
        );
    }
    text
}

/// Holds tables' reports against pycanon's; of many classes it is asked for k and l alone, as the rest takes it a minute.
fn agree(tables: &[Table], folder: &Path) -> Result<()> {
    let mut questions = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        let file = folder.join(format!("{at}.csv"));
        fs_err::write(&file, csv_of(table))?;
        let ours = report(table, |_| None);
        let given = ours.sensitive.first().context("a sensitive column")?;
        let quasi: Vec<&str> = table.of_role(Role::Quasi).map(Column::name).collect();
        let all = ours.classes < 1_000;
        questions
            .push(json!({"file": file, "sensitive": given.column, "quasi": quasi, "all": all}));
    }
    let answers = judge(&["measure", &Value::from(questions.clone()).to_string()])?;
    let answers = answers.as_array().context("answers")?;
    assert_eq!(answers.len(), tables.len());
    for ((table, theirs), question) in tables.iter().zip(answers).zip(&questions) {
        let ours = report(table, |_| None);
        let given = ours.sensitive.first().context("a sensitive column")?;
        assert_eq!(theirs["k"], ours.k, "{question}");
        assert_eq!(theirs["l"], given.distinct, "{question}");
        if question["all"] == true {
            // Theirs is rounded down.
            let entropy = (given.entropy + 1e-9).floor();
            assert_eq!(theirs["entropy"].as_f64(), Some(entropy), "{question}");
            let t = theirs["t"].as_f64().context("a number")?;
            assert!(
                (t - given.t).abs() < 1e-9,
                "{question}: {t}, not {}",
                given.t
            );
        }
    }
    Ok(())
}

/// The table, but these columns known to strangers, and that one to nobody.
fn told(table: &Table, quasi: &[&str], sensitive: &str) -> Result<Table> {
    let columns = table.columns().iter().map(|column| {
        let role = match column.name() {
            name if quasi.contains(&name) => Role::Quasi,
            name if name == sensitive => Role::Sensitive,
            _ => Role::Free,
        };
        let (codes, dictionary) = (column.codes().to_vec(), column.dictionary().to_vec());
        with(column, role, codes, dictionary)
    });
    Ok(Table::of_individuals(columns.collect::<Result<_>>()?)?)
}

fn with(column: &Column, role: Role, codes: Vec<u32>, dictionary: Vec<String>) -> Result<Column> {
    Ok(Column::coded(
        column.name(),
        role,
        column.ordered(),
        codes,
        dictionary,
    )?)
}

#[test]
fn pycanon_agrees_on_k_and_l_and_t_of_what_is_raw_and_of_what_is_released() -> Result<()> {
    if without(&["python3", "pycanon"]) {
        return Ok(());
    }
    let mut judged = Vec::new();
    for (table, trees) in tables() {
        // Few classes, and once more with numbers, whose distances go by their order.
        for sensitive in ["away", "salary-class", "age"] {
            if table.column(sensitive).is_some() {
                judged.push(told(&table, &["street", "sex", "race"], sensitive)?);
            }
        }
        let strict = Goal {
            l: Some(Diversity::Distinct(2)),
            t: Some(0.4),
            ..K5
        };
        for (goal, recoding) in [
            (&K5, Recoding::Whole),
            (&K5, Recoding::Local),
            (&strict, Recoding::Whole),
        ] {
            let release = search(&table, &trees, goal, recoding)?;
            assert!(release.report.k >= 5);
            judged.push(release.table);
        }
        judged.push(table);
    }
    agree(&judged, tempfile::tempdir()?.path())
}

/// Every second row, from the first or from the second on.
fn half(table: &Table, from: usize) -> Result<Table> {
    let columns = table.columns().iter().map(|column| {
        let codes = column.codes().iter().skip(from).step_by(2).copied();
        with(
            column,
            column.role(),
            codes.collect(),
            column.dictionary().to_vec(),
        )
    });
    Ok(Table::of_individuals(columns.collect::<Result<_>>()?)?)
}

/// All rows said as coarsely as a release says its own: what an attacker makes of what they know of somebody.
fn as_said(table: &Table, trees: &Trees, levels: &[(String, Vec<usize>)]) -> Result<Table> {
    let columns = table.columns().iter().map(|column| {
        let Some((_, rows)) = levels.iter().find(|(name, _)| name == column.name()) else {
            return Ok(column.clone());
        };
        let level = rows.iter().position(|rows| *rows > 0).context("a level")?;
        let level = trees[column.name()].levels().get(level).context("names")?;
        let said = column
            .codes()
            .iter()
            .map(|code| level.codes()[*code as usize]);
        with(
            column,
            Role::Quasi,
            said.collect(),
            level.dictionary().to_vec(),
        )
    });
    Ok(Table::of_individuals(columns.collect::<Result<_>>()?)?)
}

#[test]
fn anonymeter_singles_out_whom_raw_data_shows_and_hardly_anybody_in_a_release() -> Result<()> {
    if without(&["python3", "pycanon"]) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (table, trees) = tables().pop().context("a table")?;
    let (people, control) = (half(&table, 0)?, half(&table, 1)?);
    let upper = |name: &str, tables: [&Table; 3]| -> Result<f64> {
        let mut arguments = vec!["singled-out".to_owned()];
        for (at, table) in tables.into_iter().enumerate() {
            let file = folder.path().join(format!("{name}-{at}.csv"));
            fs_err::write(&file, csv_of(table))?;
            arguments.push(file.to_string_lossy().into_owned());
        }
        let said = judge(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        say(&format!("anonymeter of {name}: {said}"));
        said["upper"].as_f64().context("a number")
    };
    let raw = upper("raw", [&people, &people, &control])?;
    let release = search(&people, &trees, &K5, Recoding::Whole)?;
    let said = |table: &Table| as_said(table, &trees, &release.levels);
    let released = upper(
        "release",
        [&said(&people)?, &release.table, &said(&control)?],
    )?;
    // Of a town of six hundred it finds so few questions to ask that it is unsure of what it found.
    let bound = if people.rows() > 10_000 { 0.15 } else { 0.3 };
    assert!(released <= bound, "singled out in the release: {released}");
    assert!(raw > 0.5, "singled out in raw data: {raw}");
    Ok(())
}
