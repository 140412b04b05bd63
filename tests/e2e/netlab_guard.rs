//! Every MUD file that there is behind one guard, and packets that try each of its rules from both sides.
//!
//! What must happen to a packet is computed by the oracle of `netlab::mud`, from the file's JSON; the product's part is only
//! to read the file, to write the rules and to put them into the kernel.

#[path = "netlab_guard/town.rs"]
mod town;

use anyhow::Result;
use stockade_e2e::netlab::mud::Opener;
use stockade_e2e::netlab::space::unable;
use stockade_e2e::tools::say;

use town::{Town, corpus, ours};

#[test]
fn each_packet_fares_as_the_mud_files_say() -> Result<()> {
    if unable(&["nft", "conntrack"]) {
        return Ok(());
    }
    let town = Town::new(corpus()?)?;
    town.build(&town.plan())?;
    let mut wrong = Vec::new();
    let mut probes = 0;
    for opener in [Opener::Device, Opener::Peer] {
        let asked = town.questions(opener);
        probes += asked.len();
        wrong.extend(town.try_all(&asked)?);
        let (answers, unanswered) = town.answers(&asked)?;
        probes += answers;
        wrong.extend(unanswered);
        town.lab.forget()?;
    }
    let (spoofs, seen) = town.spoofs()?;
    probes += spoofs;
    wrong.extend(seen);
    say(&format!(
        "{probes} probes, {} mismatches, {} profiles",
        wrong.len(),
        town.houses.len()
    ));
    let first: Vec<&String> = wrong.iter().take(40).collect();
    assert!(wrong.is_empty(), "{first:#?}");
    Ok(())
}

#[test]
fn a_rule_that_is_one_port_too_wide_is_seen() -> Result<()> {
    if unable(&["nft", "conntrack"]) {
        return Ok(());
    }
    let mut town = Town::new(ours()?)?;
    town.widen();
    town.build(&town.plan())?;
    let asked = town.questions(Opener::Device);
    let wrong = town.try_all(&asked)?;
    assert!(!wrong.is_empty(), "{} questions were asked", asked.len());
    Ok(())
}
