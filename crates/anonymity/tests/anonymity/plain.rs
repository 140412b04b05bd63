//! The same measures once more, by their definitions and slowly.

use std::collections::{BTreeMap, BTreeSet};

use stockade_anonymity::{Diversity, Goal, Hierarchy, Role, Table};

/// The rows of each class, by what is said of them.
pub(crate) fn classes(table: &Table) -> BTreeMap<Vec<&str>, Vec<usize>> {
    let mut classes: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for row in 0..table.rows() {
        let said = table
            .of_role(Role::Quasi)
            .map(|column| column.text(row).unwrap());
        classes.entry(said.collect()).or_default().push(row);
    }
    classes
}

/// k, distinct l, and t of the only sensitive column, whose values are numbers in order.
pub(crate) fn measures(table: &Table) -> (u32, u32, f64) {
    let secret = table.of_role(Role::Sensitive).next().unwrap();
    let (mut k, mut l, mut t) = (u32::MAX, u32::MAX, 0.0_f64);
    let classes = classes(table);
    let facts = |rows: &[usize]| -> BTreeSet<(u32, u32)> {
        rows.iter()
            .map(|row| (table.subjects()[*row], secret.codes()[*row]))
            .collect()
    };
    let classes: Vec<_> = classes.values().map(|rows| facts(rows)).collect();
    let whole: Vec<u32> = classes.iter().flatten().map(|(_, value)| *value).collect();
    let below = |values: &[u32], most: u32| {
        let count = |count: usize| f64::from(u32::try_from(count).unwrap());
        count(values.iter().filter(|value| **value <= most).count()) / count(values.len())
    };
    let domain = u32::try_from(secret.dictionary().len()).unwrap();
    for class in &classes {
        let number = |set: BTreeSet<u32>| u32::try_from(set.len()).unwrap();
        k = k.min(number(class.iter().map(|fact| fact.0).collect()));
        l = l.min(number(class.iter().map(|fact| fact.1).collect()));
        let values: Vec<u32> = class.iter().map(|(_, value)| *value).collect();
        let moved: f64 = (0..domain)
            .map(|most| (below(&values, most) - below(&whole, most)).abs())
            .sum();
        t = t.max(moved / f64::from(domain.max(2) - 1));
    }
    (k, l, t)
}

/// The least loss of all releases with one level for each column, by trying them all.
pub(crate) fn least_loss(
    table: &Table,
    hierarchies: &BTreeMap<String, Hierarchy>,
    goal: &Goal,
) -> f64 {
    let quasi: Vec<_> = table.of_role(Role::Quasi).collect();
    let secret = table.of_role(Role::Sensitive).next().unwrap();
    let plain: Vec<_> = quasi
        .iter()
        .map(|column| Hierarchy::all_or_nothing(column))
        .collect();
    let trees: Vec<_> = std::iter::zip(&quasi, &plain)
        .map(|(column, plain)| hierarchies.get(column.name()).unwrap_or(plain))
        .collect();
    let mut nodes: Vec<Vec<usize>> = vec![vec![]];
    for tree in &trees {
        let levels = 0..tree.levels().len();
        nodes = nodes
            .iter()
            .flat_map(|node| levels.clone().map(|level| [&node[..], &[level]].concat()))
            .collect();
    }
    let count = |count: usize| f64::from(u32::try_from(count).unwrap());
    let mut least = f64::INFINITY;
    for node in nodes {
        let name = |at: usize, row: usize| {
            let value = usize::try_from(quasi[at].codes()[row]).unwrap();
            usize::try_from(trees[at].levels()[node[at]].codes()[value]).unwrap()
        };
        let mut classes: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for row in 0..table.rows() {
            let said = (0..quasi.len()).map(|at| name(at, row)).collect();
            classes.entry(said).or_default().push(row);
        }
        let good = |rows: &&Vec<usize>| {
            let subjects: BTreeSet<_> = rows.iter().map(|row| table.subjects()[*row]).collect();
            let values: BTreeSet<_> = rows.iter().map(|row| secret.codes()[*row]).collect();
            let wanted = match goal.l {
                Some(Diversity::Distinct(l)) => usize::try_from(l).unwrap(),
                _ => 1,
            };
            subjects.len() >= usize::try_from(goal.k).unwrap() && values.len() >= wanted
        };
        let kept: Vec<usize> = classes.values().filter(good).flatten().copied().collect();
        let left_out = table.rows() - kept.len();
        if count(left_out) > goal.suppress * count(table.rows()) {
            continue;
        }
        let product: f64 = (0..quasi.len())
            .map(|at| {
                let size = quasi[at].dictionary().len();
                let leaves = &trees[at].levels()[node[at]].leaves();
                let lost = |row: &usize| f64::from(leaves[name(at, *row)] - 1) / count(size - 1);
                1.0 + (kept.iter().map(lost).sum::<f64>() + count(left_out)) / count(table.rows())
            })
            .product();
        least = least.min(product.powf(1.0 / count(quasi.len())) - 1.0);
    }
    least
}
