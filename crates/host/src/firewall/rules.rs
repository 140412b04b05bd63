//! Rulesets taken apart: which of two on trial is which, and what each needs.

use std::collections::BTreeSet;

use stockade_controls::firewall::compile::{Slot, TRIAL};
use stockade_controls::firewall::nft::{
    Chain, Ident, MapSource, Rule, Ruleset, Statement, Table, To, Verdict,
};

/// One of the two rulesets of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that is on trial.
    New,
    /// The one that takes over when the time is up.
    Old,
}

/// Whether two rulesets stand side by side.
pub(super) fn is_trial(ruleset: &Ruleset) -> bool {
    let clock = |table: &Table| table.set(TRIAL).is_some();
    ruleset.tables.iter().any(clock)
}

/// One of the two rulesets alone; empty if it lets everything pass.
pub(super) fn side(both: &Ruleset, side: Side) -> Ruleset {
    let tables = both.tables.iter().filter_map(|table| of_side(table, side));
    Ruleset {
        tables: tables.collect(),
    }
}

fn of_side(table: &Table, side: Side) -> Option<Table> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut wanted: BTreeSet<&Ident> = BTreeSet::new();
    for base in table.chains.iter().filter(|chain| chain.base.is_some()) {
        let rule = match side {
            Side::New => base.rules.first(),
            Side::Old => base.rules.last(),
        };
        if let Some(target) = rule.and_then(leads_to) {
            wanted.insert(target);
            let goto = Statement::Verdict(Verdict::Goto(target.clone()));
            chains.push(Chain {
                rules: vec![Rule::new([goto])],
                ..base.clone()
            });
        }
    }
    let slots: BTreeSet<&str> = wanted
        .iter()
        .filter_map(|it| it.as_str().get(..2))
        .collect();
    let ours = |chain: &&Chain| {
        let slot = chain.name.as_str().get(..2);
        chain.base.is_none() && slot.is_some_and(|slot| slots.contains(slot))
    };
    // A chain stands before those that refer to it, as it was.
    let inner: Vec<Chain> = table.chains.iter().filter(ours).cloned().collect();
    chains.extend(inner);
    if wanted.is_empty() {
        return None;
    }
    let used: BTreeSet<&Ident> = chains
        .iter()
        .flat_map(sets_of)
        .map(|(set, _)| set)
        .collect();
    let sets = table.sets.iter().filter(|set| used.contains(&set.name));
    let sets = sets.cloned().collect();
    Some(Table {
        family: table.family,
        name: table.name.clone(),
        sets,
        chains,
    })
}

fn leads_to(rule: &Rule) -> Option<&Ident> {
    match rule.statements.last() {
        Some(Statement::Verdict(Verdict::Goto(chain))) => Some(chain),
        _ => None,
    }
}

/// The sets that a chain's rules name, and whether packets write to them.
fn sets_of(chain: &Chain) -> impl Iterator<Item = (&Ident, bool)> {
    let statements = chain.rules.iter().flat_map(|rule| &rule.statements);
    statements.filter_map(|statement| match statement {
        Statement::Match(it) => match &it.to {
            To::Set(set) => Some((set, false)),
            _ => None,
        },
        Statement::Map {
            map: MapSource::Named(set),
            ..
        } => Some((set, false)),
        Statement::Meter { set, .. } | Statement::Update { set, .. } => Some((set, true)),
        _ => None,
    })
}

/// Says again which sets packets write to: nft 1.0.6 does not tell it when it lists them.
pub(super) fn with_dynamic_sets(mut ruleset: Ruleset) -> Ruleset {
    for table in &mut ruleset.tables {
        let written: BTreeSet<Ident> = table
            .chains
            .iter()
            .flat_map(sets_of)
            .filter(|(_, written)| *written)
            .map(|(set, _)| set.clone())
            .collect();
        for set in &mut table.sets {
            if written.contains(&set.name) {
                set.dynamic = true;
                // What packets wrote is forgotten with the set.
                set.elements.clear();
            }
        }
    }
    ruleset
}

/// A slot as it is remembered.
pub(super) fn number(slot: Slot) -> u8 {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

/// The slot of that number.
pub(super) fn slot(number: u8) -> Slot {
    if number == 0 { Slot::A } else { Slot::B }
}
