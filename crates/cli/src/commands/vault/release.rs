//! `stockade vault release`

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};
use stockade_vault::{Formulas, Input, ReleaseAsk, Roles};

use super::super::{counted, field, items};
use crate::admin::Admin;
use crate::args::vault::{Release, Risk};
use crate::out::{Out, table};
use crate::run::FOUND;

/// Said under each number of a risk.
pub(super) const ONLY: &str = "Only these attacks were tried; a cleverer one may find more.";

pub(super) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Release,
) -> anyhow::Result<ExitCode> {
    let formulas = command.values.formulas();
    let told = if let Some(input) = &command.of.input {
        let file = File::read(input, command.of.roles.as_deref())?;
        serde_json::to_value(file.input().release(&ask(&command.of))?)?
    } else {
        let mut body = body(&command.of);
        body["dry-run"] = json!(command.dry_run);
        admin.post("/api/v1/vault/release", &body).await?
    };
    if let Some(file) = command.out.as_ref().filter(|_| has_rows(&told)) {
        fs_err::write(file, csv(&told, formulas))?;
    }
    if json {
        out.line(&told.to_string());
    } else {
        out.line(&text(&told));
        if command.out.is_none() && !command.dry_run && has_rows(&told) {
            out.line("");
            // What a device sent commands no terminal.
            let is_command = |c: char| c.is_control() && !matches!(c, '\r' | '\n');
            out.whole(&csv(&told, formulas).replace(is_command, "\u{fffd}"))?;
        }
    }
    Ok(if items(&told, "refused").is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FOUND)
    })
}

/// A file of values, what its columns are, and the files that this names.
pub(super) struct File {
    name: String,
    csv: Vec<u8>,
    roles: Roles,
    hierarchies: BTreeMap<String, Vec<u8>>,
}

impl File {
    pub(super) fn read(input: &Path, roles: Option<&Path>) -> anyhow::Result<Self> {
        let place = roles.context("--roles says what the columns are")?;
        let roles: Roles = toml::from_str(&fs_err::read_to_string(place)?)
            .with_context(|| format!("{} says not what the columns are", place.display()))?;
        let mut hierarchies = BTreeMap::new();
        for name in roles.columns.values().filter_map(|it| it.hierarchy.clone()) {
            let beside = place.with_file_name(&name);
            hierarchies.insert(name, fs_err::read(beside)?);
        }
        Ok(Self {
            name: input.display().to_string(),
            csv: fs_err::read(input)?,
            roles,
            hierarchies,
        })
    }

    pub(super) fn input(&self) -> Input<'_> {
        Input {
            name: &self.name,
            csv: &self.csv,
            roles: &self.roles,
            hierarchies: &self.hierarchies,
        }
    }
}

/// What is asked of a file.
pub(super) fn ask(asked: &Risk) -> ReleaseAsk {
    ReleaseAsk {
        k: asked.k,
        l: asked.l,
        t: asked.t,
        suppress: asked.suppress,
        local: asked.local,
        ..ReleaseAsk::default()
    }
}

/// The same, of a gateway.
pub(super) fn body(asked: &Risk) -> Value {
    let all = [
        ("schema", json!(asked.schema)),
        ("k", json!(asked.k)),
        ("l", json!(asked.l)),
        ("t", json!(asked.t)),
        ("suppress", json!(asked.suppress)),
        ("local", json!(asked.local)),
        ("from", json!(asked.from)),
        ("to", json!(asked.to)),
    ];
    let said = all.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(said.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn has_rows(told: &Value) -> bool {
    !items(told, "rows").is_empty()
}

/// The rows as a file (RFC 4180).
fn csv(told: &Value, formulas: Formulas) -> String {
    let head = told.get("columns").into_iter();
    let mut text = String::new();
    for row in head.chain(items(told, "rows")) {
        let values = row
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        text.push_str(&stockade_vault::csv_line(values, formulas));
    }
    text
}

/// What it is, and what it took.
pub(super) fn text(told: &Value) -> String {
    let none = Value::Null;
    let refused = items(told, "refused");
    let verdict = match (
        refused.is_empty(),
        told.get("number").and_then(Value::as_u64),
    ) {
        (false, _) => "REFUSED: it may not leave".to_owned(),
        (true, Some(number)) => format!("released, number {number} in the ledger"),
        (true, None) => "it would pass; nothing was remembered".to_owned(),
    };
    let mut lines = vec![format!(
        "An anonymised release of {}: {verdict}.",
        field(told, "data-set")
    )];
    for why in refused {
        lines.push(format!("  because    {}", why.as_str().unwrap_or_default()));
    }
    lines.push(String::new());
    let (before, after) = (
        told.get("before").unwrap_or(&none),
        told.get("after").unwrap_or(&none),
    );
    lines.push(measured(&[("AS STORED", before), ("RELEASED", after)]));
    lines.push(String::new());
    let goal = told.get("goal").unwrap_or(&none);
    let (asked, used) = (field(goal, "k"), field(told, "k"));
    let larger = if asked == used {
        String::new()
    } else {
        format!("; k {used} was needed for the linkage test")
    };
    lines.push(format!(
        "  asked      k {asked}, l {}, t {}, {} left out at most{larger}",
        field(goal, "l"),
        field(goal, "t"),
        share(goal.get("suppress"))
    ));
    lines.push(format!(
        "  left out   {} alone, {} because of {} earlier releases",
        field(told, "alone"),
        field(told, "overlaid"),
        field(told, "earlier")
    ));
    let columns: Vec<String> = items(told, "lost")
        .iter()
        .filter_map(|pair| {
            let pair = pair.as_array()?;
            Some(format!(
                "{} {}",
                pair.first()?.as_str()?,
                share(pair.get(1))
            ))
        })
        .collect();
    lines.push(format!(
        "  lost       {} of the information: {}",
        share(told.get("loss")),
        columns.join(", ")
    ));
    lines.extend(linkage(told));
    lines.extend(rest(told));
    lines.extend(rounded(told));
    lines.push(ONLY.to_owned());
    lines.join("\n")
}

/// That the numbers are no exact ones, if they are not.
pub(super) fn rounded(told: &Value) -> Option<String> {
    (told.get("rounded") == Some(&Value::Bool(true))).then(|| {
        "Numbers are rounded to 5 and shares up to 5 %; operators and auditors are told exactly."
            .to_owned()
    })
}

/// The linkage test, if there was one. On what is stored it found what it found `before`.
pub(super) fn linkage(told: &Value) -> Option<String> {
    let test = told.get("linkage").filter(|test| !test.is_null())?;
    let (found, before) = (test.get("found"), test.get("before"));
    let stored = if told.get("stored").is_some() {
        String::new()
    } else {
        format!(
            "; {} in the rows as stored, {} allowed",
            share(before),
            share(test.get("limit"))
        )
    };
    Some(format!(
        "  linked     {} of the devices, by somebody who knows of everybody {} (guessing: {}{stored})",
        share(found),
        field(test, "knows"),
        share(test.get("chance")),
    ))
}

/// What is not in it.
pub(super) fn rest(told: &Value) -> Vec<String> {
    let omitted: Vec<&str> = items(told, "omitted")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut lines = Vec::new();
    if !omitted.is_empty() {
        lines.push(format!("  not in it  {}", omitted.join(", ")));
    }
    let missing = told.get("missing-blocks").and_then(Value::as_u64);
    let missing = usize::try_from(missing.unwrap_or_default()).unwrap_or_default();
    if missing > 0 {
        let blocks = counted(missing, "block");
        lines.push(format!(
            "  missing    {blocks} could not be read: see `stockade vault fsck`"
        ));
    }
    lines
}

/// Tables side by side.
pub(super) fn measured(tables: &[(&str, &Value)]) -> String {
    let mut head = vec![""];
    head.extend(tables.iter().map(|(name, _)| *name));
    let row = |name: &str, cell: &dyn Fn(&Value) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(tables.iter().map(|(_, table)| cell(table)));
        row
    };
    let mut rows = vec![
        row("devices", &|it| field(it, "subjects")),
        row("kinds of them", &|it| field(it, "classes")),
        row("fewest of a kind (k)", &|it| field(it, "k")),
        row("the only one of their kind", &|it| field(it, "unique")),
        row("highest risk to be found", &|it| {
            share(it.get("highest-risk"))
        }),
        row("average risk", &|it| share(it.get("average-risk"))),
    ];
    let first = tables
        .first()
        .map_or(&[][..], |(_, table)| items(table, "sensitive"));
    for (at, column) in first.iter().enumerate() {
        let name = field(column, "column");
        let of = |it: &Value, what: &str| {
            items(it, "sensitive")
                .get(at)
                .map_or_else(|| "-".to_owned(), |it| field(it, what))
        };
        rows.push(row(&format!("{name}: fewest values (l)"), &|it| {
            of(it, "l")
        }));
        rows.push(row(&format!("{name}: kinds without a secret"), &|it| {
            of(it, "homogeneous")
        }));
        rows.push(row(&format!("{name}: farthest from all (t)"), &|it| {
            let t = items(it, "sensitive")
                .get(at)
                .and_then(|it| it.get("t")?.as_f64());
            t.map_or_else(|| "-".to_owned(), |t| format!("{t:.3}"))
        }));
    }
    table(&head, &rows)
}

/// `3.2 %`
pub(super) fn share(value: Option<&Value>) -> String {
    value
        .and_then(Value::as_f64)
        .map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ill: fn(u32) -> &'static str) -> Value {
        let line = |person: u32| {
            let region = ["north", "south"][person as usize % 2];
            let age = 20 + person % 50;
            format!("p{person},{region},{age},{}", ill(person))
        };
        let lines: Vec<String> = (0..200).map(line).collect();
        let csv = format!("id,region,age,ill\n{}\n", lines.join("\n"));
        let roles = toml::from_str(
            "subject = \"id\"\n[columns]\nregion = { role = \"quasi\" }\nage = { role = \"quasi\" }\nill = { role = \"sensitive\" }",
        );
        let file = File {
            name: "people.csv".to_owned(),
            csv: csv.into_bytes(),
            roles: roles.unwrap(),
            hierarchies: BTreeMap::new(),
        };
        let ask = ReleaseAsk {
            l: Some(2),
            ..ReleaseAsk::default()
        };
        serde_json::to_value(file.input().release(&ask).unwrap()).unwrap()
    }

    #[test]
    fn a_release_tells_what_it_is_and_what_it_took() {
        let told = told(|person| ["no", "flu", "cold"][person as usize / 10 % 3]);
        insta::assert_snapshot!(text(&told));
        assert_eq!(
            csv(&told, Formulas::Defused).lines().count(),
            items(&told, "rows").len() + 1
        );
    }
}
