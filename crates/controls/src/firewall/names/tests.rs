use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use stockade_profile::HostName;
use stockade_wire::dns::{
    Data, Edns, INTERNET, Message, Name, Question as Asked, Record, kind as of, rcode,
};

use super::*;

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn query(text: &str, record: u16) -> Asked {
    Asked {
        name: name(text),
        kind: record,
        class: INTERNET,
    }
}

fn edns(payload: u16) -> Edns {
    Edns {
        payload,
        rcode: 0,
        version: 0,
        dnssec: true,
    }
}

fn whole(message: &Message) -> Vec<u8> {
    message.write(65_535)
}

fn read(bytes: &[u8]) -> Message {
    Message::read(bytes).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn rights() -> Rights {
    let names = ["pool.ntp.org", "cdn.example.com", "broker.home.arpa"];
    Rights::new(
        names.map(|name| (host(name), Families::BOTH)),
        ["192.168.7.0/24".parse().unwrap()],
    )
}

fn asked(id: u16, text: &str, record: u16, payload: Option<u16>) -> Vec<u8> {
    let message = Message {
        id,
        recursion_desired: true,
        questions: vec![query(text, record)],
        edns: payload.map(edns),
        ..Message::default()
    };
    let mut bytes = whole(&message);
    // The codec writes in lower case; a client need not.
    let labels = text.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).unwrap();
        [length].into_iter().chain(label.bytes())
    });
    for (place, byte) in bytes.iter_mut().skip(12).zip(labels) {
        *place = byte;
    }
    bytes
}

#[track_caller]
fn answered(text: &str, record: u16) -> (u8, Option<Why>) {
    let bytes = asked(7, text, record, None);
    match hear(&bytes, Transport::Udp, Some(&rights())) {
        Heard::Answered { bytes, refused } => {
            let message = read(&bytes);
            assert_eq!(message.id, 7);
            assert!(message.response);
            assert_eq!(message.answers, []);
            (message.rcode, refused.map(|refused| refused.why))
        }
        other => panic!("{text} {record}: {other:?}"),
    }
}

#[track_caller]
fn forwarded(bytes: &[u8], transport: Transport) -> Question {
    match hear(bytes, transport, Some(&rights())) {
        Heard::Forward(question) => question,
        other => panic!("{other:?}"),
    }
}

fn question(text: &str, record: u16) -> Question {
    forwarded(&asked(7, text, record, Some(4_096)), Transport::Udp)
}

/// An upstream's answer with the id 99.
fn upstream(text: &str, record: u16, records: Vec<Record>) -> Message {
    Message {
        id: 99,
        response: true,
        questions: vec![query(text, record)],
        answers: records,
        ..Message::default()
    }
}

fn record(owner: &str, ttl: u32, data: Data) -> Record {
    Record {
        name: name(owner),
        class: INTERNET,
        ttl,
        data,
    }
}

fn a(owner: &str, ttl: u32, address: &str) -> Record {
    let data = match ip(address) {
        IpAddr::V4(v4) => Data::A(v4),
        IpAddr::V6(v6) => Data::Aaaa(v6),
    };
    record(owner, ttl, data)
}

fn alias(owner: &str, ttl: u32, target: &str) -> Record {
    record(owner, ttl, Data::Cname(name(target)))
}

#[track_caller]
fn judged(text: &str, records: Vec<Record>) -> (Judged, Message) {
    let record = records
        .iter()
        .map(|record| record.data.kind())
        .find(|record| *record != of::CNAME)
        .unwrap_or(of::A);
    let question = question(text, record);
    let bytes = whole(&upstream(text, record, records));
    let judged = question.judge(&question.read(99, &bytes).unwrap(), &rights());
    let reply = read(&judged.reply);
    assert_eq!(reply.id, 7);
    (judged, reply)
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match record.data {
        Data::A(v4) => Some(v4.into()),
        Data::Aaaa(v6) => Some(v6.into()),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

#[test]
fn a_name_of_the_profile_is_forwarded_with_nothing_of_the_client_in_it() {
    let mut bytes = asked(0xbeef, "PoOl.ntp.ORG", of::A, Some(4_096));
    let question = forwarded(&bytes, Transport::Udp);
    assert_eq!(question.name(), &host("pool.ntp.org"));
    let sent = question.upstream(0x1234);
    let message = read(&sent);
    assert_eq!(message.id, 0x1234);
    assert!(message.recursion_desired);
    assert_eq!(message.questions[0].name, name("pool.ntp.org"));
    assert_eq!(message.edns.unwrap().payload, 1_232);
    // Another id, another case and another size of the client's change nothing that goes out.
    bytes[0] ^= 0xff;
    let again = forwarded(&asked(1, "pool.ntp.org", of::A, None), Transport::Tcp);
    assert_eq!(again.upstream(0x1234), sent);
}

#[test]
fn a_name_outside_the_profile_is_refused_and_told() {
    let outside = |text| answered(text, of::A);
    let refused = (rcode::REFUSED, Some(Why::Outside));
    assert_eq!(outside("evil.example"), refused);
    assert_eq!(outside("ntp.org"), refused);
    assert_eq!(outside("x.pool.ntp.org"), refused);
    assert_eq!(outside("xpool.ntp.org"), refused);
    assert_eq!(outside("_tls.pool.example"), refused);
    let resolver = (rcode::REFUSED, Some(Why::Resolver));
    assert_eq!(outside("dns.google"), resolver);
    assert_eq!(outside("mozilla.cloudflare-dns.com"), resolver);
}

#[test]
fn a_resolver_that_the_profile_names_is_no_way_around() {
    let rights = Rights::new([(host("dns.google"), Families::BOTH)], []);
    let bytes = asked(1, "dns.google", of::A, None);
    let heard = hear(&bytes, Transport::Udp, Some(&rights));
    assert!(matches!(heard, Heard::Forward(_)));
}

#[test]
fn only_addresses_can_be_asked_for() {
    // NS, CNAME, SOA, NULL, PTR, MX, TXT, SRV, DNSKEY, IXFR, AXFR, ANY.
    for number in [2, 5, 6, 10, 12, 15, 16, 33, 48, 251, 252, 255] {
        let answer = answered("pool.ntp.org", number);
        assert_eq!(answer, (rcode::REFUSED, Some(Why::Type)), "{number}");
    }
    // A service binding is told to be absent: the client goes on with addresses (RFC 9460 §3).
    let empty = (rcode::NO_ERROR, None);
    assert_eq!(answered("pool.ntp.org", of::HTTPS), empty);
}

#[test]
fn a_client_that_nobody_knows_may_look_up_nothing() {
    let bytes = asked(1, "pool.ntp.org", of::A, None);
    let Heard::Answered { refused, .. } = hear(&bytes, Transport::Udp, None) else {
        panic!("forwarded");
    };
    assert_eq!(refused.unwrap().why, Why::Client);
}

#[test]
fn noise_is_answered_and_not_told() {
    let nothing = (rcode::NO_SUCH_NAME, None);
    let quiet = [
        "use-application-dns.net",
        "_dns.resolver.arpa",
        "ipv4only.arpa",
        "localhost",
        "wpad",
        "printer.local",
        "pool.ntp.org.lan",
        "pool.ntp.org.customer.example.net",
    ];
    for text in quiet {
        assert_eq!(answered(text, of::A), nothing, "{text}");
    }
    let reverse = answered("1.2.0.192.in-addr.arpa", of::PTR);
    assert_eq!(reverse, nothing);
    // Data hidden in a suffix goes nowhere either, but other types are no library's habit.
    assert!(answered("pool.ntp.org.lan", of::TXT).1.is_some());
}

#[test]
fn a_family_that_no_rule_leaves_open_has_no_addresses() {
    let v4 = Families {
        v4: true,
        v6: false,
    };
    let rights = Rights::new([(host("pool.ntp.org"), v4)], []);
    let bytes = asked(1, "pool.ntp.org", of::AAAA, None);
    let Heard::Answered { bytes, refused } = hear(&bytes, Transport::Udp, Some(&rights)) else {
        panic!("forwarded");
    };
    let message = read(&bytes);
    assert_eq!(message.rcode, rcode::NO_ERROR);
    assert_eq!(refused, None);
}

#[test]
fn an_answer_is_never_answered() {
    let bytes = whole(&upstream("pool.ntp.org", of::A, vec![]));
    let heard = hear(&bytes, Transport::Udp, Some(&rights()));
    assert!(matches!(heard, Heard::Ignored));
}

#[test]
fn a_broken_question_gets_a_bare_error_or_nothing() {
    let query = asked(7, "pool.ntp.org", of::A, Some(4_096));
    for length in 0..query.len() {
        match hear(&query[..length], Transport::Udp, Some(&rights())) {
            Heard::Ignored => assert!(length < 12),
            Heard::Answered { bytes, .. } => assert_eq!(bytes.len(), 12, "{length}"),
            Heard::Forward(_) => panic!("forwarded when cut at {length}"),
        }
    }
    // A count of 65,535 questions is believed by nobody.
    let mut many = query.clone();
    many[4..6].fill(0xff);
    let Heard::Answered { bytes, .. } = hear(&many, Transport::Udp, Some(&rights())) else {
        panic!("not answered");
    };
    assert_eq!(bytes[3] & 0x0f, 1);
    // A dynamic update (RFC 2136) is not implemented.
    let mut update = query;
    update[2] |= 5 << 3;
    let Heard::Answered { bytes, .. } = hear(&update, Transport::Udp, Some(&rights())) else {
        panic!("not answered");
    };
    assert_eq!(bytes[3] & 0x0f, 4);
}

#[test]
fn a_newer_edns_is_told_which_one_is_spoken() {
    let mut message = read(&asked(7, "pool.ntp.org", of::A, Some(512)));
    message.edns.as_mut().unwrap().version = 1;
    let bytes = whole(&message);
    let Heard::Answered { bytes, .. } = hear(&bytes, Transport::Udp, Some(&rights())) else {
        panic!("forwarded");
    };
    let reply = read(&bytes);
    assert_eq!((reply.rcode, reply.edns.unwrap().rcode), (0, 1));
}

#[test]
fn an_address_is_admitted_and_repeated_under_the_clients_spelling() {
    let question = forwarded(&asked(7, "Pool.NTP.org", of::A, None), Transport::Udp);
    let bytes = upstream(
        "pool.ntp.org",
        of::A,
        vec![a("POOL.ntp.org", 5, "198.51.100.4")],
    );
    let answer = question.read(99, &whole(&bytes)).unwrap();
    let judged = question.judge(&answer, &rights());
    assert_eq!(judged.admit, [ip("198.51.100.4")]);
    assert_eq!(judged.lifetime, Duration::from_secs(90));
    let reply = read(&judged.reply);
    assert_eq!(&judged.reply[12..26], b"\x04Pool\x03NTP\x03org\0");
    assert_eq!(reply.answers[0].ttl, 5);
    assert!(reply.edns.is_none(), "the client spoke none");
}

#[test]
fn aliases_are_followed_inside_the_answer() {
    let (judged, reply) = judged(
        "cdn.example.com",
        vec![
            // Out of order, and with records that are off the path.
            a("edge.cdn.example.net", 30, "198.51.100.9"),
            alias("cdn.example.com", 3_600, "x.cdn.example.net"),
            a("somewhere.example", 30, "198.51.100.66"),
            alias("x.cdn.example.net", 20, "EDGE.cdn.example.net"),
            a("x.cdn.example.net", 30, "198.51.100.67"),
        ],
    );
    assert_eq!(judged.admit, [ip("198.51.100.9")]);
    assert_eq!(addresses(&reply), [ip("198.51.100.9")]);
    assert_eq!(reply.answers.len(), 3);
    // The shortest TTL of the chain counts.
    assert!(reply.answers.iter().all(|record| record.ttl == 20));
}

#[test]
fn aliases_in_a_circle_or_without_end_are_no_answer() {
    let question = question("cdn.example.com", of::A);
    let read = |records| {
        let message = upstream("cdn.example.com", of::A, records);
        question.read(99, &whole(&message))
    };
    let round = vec![
        alias("cdn.example.com", 1, "b.example"),
        alias("b.example", 1, "cdn.example.com"),
        a("cdn.example.com", 1, "198.51.100.1"),
    ];
    assert_eq!(read(round), Err(Unusable::Malformed));
    let itself = vec![alias("cdn.example.com", 1, "cdn.example.com")];
    assert_eq!(read(itself), Err(Unusable::Malformed));
    let late = vec![
        alias("cdn.example.com", 1, "b.example"),
        alias("b.example", 1, "c.example"),
        alias("c.example", 1, "b.example"),
    ];
    assert_eq!(read(late), Err(Unusable::Malformed));
    let two = vec![
        alias("cdn.example.com", 1, "b.example"),
        alias("cdn.example.com", 1, "c.example"),
    ];
    assert_eq!(read(two), Err(Unusable::Malformed));
    let mut long: Vec<_> = (0..MOST_ALIASES)
        .map(|n| alias(&format!("n{n}.example"), 1, &format!("n{}.example", n + 1)))
        .collect();
    long.push(alias("cdn.example.com", 1, "n0.example"));
    assert_eq!(read(long), Err(Unusable::Malformed));
}

#[test]
fn what_is_not_the_answer_to_the_question_is_waited_past() {
    let question = question("pool.ntp.org", of::A);
    let right = || {
        upstream(
            "pool.ntp.org",
            of::A,
            vec![a("pool.ntp.org", 60, "198.51.100.4")],
        )
    };
    let heard = |message: &Message| question.read(99, &whole(message));
    assert!(heard(&right()).is_ok());
    let mut wrong = right();
    wrong.id = 98;
    assert_eq!(heard(&wrong), Err(Unusable::NotOurs));
    let mut wrong = right();
    wrong.response = false;
    assert_eq!(heard(&wrong), Err(Unusable::NotOurs));
    let mut wrong = right();
    wrong.questions = vec![query("pool.ntp.net", of::A)];
    assert_eq!(heard(&wrong), Err(Unusable::NotOurs));
    let mut wrong = right();
    wrong.questions = vec![query("pool.ntp.org", of::AAAA)];
    assert_eq!(heard(&wrong), Err(Unusable::NotOurs));
    let mut wrong = right();
    wrong.questions = vec![];
    assert_eq!(heard(&wrong), Err(Unusable::NotOurs));
    assert_eq!(question.read(99, b"\0\x63"), Err(Unusable::NotOurs));
}

#[test]
fn failures_and_cut_answers_are_told_apart() {
    let question = question("pool.ntp.org", of::A);
    let with = |code| {
        let mut message = upstream("pool.ntp.org", of::A, vec![]);
        message.rcode = code;
        question.read(99, &whole(&message))
    };
    assert_eq!(with(rcode::SERVER_FAILURE), Err(Unusable::Failed));
    assert_eq!(with(rcode::REFUSED), Err(Unusable::Failed));
    let mut cut = upstream(
        "pool.ntp.org",
        of::A,
        vec![a("pool.ntp.org", 60, "198.51.100.4")],
    );
    cut.truncated = true;
    let bytes = whole(&cut);
    assert_eq!(question.read(99, &bytes), Err(Unusable::Truncated));
    let half = &bytes[..bytes.len() - 7];
    assert_eq!(question.read(99, half), Err(Unusable::Truncated));
    let mut broken = bytes;
    broken[2] &= !0x02;
    broken.truncate(broken.len() - 7);
    assert_eq!(question.read(99, &broken), Err(Unusable::Malformed));
}

#[test]
fn a_compression_loop_is_malformed() {
    let question = question("pool.ntp.org", of::A);
    let mut bytes = whole(&upstream(
        "pool.ntp.org",
        of::A,
        vec![a("pool.ntp.org", 60, "198.51.100.4")],
    ));
    // The record's name points at itself (RFC 1035 §4.1.4).
    let at = bytes.len() - 16;
    assert_eq!(&bytes[at..at + 2], [0xc0, 12]);
    bytes[at + 1] = u8::try_from(at).unwrap();
    assert_eq!(question.read(99, &bytes), Err(Unusable::Malformed));
}

#[test]
fn a_name_that_does_not_exist_stays_so() {
    let question = question("pool.ntp.org", of::A);
    let mut message = upstream("pool.ntp.org", of::A, vec![]);
    message.rcode = rcode::NO_SUCH_NAME;
    let answer = question.read(99, &whole(&message)).unwrap();
    let judged = question.judge(&answer, &rights());
    assert!(judged.admit.is_empty());
    let reply = read(&judged.reply);
    assert_eq!(reply.rcode, rcode::NO_SUCH_NAME);
}

#[test]
fn a_public_name_can_not_point_inside() {
    let inside = [
        "127.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.251",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.0.8",
        "198.18.0.1",
        "::1",
        "::",
        "::ffff:192.168.1.1",
        "::ffff:198.51.100.1",
        "::7f00:1",
        "fe80::1",
        "fd00::1",
        "fec0::1",
        "ff02::fb",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "2002:a00:1::1",
        "2001::1",
        "100::1",
    ];
    for text in inside {
        let record = a("cdn.example.com", 60, text);
        let open = if record.data.kind() == of::A {
            "198.51.100.4"
        } else {
            "2001:db8::4"
        };
        let (judged, reply) = judged(
            "cdn.example.com",
            vec![record, a("cdn.example.com", 60, open)],
        );
        assert_eq!(judged.rebinding, [ip(text)], "{text}");
        assert_eq!(judged.admit, [ip(open)], "{text}");
        assert_eq!(addresses(&reply), [ip(open)], "{text}");
    }
    let (judged, reply) = judged(
        "cdn.example.com",
        vec![a("cdn.example.com", 60, "10.0.0.1")],
    );
    assert!(judged.admit.is_empty());
    assert_eq!(reply.rcode, rcode::NO_ERROR);
    assert!(addresses(&reply).is_empty());
}

#[test]
fn a_public_name_may_point_where_the_profile_opens_an_address_but_gains_nothing() {
    let (judged, reply) = judged(
        "cdn.example.com",
        vec![a("cdn.example.com", 60, "192.168.7.9")],
    );
    assert_eq!(addresses(&reply), [ip("192.168.7.9")]);
    assert!(judged.admit.is_empty());
    assert!(judged.rebinding.is_empty());
}

#[test]
fn a_rule_about_everywhere_is_no_rule_about_inside() {
    let name = host("cdn.example.com");
    for wide in [
        "0.0.0.0/0",
        "::/0",
        "8.0.0.0/5",
        "192.0.0.0/8",
        "192.168.0.0/15",
    ] {
        let rights = Rights::new([(name.clone(), Families::BOTH)], [wide.parse().unwrap()]);
        assert!(!rights.opens(ip("192.168.1.1")), "{wide}");
        assert!(!rights.opens(ip("10.0.0.1")), "{wide}");
    }
    let own = [
        "192.168.1.0/24",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "fd00::/8",
        "192.168.1.1/32",
    ];
    let own = own.map(|network| network.parse().unwrap());
    let rights = Rights::new([(name, Families::BOTH)], own);
    for inside in ["192.168.1.1", "10.255.255.255", "172.31.0.1", "fd00::1"] {
        assert!(rights.opens(ip(inside)), "{inside}");
    }
}

#[test]
fn a_local_name_may_have_a_private_address_and_never_a_loopback_one() {
    let (judged, _) = judged(
        "broker.home.arpa",
        vec![
            a("broker.home.arpa", 60, "10.1.2.3"),
            a("broker.home.arpa", 60, "127.0.0.1"),
        ],
    );
    assert_eq!(judged.admit, [ip("10.1.2.3")]);
    assert_eq!(judged.rebinding, [ip("127.0.0.1")]);
}

#[test]
fn ttls_have_a_floor_and_a_ceiling() {
    let of = |ttl| {
        let (judged, reply) = judged("pool.ntp.org", vec![a("pool.ntp.org", ttl, "198.51.100.4")]);
        (judged.lifetime.as_secs(), reply.answers[0].ttl)
    };
    assert_eq!(of(0), (90, 0));
    assert_eq!(of(60), (90, 60));
    assert_eq!(of(3_600), (3_630, 3_600));
    assert_eq!(of(0x7fff_ffff), (86_430, 86_400));
    // RFC 2181 §8: the highest bit means zero.
    assert_eq!(of(0x8000_0000), (90, 0));
}

#[test]
fn a_reply_that_does_not_fit_says_so_and_comes_whole_over_tcp() {
    let records = || -> Vec<_> {
        (0..100)
            .map(|n| a("pool.ntp.org", 60, &format!("198.51.100.{n}")))
            .collect()
    };
    let answer = whole(&upstream("pool.ntp.org", of::A, records()));
    let reply = |payload, transport| {
        let bytes = asked(7, "pool.ntp.org", of::A, payload);
        let question = forwarded(&bytes, transport);
        let judged = question.judge(&question.read(99, &answer).unwrap(), &rights());
        assert_eq!(judged.admit.len(), 100);
        judged.reply
    };
    for payload in [None, Some(0), Some(512), Some(4_096), Some(65_535)] {
        let short = reply(payload, Transport::Udp);
        assert!(short.len() <= 512);
        let short = read(&short);
        assert!(short.truncated);
        assert_eq!(short.answers, []);
    }
    let complete = read(&reply(None, Transport::Tcp));
    assert!(!complete.truncated);
    assert_eq!(complete.answers.len(), 100);
}

#[test]
fn as_many_addresses_as_a_message_can_hold_are_cut_to_the_bound() {
    let mut bytes = whole(&upstream("pool.ntp.org", of::A, vec![]));
    // Each record: a pointer to the question's name, A, IN, a TTL, four octets. 65,535 octets hold no more of them.
    let count = (65_535 - bytes.len()) / 16;
    bytes[6..8].copy_from_slice(&u16::try_from(count).unwrap().to_be_bytes());
    for n in 0..u32::try_from(count).unwrap() {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        bytes.extend((0x2d00_0000 + n).to_be_bytes());
    }
    let question = forwarded(&asked(7, "pool.ntp.org", of::A, None), Transport::Tcp);
    let judged = question.judge(&question.read(99, &bytes).unwrap(), &rights());
    assert_eq!(judged.admit.len(), MOST_ADDRESSES);
    assert_eq!(judged.beyond, count - MOST_ADDRESSES);
    let reply = read(&judged.reply);
    assert_eq!(addresses(&reply), judged.admit);
}

#[test]
fn the_ledger_keeps_the_newest_addresses_of_a_name() {
    let mut ledger = Ledger::default();
    let (first, other) = (host("pool.ntp.org"), host("cdn.example.com"));
    let life = Duration::from_secs(90);
    let address = |n: u32| IpAddr::from(Ipv4Addr::from(0x2d00_0000 + n));
    for n in 0..10_000 {
        let now = Duration::from_millis(n.into());
        let change = ledger.admit(&first, &[address(n)], life, now);
        assert_eq!(change.admit, [(address(n), life)]);
        let gone: Vec<_> = n.checked_sub(256).map(address).into_iter().collect();
        assert_eq!(change.withdraw, gone);
    }
    // Other names have their own room.
    let now = Duration::from_secs(10);
    let change = ledger.admit(&other, &[address(1)], life, now);
    assert!(change.withdraw.is_empty());
    assert_eq!(ledger.held(now).count(), 257);
    // What was seen again is new again.
    ledger.admit(&first, &[address(9_744)], life, now);
    let change = ledger.admit(&first, &[address(70_000)], life, now);
    assert_eq!(change.withdraw, [address(9_745)]);
    assert_eq!(ledger.held(Duration::from_secs(200)).count(), 0);
}

#[test]
fn the_ledger_never_shortens_what_was_promised() {
    let mut ledger = Ledger::default();
    let name = host("pool.ntp.org");
    let seconds = Duration::from_secs;
    ledger.admit(&name, &[ip("198.51.100.4")], seconds(3_630), seconds(0));
    let change = ledger.admit(&name, &[ip("198.51.100.4")], seconds(90), seconds(10));
    assert_eq!(change.admit, [(ip("198.51.100.4"), seconds(3_620))]);
}

#[test]
fn every_known_resolver_can_be_read_and_names_are_plain() {
    let listed: usize = known_resolvers()
        .iter()
        .map(|resolver| resolver.networks.len())
        .sum();
    assert_eq!(known_networks().count(), listed);
    for resolver in known_resolvers() {
        for name in resolver.names {
            assert_eq!(host(name).as_str(), *name);
        }
    }
    let covered = |text| known_networks().any(|network| network.contains(ip(text)));
    let all = [
        "1.1.1.1",
        "8.8.8.8",
        "9.9.9.9",
        "2606:4700:4700::1111",
        "2620:fe::fe",
    ];
    assert!(all.into_iter().all(covered));
    assert!(!covered("198.51.100.1"));
}

#[test]
fn odd_bytes_of_a_name_are_escaped_before_anyone_sees_them() {
    let mut bytes = asked(7, "aaaa.example", of::A, None);
    bytes[13..17].copy_from_slice(b"\x1b[2J");
    let Heard::Answered { refused, .. } = hear(&bytes, Transport::Udp, Some(&rights())) else {
        panic!("forwarded");
    };
    let name = refused.unwrap().name;
    assert!(name.chars().all(|c| c.is_ascii_graphic()), "{name}");
    assert!(name.ends_with(".example"), "{name}");
}
