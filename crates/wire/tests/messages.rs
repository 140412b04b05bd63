//! DNS, DHCP and LLDP: read, written, hostile.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use stockade_wire::dhcp::{Dhcp, Dhcp6, DhcpError, DhcpKind};
use stockade_wire::dns::{
    Data, DnsError, Edns, INTERNET, Message, Name, NameError, Question, Record, kind,
};
use stockade_wire::lldp::{Lldp, LldpError};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn record(owner: &str, data: Data) -> Record {
    Record {
        name: name(owner),
        class: INTERNET,
        ttl: 60,
        data,
    }
}

fn answer(answers: Vec<Record>) -> Message {
    Message {
        id: 7,
        response: true,
        recursion_desired: true,
        questions: vec![Question {
            name: name("www.example.org"),
            kind: kind::A,
            class: INTERNET,
        }],
        answers,
        ..Message::default()
    }
}

#[test]
fn a_real_answer_is_read_with_its_compression() {
    // dig example.org: one question, one answer that points to it.
    let bytes =
        b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x07EXAMPLE\x03org\x00\x00\x01\x00\x01\
        \xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\x5d\xb8\xd7\x0e";
    let message = Message::read(bytes).unwrap();
    assert_eq!(message.questions[0].name, name("example.ORG."));
    assert_eq!(
        message.answers,
        [Record {
            ttl: 3600,
            ..record("example.org", Data::A([93, 184, 215, 14].into()))
        }]
    );
    assert!(message.response && message.recursion_available && !message.truncated);
}

#[test]
fn a_chain_of_aliases_is_followed_once_around() {
    let aliases = vec![
        record("b.example", Data::Cname(name("c.example"))),
        record("www.example.org", Data::Cname(name("b.example"))),
        record("c.example", Data::Cname(name("www.example.org"))),
        record("d.example", Data::Cname(name("e.example"))),
    ];
    let chain = answer(aliases).chain(&name("www.example.org"));
    assert_eq!(
        chain,
        ["www.example.org", "b.example", "c.example"].map(name)
    );
}

#[test]
fn a_name_that_goes_round_is_refused() {
    let with_name =
        |bytes: &[u8]| [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], bytes, &[0, 1, 0, 1]].concat();
    let wrong = |bytes: &[u8]| match Message::read(&with_name(bytes)) {
        Err(DnsError::Name(wrong)) => wrong,
        other => panic!("{other:?}"),
    };
    // To itself, to a label of itself, forward.
    assert_eq!(wrong(b"\xc0\x0c"), NameError::Pointer);
    assert_eq!(wrong(b"\x01a\xc0\x0c"), NameError::Pointer);
    assert_eq!(wrong(b"\xc0\x0e\x00"), NameError::Pointer);
    assert_eq!(wrong(b"\x41a\x00"), NameError::Label);
    let long = [&[63; 64][..], &[63; 64], &[63; 64], &[63; 64], &[0]].concat();
    assert_eq!(wrong(&long), NameError::TooLong);
}

#[test]
fn a_record_is_as_long_as_its_type_demands() {
    let mut bytes = answer(vec![record("a.example", Data::A(Ipv4Addr::LOCALHOST))]).write(512);
    let length_at = bytes.len() - 5;
    bytes[length_at] = 3;
    assert_eq!(Message::read(&bytes), Err(DnsError::Record(kind::A)));
    bytes[length_at] = 5;
    assert_eq!(Message::read(&bytes), Err(DnsError::Cut));
    bytes[length_at] = 4;
    bytes.push(0);
    assert_eq!(Message::read(&bytes), Err(DnsError::Trailing));
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let address = |last: u8| record("www.example.org", Data::A([192, 0, 2, last].into()));
    let mut message = answer((0..100).map(address).collect());
    message.edns = Some(Edns {
        payload: 1232,
        rcode: 0,
        version: 0,
        dnssec: true,
    });
    let short = message.write(512);
    assert!(short.len() <= 512);
    let short = Message::read(&short).unwrap();
    assert!(short.truncated);
    assert!((25..35).contains(&short.answers.len()), "compressed");
    assert_eq!(short.edns, message.edns);
    assert_eq!(Message::read(&message.write(65_535)), Ok(message));
}

#[test]
fn a_name_is_printed_without_anything_that_could_act() {
    let bytes = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x09$(x).\\\x1b[m\x00\0\x01\0\x01";
    let message = Message::read(bytes).unwrap();
    let name = &message.questions[0].name;
    assert_eq!(name.to_string(), "$(x)\\.\\\\\\027[m");
    assert_eq!(name.host(), None);
}

#[test]
fn below_a_name_is_what_ends_in_its_labels() {
    assert!(name("a.example.org").is_within(&name("example.org")));
    assert!(name("example.org").is_within(&name("Example.ORG")));
    assert!(!name("badexample.org").is_within(&name("example.org")));
    assert!(name("org").is_within(&Name::root()));
}

/// A DHCP message with these options.
fn dhcp(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    bytes.extend([0x63, 0x82, 0x53, 0x63]);
    bytes.extend(options);
    bytes
}

#[test]
fn a_device_says_its_name_and_its_mud_url() {
    let url = b"https://m.example/lamp.json";
    let mut options = vec![53, 1, 1, 12, 9];
    options.extend(b"$(reboot)");
    options.extend([161, 10]);
    options.extend(&url[..10]);
    options.extend([55, 3, 1, 3, 6, 0, 0, 161, 17]);
    options.extend(&url[10..]);
    options.push(255);
    let read = Dhcp::read(&dhcp(&options)).unwrap();
    assert_eq!(read.kind, Some(DhcpKind::Discover));
    assert_eq!(read.host_name.as_deref(), Some(&b"$(reboot)"[..]));
    assert_eq!(
        read.mud_url.as_deref(),
        Some(&url[..]),
        "put together of its parts"
    );
    assert_eq!(read.parameters, [1, 3, 6]);
}

#[test]
fn options_in_the_old_fields_are_read_too() {
    let mut bytes = dhcp(&[52, 1, 3, 53, 1, 5, 255]);
    bytes[108..115].copy_from_slice(&[6, 4, 9, 9, 9, 9, 255]);
    bytes[44..51].copy_from_slice(&[3, 4, 10, 0, 0, 1, 255]);
    let read = Dhcp::read(&bytes).unwrap();
    assert_eq!(read.resolvers, [Ipv4Addr::new(9, 9, 9, 9)]);
    assert_eq!(read.routers, [Ipv4Addr::new(10, 0, 0, 1)]);
}

#[test]
fn dhcp_that_lies_about_lengths_is_refused() {
    assert_eq!(Dhcp::read(&dhcp(&[12, 200, 1])), Err(DhcpError::Option(12)));
    assert_eq!(Dhcp::read(&[0; 235]), Err(DhcpError::Cut));
    let parts: Vec<u8> = std::iter::repeat_n([&[161, 255][..], &[b'a'; 255]].concat(), 20)
        .flatten()
        .collect();
    assert_eq!(Dhcp::read(&dhcp(&parts)), Err(DhcpError::Option(161)));
}

#[test]
fn dhcpv6_says_who_and_which_url() {
    let mut bytes = vec![
        1, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1, 0, 112, 0, 9,
    ];
    bytes.extend(b"https://m");
    let read = Dhcp6::read(&bytes).unwrap();
    assert_eq!(read.client, Some([2, 0, 0, 0, 0, 1]));
    assert_eq!(read.mud_url.as_deref(), Some(&b"https://m"[..]));
    // Relays wrap messages in messages; nobody on the device's own link sends them.
    bytes[0] = 12;
    assert_eq!(Dhcp6::read(&bytes), Err(DhcpError::NotDhcp));
}

fn lldp(parts: &[(u8, &[u8])]) -> Vec<u8> {
    let part = |(kind, value): &(u8, &[u8])| {
        let head = u16::from(*kind) << 9 | u16::try_from(value.len()).unwrap();
        [&head.to_be_bytes()[..], value].concat()
    };
    parts.iter().flat_map(part).collect()
}

#[test]
fn a_switch_hears_the_mud_url() {
    let url = b"\x00\x00\x5e\x01https://m.example/x";
    let mut parts = vec![
        (1, &b"\x04abcdef"[..]),
        (2, b"\x03abcdef"),
        (3, &[0, 120]),
        (5, b"lamp"),
        (127, url),
        (0, b""),
    ];
    let read = Lldp::read(&lldp(&parts)).unwrap();
    assert_eq!(read.mud_url.as_deref(), Some(&b"https://m.example/x"[..]));
    assert_eq!(
        (read.lifetime, read.system_name.as_deref()),
        (120, Some(&b"lamp"[..]))
    );
    parts.swap(0, 1);
    assert_eq!(Lldp::read(&lldp(&parts)), Err(LldpError::Order));
    let many = [
        &parts[1..2],
        &parts[..1],
        &parts[2..3],
        &[(8, &b""[..]); 200],
    ]
    .concat();
    assert_eq!(Lldp::read(&lldp(&many)), Err(LldpError::TooMany));
    assert_eq!(Lldp::read(&[0x02, 0x07, 4]), Err(LldpError::Cut(0)));
}

fn any_name() -> impl Strategy<Value = Name> {
    prop::collection::vec("[a-z0-9_-]{1,12}", 0..6).prop_map(|labels| name(&labels.join(".")))
}

fn any_data() -> impl Strategy<Value = Data> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|it| Data::A(it.into())),
        any::<[u8; 16]>().prop_map(|it| Data::Aaaa(Ipv6Addr::from(it))),
        any_name().prop_map(Data::Cname),
        any_name().prop_map(Data::Ns),
        any_name().prop_map(Data::Ptr),
        (any::<u16>(), any_name()).prop_map(|(number, name)| Data::Mx(number, name)),
        any_name().prop_map(|target| Data::Srv {
            priority: 1,
            weight: 2,
            port: 3,
            target
        }),
        (any_name(), any_name(), any::<[u32; 5]>()).prop_map(|(server, mailbox, times)| {
            Data::Soa {
                server,
                mailbox,
                times,
            }
        }),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Data::Other(kind::TXT, bytes)),
    ]
}

prop_compose! {
    fn any_record()(owner in any_name(), ttl in 0..=u32::MAX >> 1, data in any_data()) -> Record {
        Record { name: owner, class: INTERNET, ttl, data }
    }
}

proptest! {
    #[test]
    fn a_message_written_and_read_is_the_same(
        id in any::<u16>(),
        flags in any::<[bool; 7]>(),
        answers in prop::collection::vec(any_record(), 0..12),
        authorities in prop::collection::vec(any_record(), 0..4),
        asked in any_name(),
    ) {
        let [response, authoritative, truncated, recursion_desired, recursion_available, authentic, checking_disabled] = flags;
        let message = Message {
            id,
            response,
            authoritative,
            truncated,
            recursion_desired,
            recursion_available,
            authentic,
            checking_disabled,
            rcode: 3,
            opcode: 0,
            questions: vec![Question { name: asked, kind: kind::ANY, class: INTERNET }],
            answers,
            authorities,
            additionals: Vec::new(),
            edns: None,
        };
        prop_assert_eq!(Message::read(&message.write(65_535)), Ok(message));
    }

    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        stockade_wire::fuzzing::dns_message(&bytes);
        stockade_wire::fuzzing::dhcp_message(&bytes);
        stockade_wire::fuzzing::dhcp_message(&dhcp(&bytes));
        stockade_wire::fuzzing::lldp_frame(&bytes);
    }

    #[test]
    fn a_changed_message_ends(place in 0..100_usize, byte in any::<u8>()) {
        let chain = vec![
            record("www.example.org", Data::Cname(name("a.example.org"))),
            record("a.example.org", Data::Aaaa(Ipv6Addr::LOCALHOST)),
        ];
        let mut bytes = answer(chain).write(512);
        if let Some(it) = bytes.get_mut(place) {
            *it = byte;
        }
        stockade_wire::fuzzing::dns_message(&bytes);
    }
}
