//! The reference for makers says what the code takes.

use std::collections::BTreeSet;

use stockade_profile::{check, render};

const REFERENCE: &str = include_str!("../../../docs/profile.md");

/// The reference's TOML, block by block.
fn blocks() -> impl Iterator<Item = &'static str> {
    REFERENCE
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
}

#[test]
fn the_blocks_of_the_reference_are_one_sound_profile() {
    let source: String = blocks().collect();
    let checked = check(&source);
    assert_eq!(render(&source, "docs/profile.md", &checked.faults), "");
    assert!(checked.profile.is_some());
}

/// What the tables of one section have in their first column, without what stands before a dot.
fn described(section: &str) -> BTreeSet<&str> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let first = rows.filter_map(|row| row.split('|').nth(1));
    first
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter_map(|key| key.rsplit('.').next())
        .collect()
}

/// Every table that has known keys, as its unknown key `zzzzzzzz` makes it say them, and its section of the reference.
const TABLES: &[(&str, &str)] = &[
    ("device", "[device]\nzzzzzzzz = 1"),
    ("comms", "[comms]\nzzzzzzzz = 1"),
    ("comms", "[[comms.publish]]\nzzzzzzzz = 1"),
    ("comms", "[[comms.subscribe]]\nzzzzzzzz = 1"),
    ("comms", "[[comms.peer]]\nzzzzzzzz = 1"),
    ("protocols", "[protocols]\nzzzzzzzz = 1"),
    ("protocols", "[[protocols.front]]\nzzzzzzzz = 1"),
    ("upnp", "[upnp]\nzzzzzzzz = 1"),
    ("upnp", "[[upnp.mapping]]\nzzzzzzzz = 1"),
    ("firewall", "[firewall]\nzzzzzzzz = 1"),
    ("firewall", "[[firewall.in]]\nzzzzzzzz = 1"),
    ("firewall", "[[firewall.out]]\nzzzzzzzz = 1"),
    ("firewall", "[[firewall.frame]]\nzzzzzzzz = 1"),
    ("mud", "[mud]\nzzzzzzzz = 1"),
    ("mud", "[[mud.tls]]\nzzzzzzzz = 1"),
    ("boot", "[boot]\nzzzzzzzz = 1"),
    ("credentials", "[credentials]\nzzzzzzzz = 1"),
    ("privileges", "[privileges]\nzzzzzzzz = 1"),
    ("programs", "[programs]\nzzzzzzzz = 1"),
    ("updates", "[updates]\nzzzzzzzz = 1"),
    ("updates", "[updates.slots]\nzzzzzzzz = 1"),
    ("updates", "[updates.health]\nzzzzzzzz = 1"),
    ("mac", "[mac]\nzzzzzzzz = 1"),
    ("ports", "[ports]\nserial-console = \"off\"\nzzzzzzzz = 1"),
    ("ports", "[ports.usb]\nzzzzzzzz = 1"),
    ("tamper", "[tamper]\nzzzzzzzz = 1"),
    ("tamper", "[[tamper.inputs]]\nzzzzzzzz = 1"),
    ("data", "[data.x]\nfield = { zzzzzzzz = 1 }"),
    ("vault", "[vault.x]\nzzzzzzzz = 1"),
    ("vault", "[vault.x.contribution]\nzzzzzzzz = 1"),
    ("vault", "[vault.x.release]\nzzzzzzzz = 1"),
    ("vault", "[vault.x.budget]\nzzzzzzzz = 1"),
];

#[test]
fn the_reference_has_every_key_and_no_other() {
    let sections: Vec<(&str, &str)> = REFERENCE
        .split("\n## ")
        .map(|section| section.split_once('\n').unwrap_or((section, "")))
        .collect();
    for &(name, text) in &sections {
        let tables: Vec<&str> = TABLES
            .iter()
            .filter_map(|&(section, table)| (section == name).then_some(table))
            .collect();
        if tables.is_empty() {
            continue;
        }
        let known: Vec<String> = tables
            .iter()
            .flat_map(|table| check(&format!("schema = 1\n{table}")).faults)
            .filter(|fault| fault.message == "unknown key `zzzzzzzz`")
            .filter_map(|fault| fault.help)
            .collect();
        assert_eq!(
            known.len(),
            tables.len(),
            "{name}: each table refuses the key"
        );
        let mut known: BTreeSet<&str> = known
            .iter()
            .flat_map(|help| help.split('`').skip(1).step_by(2))
            .collect();
        // Described by what is in it.
        for table in ["usb", "contribution", "release", "budget"] {
            known.remove(table);
        }
        assert_eq!(described(text), known, "{name}");
    }
    let told: BTreeSet<&str> = sections.iter().map(|&(name, _)| name).collect();
    for (section, _) in TABLES {
        assert!(
            told.contains(section),
            "{section} has a section in the reference"
        );
    }
}
