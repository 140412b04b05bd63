//! A new system starts on trial; it stays, or the old one comes back.

use stockade_api::update::{Errand, Phase, Slot};

use crate::world::World;

#[test]
fn a_new_system_is_tried_and_stays_once_it_is_healthy() {
    let mut world = World::new();
    world.publish(2);
    world.publish(3);
    world.fetched();
    let looked = world.does(Errand::Look).unwrap();
    let newest = looked.newest.unwrap();
    assert_eq!(
        (newest.version, newest.security),
        (3, true),
        "2 mends something"
    );
    assert_eq!(looked.phase, Phase::Idle, "a look installs nothing");
    let done = world.install().unwrap();
    let (version, slot) = (3, Slot::B);
    assert_eq!(done.phase, Phase::Ready { version, slot });
    assert_eq!(done.runs, Some(1), "until it is started");
    assert_eq!(world.boot(), 3);
    assert_eq!(world.phase(), Phase::Trying { version, slot });
    assert!(world.install_refused().contains("on trial"));
    let kept = world.does(Errand::Confirm).unwrap();
    assert_eq!(
        (kept.phase, kept.confirmed, kept.runs),
        (Phase::Idle, 3, Some(3))
    );
    for _ in 0..5 {
        assert_eq!(world.boot(), 3, "what stays is started for good");
        world.phase();
    }
    // And on to the other slot again.
    world.publish(4);
    world.fetched();
    world.install().unwrap();
    assert_eq!(world.boot(), 4);
    world.phase();
    let kept = world.does(Errand::Confirm).unwrap();
    let slots: Vec<_> = kept
        .slots
        .iter()
        .map(|it| (it.version, it.running, it.good))
        .collect();
    assert_eq!(slots, [(Some(4), true, true), (Some(3), false, true)]);
}

#[test]
fn a_system_that_is_not_healthy_goes_and_is_not_tried_again_by_itself() {
    let mut world = World::new();
    world.publish(2);
    world.fetched();
    world.install().unwrap();
    assert_eq!(world.boot(), 2);
    world.phase();
    let why = "`camera` does not run".to_owned();
    let failed = world.does(Errand::Fail { why: why.clone() }).unwrap();
    assert_eq!(failed.returned, Some((2, why)));
    for _ in 0..5 {
        assert_eq!(world.boot(), 1);
        assert_eq!(world.phase(), Phase::Idle);
    }
    assert!(world.install_refused().contains("did not stay"));
    let (version, bundle) = (Some(2), None);
    world.does(Errand::Install { version, bundle }).unwrap();
    assert_eq!(world.boot(), 2, "a person may say so");
}

#[test]
fn a_system_that_does_not_come_up_is_left_by_the_boot_loader() {
    let mut world = World::new();
    world.publish(2);
    world.fetched();
    world.install().unwrap();
    // Three starts, each of which ends before anything of ours runs.
    for _ in 0..3 {
        assert_eq!(world.boot(), 2);
    }
    assert_eq!(world.boot(), 1);
    let standing = world.does(Errand::Settle).unwrap();
    assert_eq!(standing.returned, Some((2, "it did not start".to_owned())));
    assert_eq!(standing.phase, Phase::Idle);
    assert!(!standing.slots[1].good);
}

#[test]
fn a_system_that_crashes_on_trial_is_left_too() {
    let mut world = World::new();
    world.publish(2);
    world.fetched();
    world.install().unwrap();
    for _ in 0..3 {
        assert_eq!(world.boot(), 2);
        assert!(matches!(world.phase(), Phase::Trying { .. }));
    }
    assert_eq!(world.boot(), 1);
    let (version, why) = world.does(Errand::Settle).unwrap().returned.unwrap();
    assert_eq!((version, why.contains("did not stay up")), (2, true));
}

#[test]
fn a_system_that_is_not_the_version_it_was_signed_as_goes() {
    let mut world = World::new();
    let image = crate::world::image(1, crate::world::SIZE);
    world.publish_as("cam-2", 2, &image);
    world.fetched();
    world.install().unwrap();
    assert_eq!(world.boot(), 1, "slot B, with an old system in it");
    let (version, why) = world.does(Errand::Settle).unwrap().returned.unwrap();
    assert_eq!(
        (version, why.contains("says that it is `1`")),
        (2, true),
        "{why}"
    );
}
