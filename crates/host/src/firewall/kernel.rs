//! Our tables in the kernel: read, and replaced as a whole. Nobody else's are ever read or changed.

use std::fmt::Write as _;

use stockade_controls::firewall::compile::{TABLE, TRIAL};
use stockade_controls::firewall::nft::{Family, Ident, Ruleset, Set};
use stockade_controls::firewall::readback;

use super::FirewallError;
use crate::netlink::keys;
use crate::netlink::sets::{SetName, Sets};
use crate::nft::Nft;

/// The families that we have tables of.
const FAMILIES: [Family; 3] = [Family::Inet, Family::Arp, Family::Netdev];

/// The families that we have a table of now.
fn present() -> Result<Vec<Family>, FirewallError> {
    let mut sets = Sets::open()?;
    let mut present = Vec::new();
    for family in FAMILIES {
        if sets.has_table(family, TABLE)? {
            present.push(family);
        }
    }
    Ok(present)
}

/// Our tables as data; no table if there is none.
pub(super) fn read(nft: &Nft) -> Result<Ruleset, FirewallError> {
    let mut held = Ruleset::default();
    for family in present()? {
        let Some(json) = nft.list(family, TABLE)? else {
            continue;
        };
        let mut table = readback::from_json(&json)?;
        if family == Family::Netdev {
            let text = nft.list_text(family, TABLE)?.unwrap_or_default();
            readback::devices(&mut table, &String::from_utf8_lossy(&text))?;
        }
        held.tables.extend(table.tables);
    }
    Ok(held)
}

/// Our tables as text only: for going back to them, even if a part of them is not ours.
pub(super) fn text(nft: &Nft) -> Result<String, FirewallError> {
    let mut all = String::new();
    for family in present()? {
        let text = nft.list_text(family, TABLE)?.unwrap_or_default();
        all.push_str(&String::from_utf8_lossy(&text));
    }
    Ok(all)
}

/// The transaction that puts these tables in the place of all of ours: packets meet the old rules or the new ones.
///
/// A table that is deleted has to exist, so each is made first; a family that neither the old nor the new rules have is
/// left out, for a kernel may lack it.
pub(super) fn replacing(before: &str, tables: &str) -> String {
    let mut transaction = String::with_capacity(before.len().saturating_add(tables.len()));
    for family in FAMILIES {
        let head = format!("table {family} {TABLE} {{");
        if before.contains(&head) || tables.contains(&head) {
            // Writing to a string can not fail.
            let _written = writeln!(transaction, "table {family} {TABLE}");
            let _written = writeln!(transaction, "delete table {family} {TABLE}");
        }
    }
    transaction.push_str(tables);
    transaction
}

/// Puts the elements that the kernel's sets hold at the moment into the sets of the same name and kind, so that replacing
/// the tables forgets no address that a name has.
pub(super) fn carry(before: &Ruleset, wanted: &mut Ruleset) -> Result<(), FirewallError> {
    let mut sets = Sets::open()?;
    for table in &mut wanted.tables {
        for set in &mut table.sets {
            let same = before
                .table(table.family, table.name.as_str())
                .and_then(|table| table.set(set.name.as_str()))
                .is_some_and(|old| is_learned(old) && old.key == set.key);
            if !is_learned(set) || !same {
                continue;
            }
            let name = set_name(table.family, &table.name, &set.name);
            let elements = sets.list(&name)?;
            let kept = elements.iter().filter_map(|it| keys::listed(&set.key, it));
            set.elements = kept.collect();
            set.elements.sort();
        }
    }
    Ok(())
}

/// A set that is filled while the rules stand: with addresses of names. What packets add themselves is not carried, and
/// a trial's clock does not start anew.
fn is_learned(set: &Set) -> bool {
    set.timeout && !set.dynamic && !set.map && set.name.as_str() != TRIAL
}

pub(super) fn set_name(family: Family, table: &Ident, set: &Ident) -> SetName {
    SetName {
        family,
        table: table.as_str().to_owned(),
        set: set.as_str().to_owned(),
    }
}
