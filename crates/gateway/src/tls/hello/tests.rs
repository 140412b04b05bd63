use super::*;

/// A `ClientHello` as its own record.
fn hello(legacy: u16, extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = legacy.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    if let Some(extensions) = extensions {
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
    }
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|part| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1], &length[..], part].concat()
        })
        .collect()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&kind.to_be_bytes()[..], &length, data].concat()
}

#[test]
fn a_hello_of_tls_1_1_without_extensions_offers_tls_1_1() {
    let bytes = records(&hello(0x0302, None), 4_096);
    let whole = message(&bytes).unwrap().unwrap();
    let hello = Hello::parse(&whole).unwrap();
    assert_eq!(hello.versions().collect::<Vec<_>>(), [0x0302]);
    assert_eq!(version_name(hello.highest().unwrap()), "TLS 1.1");
    assert!(hello.alpn().is_none());
}

#[test]
fn the_extension_decides_over_the_legacy_version() {
    // RFC 8701: 0x?a?a is offered to keep servers honest, and is no version.
    let versions = extension(43, &[6, 0x1a, 0x1a, 3, 2, 3, 1]);
    let bytes = records(&hello(0x0303, Some(&versions)), 4_096);
    let whole = message(&bytes).unwrap().unwrap();
    let hello = Hello::parse(&whole).unwrap();
    assert_eq!(hello.highest(), Some(0x0302));
    assert!(!hello.offers(TLS12) && !hello.offers(TLS13));
}

#[test]
fn a_legacy_version_beyond_tls_1_2_is_tls_1_2() {
    let whole = hello(0x0304, None);
    assert_eq!(Hello::parse(&whole).unwrap().highest(), Some(TLS12));
}

#[test]
fn names_protocols_and_groups_are_read() {
    let extensions = [
        extension(0, b"\x00\x0a\x00\x00\x07gateway"),
        extension(16, b"\x00\x08\x04mqtt\x02h2"),
        extension(10, &[0, 4, 0x11, 0xec, 0, 0x1d]),
    ]
    .concat();
    let whole = hello(0x0303, Some(&extensions));
    let hello = Hello::parse(&whole).unwrap();
    assert_eq!(hello.server_name().as_deref(), Some("gateway"));
    assert_eq!(
        hello.alpn().unwrap().collect::<Vec<_>>(),
        [&b"mqtt"[..], b"h2"]
    );
    assert_eq!(hello.groups().collect::<Vec<_>>(), [0x11ec, 0x001d]);
}

#[test]
fn a_hello_in_several_records_is_put_together_and_each_prefix_waits_for_more() {
    let whole = hello(0x0303, Some(&extension(43, &[2, 3, 4])));
    let bytes = records(&whole, 7);
    for end in 0..bytes.len() {
        assert_eq!(message(&bytes[..end]), Ok(None), "{end} bytes");
    }
    assert_eq!(message(&bytes).unwrap().unwrap(), whole);
}

#[test]
fn what_is_not_tls_is_told_apart() {
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n"[..], NotHello::PlainHttp),
        (b"POST /mqtt HTTP/1.1\r\n", NotHello::PlainHttp),
        (b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c", NotHello::PlainMqtt),
        (b"\x10\x90\x01\x00\x06MQIsdp\x03", NotHello::PlainMqtt),
        (b"SSH-2.0-x", NotHello::Foreign),
        (b"\x00\x00\x00\x00\x00\x00", NotHello::Foreign),
        (
            b"\x80\x2e\x01\x00\x02\x00\x15",
            NotHello::Ssl2 { version: 2 },
        ),
        (
            b"\x80\x2e\x01\x03\x01\x00\x15",
            NotHello::Ssl2 { version: 0x0301 },
        ),
        (
            &[22, 2, 0, 0, 5],
            NotHello::Malformed("the record's version is not 3.x"),
        ),
        (
            &[22, 3, 1, 0, 0],
            NotHello::Malformed("an empty handshake record"),
        ),
        (
            &[22, 3, 1, 0, 1, 2],
            NotHello::Malformed("the first message is no ClientHello"),
        ),
        (
            &[22, 3, 1, 0, 1, 1, 23],
            NotHello::Malformed("another record within the ClientHello"),
        ),
    ] {
        assert_eq!(message(bytes), Err(expected), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_hello_without_end_is_refused_early() {
    assert_eq!(
        message(&[22, 3, 1, 0, 4, 1, 0, 0x40, 1]),
        Err(NotHello::TooLong),
        "by its own length"
    );
    assert_eq!(
        message(&[22, 3, 1, 0x40, 1]),
        Err(NotHello::TooLong),
        "by its record's length"
    );
    let crumbs = records(&hello(0x0303, None), 1);
    assert_eq!(
        message(&crumbs),
        Err(NotHello::TooLong),
        "by the number of its records"
    );
}

#[test]
fn a_hello_cut_short_inside_is_malformed() {
    let whole = hello(0x0303, Some(&extension(16, b"\x00\x05\x04mqtt")));
    for end in 5..whole.len() {
        let mut cut = whole[..end].to_vec();
        let length = u32::try_from(cut.len() - 4).unwrap().to_be_bytes();
        cut[1..4].copy_from_slice(&length[1..]);
        // Cut right after the compression methods it is a hello without extensions.
        let result = Hello::parse(&cut);
        if result.is_ok() {
            assert_eq!(end, 4 + 2 + 32 + 1 + 4 + 2, "{end}");
        }
    }
}
