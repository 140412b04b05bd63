//! The OSCORE interop list (github.com/EricssonResearch/OSCOAP, test-spec5.md), both of its sides against each other. In
//! `oscore_live.rs`, the other side is aiocoap.

#[path = "interop/client.rs"]
pub(crate) mod client;
#[path = "interop/server.rs"]
pub(crate) mod server;

use client::{Client, Link};
use server::{Server, Stored};

/// The server, as the client's network.
struct Direct {
    server: Server,
    answers: Vec<Vec<u8>>,
}

impl Link for Direct {
    fn send(&mut self, datagram: &[u8]) {
        self.answers.extend(self.server.handle(datagram));
    }

    fn receive(&mut self) -> Vec<u8> {
        if self.answers.is_empty() {
            return self.server.notification().expect("an answer");
        }
        self.answers.remove(0)
    }
}

fn run(tests: &[u8]) {
    let mut direct = Direct {
        server: if tests == [16] {
            Server::unaware()
        } else {
            Server::new(Stored::default())
        },
        answers: Vec::new(),
    };
    let mut client = Client::new(Stored::default());
    for test in tests {
        client.run(*test, &mut direct);
    }
    assert!(direct.answers.is_empty());
}

macro_rules! list {
    ($($name:ident: $number:literal;)+) => {$(
        #[test]
        fn $name() {
            run(&[$number]);
        }
    )+};
}

list! {
    test_0_coap_without_oscore: 0;
    test_1_get: 1;
    test_2_get_with_id_context: 2;
    test_3_get_with_query_and_etag: 3;
    test_4_get_with_accept_and_max_age: 4;
    test_5_observe_where_nothing_is_observable: 5;
    test_6_observe_until_the_server_ends_it: 6;
    test_7_observe_and_cancel: 7;
    test_8_post: 8;
    test_9_put_if_match: 9;
    test_10_put_if_none_match: 10;
    test_11_delete: 11;
    test_12_another_sender_id: 12;
    test_13_another_sender_key: 13;
    test_14_another_recipient_key: 14;
    test_15_a_request_repeated: 15;
    test_16_a_server_without_oscore: 16;
    test_17_a_protected_resource_without_oscore: 17;
}

#[test]
fn the_list_in_one_session() {
    let all: Vec<_> = (0..=15).chain([17]).collect();
    run(&all);
}
