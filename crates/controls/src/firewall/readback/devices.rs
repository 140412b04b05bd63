//! Which interface a chain of the family netdev hangs on: nft 1.0.6 says it in its text only.

use super::super::nft::{Family, Ruleset};
use super::{Foreign, ReadbackError};

/// Puts the devices that `nft list table netdev NAME` tells into the chains that `nft -j` listed without them.
///
/// Of the text only two lines a chain are read: its name, and the line that begins with `type`. A chain of the family netdev
/// whose device is not told is an error.
pub fn devices(ruleset: &mut Ruleset, text: &str) -> Result<(), ReadbackError> {
    let mut table = None::<&str>;
    let mut chain = None::<&str>;
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["table", "netdev", name, "{"] => table = Some(name),
            ["table", ..] => table = None,
            ["chain", name, "{"] => chain = Some(name),
            ["type", "filter", "hook", _, "device", device, ..] => {
                let (Some(table), Some(chain)) = (table, chain) else {
                    continue;
                };
                let device = device.trim_matches('"').parse();
                let device = device.map_err(|_| foreign(table, chain, line))?;
                let mut tables = ruleset.tables.iter_mut();
                let found =
                    tables.find(|its| its.family == Family::Netdev && its.name.as_str() == table);
                let found = found.and_then(|table| {
                    table
                        .chains
                        .iter_mut()
                        .find(|its| its.name.as_str() == chain)
                });
                let base = found.and_then(|chain| chain.base.as_mut());
                let Some(base) = base else {
                    return Err(foreign(
                        table,
                        chain,
                        "a hook that nft's JSON does not have",
                    ));
                };
                base.device = Some(device);
            }
            _ => {}
        }
    }
    let netdev = ruleset
        .tables
        .iter()
        .filter(|table| table.family == Family::Netdev);
    for table in netdev {
        let unknown = |chain: &&super::super::nft::Chain| {
            chain
                .base
                .as_ref()
                .is_some_and(|base| base.device.is_none())
        };
        if let Some(chain) = table.chains.iter().find(unknown) {
            return Err(foreign(
                table.name.as_str(),
                chain.name.as_str(),
                "nft does not say on which interface",
            ));
        }
    }
    Ok(())
}

fn foreign(table: &str, chain: &str, what: &str) -> ReadbackError {
    ReadbackError::Foreign(vec![Foreign {
        place: format!("netdev {table} {chain}"),
        handle: None,
        what: what.trim().chars().take(120).collect(),
    }])
}
