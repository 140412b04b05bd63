//! What a policy says to packets: the promises of `docs/firewall.md`, one by one.

use core::net::IpAddr;

use stockade_controls::firewall::decide::{
    AddressType, Because, Decision, Probe, Reason, State, Way, World, decide,
};
use stockade_controls::firewall::names::MARK;
use stockade_controls::firewall::policy::{Policy, RuleId, Side};
use stockade_controls::firewall::surroundings::{Group, Surroundings};
use stockade_profile::Direction::{In, Out};
use stockade_profile::{Direction, Profile, parse};

const HEAD: &str = "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 1\nclass = \"linux\"\n\
    [programs]\nservices = [\"camera\"]\n";

fn profile(rules: &str) -> Profile {
    parse(&format!("{HEAD}{rules}")).expect("the profile is sound")
}

fn home() -> Surroundings {
    Surroundings {
        own: vec![at("192.168.1.20")],
        gateway: vec![at("192.168.1.1"), at("fe80::1")],
        local: vec!["192.168.1.0/24".parse().expect("it is sound")],
        resolvers: vec![at("192.168.1.1")],
        forwarder: Some(5355),
        ..Surroundings::default()
    }
}

fn at(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

fn policy(rules: &str) -> Policy {
    Policy::of(&profile(rules), &home(), Side::Device)
}

/// The first packet of a flow, from where it can come from.
fn probe(direction: Direction, peer: &str, protocol: u8, port: u16) -> Probe {
    let source = match direction {
        In => AddressType::Unicast,
        Out => AddressType::Local,
    };
    Probe {
        direction,
        peer: at(peer),
        protocol,
        source_port: if matches!(protocol, 6 | 17) {
            40_000
        } else {
            0
        },
        destination_port: port,
        icmp: None,
        state: State::New,
        hop_limit: 64,
        mark: 0,
        service: None,
        way: Way {
            source,
            ..Way::default()
        },
    }
}

fn message(direction: Direction, peer: &str, kind: u8) -> Probe {
    let protocol = if at(peer).is_ipv4() { 1 } else { 58 };
    Probe {
        icmp: Some((kind, 0)),
        hop_limit: 255,
        ..probe(direction, peer, protocol, 0)
    }
}

fn said(policy: &Policy, probe: &Probe) -> Decision {
    decide(policy, &World::default(), probe)
}

fn allowed(id: RuleId) -> Decision {
    Decision::Allowed(Because::Rule(id))
}

const NO_RULE: Decision = Decision::Refused(Reason::NoRule);
const SPOOFED: Decision = Decision::Refused(Reason::Spoofed);
const CAMERA: &str = "[[firewall.in]]\nfrom = \"local-network\"\nprotocol = \"tcp\"\nport = 443\n\
    [[firewall.out]]\nto = \"gateway\"\nprotocol = \"tcp\"\nport = 8883\n";

#[test]
fn what_no_rule_allows_is_refused_in_and_out() {
    let nothing = policy("");
    for port in [1, 22, 80, 443, 8883, 65_535] {
        for protocol in [6, 17] {
            assert_eq!(
                said(&nothing, &probe(In, "192.168.1.7", protocol, port)),
                NO_RULE
            );
            let out = probe(Out, "203.0.113.7", protocol, port);
            assert_eq!(said(&nothing, &out), NO_RULE);
        }
    }
}

#[test]
fn a_rule_allows_its_own_direction_peer_protocol_and_port() {
    let policy = policy(CAMERA);
    assert_eq!(
        said(&policy, &probe(In, "192.168.1.7", 6, 443)),
        allowed(RuleId::In(1))
    );
    assert_eq!(
        said(&policy, &probe(Out, "192.168.1.1", 6, 8883)),
        allowed(RuleId::Out(1))
    );
    for wrong in [
        probe(Out, "192.168.1.7", 6, 443),
        probe(In, "192.168.2.7", 6, 443),
        probe(In, "192.168.1.7", 17, 443),
        probe(In, "192.168.1.7", 6, 442),
        probe(In, "192.168.1.7", 6, 444),
        probe(Out, "192.168.1.2", 6, 8883),
    ] {
        assert_eq!(said(&policy, &wrong), NO_RULE, "{wrong:?}");
    }
}

#[test]
fn packets_of_an_open_flow_pass_both_ways_and_errors_about_it_too() {
    let policy = policy("");
    let open = Probe {
        state: State::Established,
        ..probe(In, "203.0.113.7", 6, 40_000)
    };
    assert_eq!(said(&policy, &open), Decision::Allowed(Because::Open));
    for kind in [3, 11, 12] {
        let error = Probe {
            state: State::Related,
            ..message(In, "203.0.113.7", kind)
        };
        assert_eq!(said(&policy, &error), Decision::Allowed(Because::Error));
    }
    let caused = Probe {
        state: State::Related,
        ..probe(In, "203.0.113.7", 6, 20)
    };
    assert_eq!(said(&policy, &caused), NO_RULE);
}

#[test]
fn what_fits_no_flow_is_refused_whatever_the_rules() {
    let policy = policy(CAMERA);
    let odd = Probe {
        state: State::Invalid,
        ..probe(In, "192.168.1.7", 6, 443)
    };
    assert_eq!(said(&policy, &odd), Decision::Refused(Reason::Invalid));
}

#[test]
fn a_source_that_can_not_be_there_is_refused_even_in_an_open_flow() {
    use AddressType::{Anycast, Broadcast, Local, Multicast};
    let policy = policy(CAMERA);
    for source in [Local, Broadcast, Anycast, Multicast] {
        for state in [State::New, State::Established] {
            let mut spoofed = probe(In, "192.168.1.7", 6, 443);
            (spoofed.way.source, spoofed.state) = (source, state);
            assert_eq!(said(&policy, &spoofed), SPOOFED);
        }
    }
    let mut astray = probe(In, "192.168.1.7", 6, 443);
    astray.way.astray = true;
    assert_eq!(said(&policy, &astray), SPOOFED);
    let mut foreign = probe(Out, "192.168.1.1", 6, 8883);
    foreign.way.source = AddressType::Unicast;
    assert_eq!(said(&policy, &foreign), SPOOFED);
}

#[test]
fn who_says_how_to_route_him_is_refused() {
    let policy = policy(CAMERA);
    let mut routed = probe(In, "192.168.1.7", 6, 443);
    routed.way.source_routed = true;
    routed.state = State::Established;
    assert_eq!(
        said(&policy, &routed),
        Decision::Refused(Reason::SourceRouted)
    );
}

#[test]
fn a_name_is_the_addresses_that_it_has_now() {
    let policy =
        policy("[[firewall.out]]\nto = \"cloud.example.org\"\nprotocol = \"tcp\"\nport = 443\n");
    let to = probe(Out, "203.0.113.7", 6, 443);
    assert_eq!(said(&policy, &to), NO_RULE);
    let mut world = World::default();
    let name = "cloud.example.org".parse().expect("it is sound");
    world.names.insert(name, [at("203.0.113.7")].into());
    assert_eq!(decide(&policy, &world, &to), allowed(RuleId::Out(1)));
    let other = probe(Out, "203.0.113.8", 6, 443);
    assert_eq!(decide(&policy, &world, &other), NO_RULE);
}

#[test]
fn a_service_rule_is_for_that_service_alone() {
    let camera = stockade_controls::firewall::nft::CgroupPath::new("system.slice/camera.service");
    let around = Surroundings {
        services: [(
            "camera".parse().expect("it is sound"),
            camera.expect("it is sound"),
        )]
        .into(),
        ..home()
    };
    let rule = "[[firewall.out]]\nto = \"gateway\"\nprotocol = \"tcp\"\nport = 8883\nservice = \"camera\"\n";
    let here = Policy::of(&profile(rule), &around, Side::Device);
    let mut from = probe(Out, "192.168.1.1", 6, 8883);
    assert_eq!(said(&here, &from), NO_RULE);
    from.service = Some("camera".parse().expect("it is sound"));
    assert_eq!(said(&here, &from), allowed(RuleId::Out(1)));
    // Without its cgroup the rule allows nothing, and says so.
    let elsewhere = Policy::of(&profile(rule), &home(), Side::Device);
    assert_eq!(said(&elsewhere, &from), NO_RULE);
    assert_eq!(elsewhere.unmet.len(), 1);
}

#[test]
fn questions_to_any_dns_server_go_to_the_forwarder() {
    let open = policy("[[firewall.out]]\nto = \"any\"\nprotocol = \"udp\"\nport = \"any\"\n");
    for server in ["192.168.1.1", "8.8.8.8", "2001:4860:4860::8888"] {
        for protocol in [6, 17] {
            let question = probe(Out, server, protocol, 53);
            assert_eq!(said(&open, &question), Decision::Forwarded);
        }
    }
    let own = Probe {
        mark: MARK,
        ..probe(Out, "192.168.1.1", 17, 53)
    };
    assert_eq!(said(&open, &own), allowed(RuleId::Builtin("dns")));
}

#[test]
fn a_dns_server_that_is_named_by_address_is_asked_directly() {
    let policy = policy("[[firewall.out]]\nto = \"9.9.9.9\"\nprotocol = \"udp\"\nport = 53\n");
    assert_eq!(
        said(&policy, &probe(Out, "9.9.9.9", 17, 53)),
        allowed(RuleId::Out(1))
    );
    assert_eq!(
        said(&policy, &probe(Out, "9.9.9.9", 6, 53)),
        Decision::Forwarded
    );
    assert_eq!(
        said(&policy, &probe(Out, "9.9.9.10", 17, 53)),
        Decision::Forwarded
    );
}

#[test]
fn a_rule_about_every_address_does_not_mean_encrypted_dns() {
    let any = "[[firewall.out]]\nto = \"any\"\nprotocol = \"tcp\"\nport = \"any\"\n";
    let encrypted = Decision::Refused(Reason::EncryptedDns);
    let broad = policy(any);
    assert_eq!(
        said(&broad, &probe(Out, "203.0.113.7", 6, 443)),
        allowed(RuleId::Out(1))
    );
    assert_eq!(said(&broad, &probe(Out, "203.0.113.7", 6, 853)), encrypted);
    assert_eq!(said(&broad, &probe(Out, "1.1.1.1", 6, 443)), encrypted);
    let named = policy(&format!(
        "{any}[[firewall.out]]\nto = \"1.1.1.1\"\nprotocol = \"tcp\"\nport = 443\n"
    ));
    assert_eq!(
        said(&named, &probe(Out, "1.1.1.1", 6, 443)),
        allowed(RuleId::Out(2))
    );
}

#[test]
fn neighbour_messages_are_of_the_link_and_claim_nothing_false() {
    let policy = policy("");
    let neighbour = Decision::Refused(Reason::Neighbour);
    for kind in [135, 136] {
        let near = message(In, "fe80::7", kind);
        assert_eq!(said(&policy, &near), allowed(RuleId::Builtin("nd")));
        let far = Probe {
            hop_limit: 254,
            ..near.clone()
        };
        assert_eq!(said(&policy, &far), neighbour);
        let mut liar = near;
        liar.way.false_claim = true;
        assert_eq!(said(&policy, &liar), neighbour);
    }
    let router = message(In, "fe80::1", 134);
    assert_eq!(said(&policy, &router), allowed(RuleId::Builtin("nd")));
    assert_eq!(said(&policy, &message(In, "fe80::7", 134)), neighbour);
    assert_eq!(said(&policy, &message(In, "fe80::1", 137)), neighbour);
    assert_eq!(said(&policy, &message(Out, "fe80::7", 134)), neighbour);
}

#[test]
fn only_the_gateway_gives_addresses() {
    let policy = policy("");
    let answer = |from: &str| Probe {
        source_port: 67,
        ..probe(In, from, 17, 68)
    };
    assert_eq!(
        said(&policy, &answer("192.168.1.1")),
        allowed(RuleId::Builtin("dhcp"))
    );
    assert_eq!(said(&policy, &answer("192.168.1.7")), NO_RULE);
}

#[test]
fn a_model_is_whom_the_guard_knows_and_on_a_device_whom_it_is_told() {
    let rule = "[[firewall.in]]\nfrom = \"model:siren-1\"\nprotocol = \"tcp\"\nport = 80\n";
    let siren = || Group::Model("siren-1".parse().expect("it is sound"));
    let guard = Policy::of(&profile(rule), &home(), Side::Guard);
    let from = probe(In, "192.168.1.7", 6, 80);
    assert_eq!(said(&guard, &from), NO_RULE);
    let mut world = World::default();
    world.members.insert(siren(), [at("192.168.1.7")].into());
    assert_eq!(decide(&guard, &world, &from), allowed(RuleId::In(1)));
    let alone = policy(rule);
    assert_eq!((said(&alone, &from), alone.unmet.len()), (NO_RULE, 1));
    let mut around = home();
    around.members.insert(siren(), vec![at("192.168.1.7")]);
    let told = Policy::of(&profile(rule), &around, Side::Device);
    assert_eq!(said(&told, &from), allowed(RuleId::In(1)));
}

#[test]
fn in_quarantine_a_device_reaches_its_menders_and_nobody_else() {
    let camera = profile(&format!(
        "{CAMERA}[updates]\nsource = \"https://updates.acme.example/cam-2\"\nmax-age = \"30d\"\nsecurity-within = \"72h\"\n"
    ));
    let ill = Policy::quarantine(Some(&camera), &home(), &[8443, 8444]);
    let mut world = World::default();
    let source = "updates.acme.example".parse().expect("it is sound");
    world.names.insert(source, [at("203.0.113.9")].into());
    let out = |peer, port| decide(&ill, &world, &probe(Out, peer, 6, port));
    assert_eq!(out("192.168.1.1", 8444), allowed(RuleId::Builtin("repair")));
    assert_eq!(out("203.0.113.9", 443), allowed(RuleId::Builtin("updates")));
    assert_eq!(out("192.168.1.1", 8883), NO_RULE);
    assert_eq!(out("192.168.1.7", 443), NO_RULE);
    assert_eq!(
        decide(&ill, &world, &probe(In, "192.168.1.7", 6, 443)),
        NO_RULE
    );
    assert_eq!(
        decide(&ill, &world, &message(Out, "192.168.1.1", 8)),
        NO_RULE
    );
}
