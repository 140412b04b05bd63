//! Shared subscriptions (MQTT 5, section 4.8.2).

use super::topics::refused_filter;
use crate::answer::Answer;
use crate::client::Client;
use crate::server::Server;
use crate::wire::{self, Connect, PUBACK, PUBREC, Publish, Version};

pub(crate) fn a_share_name_is_needed(server: &Server, version: Version) {
    for filter in ["$share//t/a", "$share/", "$share"] {
        // `$share` alone is an ordinary filter: refused by policy, if not as malformed.
        let mut client = server.fresh(version);
        if filter == "$share" {
            let code = client.try_subscribe(filter, 0);
            assert!(code <= 2 || code >= 0x80);
        } else {
            refused_filter(server, version, filter);
        }
    }
    each_message_goes_to_one(server, version);
}

pub(crate) fn share_names_hold_no_wildcards(server: &Server, version: Version) {
    for filter in [
        "$share/g+/t/a",
        "$share/#/t/a",
        "$share/+/t/a",
        "$share/g",
        "$share/g/",
    ] {
        refused_filter(server, version, filter);
    }
}

/// Between two that share, each message goes to one; one that does not share gets them all.
pub(crate) fn each_message_goes_to_one(server: &Server, version: Version) {
    let (mut one, mut two) = (
        server.connect(version, "one"),
        server.connect(version, "two"),
    );
    one.subscribe("$share/g/t/a", 1);
    two.subscribe("$share/g/t/a", 1);
    let mut alone = server.connect(version, "alone");
    alone.subscribe("t/a", 1);
    let mut publisher = server.connect(version, "source");
    for number in 1..=10u16 {
        publisher.publish(&Publish::new("t/a", &format!("{number:02}")).qos(1, number));
    }
    let (first, second) = (one.drain_texts(), two.drain_texts());
    let mut all = [first.clone(), second.clone()].concat();
    all.sort();
    assert_eq!(all.len(), 10, "{first:?} {second:?}");
    all.dedup();
    assert_eq!(all.len(), 10, "{first:?} {second:?}");
    assert!(
        !first.is_empty() && !second.is_empty(),
        "{first:?} {second:?}"
    );
    assert_eq!(alone.drain_texts().len(), 10);
}

/// Each gets it at the QoS that it was granted.
pub(crate) fn granted_qos_is_respected(server: &Server, version: Version) {
    for granted in 0..=2 {
        let mut client = server.fresh(version);
        client.subscribe(&format!("$share/g{granted}/t/a"), granted);
        client.publish(&Publish::new("t/a", "x").qos(2, 1));
        assert_eq!(client.receive().qos, granted);
        client.leave();
    }
}

/// A group of two in which the one that gets the message is cut off in mid-handshake.
fn interrupted(server: &Server, version: Version, persistent: bool) {
    let connect = |name| {
        if persistent {
            Connect::persistent(version, name)
        } else {
            Connect::new(version, name)
        }
    };
    let mut members = vec![
        server.connect_with(&connect("one")).0,
        server.connect_with(&connect("two")).0,
    ];
    for member in &mut members {
        member.subscribe("$share/g/t/a", 2);
    }
    let mut publisher = server.connect(version, "source");
    publisher.publish(&Publish::new("t/a", "once").qos(2, 1));
    let got: Vec<Vec<Answer>> = members.iter_mut().map(Client::fence).collect();
    let holder = usize::from(got[0].is_empty());
    let Answer::Publish(message) = &got[holder][0] else {
        panic!("a message is due, got {got:?}")
    };
    assert!(
        got[1 - holder].is_empty() && got[holder].len() == 1,
        "one copy: {got:?}"
    );
    let mut other = members.remove(1 - holder);
    let name = ["one", "two"][holder];
    members.remove(0).cut();
    other.expect_nothing();
    let (mut back, present) = server.connect_with(&connect(name));
    assert_eq!(present, persistent);
    if persistent {
        let again = back.receive();
        assert_eq!(
            (again.packet_id, again.text(), again.dup),
            (message.packet_id, "once", true)
        );
    } else {
        back.expect_nothing();
    }
    other.expect_nothing();
}

/// It is delivered to the end when that client returns.
pub(crate) fn delivery_is_completed_on_return(server: &Server, version: Version) {
    interrupted(server, version, true);
}

/// If its session ends instead, nobody else gets it.
pub(crate) fn nobody_inherits_what_was_begun(server: &Server, version: Version) {
    interrupted(server, version, false);
}

/// Acknowledged with an error: discarded, and offered to nobody else.
pub(crate) fn an_error_discards_it(server: &Server, version: Version) {
    for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
        let (mut one, mut two) = (server.fresh(version), server.fresh(version));
        for client in [&mut one, &mut two] {
            client.subscribe("$share/g/t/a", 2);
        }
        let mut publisher = server.fresh(version);
        publisher.publish(&Publish::new("t/a", "x").qos(qos, 1));
        for client in [&mut one, &mut two] {
            for answer in client.fence() {
                let Answer::Publish(message) = answer else {
                    panic!("a message is due: {answer:?}")
                };
                client.send(&wire::ack_reason(first, message.packet_id, 0x80));
            }
        }
        for mut client in [one, two] {
            client.expect_nothing();
            client.leave();
        }
    }
}
