//! `stockade vault stat`

use serde_json::{Value, json};

use super::super::{field, items, moment};
use crate::admin::Admin;
use crate::args::vault::Stat;
use crate::out::{Out, table};

pub(super) async fn run(out: Out, admin: &Admin, json: bool, asked: &Stat) -> anyhow::Result<()> {
    let (Some(question), Some(schema)) = (&asked.question, &asked.schema) else {
        let budgets = admin.get("/api/v1/vault/budgets").await?;
        out.line(&if json {
            budgets.to_string()
        } else {
            budgets_text(&budgets)
        });
        return Ok(());
    };
    let mut body = json!({ "schema": schema, "question": question, "again": asked.again });
    if let Some(epsilon) = &asked.epsilon {
        body["epsilon"] = json!(epsilon);
    }
    let told = admin.post("/api/v1/vault/stat", &body).await?;
    out.line(&if json { told.to_string() } else { text(&told) });
    Ok(())
}

/// The numbers, and what was promised of them.
fn text(told: &Value) -> String {
    let cells = items(told, "cells");
    let columns = [
        ("group", "GROUP"),
        ("time", "FROM (UTC)"),
        ("step", "FROM"),
        ("value", "ANSWER"),
        ("low", "AT LEAST"),
        ("high", "AT MOST"),
    ];
    let used: Vec<_> = columns
        .iter()
        .filter(|(name, _)| *name == "value" || cells.iter().any(|it| !shown(it, name).is_empty()))
        .collect();
    let head: Vec<&str> = used.iter().map(|(_, head)| *head).collect();
    let rows: Vec<Vec<String>> = cells
        .iter()
        .map(|cell| {
            let column = |(name, _): &&(&str, _)| match shown(cell, name) {
                none if none.is_empty() && *name == "value" => "too few to tell".to_owned(),
                some => some,
            };
            used.iter().map(column).collect()
        })
        .collect();
    let none = Value::Null;
    let statement = told.get("statement").unwrap_or(&none);
    let numbers = if rows.is_empty() {
        "no group has enough devices".to_owned()
    } else {
        table(&head, &rows)
    };
    let mut lines = vec![
        field(told, "question"),
        numbers,
        String::new(),
        format!(
            "An aggregate: the answer would be much the same {} (epsilon {}, delta {}).",
            field(statement, "neighbours"),
            shown(statement, "epsilon"),
            field(statement, "delta").trim_end_matches(".0")
        ),
        format!("  protected  {}", field(statement, "unit")),
        format!("  by         {}", field(statement, "mechanism")),
        format!("  error      {}", field(statement, "error")),
    ];
    if told.get("missing-blocks").and_then(Value::as_u64) > Some(0) {
        let blocks = field(told, "missing-blocks");
        lines.push(format!(
            "  missing    {blocks} blocks could not be read: see `stockade vault fsck`"
        ));
    }
    if told.get("again").and_then(Value::as_bool) == Some(true) {
        let at = moment(told, "at");
        lines.push(format!(
            "The same as on {at}, so it cost nothing; --again pays for it anew."
        ));
    }
    let budget = told.get("budget").unwrap_or(&none);
    lines.push(format!(
        "Budget of {}: {} of {} left, full again {}.",
        field(budget, "data-set"),
        shown(budget, "left"),
        shown(budget, "epsilon"),
        moment(budget, "full-again")
    ));
    lines.join("\n")
}

/// A number with six significant digits at most, or a text as it is.
fn shown(cell: &Value, name: &str) -> String {
    match cell.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::Number(number)) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            let whole = number.abs().max(1.0).log10().floor();
            let decimals = [5_usize, 4, 3, 2, 1];
            let decimals = decimals
                .iter()
                .zip(0_u8..)
                .find(|(_, place)| f64::from(*place) >= whole);
            let text = format!("{number:.*}", decimals.map_or(0, |(decimals, _)| *decimals));
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        }
        Some(_) => field(cell, name),
    }
}

fn budgets_text(answer: &Value) -> String {
    let budgets = items(answer, "budgets");
    if budgets.is_empty() {
        return "no data set yet; there is one once a device publishes to a topic with a schema"
            .to_owned();
    }
    let rows: Vec<Vec<String>> = budgets
        .iter()
        .map(|budget| {
            let mut row = vec![field(budget, "data-set")];
            let numbers = ["epsilon", "spent", "left", "answers", "refused"];
            row.extend(numbers.map(|name| shown(budget, name)));
            row.push(moment(budget, "full-again"));
            row
        })
        .collect();
    let head = [
        "DATA SET",
        "BUDGET",
        "SPENT",
        "LEFT",
        "ANSWERS",
        "REFUSED",
        "FULL AGAIN (UTC)",
    ];
    table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_with_what_it_promises_and_what_is_left() {
        let told = json!({
            "product": "aggregate",
            "question": "mean kwh by region per 1d from 2026-09-20T00:00:00Z to 2026-09-22T00:00:00Z",
            "cells": [
                { "group": "north", "time": "2026-09-20T00:00:00Z", "value": 1.023_456_7, "low": 0.9, "high": 1.1 },
                { "group": "south", "time": "2026-09-20T00:00:00Z", "value": null, "low": null, "high": null },
            ],
            "statement": {
                "unit": "one device: all its records from 2026-09-20T00:00:00Z to 2026-09-22T00:00:00Z, of which at most 96 in 1d count",
                "neighbours": "with or without all records of one device",
                "epsilon": 0.1,
                "delta": 1e-8,
                "mechanism": "discrete Laplace noise on the sums, drawn exactly",
                "error": "from low to high with 95 %, each number for itself; what was cut off beyond the bounds is not in it",
            },
            "at": "2026-09-21T14:13:20Z",
            "missing-blocks": 2,
            "again": true,
            "budget": {
                "data-set": "meter", "epsilon": 1.0, "spent": 0.3, "left": 0.7,
                "full-again": "2026-10-21T14:13:20Z", "answers": 3, "refused": 0,
            },
        });
        insta::assert_snapshot!(text(&told));
        let histogram = json!({ "question": "histogram kwh by 0.5", "cells": [
            { "step": 0.0, "value": 123_456_789.0, "low": 0.0, "high": 23_456.78 },
            { "step": 0.5, "value": 1_000.0, "low": 99.995, "high": 0.000_01 },
        ]});
        insta::assert_snapshot!(text(&histogram));
    }

    #[test]
    fn budgets_print_as_a_table() {
        let budget = json!({ "budgets": [{
            "data-set": "meter", "epsilon": 1.0, "spent": 0.3, "left": 0.7,
            "full-again": "2026-10-21T14:13:20Z", "answers": 3, "refused": 2,
        }]});
        insta::assert_snapshot!(budgets_text(&budget));
        insta::assert_snapshot!(budgets_text(&json!({ "budgets": [] })), @"no data set yet; there is one once a device publishes to a topic with a schema");
    }
}
