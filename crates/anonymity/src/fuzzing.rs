//! The bodies of the fuzz targets; the committed corpus runs through them in the tests too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::csv::Formulas;
use crate::{Goal, Hierarchy, Recoding, Role, csv, report, search};

/// Any bytes as a table and, after a line of three dashes, the hierarchy of its first column; what is read is measured and released.
pub fn csv_table(data: &[u8]) {
    let dashes = data.windows(5).position(|window| window == b"\n---\n");
    let (table, tree) = match dashes.and_then(|at| data.split_at_checked(at)) {
        Some((table, tree)) => (table, tree.get(5..).unwrap_or_default()),
        None => (data, &b""[..]),
    };
    let Ok(records) = csv::records(table) else {
        return;
    };
    let Some(names) = records.first() else {
        return;
    };
    let line = |record: &Vec<Cow<'_, str>>| {
        csv::line(record.iter().map(|value| &**value), Formulas::Defused)
    };
    let written: String = records.iter().map(line).collect();
    let again = csv::records(written.as_bytes());
    assert_eq!(again.as_ref(), Ok(&records), "{written:?}");
    let kinds = [Role::Quasi, Role::Sensitive, Role::Quasi, Role::Free];
    let named = std::iter::zip(names, kinds.iter().cycle());
    let roles: BTreeMap<_, _> = named
        .map(|(name, role)| (name.to_string(), *role))
        .collect();
    let subject = names
        .last()
        .map(|name| &**name)
        .filter(|_| data.len().is_multiple_of(2));
    let Ok(table) = csv::table(table, &roles, subject) else {
        return;
    };
    let rows = csv::records(tree).unwrap_or_default();
    let mut hierarchies = BTreeMap::new();
    for column in table.of_role(Role::Quasi) {
        let read = Hierarchy::of_rows(column, &rows);
        if let Ok(tree) = read.or_else(|_| Hierarchy::of_numbers(column, &[2.0, 10.0])) {
            hierarchies.insert(column.name().to_owned(), tree);
        }
    }
    let measured = report(&table, |name| hierarchies.get(name));
    assert!(measured.subjects <= measured.rows, "{measured:?}");
    for recoding in [Recoding::Whole, Recoding::Local] {
        let goal = Goal {
            k: 2,
            l: None,
            t: Some(0.5),
            suppress: 0.2,
        };
        // Many columns make many combinations: bounded, but too long to fuzz.
        if recoding == Recoding::Whole && hierarchies.len() > 4 {
            continue;
        }
        if let Ok(release) = search(&table, &hierarchies, &goal, recoding) {
            assert!(release.report.k >= 2, "{:?}", release.report);
        }
    }
}
