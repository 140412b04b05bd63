//! A device's rules for itself.

use std::path::Path;

use stockade_controls::firewall::compile::{self, Slot};
use stockade_controls::firewall::nft::{CgroupPath, Ruleset};
use stockade_controls::firewall::policy::{Policy, Side};
use stockade_controls::firewall::surroundings::{Surroundings, UpnpWindow};
use stockade_profile::{Profile, parse};

use crate::common::{can_run_nft, comes_back};

pub(crate) fn profile(name: &str) -> Profile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../profiles")
        .join(name);
    parse(&fs_err::read_to_string(path).expect("the profile is there")).expect("it is sound")
}

/// A flat with one network.
pub(crate) fn home() -> Surroundings {
    Surroundings {
        own: vec![
            "192.168.1.20".parse().expect("it is sound"),
            "fe80::20".parse().expect("it is sound"),
        ],
        gateway: vec![
            "192.168.1.1".parse().expect("it is sound"),
            "fe80::1".parse().expect("it is sound"),
        ],
        gateway_link: Some("02:00:00:00:00:01".parse().expect("it is sound")),
        local: vec!["192.168.1.0/24".parse().expect("it is sound")],
        resolvers: vec!["192.168.1.1".parse().expect("it is sound")],
        forwarder: Some(5355),
        ..Surroundings::default()
    }
}

fn compiled(profile: &Profile, around: &Surroundings) -> Ruleset {
    compile::device(&Policy::of(profile, around, Side::Device), around, Slot::A)
}

const EVERYTHING: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "all-1"
version = 1
class = "linux"
[programs]
services = ["camera"]
[[firewall.out]]
to = "any"
protocol = "tcp"
port = 443
rate = "5/15min"
[[firewall.out]]
to = "any"
protocol = "any"
[[firewall.out]]
to = "8.8.8.0/24"
protocol = "udp"
port = 53
[[firewall.out]]
to = "0.0.0.0/0"
protocol = "icmp"
[[firewall.out]]
to = "::/0"
protocol = "tcp"
port = "any"
source-port = "1024-65535"
[[firewall.out]]
to = "cloud.example.org"
protocol = "tcp"
port = "8000-8010"
service = "camera"
[[firewall.out]]
to = "gateway"
protocol = "icmp"
icmp-type = 3
icmp-code = 4
[[firewall.in]]
from = "any"
protocol = "ip:47"
family = "ipv6"
[[firewall.in]]
from = "any"
protocol = "tcp"
port = 80
rate = "3/s"
[[firewall.in]]
from = "2001:db8::/32"
protocol = "icmpv6"
icmp-type = 128
[[firewall.in]]
from = "local-network"
protocol = "igmp"
[[firewall.in]]
from = "any"
protocol = "icmpv6"
rate = "1/week"
[[firewall.frame]]
direction = "out"
ethertype = 0x888e
[[firewall.frame]]
direction = "in"
ethertype = 0x0006
peer = "02:00:00:00:00:09"
"#;

fn everything() -> Profile {
    parse(&EVERYTHING.replace("1/week", "1/7d")).expect("it is sound")
}

fn with_everything() -> Surroundings {
    let camera = CgroupPath::new("camera").expect("it is sound");
    Surroundings {
        services: [("camera".parse().expect("it is sound"), camera)].into(),
        ..home()
    }
}

#[test]
fn the_rules_of_a_camera_are_these() {
    let around = Surroundings {
        interfaces: vec!["eth0".parse().expect("it is sound")],
        ..home()
    };
    insta::assert_snapshot!(compiled(&profile("cam-2.toml"), &around));
}

#[test]
fn while_upnp_is_on_the_rules_of_a_camera_are_these() {
    let window = UpnpWindow {
        lan: "lan0".parse().expect("it is sound"),
        outside: "ext0".parse().expect("it is sound"),
        networks: vec!["192.168.7.0/24".parse().expect("it is sound")],
        control: 61_000,
        user: 912,
    };
    let around = Surroundings {
        agent: Some(911),
        upnp: Some(window),
        ..home()
    };
    let open = compiled(&profile("cam-2.toml"), &around);
    if can_run_nft() {
        comes_back(&open);
    }
    insta::assert_snapshot!(open);
}

#[test]
fn a_profile_that_uses_every_word_compiles_to_these_rules() {
    insta::assert_snapshot!(compiled(&everything(), &with_everything()));
}

#[test]
fn without_surroundings_nothing_is_guessed() {
    let around = Surroundings::default();
    let policy = Policy::of(&profile("cam-2.toml"), &around, Side::Device);
    let unmet: Vec<String> = policy
        .unmet
        .iter()
        .map(|unmet| format!("{}: {}", unmet.id, unmet.why))
        .collect();
    insta::assert_snapshot!(unmet.join("\n"));
}

#[test]
fn the_kernel_holds_what_was_written() {
    if !can_run_nft() {
        return;
    }
    for name in ["cam-2.toml", "siren-1.toml", "plug-9.toml", "thermo-1.toml"] {
        comes_back(&compiled(&profile(name), &home()));
        comes_back(&compiled(&profile(name), &Surroundings::default()));
    }
    let around = Surroundings {
        interfaces: vec!["lo".parse().expect("it is sound")],
        services: std::collections::BTreeMap::new(),
        ..home()
    };
    comes_back(&compiled(&everything(), &around));
}

#[test]
fn a_trial_comes_back_too() {
    if !can_run_nft() {
        return;
    }
    let around = Surroundings {
        interfaces: vec!["lo".parse().expect("it is sound")],
        ..home()
    };
    let new = compiled(&profile("cam-2.toml"), &around);
    comes_back(&compile::trial(&Ruleset::default(), &new, 60));
    let next = Policy::of(&profile("siren-1.toml"), &home(), Side::Device);
    let next = compile::device(&next, &home(), Slot::B);
    comes_back(&compile::trial(&new, &next, 600));
    insta::assert_snapshot!(compile::trial(&Ruleset::default(), &new, 60).tables[1]);
}
