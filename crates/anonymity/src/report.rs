//! How exposed people are in a table: one pass, all numbers. docs/risk.md says what they mean.

use std::collections::BTreeMap;

use crate::classes::{Classes, Spread};
use crate::hierarchy::Hierarchy;
use crate::number::{place, real, share};
use crate::sensitive::{Ground, Sensitive};
use crate::table::{Role, Table};

/// What a table gives away.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Rows.
    pub rows: usize,
    /// Distinct subjects.
    pub subjects: usize,
    /// Classes of rows with the same quasi-identifiers.
    pub classes: usize,
    /// The least number of distinct subjects in a class; 0 without rows.
    pub k: u32,
    /// Rows whose class has one subject.
    pub unique_rows: usize,
    /// Subjects with such a row.
    pub unique_subjects: usize,
    /// As `k`, against somebody who knows all rows of a subject: the least number of subjects that share all their classes.
    pub whole_k: u32,
    /// Subjects who share the set of their classes with nobody.
    pub whole_unique: usize,
    /// How many classes there are of each size, in distinct subjects.
    pub sizes: BTreeMap<u32, usize>,
    /// The risk to be found by somebody who knows that the subject is in the table.
    pub prosecutor: Risk,
    /// What the classes give away of each sensitive column.
    pub sensitive: Vec<Given>,
}

/// A risk of being found, over all subjects (El Emam, Dankar: Protecting privacy using k-anonymity, JAMIA 2008).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Risk {
    /// Of the subject in most danger: one over the size of its class.
    pub highest: f64,
    /// The share of the subjects that somebody who guesses for all of them gets right: the marketer's risk.
    pub average: f64,
    /// The share of the subjects whose own risk is above one fifth, as in the smallest classes that public-health practice releases.
    pub above_a_fifth: f64,
}

impl Risk {
    /// Of classes of so many subjects each that are found among so many.
    fn of(sizes: impl Iterator<Item = (u32, u32)>) -> Self {
        let (mut highest, mut found, mut above, mut all) = (0.0_f64, 0.0, 0_u64, 0_u64);
        for (here, among) in sizes {
            // Somebody in the sample is in the population, whatever the table of it says.
            let among = f64::from(among.max(here)).max(1.0);
            highest = highest.max(1.0 / among);
            found += f64::from(here) / among;
            all += u64::from(here);
            above += if among < 5.0 { u64::from(here) } else { 0 };
        }
        let whole = usize::try_from(all).unwrap_or(usize::MAX);
        Self {
            highest,
            average: if whole == 0 { 0.0 } else { found / real(whole) },
            above_a_fifth: share(usize::try_from(above).unwrap_or(usize::MAX), whole),
        }
    }
}

/// What the classes give away of one sensitive column.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The column.
    pub column: String,
    /// Distinct l: the least number of different values in a class.
    pub distinct: u32,
    /// Entropy l: the exponential of the least entropy of a class.
    pub entropy: f64,
    /// Recursive (c, 2) holds for every c above this: the most frequent value over all others, in the worst class.
    pub recursive: f64,
    /// The greatest distance of a class from the whole table.
    pub t: f64,
    /// By which distance between values.
    pub ground: Ground,
    /// Classes of one value: who is known to be in one has no secret.
    pub homogeneous_classes: usize,
    /// Their rows.
    pub homogeneous_rows: usize,
}

/// Measures a table. Distances of sensitive values go by `hierarchy(column)` where there is one of that column's values.
pub fn report<'a>(table: &Table, hierarchy: impl Fn(&str) -> Option<&'a Hierarchy>) -> Report {
    let classes = Classes::of(table);
    let alone = |class: &u32| classes.subjects()[place(*class)] == 1;
    let unique_rows = classes
        .of_rows()
        .iter()
        .filter(|class| alone(class))
        .count();
    let mut unique: Vec<u32> = std::iter::zip(classes.of_rows(), table.subjects())
        .filter(|(class, _)| alone(class))
        .map(|(_, subject)| *subject)
        .collect();
    unique.sort_unstable();
    unique.dedup();
    let subjects = table.distinct_subjects();
    let given = table.of_role(Role::Sensitive).map(|column| {
        let spread = Spread::of(&classes, table, column);
        let domain = column.dictionary().len();
        let tree = hierarchy(column.name()).filter(|it| it.suits(column));
        let mut judge = Sensitive::new(spread.all(), domain, column.ordered(), tree);
        let mut given = Given {
            column: column.name().to_owned(),
            distinct: if classes.count() == 0 { 0 } else { u32::MAX },
            entropy: f64::INFINITY,
            recursive: 0.0,
            t: 0.0,
            ground: judge.ground,
            homogeneous_classes: 0,
            homogeneous_rows: 0,
        };
        for class in 0..classes.count() {
            let values = spread.of_class(class);
            let exposure = judge.diversity(values);
            given.distinct = given.distinct.min(exposure.distinct);
            given.entropy = given.entropy.min(exposure.entropy);
            given.recursive = given.recursive.max(exposure.dominance);
            given.t = given.t.max(judge.distance(values));
            if exposure.distinct == 1 {
                given.homogeneous_classes += 1;
                given.homogeneous_rows += place(classes.rows()[class]);
            }
        }
        given
    });
    // Where every subject has one row, knowing all of it is knowing the row.
    let whole = if subjects == table.rows() {
        classes.subjects().to_vec()
    } else {
        classes.whole(table)
    };
    Report {
        rows: table.rows(),
        subjects,
        classes: classes.count(),
        k: classes.k().unwrap_or_default(),
        unique_rows,
        unique_subjects: unique.len(),
        whole_k: whole.iter().copied().min().unwrap_or_default(),
        whole_unique: whole.iter().filter(|size| **size == 1).count(),
        sizes: classes
            .subjects()
            .iter()
            .fold(BTreeMap::new(), |mut sizes, size| {
                *sizes.entry(*size).or_default() += 1;
                sizes
            }),
        prosecutor: Risk::of(classes.subjects().iter().map(|size| (*size, *size))),
        sensitive: given.collect(),
    }
}

/// The risk to be found by somebody who knows the population that a sample is from, but not who is in the sample: the journalist's; its average
/// is the marketer's. None where the population lacks a column of the sample's quasi-identifiers.
pub fn journalist(sample: &Table, population: &Table) -> Option<Risk> {
    let classes = Classes::of(sample);
    let among = classes.in_population(sample, population)?;
    Some(Risk::of(classes.subjects().iter().copied().zip(among)))
}
