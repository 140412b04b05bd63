//! Enhanced authentication (MQTT 5, sections 3.15 and 4.12): no method is offered.

use super::MALFORMED;
use crate::server::Server;
use crate::wire::{Bytes, Connect, Properties, Version, id};

pub(crate) fn unknown_method_is_refused(server: &Server, version: Version) {
    let method = Properties::new().text(id::AUTH_METHOD, "no-such-method");
    let mut client = server.open(version, "method");
    client.send(&Connect::new(version, "method").with(method).encode());
    let reason = client.turned_away();
    assert!(
        matches!(reason, None | Some(0x8C | 0x87)),
        "bad authentication method: {reason:02x?}"
    );
}

/// Without a method there is neither AUTH nor a method in CONNACK.
pub(crate) fn no_method_no_auth(server: &Server, version: Version) {
    let mut client = server.open(version, "plain");
    let connack = client.connect(&Connect::new(version, "plain"));
    assert_eq!(connack.properties.text(id::AUTH_METHOD), None);
    client.expect_nothing();
}

/// AUTH in a connection that began without a method is a protocol error.
pub(crate) fn auth_without_a_method_closes(server: &Server, version: Version) {
    let method = Properties::new().text(id::AUTH_METHOD, "no-such-method");
    for reason in [0x18, 0x19] {
        let mut client = server.fresh(version);
        client.send(
            &Bytes::new()
                .byte(reason)
                .properties(version, &method)
                .packet(0xF0),
        );
        client.refused_with(&[0x82, 0x8C]);
    }
}

pub(crate) fn reserved_flags_close(server: &Server, version: Version) {
    for flags in [0x01, 0x02, 0x08, 0x0F] {
        let mut client = server.fresh(version);
        client.send(&Bytes::new().byte(0x18).byte(0).packet(0xF0 | flags));
        client.refused_with(MALFORMED);
    }
}
