//! Servers that close, stall, babble and lie, and what the rules make of answers.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use stockade_controls::engine::{self, Outcome};

use super::*;
use crate::line::{Options, Spent};

/// Serves with `act`, as often as it is asked, and gives what the probe made of it.
fn met(act: impl Fn(usize, &[u8], &mut TcpStream) + Send + 'static) -> (Facts, Spent, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut hello = [0; 2048];
            let count = stream.read(&mut hello).unwrap_or(0);
            act(number, &hello[..count], &mut stream);
        }
    });
    let line = Line::new(Options {
        timeout: Duration::from_millis(150),
        total: Duration::from_secs(5),
        ..Options::default()
    });
    let begun = Instant::now();
    let facts = probe(&line, to, &What::default());
    (facts, line.spent(), begun.elapsed())
}

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    // The probe may have left already.
    let _gone = stream.write_all(bytes);
}

/// A `ServerHello` with a version, a suite and extensions.
fn hello(version: [u8; 2], suite: u16, extensions: &[u8]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 33]);
    body[34] = 0;
    body.extend(suite.to_be_bytes());
    body.push(0);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 3, 0, length + 4, 2, 0, 0, length];
    record.extend(body);
    record
}

fn outcome<'a>(outcomes: &'a [Outcome], rule: &str) -> &'a engine::Verdict {
    &outcomes
        .iter()
        .find(|it| it.rule.id == rule)
        .unwrap()
        .verdict
}

fn judged(facts: &Facts) -> Vec<Outcome> {
    let port = Port {
        place: "tcp 192.0.2.7:443".to_owned(),
        name: "192.0.2.7",
        facts,
    };
    judge(&[port], None, 1_800_000_000)
}

/// Whoever is not understood is never passed.
fn is_no_all_clear(facts: &Facts) {
    assert!(facts.offered().next().is_none(), "{facts:?}");
    let outcomes = judged(facts);
    let old = outcome(&outcomes, "protocols/old-tls");
    assert!(matches!(old, engine::Verdict::CannotTell(..)), "{old:?}");
}

#[test]
fn a_server_that_closes_or_stalls_is_undetermined_after_few_questions() {
    let (facts, spent, _) = met(|_, _, _| ());
    is_no_all_clear(&facts);
    assert!(spent.connections <= 7, "{spent:?}");
    let (facts, spent, time) = met(|_, _, _| std::thread::park_timeout(Duration::from_secs(3)));
    is_no_all_clear(&facts);
    assert!(
        spent.connections <= 4 && time < Duration::from_secs(2),
        "{spent:?} {time:?}"
    );
}

#[test]
fn a_server_that_babbles_or_drips_is_left_in_time() {
    let (facts, spent, _) = met(|_, _, stream| {
        // Messages of a handshake without an end.
        let record = [&[22, 3, 3, 0x40, 0, 2, 0, 0xff, 0xff][..], &[0; 16_380]].concat();
        for _ in 0..20 {
            send(stream, &record);
        }
    });
    is_no_all_clear(&facts);
    assert!(spent.bytes < 2_000_000, "{spent:?}");
    let (facts, _, time) = met(|_, _, stream| {
        for byte in hello([3, 3], 0xc02f, &[]) {
            send(stream, &[byte]);
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    is_no_all_clear(&facts);
    assert!(time < Duration::from_secs(3), "{time:?}");
}

#[test]
fn lies_are_not_believed() {
    // TLS 1.2 for whatever is asked, with a suite that nobody offered; a newer version than was offered; TLS 1.3 without a key.
    for (version, suite, extensions) in [
        ([3, 3], 0x0a0a, &[][..]),
        ([3, 3], 0x1301, &[0, 43, 0, 2, 3, 4]),
    ] {
        let (facts, ..) = met(move |_, _, stream| send(stream, &hello(version, suite, extensions)));
        is_no_all_clear(&facts);
    }
}

#[test]
fn plain_text_is_told_after_two_questions() {
    let (facts, spent, _) = met(|_, _, stream| send(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    assert_eq!(facts.plain(), Some("HTTP/1.1 400 Bad Request"));
    assert_eq!(spent.connections, 2);
    assert_eq!(facts.versions.len(), Version::ALL.len());
    let outcomes = judged(&facts);
    let old = outcome(&outcomes, "protocols/old-tls");
    assert!(matches!(old, engine::Verdict::DoesNotApply(_)), "{old:?}");
}

#[test]
fn a_server_that_takes_no_long_question_is_asked_a_short_one() {
    let (facts, ..) = met(|_, question, stream| {
        // SSL 2.0, or longer than it has room for: silence, and the connection stays open.
        if question.len() > 255 || question.first() != Some(&22) {
            std::mem::forget(stream.try_clone());
        } else if question.get(9..11) == Some(&[3, 0]) {
            send(stream, &[21, 3, 0, 0, 2, 2, 70]);
        } else {
            send(stream, &hello([3, 1], 0x002f, &[]));
        }
    });
    let verdict = |version| &facts.versions[&version];
    for newer in [Version::Tls13, Version::Tls12, Version::Tls11] {
        let expected = Verdict::Refused("it answered with tls1.0".to_owned());
        assert_eq!(*verdict(newer), expected);
    }
    assert!(matches!(verdict(Version::Ssl3), Verdict::Refused(_)));
    assert!(matches!(verdict(Version::Ssl2), Verdict::Undetermined(_)));
    assert!(facts.offered().any(|it| it == Version::Tls10), "{facts:?}");
    let outcomes = judged(&facts);
    let findings = match outcome(&outcomes, "protocols/old-tls") {
        engine::Verdict::Broken(findings) | engine::Verdict::CannotTell(_, findings) => findings,
        other => panic!("{other:?}"),
    };
    assert_eq!(findings[0].what, "tcp 192.0.2.7:443 accepts tls1.0");
}

#[test]
fn one_connection_is_in_flight_and_the_rate_is_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let line = Line::new(Options {
        rate: Some(50),
        ..Options::default()
    });
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                let stream = line.connect(to).unwrap();
                let first = line.spent().connections;
                std::thread::park_timeout(Duration::from_millis(5));
                assert_eq!(line.spent().connections, first, "nobody else began");
                drop(stream);
            });
        }
    });
    assert!(begun.elapsed() >= Duration::from_millis(80));
    let spent = line.spent();
    assert_eq!(spent.connections, 5);
    // SYN, SYN and ACK, and the reset, perhaps an ACK between.
    assert!((15..=20).contains(&spent.segments), "{spent:?}");
}

#[test]
fn a_line_whose_time_is_over_takes_nothing_more() {
    let line = Line::new(Options {
        total: Duration::ZERO,
        ..Options::default()
    });
    let facts = probe(&line, "127.0.0.1:9".parse().unwrap(), &What::default());
    is_no_all_clear(&facts);
    assert_eq!(line.spent(), Spent::default());
}

/// Facts of a server that speaks TLS 1.2 and 1.3 and has this certificate.
fn with(certificate: &str) -> Facts {
    let path = format!(
        "{}/../../fuzz/corpus/server_certificate/{certificate}",
        env!("CARGO_MANIFEST_DIR")
    );
    let offered = |suite| Verdict::Offered {
        suite: Some(suite),
        group: None,
    };
    let mut versions =
        BTreeMap::from(Version::ALL.map(|it| (it, Verdict::Refused("x".to_owned()))));
    versions.insert(Version::Tls12, offered(0xc02f));
    versions.insert(Version::Tls13, offered(0x1301));
    Facts {
        versions,
        ciphers: BTreeMap::new(),
        inventory: BTreeMap::new(),
        certificates: Ok(vec![fs_err::read(path).unwrap()]),
    }
}

#[test]
fn faults_of_certificates_are_told_by_their_rules() {
    let faults = |certificate: &str| -> Vec<String> {
        let outcomes = judged(&with(certificate));
        let broken = outcomes.iter().filter_map(|it| match &it.verdict {
            engine::Verdict::Broken(found) => Some(found),
            _ => None,
        });
        broken.flatten().map(|it| it.rule.id.to_owned()).collect()
    };
    // Its names have the address; only its date is over in 2027, and nobody signed it but itself.
    assert_eq!(
        faults("rsa"),
        ["comms/certificate-date", "comms/certificate-self-signed"]
    );
    assert_eq!(
        faults("md5"),
        [
            "comms/certificate-date",
            "comms/certificate-name",
            "comms/certificate-self-signed",
            "comms/certificate-key",
            "comms/certificate-default",
        ]
    );
    assert_eq!(
        faults("ed25519"),
        ["comms/certificate-name", "comms/certificate-self-signed"]
    );
}

#[test]
fn a_certificate_is_for_its_names_and_a_star_for_one_label() {
    let facts = with("rsa");
    let der = &facts.certificates.unwrap()[0];
    let read = certificate::Certificate::read(der).unwrap();
    for (name, expected) in [
        ("camera.example.org", true),
        ("CAMERA.example.ORG", true),
        ("a.b.example.org", false),
        ("example.org", false),
        ("192.0.2.7", true),
        ("2001:db8::7", true),
        ("cam-2", false),
    ] {
        assert_eq!(read.is_for(name), expected, "{name}");
    }
    assert_eq!(read.key, Some(("RSA", 2048)));
}

#[test]
fn a_key_that_two_hosts_have_is_found() {
    let (one, other) = (with("rsa"), with("ec"));
    let hosts = [
        ("192.0.2.7", &one),
        ("192.0.2.8", &other),
        ("192.0.2.9", &one),
    ];
    let hosts = hosts.map(|(host, facts)| (host.to_owned(), facts));
    let found = shared_keys(&hosts);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].evidence.len(), 2);
    assert!(shared_keys(&hosts[..2]).is_empty());
}
