//! Two rulesets in one table: the new one rules while the elements of a set live, then the old one again.
//!
//! The kernel takes the elements away when their time is over, whatever has become of those who applied the rules.

use super::super::nft::{
    Chain, Element, Family, Field, Hook, Ident, Kind, Rule, Ruleset, Set, Statement, Table, Value,
    Verdict,
};
use super::{accept, goto};

/// The name of the set whose elements are the trial.
pub const TRIAL: &str = "trial";

/// Both rulesets, of which `new` rules for `seconds` and `old` after that; without an old one nothing was in force, and
/// everything passes again.
///
/// To confirm is to apply `new` alone; to undo, `old` alone.
pub fn trial(old: &Ruleset, new: &Ruleset, seconds: u32) -> Ruleset {
    let mut tables = Vec::new();
    let absent = |table: &&Table| new.table(table.family, table.name.as_str()).is_none();
    for table in new.tables.iter().chain(old.tables.iter().filter(absent)) {
        let (family, name) = (table.family, table.name.as_str());
        let (old, new) = (old.table(family, name), new.table(family, name));
        tables.push(both(table, old, new, seconds));
    }
    Ruleset { tables }
}

fn both(table: &Table, old: Option<&Table>, new: Option<&Table>, seconds: u32) -> Table {
    let mut sets = vec![clock(table, old, seconds)];
    let mut chains: Vec<Chain> = Vec::new();
    for table in [new, old].into_iter().flatten() {
        for set in &table.sets {
            if set.name.as_str() != TRIAL && sets.iter().all(|it| it.name != set.name) {
                sets.push(set.clone());
            }
        }
        for chain in &table.chains {
            if chains.iter().all(|it| it.name != chain.name) {
                chains.push(chain.clone());
            }
        }
    }
    for chain in &mut chains {
        let Some(base) = &chain.base else { continue };
        let field = key(table.family, base.hook);
        let name = chain.name.as_str();
        let of = |table: Option<&Table>| {
            let hook = table.and_then(|table| table.chain(name));
            hook.and_then(|hook| hook.rules.first())
                .and_then(target)
                .map_or_else(accept, goto)
        };
        let ticking = Statement::in_set([field], Ident::made(TRIAL, ""));
        chain.rules = vec![Rule::new([ticking, of(new)]), Rule::new([of(old)])];
    }
    Table {
        family: table.family,
        name: table.name.clone(),
        sets,
        chains,
    }
}

/// Where the only rule of a hook leads.
fn target(rule: &Rule) -> Option<&Ident> {
    match rule.statements.as_slice() {
        [Statement::Verdict(Verdict::Goto(chain))] => Some(chain),
        _ => None,
    }
}

/// What of a packet stands in the set: something that every packet of the hook has.
fn key(family: Family, hook: Hook) -> Field {
    match (family, hook) {
        (Family::Inet | Family::Arp, _) => Field::Protocol,
        (Family::Netdev, Hook::Egress) => Field::OutputInterface,
        (Family::Netdev, _) => Field::InputInterface,
    }
}

fn clock(table: &Table, old: Option<&Table>, seconds: u32) -> Set {
    let (kind, values) = match table.family {
        Family::Inet => (
            Kind::EtherType,
            vec![Value::number(0x0800_u32), Value::number(0x86dd_u32)],
        ),
        Family::Arp => (Kind::EtherType, vec![Value::number(0x0806_u32)]),
        Family::Netdev => {
            let chains = table
                .chains
                .iter()
                .chain(old.iter().flat_map(|old| &old.chains));
            let devices = chains.filter_map(|chain| chain.base.as_ref()?.device.clone());
            let mut devices: Vec<Value> = devices.map(Value::Interface).collect();
            devices.sort();
            devices.dedup();
            (Kind::Interface, devices)
        }
    };
    let elements = values.into_iter().map(|value| Element {
        key: vec![value],
        timeout: Some(seconds),
        verdict: None,
    });
    Set {
        name: Ident::made(TRIAL, ""),
        key: vec![kind],
        map: false,
        interval: false,
        dynamic: false,
        timeout: true,
        default_timeout: None,
        size: None,
        elements: elements.collect(),
    }
}
