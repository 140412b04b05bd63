//! A device that is forgotten: in memory, in what is read back, and in the journal's files.

use std::sync::atomic::Ordering;

use stockade_store::{Bus as _, BusError};

use super::super::*;
use super::crash::{all_durable, dump, read_back};
use super::world::{Client, How, KEPT, V5, World};
use crate::name::DeviceName;

/// Whose messages all say `planted`: one waits for `b`, one is retained, two wait for itself, one is its will; those of `c`
/// say `kept`.
fn planted(w: &mut World) -> Client {
    let will = Some(("home/all", "planted-will", 30));
    let (a, b) = (w.client("a", How { will, ..KEPT }), w.client("b", KEPT));
    let c = w.client("c", V5);
    for (client, filter) in [(&a, "home/c/up"), (&b, "home/#")] {
        w.subscribe(client, filter, 1);
        w.drop_connection(client);
    }
    let a = w.connect("a", How { will, ..KEPT });
    let retain = |p: &mut stockade_mqtt::Publish<'_>| p.retain = true;
    let _flow = w.publish(&a, "home/all", "planted-waiting", 1, 1);
    let _flow = w.publish_with(&a, "home/a/up", "planted-retained", (1, 2), retain);
    w.drop_connection(&a);
    let _flow = w.publish(&c, "home/c/up", "kept-for-both", 1, 1);
    let _flow = w.publish_with(&c, "home/all", "kept-retained", (1, 2), retain);
    let told = ("home/a/up", b"planted-by-the-operator".as_slice());
    w.turn(|broker, out| broker.publish_from_operator(told, 1, false, out))
        .unwrap();
    a
}

/// Whether a text is in a file of the journal.
fn in_files(w: &World, text: &str) -> bool {
    all_durable(w);
    let files = fs_err::read_dir(w.dir.path()).unwrap();
    files
        .map(|file| fs_err::read(file.unwrap().path()).unwrap())
        .any(|bytes| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
}

/// Writes the journal anew, as the gateway does once a device is forgotten.
fn write_anew(w: &mut World) {
    all_durable(w);
    w.disk.part();
    w.turn(Broker::begin_round).unwrap();
    while !w.turn(|broker, out| {
        broker.compact(out);
        broker.is_compact()
    }) {
        std::thread::yield_now();
    }
}

#[test]
fn a_forgotten_device_is_in_no_session_and_no_file_and_others_keep_what_is_theirs() {
    let mut w = World::new();
    planted(&mut w);
    assert!(in_files(&w, "planted-"), "the search finds");
    let before = w.disk.last();

    let gone = w.forget("a");
    let all = Forgotten {
        sessions: 1,
        wills: 1,
        // One of `c` for itself, and for `b` its own two and what the operator said on its topic.
        waiting: 4,
        retained: 1,
        cleared: false,
    };
    assert_eq!(gone, all);
    assert_eq!(w.forget("a"), Forgotten::default(), "nothing is left");
    assert_eq!(dump(&read_back(&w, u64::MAX)), dump(&w.broker));
    assert!(in_files(&w, "planted-"), "until they are written anew");
    write_anew(&mut w);
    assert!(w.disk.first() > before);
    assert!(!in_files(&w, "planted-"));
    assert!(in_files(&w, "kept-"));
    assert_eq!(dump(&read_back(&w, u64::MAX)), dump(&w.broker));

    // Its will is not spoken either.
    w.pass(40);
    let b = w.client("b", KEPT);
    w.subscribe(&b, "home/#", 1);
    assert_eq!(w.broker.retained.len(), 1);
    let b = w.connect("b", KEPT);
    let got = b.read();
    assert!(got.iter().any(|it| it.contains("kept-for-both")), "{got:?}");
    assert!(!got.iter().any(|it| it.contains("planted")), "{got:?}");
    // It may come again, and is somebody new.
    let a = w.connect("a", KEPT);
    assert_eq!(a.read(), ["CONNACK success"]);
}

#[test]
fn what_the_journal_does_not_take_is_forgotten_at_the_next_try() {
    let mut w = World::new();
    planted(&mut w);
    let whose = Whose::new(DeviceName::new("cam", "a").unwrap(), None);
    let mut forgetting = Forgetting::new(whose);
    let mut refused = 0;
    for mood in [1, 2, 0].into_iter().cycle() {
        w.disk.mood.store(mood, Ordering::Relaxed);
        let before = dump(&w.broker);
        match w.turn(|broker, out| broker.forget(&mut forgetting, out)) {
            Ok(true) => break,
            Ok(false) => {}
            Err(BusError::Full | BusError::Refusing { .. }) if mood > 0 => {
                refused += 1;
                assert_eq!(dump(&w.broker), before, "in memory neither");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused >= 5, "each kind of step was refused: {refused}");
    assert_eq!(dump(&read_back(&w, u64::MAX)), dump(&w.broker));
    // Without a profile it goes by who published it: what the operator said stays.
    let gone = forgetting.gone;
    assert_eq!((gone.sessions, gone.waiting, gone.retained), (1, 3, 1));
}

#[test]
fn a_device_of_another_model_with_the_same_id_keeps_what_is_its_own() {
    let mut w = World::new();
    planted(&mut w);
    let whose = Whose::new(DeviceName::new("lamp", "a").unwrap(), None);
    let mut forgetting = Forgetting::new(whose);
    let before = dump(&w.broker);
    while !w
        .turn(|broker, out| broker.forget(&mut forgetting, out))
        .unwrap()
    {}
    assert_eq!(forgetting.gone, Forgotten::default());
    assert_eq!(dump(&w.broker), before);
}
