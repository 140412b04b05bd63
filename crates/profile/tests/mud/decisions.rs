//! The same decisions: of a file read, written and read again, and of lists in which the first match wins.

use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use stockade_profile::mud::{ImportOptions, Outcome, export, import, read};
use stockade_profile::{Direction, Endpoint, Family, PortRange, check};

use crate::there_and_back::{back, options};
use crate::world::{Packet, allows, difference, frames};
use crate::{file, imported};

/// Files that others published, which may lie beside the workspace; they are not ours to pass on.
fn published() -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        let Ok(entries) = fs_err::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else {
                files.push(path);
            }
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/mud");
    let mut files = Vec::new();
    walk(&folder, &mut files);
    // Beside the files lies a text about them.
    files.retain(|path| path.extension().is_none_or(|end| end != "md"));
    files.sort();
    files
}

#[test]
fn every_published_file_is_accounted_for_rule_by_rule() {
    let mut lines = Vec::new();
    let (mut rules, mut held) = (0, 0);
    for path in published() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file = read(&fs_err::read(&path).unwrap()).unwrap();
        let imported = import(&file, &ImportOptions::default());
        assert_eq!(
            imported.rules.len(),
            file.rules(),
            "{name}: each rule has one fate"
        );
        let checked = check(&imported.profile.to_toml());
        assert_eq!(checked.profile.as_ref(), Some(&imported.profile), "{name}");
        let count = imported.count();
        rules += count.total();
        held += count.held();
        for rule in &imported.rules {
            if let Outcome::Refused { why } = &rule.outcome {
                lines.push(format!("{name}: {}: {why}", rule.name()));
                // The one mistake of these files that can be read in two ways.
                assert!(why.contains("s:qrc-dnsname"), "{name}: {why}");
            }
        }
    }
    if rules == 0 {
        println!("skipped: there are no published MUD files beside the workspace");
    }
    println!("{held} of {rules} rules; refused:\n{}", lines.join("\n"));
}

#[test]
fn every_published_file_written_again_means_the_same() {
    let (mut packets, mut files) = (0, 0);
    for path in published() {
        let name = path.display();
        let first = import(
            &read(&fs_err::read(&path).unwrap()).unwrap(),
            &ImportOptions::default(),
        );
        if first.count().represented == 0 {
            continue;
        }
        let exported = export(&first.profile, &options());
        for rule in &exported.rules {
            assert_eq!(rule.refused, None, "{name}: {}", rule.rule);
        }
        if first.profile.firewall == stockade_profile::Firewall::default() {
            assert!(read(&exported.bytes).is_err(), "{name}: nothing is allowed");
            continue;
        }
        let second = back(&exported);
        let (count, packet) = difference(&first.profile.firewall, &second.profile.firewall);
        assert!(packet.is_none(), "{name}: {packet:?}");
        assert_eq!(
            frames(&first.profile.firewall),
            frames(&second.profile.firewall),
            "{name}"
        );
        packets += count;
        files += 1;
    }
    if files == 0 {
        println!("skipped: there are no published MUD files beside the workspace");
    }
    println!("{files} files, {packets} packets, no difference");
}

/// One rule of a list: what it does with packets to a network and a range of ports.
#[derive(Debug, Clone)]
struct Line {
    accepts: bool,
    network: &'static str,
    protocol: &'static str,
    ports: (u16, u16),
}

impl Line {
    fn json(&self) -> String {
        let action = if self.accepts { "accept" } else { "drop" };
        let (first, last) = self.ports;
        let number = if self.protocol == "udp" { 17 } else { 6 };
        format!(
            r#"{action}! "ipv4": {{"destination-ipv4-network": "{}", "protocol": {number}}}, "{}": {{"destination-port": {{"lower-port": {first}, "upper-port": {last}}}}}"#,
            self.network, self.protocol
        )
    }

    fn matches(&self, packet: &Packet) -> bool {
        let within = match (self.network.parse(), &packet.peer) {
            (Ok(Endpoint::Network(network)), Endpoint::Address(address)) => {
                network.contains(*address)
            }
            (Ok(own), other) => own == *other,
            (Err(_), _) => true,
        };
        let number = if self.protocol == "udp" { 17 } else { 6 };
        within
            && number == packet.protocol
            && PortRange::new(self.ports.0, self.ports.1)
                .unwrap()
                .contains(packet.to)
    }
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let network = select(vec![
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.128.0.0/9",
        "192.0.2.0/24",
    ]);
    let ports = (1_u16..12, 0_u16..6).prop_map(|(first, more)| (first, first + more));
    let line = (any::<bool>(), network, select(vec!["tcp", "udp"]), ports);
    let line = line.prop_map(|(accepts, network, protocol, ports)| Line {
        accepts,
        network,
        protocol,
        ports,
    });
    vec(line, 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_first_rule_that_matches_wins(lines in lines()) {
        let rules: Vec<String> = lines.iter().map(Line::json).collect();
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let imported = imported(&file(&rules, &[]));
        let drops = |why: &str| why.ends_with("drops all of it");
        for rule in &imported.rules {
            if let Outcome::Refused { why } = &rule.outcome {
                prop_assert!(drops(why), "{}", why);
            }
        }
        for address in ["10.0.0.1", "10.1.0.1", "10.1.2.1", "10.1.3.0", "10.127.255.255", "10.128.0.0", "192.0.2.255", "192.0.3.0"] {
            for to in 1..20 {
                for protocol in [6, 17, 47] {
                    let packet = Packet {
                        way: Direction::Out,
                        peer: address.parse().unwrap(),
                        family: Family::Ipv4,
                        protocol,
                        to,
                        from: 40_000,
                        icmp: (0, 0),
                    };
                    let first = lines.iter().find(|line| line.matches(&packet));
                    let expected = first.is_some_and(|line| line.accepts);
                    prop_assert_eq!(allows(&imported.profile.firewall, &packet), expected, "{:?}", packet);
                }
            }
        }
    }
}
