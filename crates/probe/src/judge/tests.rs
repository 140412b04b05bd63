use std::collections::BTreeMap;

use super::*;
use crate::services::ssh::Ssh as SshOffer;
use crate::upnp::{Came, UpnpFacts};

fn facts() -> HostFacts {
    HostFacts {
        address: "192.0.2.7".parse().expect("an address"),
        answers: true,
        ports: BTreeMap::from([(22, State::Closed), (23, State::Open)]),
        tcp: Vec::new(),
        udp: Vec::new(),
        dtls: Vec::new(),
        upnp: Some(UpnpFacts::default()),
        credentials_tried: false,
        unread: Vec::new(),
        spent: crate::line::Spent::default(),
    }
}

fn open(port: u16, service: Service) -> TcpFacts {
    TcpFacts {
        port,
        service: Ok(service),
        tls: None,
        inside: None,
        logins: None,
    }
}

fn service(kind: Kind, lets_in: Option<bool>) -> Service {
    let mut service = Service::of(kind, "says");
    service.open = lets_in;
    service
}

fn broken(outcomes: &[Outcome]) -> Vec<&'static str> {
    let broken = outcomes
        .iter()
        .filter(|it| matches!(it.verdict, Verdict::Broken(_)));
    broken.map(|it| it.rule.id).collect()
}

fn verdict<'a>(outcomes: &'a [Outcome], rule: &str) -> &'a Verdict {
    let found = outcomes.iter().find(|it| it.rule.id == rule);
    &found.expect("every rule is judged").verdict
}

fn profile(more: &str) -> Profile {
    let text = format!(
        "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 7\nclass = \"linux\"\n{more}"
    );
    stockade_profile::parse(&text).expect("a profile")
}

#[test]
fn each_service_breaks_its_own_rules_and_no_others() {
    let cases: [(Service, &[&str]); 7] = [
        (
            service(Kind::Telnet, None),
            &["protocols/plain", "programs/plain-server"],
        ),
        (
            service(Kind::Mqtt, Some(true)),
            &["comms/anonymous-mqtt", "protocols/plain"],
        ),
        (service(Kind::Mqtt, Some(false)), &["protocols/plain"]),
        (
            service(Kind::Adb, Some(true)),
            &["protocols/plain", "credentials/open-service"],
        ),
        (service(Kind::Tls, None), &[]),
        (service(Kind::Rdp, None), &[]),
        (
            service(Kind::Shell, Some(true)),
            &[
                "protocols/plain",
                "credentials/open-service",
                "programs/plain-server",
            ],
        ),
    ];
    for (service, rules) in cases {
        let kind = service.kind;
        let mut facts = facts();
        facts.tcp.push(open(4242, service));
        assert_eq!(broken(&judge(&facts, None)), rules, "{kind}");
    }
}

#[test]
fn an_open_port_that_nobody_knows_is_never_a_pass() {
    let mut facts = facts();
    facts.tcp.push(open(4242, service(Kind::Unknown, None)));
    let outcomes = judge(&facts, None);
    for rule in [
        "protocols/plain",
        "credentials/open-service",
        "programs/plain-server",
    ] {
        assert!(
            matches!(verdict(&outcomes, rule), Verdict::CannotTell(..)),
            "{rule}"
        );
    }
}

#[test]
fn a_host_that_says_nothing_passes_nothing() {
    let mut facts = facts();
    facts.answers = false;
    let with = profile("");
    for outcome in judge(&facts, Some(&with)) {
        let unclear = matches!(
            outcome.verdict,
            Verdict::CannotTell(..) | Verdict::DoesNotApply(_)
        );
        assert!(unclear, "{}", outcome.rule.id);
    }
}

#[test]
fn ports_are_compared_with_the_profiles_list() {
    let with =
        profile("[[firewall.in]]\nfrom = \"local-network\"\nprotocol = \"tcp\"\nport = 22\n");
    let mut facts = facts();
    facts.tcp.push(open(23, service(Kind::Telnet, None)));
    let outcomes = judge(&facts, Some(&with));
    let Verdict::Broken(found) = verdict(&outcomes, "firewall/unexpected-port") else {
        panic!("port 23 is in no profile");
    };
    assert_eq!(found[0].subject, "tcp 192.0.2.7:23");
    let Verdict::Broken(found) = verdict(&outcomes, "firewall/port-unused") else {
        panic!("port 22 is closed");
    };
    assert!(found[0].what.ends_with("is closed."), "{}", found[0].what);
    let none = judge(&facts, None);
    let unexpected = verdict(&none, "firewall/unexpected-port");
    assert!(matches!(unexpected, Verdict::DoesNotApply(_)));
}

#[test]
fn keys_and_algorithms_of_ssh_are_judged() {
    let mut weak = service(Kind::Ssh, None);
    weak.ssh = Some(SshOffer {
        exchanges: vec!["curve25519-sha256".to_owned()],
        ciphers: vec!["aes128-ctr".to_owned(), "3des-cbc".to_owned()],
        key: Some(("ssh-rsa".to_owned(), 1024)),
        ..SshOffer::default()
    });
    let mut facts = facts();
    facts.tcp.push(open(22, weak));
    let all = judge(&facts, None);
    assert_eq!(
        broken(&all),
        ["credentials/ssh-algorithms", "credentials/host-key"]
    );
    let off = profile("");
    assert!(broken(&judge(&facts, Some(&off))).contains(&"credentials/ssh-off"));
}

#[test]
fn a_callback_counts_as_proven_only_when_it_arrived() {
    let severity = |other, second| {
        let mut facts = facts();
        let answers = facts.upnp.as_mut().expect("asked");
        answers.replies.push(crate::upnp::ssdp::Reply {
            location: None,
            server: None,
            target: None,
            name: None,
        });
        answers.events.push(crate::upnp::Events {
            place: "http://192.0.2.7/evt".to_owned(),
            own: Came::Delivered,
            other,
            second,
            malformed: false,
        });
        match verdict(&judge(&facts, None), "upnp/event-callback") {
            Verdict::Broken(found) => Some(found[0].severity),
            _ => None,
        }
    };
    assert_eq!(severity(Came::Delivered, true), Some(Severity::High));
    assert_eq!(severity(Came::Accepted, false), Some(Severity::Medium));
    assert_eq!(severity(Came::Refused(412), true), None);
}

#[test]
fn what_was_not_asked_is_not_passed() {
    let mut facts = facts();
    facts
        .unread
        .push(("192.0.2.7".to_owned(), "the time was over".to_owned()));
    let with = profile("");
    let outcomes = judge(&facts, Some(&with));
    for rule in [
        "protocols/plain",
        "firewall/unexpected-port",
        "comms/anonymous-mqtt",
    ] {
        assert!(
            matches!(verdict(&outcomes, rule), Verdict::CannotTell(..)),
            "{rule}"
        );
    }
    let passwords = verdict(&outcomes, "credentials/default-password");
    assert!(matches!(passwords, Verdict::DoesNotApply(_)));
}

#[test]
fn each_rule_has_an_id_of_its_own() {
    let mut ids: Vec<&str> = rules().map(|it| it.id).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn a_broker_inside_tls_is_judged_as_one_outside() {
    let verdict_of = |inside| {
        let mut facts = facts();
        facts.tcp = vec![open(8883, service(Kind::Tls, None))];
        facts.tcp[0].inside = Some(inside);
        let outcomes = judge(&facts, None);
        verdict(&outcomes, "comms/anonymous-mqtt").clone()
    };
    let broker = |open| Ok(service(Kind::Mqtt, Some(open)));
    assert!(matches!(verdict_of(broker(true)), Verdict::Broken(_)));
    assert!(matches!(verdict_of(broker(false)), Verdict::Passed(_)));
    let silent = verdict_of(Err("no answer in time".to_owned()));
    assert!(matches!(silent, Verdict::CannotTell(..)));
}
