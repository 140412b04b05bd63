//! What was to be in the kernel, and what is there, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::super::nft::{Chain, Element, Family, Rule, Ruleset, Set, Table};

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where: `inet stockade`, and the chain or set.
    pub place: String,
    /// What is different there.
    pub kind: DifferenceKind,
}

/// In what way it is different; texts are as nft writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The table, chain or set is not there.
    Missing,
    /// Nobody of us made the table, chain or set.
    Foreign,
    /// A chain hangs elsewhere or ends otherwise, or a set holds other things.
    Declared {
        /// As it was written.
        expected: String,
        /// As it is.
        found: String,
    },
    /// A rule is gone.
    RuleMissing {
        /// Its place in the chain, from 1.
        number: usize,
        /// The rule.
        rule: String,
    },
    /// A rule is there that nobody of us wrote.
    RuleForeign {
        /// Its place in the chain, from 1.
        number: usize,
        /// The rule.
        rule: String,
    },
    /// The same rules in another order; this is the first that stands elsewhere.
    Order {
        /// Its place in the chain, from 1.
        number: usize,
        /// The rule that was to be there.
        rule: String,
    },
    /// An element is gone.
    ElementMissing(String),
    /// An element is there that nobody of us put there.
    ElementForeign(String),
    /// There is more of this than is worth telling.
    More(usize),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match &self.kind {
            DifferenceKind::Missing => f.write_str("is missing"),
            DifferenceKind::Foreign => f.write_str("is there and is not ours"),
            DifferenceKind::Declared { expected, found } => {
                write!(f, "is `{found}`, was to be `{expected}`")
            }
            DifferenceKind::RuleMissing { number, rule } => {
                write!(f, "rule {number} is missing: {rule}")
            }
            DifferenceKind::RuleForeign { number, rule } => {
                write!(f, "rule {number} is not ours: {rule}")
            }
            DifferenceKind::Order { number, rule } => {
                write!(f, "the order has changed: rule {number} was to be: {rule}")
            }
            DifferenceKind::ElementMissing(element) => write!(f, "does not hold {element}"),
            DifferenceKind::ElementForeign(element) => {
                write!(f, "holds {element}, which is not ours")
            }
            DifferenceKind::More(count) => write!(f, "and {count} more"),
        }
    }
}

/// How many elements or rules are told for one place.
const TOLD: usize = 16;

/// Names each difference between what was written and what was read back.
///
/// Elements that come and go by themselves are not told: those of a set whose elements expire, beyond the ones that were
/// written without a time. The flag `dynamic` is not compared: nft 1.0.6 does not tell it.
pub fn differences(expected: &Ruleset, found: &Ruleset) -> Vec<Difference> {
    let mut told = Told(Vec::new());
    let key = |table: &Table| (table.family, table.name.clone());
    let written: BTreeSet<_> = expected.tables.iter().map(key).collect();
    for table in &expected.tables {
        let place = format!("{} {}", table.family, table.name);
        match found.table(table.family, table.name.as_str()) {
            None => told.add(&place, DifferenceKind::Missing),
            Some(other) => tables(&place, table, other, &mut told),
        }
    }
    for table in &found.tables {
        if !written.contains(&key(table)) {
            let place = format!("{} {}", table.family, table.name);
            told.add(&place, DifferenceKind::Foreign);
        }
    }
    told.0
}

struct Told(Vec<Difference>);

impl Told {
    fn add(&mut self, place: &str, kind: DifferenceKind) {
        self.0.push(Difference {
            place: place.to_owned(),
            kind,
        });
    }

    fn some(&mut self, place: &str, kinds: Vec<DifferenceKind>) {
        let more = kinds.len().saturating_sub(TOLD);
        for kind in kinds.into_iter().take(TOLD) {
            self.add(place, kind);
        }
        if more > 0 {
            self.add(place, DifferenceKind::More(more));
        }
    }
}

fn tables(place: &str, expected: &Table, found: &Table, told: &mut Told) {
    for chain in &expected.chains {
        let place = format!("{place} {}", chain.name);
        match found.chain(chain.name.as_str()) {
            None => told.add(&place, DifferenceKind::Missing),
            Some(other) => chains(&place, expected.family, chain, other, told),
        }
    }
    for chain in &found.chains {
        if expected.chain(chain.name.as_str()).is_none() {
            told.add(&format!("{place} {}", chain.name), DifferenceKind::Foreign);
        }
    }
    for set in &expected.sets {
        let place = format!("{place} {}", set.name);
        match found.set(set.name.as_str()) {
            None => told.add(&place, DifferenceKind::Missing),
            Some(other) => sets(&place, set, other, told),
        }
    }
    for set in &found.sets {
        if expected.set(set.name.as_str()).is_none() {
            told.add(&format!("{place} {}", set.name), DifferenceKind::Foreign);
        }
    }
}

fn chains(place: &str, family: Family, expected: &Chain, found: &Chain, told: &mut Told) {
    let hooked = |chain: &Chain| {
        let mut base = chain.base.clone();
        if let Some(base) = base.as_mut()
            && family != Family::Netdev
        {
            base.device = None;
        }
        base.map_or_else(
            || "no hook".to_owned(),
            |base| base.to_string().trim().to_owned(),
        )
    };
    let (as_written, as_found) = (hooked(expected), hooked(found));
    if as_written != as_found {
        told.add(
            place,
            DifferenceKind::Declared {
                expected: as_written,
                found: as_found,
            },
        );
    }
    rules(place, &expected.rules, &found.rules, told);
}

fn rules(place: &str, expected: &[Rule], found: &[Rule], told: &mut Told) {
    if expected == found {
        return;
    }
    let expected: Vec<String> = expected.iter().map(Rule::to_string).collect();
    let found: Vec<String> = found.iter().map(Rule::to_string).collect();
    let missing = beyond(&expected, &found);
    let foreign = beyond(&found, &expected);
    if missing.is_empty() && foreign.is_empty() {
        let moved = expected
            .iter()
            .zip(&found)
            .position(|(one, other)| one != other);
        let rule = moved.and_then(|number| Some((number, expected.get(number)?)));
        if let Some((number, rule)) = rule {
            told.add(
                place,
                DifferenceKind::Order {
                    number: number.saturating_add(1),
                    rule: rule.clone(),
                },
            );
        }
        return;
    }
    let missing = missing.into_iter();
    let missing = missing.map(|(number, rule)| DifferenceKind::RuleMissing { number, rule });
    told.some(place, missing.collect());
    let foreign = foreign.into_iter();
    let foreign = foreign.map(|(number, rule)| DifferenceKind::RuleForeign { number, rule });
    told.some(place, foreign.collect());
}

/// The rules of one list that the other one does not have, as often as they stand there; numbered from 1.
fn beyond(these: &[String], others: &[String]) -> Vec<(usize, String)> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for other in others {
        let count = left.entry(other).or_default();
        *count = count.saturating_add(1);
    }
    let mut found = Vec::new();
    for (index, rule) in these.iter().enumerate() {
        match left.get_mut(rule.as_str()) {
            Some(count) if *count > 0 => *count = count.saturating_sub(1),
            _ => found.push((index.saturating_add(1), rule.clone())),
        }
    }
    found
}

fn sets(place: &str, expected: &Set, found: &Set, told: &mut Told) {
    let declared = |set: &Set| {
        let bare = Set {
            elements: Vec::new(),
            dynamic: false,
            ..set.clone()
        };
        let text = bare.to_string();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (as_written, as_found) = (declared(expected), declared(found));
    if as_written != as_found {
        told.add(
            place,
            DifferenceKind::Declared {
                expected: as_written,
                found: as_found,
            },
        );
    }
    let written: BTreeSet<_> = expected.elements.iter().map(lasting).collect();
    let there: BTreeSet<_> = found.elements.iter().map(lasting).collect();
    let missing = expected
        .elements
        .iter()
        .filter(|element| element.timeout.is_none() && !there.contains(&lasting(element)));
    let text = |set: &Set, element: &Element| set.element_text(element).to_string();
    let missing = missing.map(|element| DifferenceKind::ElementMissing(text(expected, element)));
    told.some(place, missing.collect());
    if expected.dynamic || expected.default_timeout.is_some() {
        return;
    }
    // What is learned is given a time. What would stay in such a set for ever is somebody else's.
    let learned = |element: &Element| expected.timeout && element.timeout.is_some();
    let foreign = found
        .elements
        .iter()
        .filter(|element| !written.contains(&lasting(element)) && !learned(element));
    let foreign = foreign.map(|element| DifferenceKind::ElementForeign(text(found, element)));
    told.some(place, foreign.collect());
}

/// An element without its time.
fn lasting(element: &Element) -> Element {
    Element {
        timeout: None,
        ..element.clone()
    }
}
