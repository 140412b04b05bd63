//! Data representation: 5.0 section 1.5, 3.1.1 section 1.5.

use super::{BAD_TOPIC, MALFORMED};
use crate::server::Server;
use crate::wire::{self, Bytes, Connect, Properties, Publish, V5, Version};

/// Not UTF-8: bad continuation, overlong, surrogate, above U+10FFFF, cut short, lone.
const ILL_FORMED: &[&[u8]] = &[
    b"\xC3\x28",
    b"\xC0\xAF",
    b"\xED\xA0\x80",
    b"\xF4\x90\x80\x80",
    b"\xE2\x82",
    b"\x80",
];

fn refuses_string(server: &Server, version: Version, string: &[u8]) {
    let topic = [b"t/", string].concat();

    let mut client = server.fresh(version);
    client.send_publish(&Publish {
        topic: topic.clone(),
        ..Publish::new("", "x")
    });
    client.refused_with(BAD_TOPIC);

    let mut client = server.fresh(version);
    client.send(&wire::subscribe(
        version,
        1,
        &Properties::new(),
        &[(&topic, 0)],
    ));
    client.refused_with(BAD_TOPIC);

    let mut client = server.fresh(version);
    client.send(&wire::unsubscribe(version, 1, &[&topic]));
    client.refused_with(BAD_TOPIC);
}

pub(crate) fn ill_formed_utf8_closes(server: &Server, version: Version) {
    for string in ILL_FORMED {
        refuses_string(server, version, string);
    }
}

pub(crate) fn null_character_closes(server: &Server, version: Version) {
    refuses_string(server, version, b"a\0b");
    refuses_string(server, version, b"\0");
}

/// U+FEFF is a character like any other: kept, and part of what is compared.
pub(crate) fn byte_order_mark_is_kept(server: &Server, version: Version) {
    let mut client = server.connect(version, "bom");
    client.subscribe("t/\u{feff}x", 0);
    client.send_publish(&Publish::new("t/x", "without"));
    client.send_publish(&Publish::new("t/\u{feff}x", "with"));
    let message = client.expect_message();
    assert_eq!(
        (message.topic.as_str(), message.text()),
        ("t/\u{feff}x", "with")
    );
    client.expect_nothing();
}

/// Every length the server writes is read strictly; messages at the borders of one, two and
/// three bytes make it write them.
pub(crate) fn integers_are_minimal(server: &Server, version: Version) {
    let mut client = server.connect(version, "minimal");
    client.subscribe("t/#", 0);
    for size in [
        0, 1, 110, 118, 119, 120, 121, 127, 128, 16_370, 16_380, 16_390,
    ] {
        let payload = "x".repeat(size);
        client.send_publish(&Publish::new("t/a", &payload));
        assert_eq!(client.expect_message().payload.len(), size);
    }
    if version == V5 {
        for size in [100, 120, 127, 128, 200] {
            let user = Properties::new().user("k", &"v".repeat(size));
            client.send_publish(&Publish::new("t/a", "x").with(user));
            assert_eq!(client.expect_message().properties.pairs()[0].1.len(), size);
        }
    }
}

pub(crate) fn integer_of_five_bytes_closes(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    client.send(&[0x30, 0x80, 0x80, 0x80, 0x80, 0x01]);
    client.refused_with(&[0x81, 0x82, 0x95]);

    if version == V5 {
        let mut client = server.fresh(version);
        let bytes = Bytes::new()
            .field(b"t/a")
            .raw(&[0x80, 0x80, 0x80, 0x80, 0x00]);
        client.send(&bytes.packet(0x30));
        client.refused_with(MALFORMED);
    }
}

pub(crate) fn both_strings_of_a_pair_are_utf8(server: &Server, version: Version) {
    for (name, value) in [
        (&b"\xC3\x28"[..], &b"v"[..]),
        (b"n", b"\xC3\x28"),
        (b"\0", b"v"),
        (b"n", b"\0"),
    ] {
        let mut client = server.fresh(version);
        let pair = Properties(Bytes::new().byte(0x26).field(name).field(value).0);
        client.send_publish(&Publish::new("t/a", "x").with(pair));
        client.refused_with(MALFORMED);
    }
}

/// Strings of CONNECT: client identifier, user name.
pub(crate) fn client_id_is_utf8(server: &Server, version: Version) {
    for string in ILL_FORMED.iter().copied().chain([&b"a\0b"[..]]) {
        let mut client = server.open(version, "strings");
        client.send(
            &Connect {
                client_id: string.to_vec(),
                ..Connect::new(version, "")
            }
            .encode(),
        );
        client.turned_away();
    }
}

pub(crate) fn user_name_is_utf8(server: &Server, version: Version) {
    for string in ILL_FORMED {
        let mut client = server.open(version, "strings");
        let connect = Connect {
            user: Some(string.to_vec()),
            ..Connect::new(version, "strings")
        };
        client.send(&connect.encode());
        client.turned_away();
    }
}
