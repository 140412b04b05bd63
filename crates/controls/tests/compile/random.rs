//! Whatever a profile says, the kernel takes what is written, and nothing of the profile is more than data there.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stockade_controls::firewall::check::{Verdict, compare};
use stockade_controls::firewall::compile::{self, Slot};
use stockade_controls::firewall::decide::World;
use stockade_controls::firewall::policy::{Policy, Side};
use stockade_profile::{Profile, parse};

use crate::common::{can_run_nft, comes_back};
use crate::device::home;
use crate::guard::{device, model, plan};

fn endpoint() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("any".to_owned()),
        Just("gateway".to_owned()),
        Just("local-network".to_owned()),
        Just("same-manufacturer".to_owned()),
        Just("model:cam-2".to_owned()),
        "[a-z0-9]{1,8}(-[a-z0-9]{1,8})?\\.[a-z]{2,6}",
        (any::<u32>(), 0..=32_u8).prop_map(|(bits, prefix)| {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix))
                .unwrap_or_default();
            format!("{}/{prefix}", core::net::Ipv4Addr::from(bits & mask))
        }),
        (any::<u128>(), 0..=128_u8).prop_map(|(bits, prefix)| {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix))
                .unwrap_or_default();
            format!("{}/{prefix}", core::net::Ipv6Addr::from(bits & mask))
        }),
    ]
}

fn traffic() -> impl Strategy<Value = String> {
    let port = || {
        (1..=u16::MAX, any::<u16>())
            .prop_map(|(first, more)| format!("\"{first}-{}\"", first.saturating_add(more % 50)))
    };
    let ports = (
        prop_oneof!["tcp", "udp"],
        port(),
        proptest::option::of(port()),
    );
    prop_oneof![
        8 => ports.prop_map(|(protocol, port, source)| {
            let source = source.map(|it| format!("source-port = {it}\n")).unwrap_or_default();
            format!("protocol = \"{protocol}\"\nport = {port}\n{source}")
        }),
        1 => any::<u8>().prop_map(|number| format!("protocol = \"ip:{number}\"\n")),
        1 => Just("protocol = \"any\"\n".to_owned()),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(kind, code)| {
            format!("protocol = \"icmpv6\"\nicmp-type = {kind}\nicmp-code = {code}\n")
        }),
        1 => any::<u8>().prop_map(|kind| format!("protocol = \"icmp\"\nicmp-type = {kind}\n")),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let rate = proptest::option::of((1..50_u32, prop_oneof!["s", "min", "h", "7min", "3d"]));
    let way = prop_oneof![Just(("in", "from")), Just(("out", "to"))];
    (way, endpoint(), traffic(), rate).prop_map(|((way, end), peer, traffic, rate)| {
        let rate = rate.map(|(count, per)| format!("rate = \"{count}/{per}\"\n"));
        let rate = rate.unwrap_or_default();
        format!("[[firewall.{way}]]\n{end} = \"{peer}\"\n{traffic}{rate}")
    })
}

/// A profile of rules that are sound together: one that is not is left out.
fn profiles(most: usize) -> impl Strategy<Value = Profile> {
    let head = "schema = 1\n[device]\nmanufacturer = \"It's \\u0022quoted\\u0022; flush ruleset\"\nmodel = \"x-1\"\n\
                version = 1\nclass = \"linux\"\n";
    proptest::collection::vec(rule(), 0..most).prop_map(move |rules| {
        let mut text = head.to_owned();
        for rule in rules {
            let longer = format!("{text}{rule}");
            if parse(&longer).is_ok() {
                text = longer;
            }
        }
        parse(&text).expect("it grew from sound ones")
    })
}

/// So many cases, for a process runs or many packets are tried in each.
fn each(cases: u32, most: usize, check: impl Fn(Profile)) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let ran = runner.run(&profiles(most), |profile| {
        check(profile);
        Ok(())
    });
    ran.unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn any_device_is_compiled_to_what_its_policy_means() {
    each(6, 5, |profile| {
        let policy = Policy::of(&profile, &home(), Side::Device);
        let ruleset = compile::device(&policy, &home(), Slot::A);
        let verdict = compare(&ruleset, &policy, &home(), &World::default());
        assert!(
            matches!(verdict, Verdict::Same { .. }),
            "{verdict}\n{ruleset}"
        );
    });
}

#[test]
fn the_kernel_holds_any_device() {
    if can_run_nft() {
        each(48, 24, |profile| {
            let policy = Policy::of(&profile, &home(), Side::Device);
            let ruleset = compile::device(&policy, &home(), Slot::B);
            assert!(!ruleset.to_string().contains("flush"));
            comes_back(&ruleset);
        });
    }
}

#[test]
fn the_kernel_holds_any_guard() {
    if can_run_nft() {
        each(48, 24, |profile| {
            let ruleset = compile::guard(&plan(&[profile], vec![device(10, model("x-1"))]));
            assert!(!ruleset.to_string().contains("quoted"));
            comes_back(&ruleset);
        });
    }
}
