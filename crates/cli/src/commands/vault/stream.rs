//! `stockade vault stream`

use std::time::Duration;

use serde_json::{Value, json};
use stockade_vault::Formulas;

use super::super::{counted, field, items};
use crate::admin::{Admin, segment};
use crate::args::vault::Stream;
use crate::out::{Out, table};

/// Between two looks for new rows.
const LOOK: Duration = Duration::from_secs(1);
/// Why a record did not leave, and what is said of it.
const SUPPRESSED: [(&str, &str); 7] = [
    ("few", "too few devices without a group"),
    ("thin", "too few of the group sent anything"),
    (
        "alike",
        "sensitive values too alike, or too unlike all others",
    ),
    ("crowded", "a row of the same device waited already"),
    ("full", "too many waited, or too many devices send"),
    ("shapeless", "a column is missing, or has no such value"),
    ("gone", "erased, expired or switched off while it waited"),
];

pub(super) async fn run(
    out: Out,
    admin: &Admin,
    json: bool,
    command: &Stream,
) -> anyhow::Result<()> {
    let (schema, on) = match command {
        Stream::On { schema } => (schema, true),
        Stream::Off { schema } => (schema, false),
        Stream::Status => {
            let all = admin.get("/api/v1/vault/streams").await?;
            out.line(&if json { all.to_string() } else { text(&all) });
            return Ok(());
        }
        Stream::Read {
            schema,
            after,
            follow,
            values,
        } => {
            let rows = Rows {
                schema,
                after: *after,
                follow: *follow,
                formulas: values.formulas(),
            };
            return read(out, admin, json, rows).await;
        }
    };
    let path = format!("/api/v1/vault/stream/{}", segment(schema));
    let done = admin.post(&path, &json!({ "on": on })).await?;
    out.line(&if json { done.to_string() } else { one(&done) });
    Ok(())
}

/// Which rows, and how they are written.
struct Rows<'a> {
    schema: &'a str,
    after: u64,
    follow: bool,
    formulas: Formulas,
}

/// Rows as values (RFC 4180), or as JSON, a row a line.
async fn read(
    out: Out,
    admin: &Admin,
    json: bool,
    Rows {
        schema,
        mut after,
        follow,
        formulas,
    }: Rows<'_>,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/vault/stream/{}?after=", segment(schema));
    let mut columns: Option<Value> = None;
    loop {
        let page = admin.get(&format!("{path}{after}")).await?;
        let next = page.get("next").and_then(Value::as_u64).unwrap_or(after);
        let mut lines = String::new();
        if json {
            for row in items(&page, "rows") {
                lines.push_str(&row.to_string());
                lines.push('\n');
            }
        } else {
            // A profile that changes them makes another table.
            if columns.as_ref() != page.get("columns") {
                columns = page.get("columns").cloned();
                lines.push_str(&head(&page, formulas));
            }
            lines.push_str(&rows(&page, formulas));
        }
        if !lines.is_empty() {
            out.whole(&lines)?;
        }
        if next != after {
            after = next;
        } else if follow {
            tokio::time::sleep(LOOK).await;
        } else {
            return Ok(());
        }
    }
}

fn names(page: &Value) -> Vec<String> {
    let columns = items(page, "columns").iter().filter_map(Value::as_str);
    columns.map(str::to_owned).collect()
}

fn head(page: &Value, formulas: Formulas) -> String {
    let names = names(page);
    let all = ["number", "released"].into_iter();
    stockade_vault::csv_line(all.chain(names.iter().map(String::as_str)), formulas)
}

fn rows(page: &Value, formulas: Formulas) -> String {
    let names = names(page);
    let line = |row: &Value| {
        let fields = row.get("fields").unwrap_or(&Value::Null);
        let of = |name: &String| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let (number, released) = (field(row, "number"), field(row, "released"));
        let all = [number.as_str(), released.as_str()].into_iter();
        let line = stockade_vault::csv_line(all.chain(names.iter().map(of)), formulas);
        // What a device sent commands no terminal.
        let is_command = |c: char| c.is_control() && !matches!(c, '\r' | '\n');
        line.replace(is_command, "\u{fffd}")
    };
    items(page, "rows").iter().map(line).collect()
}

fn text(all: &Value) -> String {
    let all = items(all, "streams");
    if all.is_empty() {
        return "No data set has a stream: stockade vault stream on DATASET".to_owned();
    }
    let all: Vec<String> = all.iter().map(one).collect();
    all.join("\n\n")
}

/// What a stream is, and what became of its records.
fn one(status: &Value) -> String {
    let state = match (status.get("on"), status.get("stands")) {
        (Some(Value::Bool(true)), Some(Value::String(why))) => {
            format!("on, but it stands still: {why}")
        }
        (Some(Value::Bool(true)), _) => "on".to_owned(),
        _ => "off".to_owned(),
    };
    let none = Value::Null;
    let counts = status.get("counts").unwrap_or(&none);
    let number = |of: &Value, name| of.get(name).and_then(Value::as_u64).unwrap_or_default();
    let list = |name| {
        let all: Vec<&str> = items(status, name)
            .iter()
            .filter_map(Value::as_str)
            .collect();
        all.join(", ")
    };
    let mut lines = vec![format!(
        "The stream of {} is {state}. Its last row is number {}.",
        field(status, "data-set"),
        field(status, "last")
    )];
    lines.push(format!("  columns    {}", list("columns")));
    if !items(status, "omitted").is_empty() {
        lines.push(format!("  not in it  {}", list("omitted")));
    }
    let silent = usize::try_from(number(status, "silent-groups")).unwrap_or_default();
    if silent > 0 {
        let groups = counted(silent, "group");
        lines.push(format!(
            "  silent     {groups} lost too many devices, and will never be released again"
        ));
    }
    let row = |name: &str, count: u64| vec![name.to_owned(), count.to_string()];
    let mut rows = vec![
        row("taken", number(counts, "taken")),
        row("released", number(counts, "released")),
        row("waiting", number(status, "waiting")),
    ];
    let suppressed = SUPPRESSED
        .iter()
        .filter(|(name, _)| number(counts, name) > 0);
    rows.extend(
        suppressed.map(|(name, said)| row(&format!("suppressed: {said}"), number(counts, name))),
    );
    lines.push(table(&["RECORDS", "COUNT"], &rows));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_tells_what_left_and_why_the_rest_did_not() {
        let status = json!({
            "data-set": "meter", "on": true, "stands": null, "waiting": 40, "silent-groups": 1, "last": 1200,
            "columns": ["region", "kwh"], "omitted": ["note", "time"],
            "counts": { "taken": 1300, "released": 1200, "few": 3, "thin": 0, "alike": 0, "crowded": 57, "full": 0,
                        "shapeless": 0, "gone": 0 },
        });
        insta::assert_snapshot!(text(&json!({ "streams": [status] })), @"
        The stream of meter is on. Its last row is number 1200.
          columns    region, kwh
          not in it  note, time
          silent     1 group lost too many devices, and will never be released again
        RECORDS                                              COUNT
        taken                                                1300
        released                                             1200
        waiting                                              40
        suppressed: too few devices without a group          3
        suppressed: a row of the same device waited already  57
        ");
        insta::assert_snapshot!(text(&json!({ "streams": [] })), @"No data set has a stream: stockade vault stream on DATASET");
    }

    #[test]
    fn rows_are_values_in_the_order_of_the_columns_and_command_neither_terminal_nor_spreadsheet() {
        let page = json!({
            "columns": ["region", "kwh"], "next": 2,
            "rows": [
                { "number": 1, "released": "2026-01-31T12:00:00Z", "fields": { "kwh": "0..1", "region": "a,b" } },
                { "number": 2, "released": "2026-01-31T12:00:00Z", "fields": { "kwh": "\u{1b}[2J", "region": "=1+1" } },
            ],
        });
        let formulas = Formulas::Defused;
        let said = format!("{}{}", head(&page, formulas), rows(&page, formulas));
        assert_eq!(
            said,
            "number,released,region,kwh\r\n1,2026-01-31T12:00:00Z,\"a,b\",0..1\r\n2,2026-01-31T12:00:00Z,'=1+1,\u{fffd}[2J\r\n"
        );
    }
}
