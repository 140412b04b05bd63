#![expect(
    clippy::arithmetic_side_effects,
    reason = "the numbers of a test are small"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use stockade_profile::{Debounce, Profile, Tamper as Section};

use super::{Due, Latch, Record, Says, Seen, Watch, due, isolated};
use crate::engine::{Case, Check as _, MemoryHost, Own, Standard};

fn profile(tamper: &str) -> Profile {
    let source = format!(
        "schema = 1\n[device]\nmanufacturer = \"A\"\nmodel = \"m\"\nversion = 1\nclass = \"linux\"\n[tamper]\n{tamper}"
    );
    stockade_profile::parse(&source).expect("a profile")
}

const TWO: &str = "inputs = [{ kind = \"gpio\", line = \"A\", active = \"high\" }, { kind = \"chassis\" }]\nresponse = [\"report\", \"isolate\", \"erase-keys\"]\n";

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What is believed, in order, if a sensor says these things at these milliseconds and is asked every `step`.
fn believed(says: &[(u64, Says)], until: u64, step: u64) -> Vec<Says> {
    let mut watch = Watch::new(Debounce::default());
    let mut came = Vec::new();
    let mut says = says.iter().peekable();
    for at in 0..=until {
        while let Some((_, says)) = says.next_if(|(when, _)| *when == at) {
            came.extend(watch.handle("a", ms(at), says.clone()));
        }
        if at % step == 0 {
            came.extend(watch.poll(ms(at)).into_iter().map(|(_, says)| says));
        }
    }
    came
}

#[test]
fn a_line_that_is_open_at_the_start_counts() {
    assert_eq!(believed(&[(0, Says::Open)], 60, 1), [Says::Open]);
}

#[test]
fn a_bounce_is_not_believed_and_what_stays_is() {
    let bounce = [(0, Says::Closed), (100, Says::Open), (140, Says::Closed)];
    assert_eq!(believed(&bounce, 1_000, 1), [Says::Closed]);
    let stays = [(0, Says::Closed), (100, Says::Open), (151, Says::Closed)];
    let all = [Says::Closed, Says::Open, Says::Closed];
    assert_eq!(believed(&stays, 1_000, 1), all);
}

#[test]
fn a_line_that_never_rests_is_open_and_says_so_once() {
    let flutters = (0..2_000_u64).map(|at| {
        let says = if at % 2 == 0 {
            Says::Closed
        } else {
            Says::Open
        };
        (at * 10, says)
    });
    let flutters: Vec<_> = flutters.collect();
    assert_eq!(believed(&flutters, 19_990, 1), [Says::Open]);
}

#[test]
fn a_sensor_that_is_gone_is_said_to_be_and_is_not_open() {
    let gone = || Says::Unseen("the line A is not there".to_owned());
    let came = believed(&[(0, Says::Closed), (100, gone())], 1_000, 7);
    assert_eq!(came, [Says::Closed, gone()]);
    // One that comes and goes neither.
    let flaps = (0..400_u64).map(|at| {
        let says = if at % 2 == 0 { Says::Closed } else { gone() };
        (at * 10, says)
    });
    let flaps: Vec<_> = flaps.collect();
    assert!(!believed(&flaps, 4_500, 1).contains(&Says::Open));
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        3 => Just(Says::Closed),
        3 => Just(Says::Open),
        1 => Just(Says::Unseen("gone".to_owned())),
    ]
}

fn stream() -> impl Strategy<Value = Vec<(u64, Says)>> {
    let steps = prop::collection::vec((1_u64..120, says()), 1..40);
    steps.prop_map(|steps| {
        let mut at = 0;
        let mut stream = Vec::new();
        for (wait, says) in steps {
            at += wait;
            stream.push((at, says));
        }
        stream
    })
}

proptest! {
    /// How often it is asked what is believed changes nothing.
    #[test]
    fn what_is_believed_does_not_depend_on_when_it_is_asked(stream in stream(), step in 1_u64..400) {
        // Long after the last word, so that both have been asked.
        let until = 6_000;
        prop_assert_eq!(believed(&stream, until, step), believed(&stream, until, 1));
    }

    /// A line that was open for long enough is never missed, and two beliefs in a row differ.
    #[test]
    fn what_was_open_for_long_is_not_missed_and_nothing_is_said_twice(stream in stream()) {
        let came = believed(&stream, 6_000, 1);
        let next = stream.iter().skip(1).map(|(at, _)| *at).chain([6_000]);
        let long = stream.iter().zip(next).any(|((at, says), end)| *says == Says::Open && end - at >= 50);
        prop_assert!(!long || came.contains(&Says::Open));
        prop_assert!(came.windows(2).all(|two| two[0] != two[1]));
    }

    /// Whatever the order in which sensors are heard, the same is remembered and the same follows.
    #[test]
    fn the_order_of_sensors_is_of_no_matter(opened in prop::collection::vec((0_usize..2, 1_u64..1_000), 0..12)) {
        let section = profile(TWO).tamper;
        let names: Vec<String> = section.inputs.iter().map(ToString::to_string).collect();
        let remember = |all: &[(usize, u64)]| {
            let mut record = Record::default();
            for (sensor, _) in all {
                record.opened(&names[*sensor], 7);
            }
            let due = due(&section, &record);
            (record, due)
        };
        let mut turned = opened.clone();
        turned.sort_by_key(|(sensor, at)| (*at, *sensor));
        prop_assert_eq!(remember(&opened), remember(&turned));
        let sensors: BTreeSet<usize> = opened.iter().map(|(sensor, _)| *sensor).collect();
        prop_assert_eq!(remember(&opened).1, Due { isolate: !opened.is_empty(), erase: sensors.len() == 2 });
    }
}

fn record(sensors: &[&str]) -> Record {
    let mut record = Record::default();
    for sensor in sensors {
        record.opened(sensor, 9);
    }
    record
}

#[test]
fn keys_are_erased_for_two_sensors_or_for_one_if_the_profile_says_so() {
    let two = profile(TWO).tamper;
    assert!(!due(&two, &record(&["line A"])).erase);
    assert!(due(&two, &record(&["line A", "chassis"])).erase);
    // What is no sensor of the profile does not count.
    assert!(!due(&two, &record(&["line A", "line B"])).erase);
    let one = profile(&format!("{TWO}erase-with-one-input = true\n")).tamper;
    assert!(due(&one, &record(&["chassis"])).erase);
    assert!(!due(&one, &record(&["line B"])).erase);
}

#[test]
fn what_was_done_is_not_due_again_until_it_was_cleared() {
    let section = profile(TWO).tamper;
    let mut record = record(&["line A", "chassis"]);
    let latch = record.latch.as_mut().unwrap();
    (latch.isolated, latch.erased) = (Some(10), Some(10));
    assert_eq!(due(&section, &record), Due::default());
    assert!(!record.opened("line A", 20), "it was known");
    assert_eq!(record.latch.as_ref().unwrap().opened["line A"], 9);
    assert!(record.clear(30, "root", "serviced"));
    assert!(!record.clear(31, "root", "again"));
    assert_eq!(record.cleared.as_ref().unwrap().reason, "serviced");
    assert!(record.opened("line A", 40));
    assert!(due(&section, &record).isolate);
}

fn judged(profile: &Profile, own: &Own) -> Vec<(&'static str, Standard, u32)> {
    let case = Case {
        host: &MemoryHost::new(),
        profile,
        now: 100,
        own,
    };
    let found = crate::engine::assess(&case, &[&super::Tamper]);
    let posture = crate::engine::Posture::of(&found, profile, 100);
    let names = super::Tamper.rules().iter().map(|rule| rule.id);
    let states = posture.rules.iter();
    names
        .zip(states)
        .map(|(id, state)| (id, state.state, state.count))
        .collect()
}

fn seen(sensors: &[(&str, Says)], record: Record) -> Own {
    let sensors = sensors.iter();
    Own {
        tamper: Some(Seen {
            sensors: sensors
                .map(|(name, says)| ((*name).to_owned(), says.clone()))
                .collect(),
            record,
            troubles: Vec::new(),
        }),
        ..Own::default()
    }
}

#[test]
fn a_watched_and_closed_case_is_fine() {
    let own = seen(
        &[("line A", Says::Closed), ("chassis", Says::Closed)],
        Record::default(),
    );
    let passed = |name| (name, Standard::Passed, 0);
    assert_eq!(
        judged(&profile(TWO), &own),
        ["tamper/inputs", "tamper/latched", "tamper/response"].map(passed)
    );
}

#[test]
fn a_sensor_that_can_not_be_read_is_never_fine() {
    let held = Says::Unseen("A is held by camera".to_owned());
    let own = seen(&[("line A", held)], Record::default());
    let found = judged(&profile(TWO), &own);
    // The other one is not even looked at.
    assert_eq!(found[0], ("tamper/inputs", Standard::CannotTell, 2));
}

#[test]
fn a_case_that_was_opened_is_told_whatever_the_profile_says_by_now() {
    let own = seen(&[], record(&["line A"]));
    let found = judged(&profile(""), &own);
    assert_eq!(found[1], ("tamper/latched", Standard::Broken, 1));
}

#[test]
fn keys_that_would_never_be_erased_are_told() {
    let one = "inputs = [{ kind = \"chassis\" }]\nresponse = [\"erase-keys\"]\n";
    let own = seen(&[("chassis", Says::Closed)], Record::default());
    let found = judged(&profile(one), &own);
    assert_eq!(found[2], ("tamper/response", Standard::Broken, 1));
}

#[test]
fn an_image_can_not_tell_and_a_profile_without_sensors_does_not_ask() {
    let states = |text: &str| {
        let found = judged(&profile(text), &Own::default());
        found.into_iter().map(|it| it.1).collect::<Vec<_>>()
    };
    assert_eq!(states(TWO), [Standard::CannotTell; 3]);
    assert_eq!(states(""), [Standard::DoesNotApply; 3]);
}

#[test]
fn an_isolated_device_keeps_its_gateway_and_nothing_else() {
    let camera = stockade_profile::parse(include_str!("../../../../profiles/cam-2.toml"));
    let camera = camera.expect("a profile");
    let alone = isolated(&camera, &[8883, 8444], 443, false);
    let to: Vec<String> = alone
        .firewall
        .outward
        .iter()
        .map(|it| it.to.to_string())
        .collect();
    assert_eq!(to, ["gateway", "gateway"]);
    assert_eq!(alone.firewall.inward.len(), 1);
    assert!(!alone.upnp.allow_enable);
    assert_eq!(alone.device, camera.device);
    // What is written of it is read back as the same.
    assert_eq!(
        stockade_profile::parse(&alone.to_toml()).as_ref(),
        Ok(&alone)
    );
    let named = isolated(&camera, &[8883], 443, true);
    assert_eq!(named.firewall.outward.len(), 3);
}

#[test]
fn the_sensors_are_named_for_a_person() {
    let latch = Latch {
        opened: [("line A".to_owned(), 1), ("chassis".to_owned(), 2)].into(),
        ..Latch::default()
    };
    assert_eq!(latch.sensors(), "chassis, line A");
    let section = Section::default();
    assert_eq!(due(&section, &Record::default()), Due::default());
}
