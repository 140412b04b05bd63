//! Tables measured, and releases that were searched for, as an attacker sees them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails says where, and one that is skipped says why"
)]

use std::collections::{BTreeMap, BTreeSet};

use stockade_anonymity::{
    Column, Diversity, Goal, Ground, Hierarchy, Recoding, Release, Role, SearchFault, Table,
    journalist, report, search,
};

#[path = "anonymity/adult.rs"]
mod adult;
#[path = "anonymity/plain.rs"]
mod plain;
#[path = "anonymity/town.rs"]
mod town;

use adult::adult;
use stockade_anonymity::attack::Xorshift;
use town::town;

const RECODINGS: [Recoding; 2] = [Recoding::Whole, Recoding::Local];

fn k(k: u32) -> Goal {
    Goal {
        k,
        l: None,
        t: None,
        suppress: 0.05,
    }
}

/// The tables that attacks are tried on.
fn tables() -> Vec<(&'static str, Table, BTreeMap<String, Hierarchy>)> {
    let (table, hierarchies) = town();
    let mut tables = vec![("town", table, hierarchies)];
    match adult() {
        Some((table, hierarchies)) => tables.push(("adult", table, hierarchies)),
        None => println!("skipped: ../shared/data/vault/adult_arx.csv is not there"),
    }
    tables
}

/// The share of the subjects that stand alone for somebody who knows their quasi-identifiers.
fn found(table: &Table) -> f64 {
    let classes = plain::classes(table);
    let alone = classes
        .values()
        .filter(|rows| subjects(table, rows).len() == 1)
        .count();
    share(alone, table.distinct_subjects())
}

/// The share of the subjects whose secret is plain to somebody who knows their quasi-identifiers.
fn betrayed(table: &Table) -> f64 {
    let secret = table.of_role(Role::Sensitive).next().unwrap();
    let mut betrayed = BTreeSet::new();
    for rows in plain::classes(table).values() {
        let values: BTreeSet<_> = rows.iter().map(|row| secret.codes()[*row]).collect();
        if values.len() == 1 {
            betrayed.extend(subjects(table, rows));
        }
    }
    share(betrayed.len(), table.distinct_subjects())
}

fn subjects(table: &Table, rows: &[usize]) -> BTreeSet<u32> {
    rows.iter().map(|row| table.subjects()[*row]).collect()
}

fn share(part: usize, whole: usize) -> f64 {
    f64::from(u32::try_from(part).unwrap()) / f64::from(u32::try_from(whole).unwrap())
}

#[test]
fn who_is_known_by_a_few_facts_is_found_in_the_table_and_not_in_a_release() {
    for (name, table, hierarchies) in tables() {
        assert!(found(&table) > 0.4, "{name}: {}", found(&table));
        for recoding in RECODINGS {
            let release = search(&table, &hierarchies, &k(5), recoding).unwrap();
            assert!(found(&release.table) < f64::EPSILON, "{name}, {recoding:?}");
        }
    }
}

#[test]
fn k_alone_betrays_secrets_and_l_does_not() {
    for (name, table, hierarchies) in tables() {
        let with_l = Goal {
            l: Some(Diversity::Distinct(2)),
            ..k(5)
        };
        for recoding in RECODINGS {
            let without = search(&table, &hierarchies, &k(5), recoding).unwrap();
            let with = search(&table, &hierarchies, &with_l, recoding).unwrap();
            let (without, with) = (betrayed(&without.table), betrayed(&with.table));
            assert!(without > 0.02, "{name}, {recoding:?}: {without}");
            assert!(with < f64::EPSILON, "{name}, {recoding:?}: {with}");
        }
    }
}

#[test]
fn a_device_that_sends_k_rows_is_not_anonymous_among_itself() {
    let region = Column::new("region", Role::Quasi, ["n", "n", "n", "s", "s", "s"]);
    let kwh = Column::new("kwh", Role::Sensitive, ["1", "2", "3", "1", "2", "2"]);
    let table = Table::new(vec![region, kwh], vec![1, 1, 1, 1, 2, 3]).unwrap();
    let found = report(&table, |_| None);
    assert_eq!((found.k, found.rows, found.subjects), (1, 6, 3));
    assert_eq!((found.unique_rows, found.unique_subjects), (3, 1));
    // Who knows both regions of subject 1 knows it from the others.
    assert_eq!((found.whole_k, found.whole_unique), (1, 1));
    let release = search(&table, &BTreeMap::new(), &k(2), Recoding::Whole).unwrap();
    assert_eq!((release.report.k, release.report.classes), (3, 1));
}

#[test]
fn a_release_of_adult_is_the_one_that_arx_found_and_local_recoding_loses_less() {
    let Some((table, hierarchies)) = adult() else {
        return println!("skipped: ../shared/data/vault/adult_arx.csv is not there");
    };
    let raw = report(&table, |_| None);
    assert_eq!((raw.k, raw.rows, raw.classes), (1, 30_162, 18_109));
    assert_eq!(raw.sensitive[0].homogeneous_rows, 23_430);
    assert_eq!(raw.unique_rows, 14_021, "ARX: 46.5 % are unique");
    let whole = search(&table, &hierarchies, &k(5), Recoding::Whole).unwrap();
    let given = &whole.report.sensitive[0];
    let facts = (whole.suppressed, whole.report.classes);
    assert_eq!(facts, (1_458, 399), "rows suppressed and classes, by ARX");
    let homogeneous = (given.homogeneous_classes, given.homogeneous_rows);
    assert_eq!(homogeneous, (129, 2_961), "homogeneous in salary, by ARX");
    assert!(
        (given.t - 0.75).abs() < 0.005,
        "by pycanon 0.75: {}",
        given.t
    );
    assert!(whole.optimal);
    let local = search(&table, &hierarchies, &k(5), Recoding::Local).unwrap();
    let facts = (local.suppressed, local.report.k, local.report.classes);
    assert_eq!(facts, (0, 5, 3_637));
    assert_eq!(local.report.sensitive[0].homogeneous_rows, 12_815);
    let losses = [&whole, &local].map(|release| format!("{:.3}", release.loss.geometric));
    assert_eq!(losses, ["0.252", "0.072"]);
    assert!(2.0 * local.loss.entropy < whole.loss.entropy);
}

/// A table of chance: rows of some subjects, three columns of few values, a secret.
fn chance(random: &mut Xorshift) -> (Table, BTreeMap<String, Hierarchy>) {
    let rows = 40 + random.below(60);
    let mut column = |name: &str, role, values: usize| {
        let texts: Vec<String> = (0..rows)
            .map(|_| random.below(values).to_string())
            .collect();
        Column::new(name, role, texts.iter().map(String::as_str))
    };
    let columns = vec![
        column("a", Role::Quasi, 8),
        column("b", Role::Quasi, 4),
        column("c", Role::Quasi, 3),
        column("secret", Role::Sensitive, 3),
    ];
    let of = rows / (1 + random.below(2));
    let subjects = (0..rows)
        .map(|row| u32::try_from(row % of).unwrap())
        .collect();
    let hierarchies = [("a", &[2.0, 4.0][..]), ("b", &[2.0][..])];
    let hierarchies = hierarchies.map(|(name, widths)| {
        let column = columns.iter().find(|column| column.name() == name).unwrap();
        (
            name.to_owned(),
            Hierarchy::of_numbers(column, widths).unwrap(),
        )
    });
    (
        Table::new(columns, subjects).unwrap(),
        BTreeMap::from(hierarchies),
    )
}

/// All that a goal asks for, reckoned anew.
fn assert_reached(release: &Release, goal: &Goal, what: &str) {
    let (least, l, t) = plain::measures(&release.table);
    assert!(least >= goal.k, "{what}: k {least}");
    let given = &release.report.sensitive[0];
    assert_eq!((release.report.k, given.distinct), (least, l), "{what}");
    assert!((given.t - t).abs() < 1e-9, "{what}: t {} and {t}", given.t);
    if let Some(Diversity::Distinct(wanted)) = goal.l {
        assert!(l >= wanted, "{what}: l {l}");
    }
    assert!(t <= goal.t.unwrap_or(1.0) + 1e-9, "{what}: t {t}");
}

#[test]
fn what_is_found_reaches_its_goal_and_nothing_of_its_kind_loses_less() {
    let mut random = Xorshift::new(11);
    for round in 0..60 {
        let (table, hierarchies) = chance(&mut random);
        let goal = Goal {
            k: 2 + u32::try_from(random.below(4)).unwrap(),
            l: (random.below(2) == 0).then_some(Diversity::Distinct(2)),
            t: (random.below(3) == 0).then_some(0.45),
            suppress: 0.1,
        };
        for recoding in RECODINGS {
            let what = format!("round {round}, {recoding:?}, {goal:?}");
            let release = search(&table, &hierarchies, &goal, recoding).expect(&what);
            assert_reached(&release, &goal, &what);
            assert_eq!(
                release,
                search(&table, &hierarchies, &goal, recoding).unwrap()
            );
            if recoding == Recoding::Whole && goal.t.is_none() {
                assert!(release.optimal, "{what}");
                let least = plain::least_loss(&table, &hierarchies, &goal);
                let found = release.loss.geometric;
                assert!((found - least).abs() < 1e-9, "{what}: {found}, not {least}");
            }
        }
    }
}

#[test]
fn what_can_not_be_reached_is_refused_with_the_reason() {
    let (table, hierarchies) = town();
    let refused = |goal: Goal| {
        let whole = search(&table, &hierarchies, &goal, Recoding::Whole).unwrap_err();
        let local = search(&table, &hierarchies, &goal, Recoding::Local).unwrap_err();
        assert_eq!(whole, local);
        whole.to_string()
    };
    let l = Some(Diversity::Distinct(5));
    insta::assert_debug_snapshot!([
        refused(k(1_201)),
        refused(Goal { l, ..k(2) }),
        refused(k(0)),
        refused(Goal {
            suppress: 1.0,
            ..k(2)
        }),
        refused(Goal {
            t: Some(f64::NAN),
            ..k(2)
        }),
    ]);
    for name in ["size", "away"] {
        let foreign = BTreeMap::from([(name.to_owned(), hierarchies["street"].clone())]);
        let fault = search(&table, &foreign, &k(2), Recoding::Whole).unwrap_err();
        assert_eq!(fault, SearchFault::Hierarchy(name.to_owned()));
        report(&table, |name| foreign.get(name));
    }
    let nobody = Table::new(vec![Column::new("a", Role::Quasi, [])], vec![]).unwrap();
    search(&nobody, &BTreeMap::new(), &k(1), Recoding::Local).unwrap_err();
    assert_eq!(report(&nobody, |_| None).k, 0);
}

#[test]
fn a_journalist_who_knows_a_population_finds_fewer_than_a_prosecutor() {
    let of = |values: &[&str]| {
        let column = Column::new("street", Role::Quasi, values.iter().copied());
        Table::of_individuals(vec![column]).unwrap()
    };
    let sample = of(&["north", "south", "south"]);
    let population = of(&["south", "south", "south", "south", "north", "north", "east"]);
    let prosecutor = report(&sample, |_| None).prosecutor;
    let journalist = journalist(&sample, &population).unwrap();
    assert!(
        (prosecutor.highest - 1.0).abs() < 1e-9 && (prosecutor.average - 2.0 / 3.0).abs() < 1e-9
    );
    assert!((journalist.highest - 0.5).abs() < 1e-9);
    assert!((journalist.average - (0.5 + 0.25 + 0.25) / 3.0).abs() < 1e-9);
    let stranger = Table::of_individuals(vec![Column::new("age", Role::Quasi, ["1"])]).unwrap();
    assert_eq!(stockade_anonymity::journalist(&sample, &stranger), None);
}

#[test]
fn distances_go_by_the_hierarchy_of_a_sensitive_column_where_it_has_one() {
    let (table, hierarchies) = town();
    let away = table.column("away").unwrap();
    let some = away
        .dictionary()
        .iter()
        .map(|it| if it == "never" { "in" } else { "out" }.to_owned());
    let names = vec![away.dictionary().to_vec(), some.collect()];
    let tree = Hierarchy::of_names(away, names).unwrap();
    let of = |tree: Option<&Hierarchy>| report(&table, |_| tree).sensitive[0].clone();
    assert_eq!(
        (of(None).ground, of(Some(&tree)).ground),
        (Ground::Equal, Ground::Hierarchical)
    );
    assert!(of(Some(&tree)).t < of(None).t);
    let mut hierarchies = hierarchies;
    hierarchies.insert("away".to_owned(), tree);
    let goal = Goal {
        t: Some(0.2),
        ..k(5)
    };
    let release = search(&table, &hierarchies, &goal, Recoding::Local).unwrap();
    assert!(release.report.sensitive[0].t <= 0.2 + 1e-9);
    assert_eq!(release.report.sensitive[0].ground, Ground::Hierarchical);
}
