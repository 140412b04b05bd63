//! A gateway's rules for its network.

use core::net::{IpAddr, Ipv4Addr};

use stockade_controls::firewall::compile::{self, GuardPlan, Guarded, Model, Role};
use stockade_controls::firewall::nft::{Ruleset, Set};
use stockade_controls::firewall::surroundings::Surroundings;
use stockade_profile::{LinkAddress, Profile, parse};

use crate::common::{can_run_nft, comes_back};
use crate::device::profile;

const REPAIR: [u16; 3] = [8443, 8444, 8883];

fn gateway() -> Surroundings {
    let own: Vec<IpAddr> = vec![
        "192.168.1.1".parse().expect("it is sound"),
        "fe80::1".parse().expect("it is sound"),
    ];
    Surroundings {
        own: own.clone(),
        gateway: own,
        local: vec!["192.168.0.0/16".parse().expect("it is sound")],
        resolvers: vec!["192.168.1.1".parse().expect("it is sound")],
        forwarder: Some(5355),
        ..Surroundings::default()
    }
}

/// A model as a MUD file of a speaker describes one: many names, ports and protocols.
const SPEAKER: &str = r#"
schema = 1
[device]
manufacturer = "Sound"
model = "speaker"
version = 1
class = "agentless"
[[firewall.out]]
to = "a.example.org"
protocol = "tcp"
port = 443
[[firewall.out]]
to = "b.example.org"
protocol = "tcp"
port = 443
[[firewall.out]]
to = "b.example.org"
protocol = "tcp"
port = "400-500"
rate = "10/min"
[[firewall.out]]
to = "203.0.113.0/24"
protocol = "tcp"
port = 80
[[firewall.out]]
to = "any"
protocol = "tcp"
port = 8080
[[firewall.out]]
to = "local-network"
protocol = "tcp"
port = "1-1024"
[[firewall.out]]
to = "same-manufacturer"
protocol = "udp"
port = 6000
[[firewall.out]]
to = "239.255.255.250"
protocol = "udp"
port = 1900
[[firewall.out]]
to = "224.0.0.0/4"
protocol = "igmp"
[[firewall.in]]
from = "local-network"
protocol = "udp"
port = "1024-65535"
source-port = 1900
[[firewall.in]]
from = "model:cam-2"
protocol = "tcp"
port = 9000
rate = "2/s"
[[firewall.frame]]
direction = "out"
ethertype = 0x88cc
[[firewall.frame]]
direction = "in"
ethertype = 0x0006
peer = "02:00:00:00:00:09"
"#;

pub(crate) fn device(number: u8, role: Role) -> Guarded {
    let v6 = format!("fe80::{number:x}");
    Guarded {
        mac: LinkAddress::new([2, 0, 0, 0, 1, number]),
        addresses: vec![
            Ipv4Addr::new(192, 168, 1, number).into(),
            v6.parse().expect("it is sound"),
        ],
        role,
    }
}

pub(crate) fn model(name: &str) -> Role {
    Role::Model(name.parse().expect("it is sound"))
}

pub(crate) fn plan(profiles: &[Profile], devices: Vec<Guarded>) -> GuardPlan {
    let around = gateway();
    let models = profiles.iter().map(|profile| {
        let model = Model::of(profile, &around, &REPAIR);
        (profile.device.model.clone(), model)
    });
    GuardPlan {
        interfaces: vec!["lo".parse().expect("it is sound")],
        models: models.collect(),
        around,
        devices,
        repair: REPAIR.to_vec(),
        notice: 8443,
    }
}

fn house() -> GuardPlan {
    let profiles = [
        profile("cam-2.toml"),
        profile("siren-1.toml"),
        parse(SPEAKER).expect("it is sound"),
    ];
    let devices = vec![
        device(10, model("cam-2")),
        device(11, model("siren-1")),
        device(12, model("speaker")),
        device(13, model("never-heard-of")),
        device(
            14,
            Role::Quarantined(Some("cam-2".parse().expect("it is sound"))),
        ),
        device(15, Role::Quarantined(None)),
        device(16, Role::Trusted),
    ];
    plan(&profiles, devices)
}

#[test]
fn the_rules_of_a_house_are_these() {
    insta::assert_snapshot!(compile::guard(&house()));
}

#[test]
fn the_kernel_holds_the_rules_of_a_house() {
    if can_run_nft() {
        comes_back(&compile::guard(&house()));
        comes_back(&compile::guard(&plan(&[], Vec::new())));
    }
}

#[test]
fn a_device_is_its_elements_and_nothing_else() {
    let mut plan = house();
    let before = compile::guard(&plan);
    let newcomer = device(20, model("speaker"));
    let changes = compile::elements(&plan, &newcomer);
    plan.devices.push(newcomer);
    let mut expected = before;
    for change in changes {
        let set = set_of(&mut expected, change.family, change.set.as_str());
        set.elements.push(change.element);
        set.elements.sort();
    }
    assert_eq!(compile::guard(&plan), expected);
}

#[test]
fn quarantine_changes_verdicts_and_takes_groups_away() {
    let plan = house();
    let well = compile::elements(&plan, &device(20, model("cam-2")));
    let ill = Role::Quarantined(Some("cam-2".parse().expect("it is sound")));
    let ill = compile::elements(&plan, &device(20, ill));
    let keys = |changes: &[compile::Change], maps: bool| -> Vec<String> {
        let of = changes
            .iter()
            .filter(|it| it.element.verdict.is_some() == maps);
        of.map(|it| format!("{} {:?}", it.set, it.element.key))
            .collect()
    };
    assert_eq!(keys(&well, true), keys(&ill, true));
    let groups = |changes: &[compile::Change]| {
        let of = changes
            .iter()
            .filter(|it| it.set.as_str().starts_with("group"));
        of.count()
    };
    assert_eq!((groups(&well), groups(&ill)), (2, 0));
}

#[test]
fn an_address_belongs_to_one_device() {
    let mut plan = house();
    let mut thief = device(30, model("speaker"));
    thief.addresses = vec!["192.168.1.10".parse().expect("it is sound")];
    plan.devices.push(thief);
    let mut ruleset = compile::guard(&plan);
    let to4 = set_of(
        &mut ruleset,
        stockade_controls::firewall::nft::Family::Inet,
        "to4",
    );
    let held: Vec<_> = to4
        .elements
        .iter()
        .filter(|element| {
            element.key
                == [stockade_controls::firewall::nft::Value::ip4(Ipv4Addr::new(
                    192, 168, 1, 10,
                ))]
        })
        .collect();
    assert_eq!(held.len(), 1);
    assert!(format!("{:?}", held[0].verdict).contains("m_cam-2"));
}

fn set_of<'r>(
    ruleset: &'r mut Ruleset,
    family: stockade_controls::firewall::nft::Family,
    name: &str,
) -> &'r mut Set {
    let table = ruleset
        .tables
        .iter_mut()
        .find(|table| table.family == family);
    let sets = &mut table.expect("the table is there").sets;
    let set = sets.iter_mut().find(|set| set.name.as_str() == name);
    set.expect("the set is there")
}

#[test]
fn ten_thousand_devices_are_written_and_taken() {
    let profiles = [profile("cam-2.toml"), profile("siren-1.toml")];
    let devices = (0..10_000_u32).map(|number| {
        let [_, _, high, low] = number.to_be_bytes();
        Guarded {
            mac: LinkAddress::new([2, 0, 0, 1, high, low]),
            addresses: vec![Ipv4Addr::new(192, 168, high, low).into()],
            role: model(if number % 2 == 0 { "cam-2" } else { "siren-1" }),
        }
    });
    let ruleset = compile::guard(&plan(&profiles, devices.collect()));
    let from4 = ruleset.tables[0].set("from4").expect("the map is there");
    assert_eq!(from4.elements.len(), 10_000);
    if can_run_nft() {
        comes_back(&ruleset);
    }
    let bare = ruleset.bare();
    let mut sets = bare.tables.iter().flat_map(|table| &table.sets);
    assert!(sets.all(|set| set.elements.is_empty()));
    assert_eq!(bare.tables[0].chains, ruleset.tables[0].chains);
}
