use std::collections::BTreeSet;

use proptest::prelude::*;
use stockade_api::helper::Weight;

use super::*;

fn event(number: u64, weight: Weight, says: &str) -> Event {
    Event {
        number,
        at: 1_790_000_000,
        weight,
        by: "helper".to_owned(),
        kind: "applied".to_owned(),
        says: says.to_owned(),
    }
}

fn written(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(Record::write).collect()
}

#[derive(Debug, Clone)]
enum Step {
    /// The helper has one more event.
    Happens(Weight, usize),
    /// The gateway acknowledges what it was sent last.
    Sent,
    /// The same answer comes twice.
    Again,
    /// The power is cut after this share of what was written since the last cut.
    Cut(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let weight = prop_oneof![
        Just(Weight::Note),
        Just(Weight::Change),
        Just(Weight::Warning)
    ];
    prop_oneof![
        6 => (weight, 0..300_usize).prop_map(|(weight, long)| Step::Happens(weight, long)),
        2 => Just(Step::Sent),
        1 => Just(Step::Again),
        1 => any::<u8>().prop_map(Step::Cut),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_uncounted_and_nothing_is_told_twice(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        const MOST_HERE: usize = 4096;
        // The helper's own log, which lasts, and what the gateway has.
        let mut helper: Vec<Event> = Vec::new();
        let mut gateway: BTreeSet<String> = BTreeSet::new();
        let (mut told, mut last) = (0, Batch::new(7, 0, Vec::new()));
        let mut core = Core::new(7, MOST_HERE);
        let mut file = written(&core.snapshot());
        let mut synced = file.len();
        for step in steps {
            match step {
                Step::Happens(weight, long) => {
                    let number = helper.len() as u64 + 1;
                    helper.push(event(number, weight, &format!("{number} {}", "x".repeat(long))));
                    let before = core.batch().events;
                    let records = core.put(helper[helper.len() - 1].clone());
                    for record in &records {
                        let Record::Dropped { number } = record else { continue };
                        let gone = before.iter().find(|it| it.number == *number);
                        let worth = gone.map_or(weight, |it| it.weight);
                        prop_assert!(core.batch().events.iter().all(|it| it.weight >= worth));
                    }
                    file.extend(written(&records));
                    synced = file.len();
                }
                Step::Sent => {
                    last = core.batch();
                    prop_assert!(last.write().len() <= stockade_api::events::MOST);
                    for it in last.events.iter().filter(|it| it.number > told) {
                        prop_assert!(gateway.insert(it.says.clone()), "{} twice", it.says);
                    }
                    told = told.max(last.events.last().map_or(0, |it| it.number));
                    file.extend(written(&core.acknowledged(told)));
                }
                Step::Again => {
                    let number = last.events.last().map_or(0, |it| it.number);
                    file.extend(written(&core.acknowledged(number)));
                }
                Step::Cut(share) => {
                    // What was synced is there; of the rest, some of it, and half a record.
                    let rest = (file.len() - synced) * usize::from(share) / 256;
                    file.truncate(synced + rest);
                    let (read, sound) = Core::read(&file, 99, MOST_HERE);
                    prop_assert!(sound >= synced);
                    core = read;
                    file = written(&core.snapshot());
                    for it in &helper {
                        file.extend(written(&core.put(it.clone())));
                    }
                    synced = file.len();
                }
            }
            prop_assert!(core.bytes() <= MOST_HERE);
            let waiting: BTreeSet<_> = core.batch().events.into_iter().map(|it| it.says).collect();
            let known = |it: &&Event| !gateway.contains(&it.says) && !waiting.contains(&it.says);
            let unknown = helper.iter().filter(known).count() as u64;
            prop_assert!(unknown <= core.lost(), "{unknown} unknown, {} counted", core.lost());
            prop_assert!(core.lost() <= helper.len() as u64);
        }
    }

    #[test]
    fn any_bytes_are_a_file(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (core, sound) = Core::read(&bytes, 1, 100);
        prop_assert!(sound <= bytes.len());
        prop_assert!(core.len() <= bytes.len());
    }
}

#[test]
fn what_is_worth_little_makes_room_for_what_is_worth_more_and_is_counted() {
    let mut core = Core::new(1, 1_000);
    for number in 1..=3 {
        core.put(event(number, Weight::Warning, &"w".repeat(150)));
    }
    for number in 4..=20 {
        core.put(event(number, Weight::Note, &"n".repeat(150)));
    }
    let numbers: Vec<u64> = core.batch().events.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [1, 2, 3, 20]);
    assert_eq!(core.batch().lost, 16);
}

#[test]
fn sixty_days_without_a_gateway_stay_within_the_room_and_every_event_is_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outbox");
    let mut outbox = Outbox::open(path.clone(), 5, 64 * 1024).unwrap();
    let (mut number, mut warnings) = (0, 0);
    for day in 0..60 {
        for hour in 0..24 {
            number += 1;
            let weight = if hour == 7 {
                Weight::Warning
            } else {
                Weight::Note
            };
            warnings += u64::from(hour == 7);
            outbox.take(
                vec![event(number, weight, &format!("day {day} hour {hour}"))],
                1,
                number,
            );
        }
        if day % 10 == 9 {
            // The power is cut: the last record is torn.
            drop(outbox);
            let file = std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap();
            (&file).write_all(b"0badc0de {\"put\":{\"ev").unwrap();
            outbox = Outbox::open(path.clone(), 6, 64 * 1024).unwrap();
        }
    }
    assert!(std::fs::metadata(&path).unwrap().len() < 400 * 1024);
    let mut seen = Vec::new();
    while !outbox.core().is_empty() {
        let batch = outbox.batch();
        assert_eq!(batch.log, 5);
        let told = batch.events.last().unwrap().number;
        seen.extend(batch.events);
        outbox.acknowledged(told);
    }
    let kept = seen
        .iter()
        .filter(|it| it.weight == Weight::Warning)
        .count() as u64;
    assert_eq!(kept, warnings);
    assert_eq!(seen.len() as u64 + outbox.core().lost(), number);
    drop(outbox);
    let again = Outbox::open(path, 9, 64 * 1024).unwrap();
    assert!(again.core().is_empty());
    assert_eq!(again.core().taken(), number);
}

#[test]
fn a_helper_that_begins_anew_is_told_of_too() {
    let mut core = Core::new(1, 1_000_000);
    for number in 1..=5 {
        core.put(event(number, Weight::Note, "old"));
    }
    core.compare(1, 2);
    core.put(event(1, Weight::Note, "new"));
    assert_eq!(core.batch().events.last().unwrap().number, 6);
    core.compare(4, 9);
    assert_eq!((core.lost(), core.taken()), (2, 3));
}

#[test]
fn a_full_disk_keeps_events_in_memory_and_they_are_written_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let away = dir.path().join("not-there");
    let path = away.join("outbox");
    let mut outbox = Outbox::open(path.clone(), 1, MOST).unwrap();
    outbox.take(vec![event(1, Weight::Note, "first")], 1, 1);
    assert!(!outbox.is_saved());
    std::fs::create_dir(&away).unwrap();
    outbox.take(vec![event(2, Weight::Note, "second")], 1, 2);
    assert!(outbox.is_saved());
    drop(outbox);
    assert_eq!(Outbox::open(path, 2, MOST).unwrap().core().len(), 2);
}
