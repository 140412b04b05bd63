//! Topic names and filters: section 4.7 of both versions.

use super::BAD_TOPIC;
use crate::server::Server;
use crate::wire::{self, Properties, Publish, V5, Version};

/// The filter is refused: by a code of its own or by closing.
pub(crate) fn refused_filter(server: &Server, version: Version, filter: &str) {
    let mut client = server.fresh(version);
    client.send(&wire::subscribe(
        version,
        1,
        &Properties::new(),
        &[(filter.as_bytes(), 0)],
    ));
    match client.recv() {
        Some(crate::answer::Answer::SubAck(codes)) => {
            assert!(
                version == V5 && codes.codes == [0x8F],
                "{filter:?}: {:02x?}",
                codes.codes
            );
        }
        Some(crate::answer::Answer::Disconnect(reason, _)) => {
            assert!(BAD_TOPIC.contains(&reason), "{filter:?}: {reason:#04x}");
        }
        None => {}
        other => panic!("{filter:?} is malformed, got {other:?}"),
    }
}

pub(crate) fn multi_level_wildcard_is_last_and_alone(server: &Server, version: Version) {
    for filter in ["t/a#", "t/#/b", "t/a/#b", "t/##", "#/t", "t/#/#", "t/#/"] {
        refused_filter(server, version, filter);
    }
    matches(
        server,
        version,
        "t/a/#",
        &["t/a", "t/a/", "t/a/b", "t/a/b/c"],
        &["t/ab", "t", "t/b"],
    );
}

pub(crate) fn single_level_wildcard_is_a_whole_level(server: &Server, version: Version) {
    for filter in ["t/a+", "t/+a/b", "t/++", "t/a+/b", "t/+#"] {
        refused_filter(server, version, filter);
    }
    matches(
        server,
        version,
        "t/+/b",
        &["t/a/b", "t//b"],
        &["t/a/c", "t/b", "t/a/a/b"],
    );
    matches(server, version, "t/+", &["t/a", "t/"], &["t", "t/a/b"]);
}

fn matches(server: &Server, version: Version, filter: &str, yes: &[&str], no: &[&str]) {
    let mut client = server.fresh(version);
    client.subscribe(filter, 0);
    // `t` alone is outside of what a device may use; so it is for every server here.
    for topic in yes.iter().chain(no).filter(|topic| topic.starts_with("t/")) {
        client.send_publish(&Publish::new(topic, topic));
    }
    assert_eq!(client.drain_texts(), yes, "{filter}");
}

/// A name is not a pattern.
pub(crate) fn wildcards_are_for_filters(server: &Server, version: Version) {
    super::publish::topic_must_not_contain_wildcards(server, version);
    matches(server, version, "t/#", &["t/a", "t/a/b"], &[]);
}

/// Wildcards at the start do not see the server's own `$` topics: where such a filter is granted
/// at all. The reference has retained messages under `$SYS` to show.
pub(crate) fn leading_wildcards_do_not_match_dollar(server: &Server, version: Version) {
    let mut watcher = server.connect(version, "watcher");
    for filter in ["#", "+/#", "+/broker/#", "+/a"] {
        let code = watcher.try_subscribe(filter, 0);
        assert_eq!(
            code <= 2,
            server.grants_everything(),
            "{filter}: {code:#04x}"
        );
    }
    let granted = watcher.try_subscribe("t/+", 0);
    assert_eq!(granted, 0);
    let mut other = server.connect(version, "other");
    other.publish(&Publish::new("t/a", "seen").qos(1, 1));
    let topics: Vec<String> = watcher
        .drain()
        .into_iter()
        .map(|message| message.topic)
        .collect();
    assert!(
        topics.iter().any(|topic| topic == "t/a"),
        "the watcher sees: {topics:?}"
    );
    assert!(
        topics.iter().all(|topic| !topic.starts_with('$')),
        "{topics:?}"
    );
}

pub(crate) fn at_least_one_character(server: &Server, version: Version) {
    let mut client = server.fresh(version);
    client.send_publish(&Publish::new("", "x"));
    client.refused_with(BAD_TOPIC);
    refused_filter(server, version, "");
    let mut client = server.fresh(version);
    client.send(&wire::unsubscribe(version, 1, &[b""]));
    client.refused_with(BAD_TOPIC);
}

/// 65,535 bytes is what the wire can say; the longest that the server takes go through whole,
/// longer ones are refused cleanly, and nobody else notices.
pub(crate) fn long_topics(server: &Server, version: Version) {
    let mut bystander = server.connect(version, "bystander");
    let mut accepted = 0;
    for length in [100, 500, 65_535] {
        let mut client = server.fresh(version);
        let topic = format!("t/{}", "x".repeat(length - 2));
        client.send(&wire::subscribe(
            version,
            1,
            &Properties::new(),
            &[(topic.as_bytes(), 0)],
        ));
        match client.recv() {
            Some(crate::answer::Answer::SubAck(codes)) if codes.codes == [0] => {
                client.send_publish(&Publish::new(&topic, "x"));
                assert_eq!(client.expect_message().topic.len(), length);
                accepted += 1;
            }
            Some(crate::answer::Answer::SubAck(codes)) => assert!(codes.codes[0] >= 0x80),
            Some(crate::answer::Answer::Disconnect(reason, _)) => assert!(reason >= 0x80),
            None => {}
            other => panic!("an answer is due, got {other:?}"),
        }
    }
    assert!(accepted >= 1, "a topic of 100 bytes is nothing unusual");
    bystander.expect_nothing();
}

/// Neither case nor empty levels nor composed characters are made alike.
pub(crate) fn names_are_not_normalised(server: &Server, version: Version) {
    let names = [
        "t/Case",
        "t/case",
        "t/a",
        "t//a",
        "t/a/",
        "t/ a",
        "t/\u{e9}",
        "t/e\u{301}",
        "t/./a",
        "t/%61",
    ];
    for name in names {
        matches(server, version, name, &[name], &[]);
        let mut client = server.fresh(version);
        client.subscribe(name, 0);
        for other in names {
            client.send_publish(&Publish::new(other, other));
        }
        assert_eq!(client.drain_texts(), [name]);
    }
}
