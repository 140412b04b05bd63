//! Who comes in, and who does not.

use stockade_link::coap::message::Code;

use super::super::handshake::moment;
use super::world::{Device, Show, World, at, id};
use crate::broker::Report;
use crate::registry::State;

#[test]
fn a_device_enrols_by_the_key_of_its_label_and_its_reading_is_on_its_way_to_the_vault() {
    let mut world = World::new();
    let mut bed = world.add("bed");
    assert_eq!(
        bed.shake_hands(&mut world, Show::Name),
        Err(Some(Code::BAD_REQUEST))
    );
    bed.shake_hands(&mut world, Show::Credential).unwrap();
    let record = world.registry.get(&id("bed"), moment(world.now)).unwrap();
    assert_eq!(record.state, State::Active);
    assert_eq!(
        bed.post(&mut world, "moisture", b"{\"percent\":31}"),
        Code::CHANGED
    );
    // Written whole, it is the same topic.
    assert_eq!(
        bed.post(&mut world, "soil-1/bed/moisture", b"{\"percent\":32}"),
        Code::CHANGED
    );
    assert_eq!(
        world.telemetry(),
        [b"{\"percent\":31}", b"{\"percent\":32}"]
    );
    // From now on its short name is enough, and the handshake as small as it can be.
    bed.shake_hands(&mut world, Show::Name).unwrap();
    assert_eq!(bed.sizes, [37, 45, 19]);
    assert_eq!(world.core.counters().sessions, 1);
    // The time, its epoch, and nobody it may ask yet.
    let grants = bed.get(&mut world, "grants");
    assert_eq!((grants.code, grants.payload[0]), (Code::CONTENT, 0x83));
}

#[test]
fn the_first_request_may_bring_message_3_along() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    let (established, _, third) = bed.third(&mut world, Show::Name).unwrap();
    bed.establish(&established);
    let (datagram, mut asked) =
        bed.protect(Code::POST, "moisture", &[], (b"{\"percent\":1}", &third));
    let out = world.datagram(bed.place, &datagram);
    assert_eq!(bed.read(&mut asked, &out[0].bytes).code, Code::CHANGED);
    // Its repetition gets the same answer, and is not a second reading.
    assert_eq!(world.datagram(bed.place, &datagram), out);
    assert_eq!(world.telemetry().len(), 1);
}

#[test]
fn a_key_that_no_operator_added_gets_nowhere() {
    let mut world = World::new();
    world.add("bed");
    let mut stranger = Device::new("bed");
    let refused = stranger.shake_hands(&mut world, Show::Credential);
    assert_eq!(refused, Err(Some(Code::BAD_REQUEST)));
    // With the name of a device, but not its key.
    let bed = world.enrolled("pot");
    stranger.kid = bed.kid;
    let refused = stranger.shake_hands(&mut world, Show::Name);
    assert_eq!(refused, Err(Some(Code::BAD_REQUEST)));
    assert_eq!(world.core.counters().sessions, 1);
    assert_eq!(world.core.counters().handshakes_under_way, 0);
}

#[test]
fn a_revoked_device_is_out_at_once_and_stays_out() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::CHANGED);
    world
        .registry
        .revoke(&id("bed"), "stolen", moment(world.now))
        .unwrap();
    world.apply("bed");
    assert_eq!(world.core.counters().sessions, 0);
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::UNAUTHORIZED);
    let refused = bed.shake_hands(&mut world, Show::Name);
    assert_eq!(refused, Err(Some(Code::BAD_REQUEST)));
}

#[test]
fn a_removed_device_is_out_even_if_nobody_tells_the_link() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    world
        .registry
        .remove(&id("bed"), moment(world.now))
        .unwrap();
    // Its short name is given to another device, which has another key.
    let pot = world.add("pot");
    assert_eq!(pot.kid, bed.kid);
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::UNAUTHORIZED);
    assert!(world.telemetry().is_empty());
}

#[test]
fn in_quarantine_a_device_reaches_its_repair_topics_and_nothing_else() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::CHANGED);
    world
        .registry
        .quarantine(&id("bed"), "odd", moment(world.now))
        .unwrap();
    world.apply("bed");
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::FORBIDDEN);
    assert_eq!(
        bed.post(&mut world, "stockade/bed/events", b"{}"),
        Code::CHANGED
    );
    assert_eq!(bed.get(&mut world, "command").code, Code::FORBIDDEN);
    assert_eq!(
        bed.get(&mut world, "stockade/bed/repair").code,
        Code::CONTENT
    );
    world
        .registry
        .release(&id("bed"), "fine", moment(world.now))
        .unwrap();
    world.apply("bed");
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::CHANGED);
}

#[test]
fn after_a_restart_of_the_gateway_a_device_shakes_hands_again() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::CHANGED);
    world.restart_link();
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::UNAUTHORIZED);
    bed.shake_hands(&mut world, Show::Name).unwrap();
    assert_eq!(bed.post(&mut world, "moisture", b"{}"), Code::CHANGED);
}

#[test]
fn two_devices_with_one_key_take_the_session_from_each_other_and_that_is_told() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    for turn in 0..5_u8 {
        assert!(
            !world
                .reports
                .iter()
                .any(|it| matches!(it, Report::Cloned { .. })),
            "{turn}"
        );
        bed.place = at(1 + (turn + 1) % 2);
        bed.shake_hands(&mut world, Show::Name).unwrap();
        world.pass(1_000);
        assert_eq!(world.core.counters().sessions, 1);
        if turn == 3 {
            break;
        }
    }
    assert!(
        world
            .reports
            .iter()
            .any(|it| matches!(it, Report::Cloned { .. }))
    );
}

#[test]
fn a_device_that_moves_keeps_its_session_and_is_no_clone() {
    let mut world = World::new();
    let mut bed = world.enrolled("bed");
    for turn in 0..20_u8 {
        bed.place = at(1 + turn % 2);
        assert_eq!(
            bed.post(&mut world, "stockade/bed/events", b"{}"),
            Code::CHANGED
        );
        world.pass(1_000);
    }
    assert!(
        !world
            .reports
            .iter()
            .any(|it| matches!(it, Report::Cloned { .. }))
    );
}
