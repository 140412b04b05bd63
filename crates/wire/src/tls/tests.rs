use super::*;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&(u32::try_from(body.len()).unwrap()).to_be_bytes()[1..]);
    message.extend(body);
    message
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend((u16::try_from(content.len()).unwrap()).to_be_bytes());
    record.extend(content);
    record
}

fn hello(version: u16, extensions: &[u8]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.extend([0, 0x13, 0x01, 0]);
    if !extensions.is_empty() {
        body.extend((u16::try_from(extensions.len()).unwrap()).to_be_bytes());
        body.extend(extensions);
    }
    message(SERVER_HELLO, &body)
}

fn said(asked: Version, bytes: &[u8]) -> Said {
    let mut reader = Reader::new(asked);
    reader.push(bytes);
    reader.said()
}

fn version(said: &Said) -> Option<Version> {
    if let Said::Hello(hello) = said {
        return Some(hello.version);
    }
    None
}

#[test]
fn the_version_that_is_meant_counts_not_the_one_for_old_eyes() {
    for (number, extensions, expected) in [
        (0x0303, &[][..], Version::Tls12),
        (0x0303, &[0, 43, 0, 2, 3, 4], Version::Tls13),
        (0x0301, &[], Version::Tls10),
    ] {
        let answer = said(Version::Tls13, &record(22, &hello(number, extensions)));
        assert_eq!(version(&answer), Some(expected));
    }
}

#[test]
fn alerts_banners_and_nonsense_are_told_apart() {
    for (bytes, expected) in [
        (&[21, 3, 1, 0, 2, 2, 70][..], Said::Alert(70)),
        (b"HTTP/1.1 400 Bad Request", Said::Plain),
        (b"SSH-2.0-OpenSSH", Said::Plain),
        (&[0x20, 2, 0, 1], Said::Plain),
        (
            &[22, 3, 3, 0, 0],
            Said::Broken("a record without a possible length"),
        ),
        (
            &record(22, &hello(0x0309, &[])),
            Said::Broken("a ServerHello that cannot be read"),
        ),
        // SSL 2.0: ERROR, no cipher.
        (&[0x80, 3, 0, 0, 1], Said::Ssl2Error(1)),
    ] {
        assert_eq!(said(Version::Tls12, bytes), expected, "{bytes:x?}");
        assert_eq!(said(Version::Ssl2, bytes), expected, "{bytes:x?}");
    }
}

#[test]
fn warnings_are_skipped_and_a_hello_in_pieces_and_drips_is_put_together() {
    let hello = hello(0x0303, &[0, 43, 0, 2, 3, 4]);
    // unrecognized_name; then a record for every ten bytes.
    let mut whole = record(21, &[1, 112]);
    for piece in hello.chunks(10) {
        whole.extend(record(22, piece));
    }
    let mut reader = Reader::new(Version::Tls13);
    for (at, byte) in whole.iter().enumerate() {
        reader.push(&[*byte]);
        let said = reader.said();
        let last = at + 1 == whole.len();
        assert_eq!(version(&said), last.then_some(Version::Tls13), "{at}");
        assert_eq!(reader.warned().is_some(), at >= 6);
    }
}

#[test]
fn certificates_follow_the_hello_in_the_same_record() {
    let list = [0, 0, 11, 0, 0, 2, 7, 7, 0, 0, 3, 8, 8, 8];
    let mut flight = hello(0x0303, &[]);
    flight.extend(message(CERTIFICATE, &list));
    let mut reader = Reader::new(Version::Tls12);
    reader.push(&record(22, &flight));
    assert_eq!(version(&reader.said()), Some(Version::Tls12));
    let expected = vec![vec![7, 7], vec![8, 8, 8]];
    assert_eq!(reader.said(), Said::Certificates(expected));
    assert_eq!(reader.said(), Said::More);
}

#[test]
fn ssl_2_answers_with_its_ciphers_and_its_certificate() {
    let mut body = vec![4, 0, 1, 0, 2, 0, 2, 0, 6, 0, 1, 9, 9];
    body.extend([1, 0, 0x80, 7, 0, 0xc0, 5]);
    let mut answer = vec![0x80, u8::try_from(body.len()).unwrap()];
    answer.extend(body);
    let expected = Said::Ssl2 {
        kinds: vec![[1, 0, 0x80], [7, 0, 0xc0]],
        certificate: vec![9, 9],
    };
    assert_eq!(said(Version::Ssl2, &answer), expected);
    for end in 0..answer.len() {
        assert_eq!(said(Version::Ssl2, &answer[..end]), Said::More, "{end}");
    }
}

#[test]
fn each_question_offers_one_version_in_one_whole_record_and_no_key() {
    for version in Version::ALL {
        let hello = client_hello(version, [9; 32]);
        if version == Version::Ssl2 {
            assert_eq!(usize::from(hello[1]) + 2, hello.len());
            assert_eq!(hello[3..5], [0, 2]);
            continue;
        }
        let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        assert_eq!(hello.len(), length + 5, "{version}");
        for part in [&[0, 43, 0, 3, 2, 3, 4][..], &[0, 51, 0, 2, 0, 0]] {
            let found = hello.windows(part.len()).any(|window| window == part);
            assert_eq!(found, version == Version::Tls13);
        }
    }
}

#[test]
fn a_short_question_is_shorter_than_256_bytes() {
    let mut offered = suites::NEW.to_vec();
    offered.extend(suites::FEW);
    let hello = Hello {
        version: Version::Tls13,
        suites: &offered,
        name: Some("camera.example.org"),
        short: true,
        random: [0; 32],
    };
    assert!(hello.record().len() < 256, "{}", hello.record().len());
}

#[test]
fn a_flight_over_datagrams_is_put_together_from_its_fragments() {
    let fragment = |kind: u8, sequence: u8, whole: usize, offset: usize, part: &[u8]| {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&u32::try_from(whole).unwrap().to_be_bytes()[1..]);
        bytes.extend([0, sequence]);
        bytes.extend_from_slice(&u32::try_from(offset).unwrap().to_be_bytes()[1..]);
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes()[1..]);
        bytes.extend(part);
        let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, sequence];
        record.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        record.extend(bytes);
        record
    };
    let mut reader = DtlsReader::default();
    let request = fragment(3, 0, 5, 0, &[0xfe, 0xff, 2, 6, 6]);
    assert_eq!(reader.datagram(&request), [Said::Cookie(vec![6, 6])]);
    let hello = hello(0xfefd, &[]);
    let body = &hello[4..];
    assert_eq!(
        reader.datagram(&fragment(2, 1, body.len(), 0, &body[..20])),
        []
    );
    // Sent again, from elsewhere, and then the rest.
    assert_eq!(
        reader.datagram(&fragment(2, 1, body.len(), 10, &body[10..20])),
        []
    );
    let said = reader.datagram(&fragment(2, 1, body.len(), 15, &body[15..]));
    assert_eq!(said.first().and_then(version), Some(Version::Dtls12));
    assert_eq!(reader.datagram(b"HTTP/1.1 400"), [Said::Plain]);
}
