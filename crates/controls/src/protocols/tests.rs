use super::*;
use crate::engine::{Assessment, MemoryHost, Own, Severity, Verdict, assess};

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 7
class = "linux"
[[protocols.front]]
listen = 443
to = "127.0.0.1:8080"
[[firewall.in]]
from = "local-network"
protocol = "tcp"
port = 443
[[firewall.in]]
from = "local-network"
protocol = "tcp"
port = 23
"#;

fn listener(address: &str) -> Listener {
    Listener {
        transport: Transport::Tcp,
        address: address.parse().expect("an address"),
        user: 0,
        processes: Vec::new(),
    }
}

fn tls(versions: &[&str]) -> TlsAnswers {
    let all = ["ssl3", "tls1.0", "tls1.1", "tls1.2", "tls1.3"];
    let accepted = all
        .iter()
        .map(|it| ((*it).to_owned(), versions.contains(it)));
    TlsAnswers {
        accepted: accepted.collect(),
        plain: None,
    }
}

fn plain(said: &str) -> TlsAnswers {
    TlsAnswers {
        plain: Some(said.to_owned()),
        ..TlsAnswers::default()
    }
}

fn judge(listeners: &[(&str, Option<TlsAnswers>)]) -> Assessment {
    let mut host = MemoryHost::new();
    host.processes = Some(Vec::new());
    host.listeners = Some(
        listeners
            .iter()
            .map(|(address, _)| listener(address))
            .collect(),
    );
    for (address, answers) in listeners {
        if let Some(answers) = answers {
            host.tls.insert(listener(address), answers.clone());
        }
    }
    let profile = stockade_profile::check(PROFILE).profile.expect("a profile");
    let own = Own::default();
    let case = Case {
        host: &host,
        profile: &profile,
        now: 0,
        own: &own,
    };
    assess(&case, &[&Protocols])
}

fn told(assessment: &Assessment) -> Vec<String> {
    let told = assessment.findings();
    told.map(|it| format!("{} {}: {}", it.severity, it.rule.id, it.what))
        .collect()
}

#[test]
fn a_device_that_speaks_tls_1_3_only_behind_its_front_has_no_findings() {
    let assessment = judge(&[
        ("0.0.0.0:443", Some(tls(&["tls1.3"]))),
        ("127.0.0.1:8080", Some(plain("HTTP/1.0 400"))),
        ("0.0.0.0:22", Some(plain("SSH-2.0-OpenSSH_9.2"))),
    ]);
    assert!(told(&assessment).is_empty(), "{:?}", told(&assessment));
    let passed = assessment
        .outcomes
        .iter()
        .all(|it| matches!(it.verdict, Verdict::Passed(_)));
    assert!(passed, "{:?}", assessment.outcomes);
}

#[test]
fn old_versions_plain_services_and_missing_fronts_are_told_by_their_sockets() {
    let assessment = judge(&[
        ("0.0.0.0:23", Some(plain("\\xff\\xfd\\x18login:"))),
        ("0.0.0.0:8080", Some(plain("HTTP/1.0 400"))),
        ("0.0.0.0:8443", Some(tls(&["tls1.0", "tls1.1", "tls1.2"]))),
    ]);
    assert_eq!(
        told(&assessment),
        [
            "high protocols/old-tls: tcp 0.0.0.0:8443 accepts tls1.0, tls1.1",
            "medium protocols/tls-version: tcp 0.0.0.0:8443 accepts TLS 1.2, and the profile says 1.3 only",
            "high protocols/plain: tcp 0.0.0.0:23 speaks plain text on all its addresses, and the firewall lets others in",
            "low protocols/plain: tcp 0.0.0.0:8080 speaks plain text on all its addresses, and only the firewall keeps others out",
            "medium protocols/front: nothing listens on port 443, where the profile puts TLS in front of 127.0.0.1:8080",
        ]
    );
    assert_eq!(
        assessment.findings().map(|it| it.severity).max(),
        Some(Severity::High)
    );
}

#[test]
fn a_listener_that_gives_no_answer_cannot_be_judged() {
    let assessment = judge(&[("0.0.0.0:443", Some(tls(&["tls1.3"]))), ("0.0.0.0:9", None)]);
    let first = assessment.outcomes.first().map(|it| &it.verdict);
    assert!(
        matches!(first, Some(Verdict::CannotTell(why, _)) if why.contains("0.0.0.0:9")),
        "{first:?}"
    );
}

#[test]
fn an_image_cannot_be_judged() {
    let profile = stockade_profile::check(PROFILE).profile.expect("a profile");
    let (host, own) = (MemoryHost::new(), Own::default());
    let case = Case {
        host: &host,
        profile: &profile,
        now: 0,
        own: &own,
    };
    let unjudged = |it: &Verdict| matches!(it, Verdict::CannotTell(..));
    assert!(
        assess(&case, &[&Protocols])
            .outcomes
            .iter()
            .all(|it| unjudged(&it.verdict))
    );
}
