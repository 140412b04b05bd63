//! What blocks promise: damage is found and named, what comes again is stored once, what is old goes.

use std::path::Path;
use std::process::Command;

use stockade_store::{Batch, Bus as _, Scan, Seq, Store as _, Stream, Table};
use stockade_vault::{Ingested, Outcome, Query, Role, StoredRecord, Value, VaultError};
use tempfile::TempDir;
use time::Duration;

use super::place::{PROFILE, Place, now, of, open, purpose, record, subject};

pub(crate) const BLOCKS: Table = Table::new("vault.blocks");

/// Changes one of the blocks of a data set, by its place among them; its key.
pub(crate) fn damage(
    place: &Place,
    schema: &str,
    number: usize,
    change: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let prefix = [schema.as_bytes(), &[0]].concat();
    let (key, mut block) = place
        .store
        .scan(BLOCKS, Scan::prefix(prefix))
        .expect("works")
        .swap_remove(number);
    change(&mut block);
    let mut batch = Batch::new();
    batch.put(BLOCKS, key.clone(), block);
    place.store.commit(batch).expect("works");
    key
}

/// Three blocks of two devices with three records each.
fn three_blocks(dir: &Path) -> Place {
    let place = open(dir);
    for block in 0..3 {
        for record_in_block in 0..3 {
            let payload = format!(r#"{{"number": {}}}"#, block * 3 + record_in_block);
            let device = ["porch", "garden"][block % 2];
            place.append(&record(device, "bare", payload.as_bytes()));
        }
        place.settle();
        assert_eq!(place.ingest().stored, 3);
    }
    place
}

fn numbers(records: &[StoredRecord]) -> Vec<i128> {
    let number = |record: &StoredRecord| match record.fields.get("number") {
        Some(Value::Integer(number)) => *number,
        other => panic!("{other:?}"),
    };
    records.iter().map(number).collect()
}

#[test]
fn a_damaged_block_is_named_and_the_rest_is_read() {
    let dir = TempDir::new().unwrap();
    let place = three_blocks(dir.path());
    let length = damage(&place, "bare", 1, |_| {}).len();
    assert!(length > 0);
    let mut said = std::collections::BTreeSet::new();
    let sealed = place.store.scan(BLOCKS, Scan::all()).unwrap();
    for bit in (0..sealed[1].1.len() * 8).step_by(41) {
        damage(&place, "bare", 1, |block| block[bit / 8] ^= 1 << (bit % 8));
        let page = place.page(&of("bare"));
        assert_eq!(numbers(&page.records), [0, 1, 2, 6, 7, 8], "bit {bit}");
        assert_eq!(
            (page.damaged.len(), page.damaged[0].block),
            (1, 4),
            "bit {bit}"
        );
        said.insert(page.damaged[0].detail.clone());
        damage(&place, "bare", 1, |block| block.clone_from(&sealed[1].1));
    }
    insta::assert_debug_snapshot!(said, @r#"
    {
        "a block of form 0; this version knows 1: start the version that wrote it",
        "damaged: its content is not what was sealed",
        "sealed with another key than the device's: damaged, or keys of another backup",
        "there is no key for it: its device was erased, or the key is lost",
    }
    "#);
    // A block in the place of another: of the same device, and still not taken.
    damage(&place, "bare", 2, |block| block.clone_from(&sealed[0].1));
    let newest = Query {
        newest_first: true,
        ..of("bare")
    };
    let page = place.page(&newest);
    assert_eq!(numbers(&page.records), [5, 4, 3, 2, 1, 0]);
    assert_eq!((page.damaged.len(), page.damaged[0].block), (1, 7));
}

#[test]
fn a_missing_key_is_named_and_the_rest_is_read() {
    let dir = TempDir::new().unwrap();
    drop(three_blocks(dir.path()));
    let place = open(dir.path());
    let garden = place.keys.find(&subject("garden")).unwrap().unwrap().id;
    drop(place);
    let place = open(dir.path());
    let mut batch = Batch::new();
    batch.delete(Table::new("vault.subjects"), *garden.as_bytes());
    place.store.commit(batch).unwrap();
    let page = place.page(&of("bare"));
    assert_eq!(numbers(&page.records), [0, 1, 2, 6, 7, 8]);
    insta::assert_debug_snapshot!(page.damaged, @r#"
    [
        Damage {
            schema: "bare",
            block: 4,
            detail: "there is no key for it: its device was erased, or the key is lost",
        },
    ]
    "#);
}

#[test]
fn what_comes_again_is_stored_once() {
    let dir = TempDir::new().unwrap();
    let kept = TempDir::new().unwrap();
    let send = |place: &Place, number: i128| {
        let payload = format!(r#"{{"number": {number}}}"#);
        place.send(&record("porch", "bare", payload.as_bytes()));
    };
    let place = open(dir.path());
    (0..20).for_each(|number| send(&place, number));
    let journal = dir.path().join("journal");
    let copied = Command::new("cp")
        .arg("-a")
        .args([&journal, kept.path()])
        .status();
    assert!(copied.unwrap().success());
    // From a bus that delivers again, and in another order.
    let sealed = place.bus.read(Stream::Telemetry, Seq::ZERO, 99).unwrap();
    let repeat = |place: &Place| {
        for (_, message) in sealed.iter().rev() {
            place.journal.append(Stream::Telemetry, message).unwrap();
        }
        place.settle();
        let ingested = place.ingest();
        (ingested.stored, ingested.repeated)
    };
    assert_eq!(repeat(&place), (20, 20));
    drop(place);
    for number in 20..22 {
        // Each start leaves a gap in the positions on the bus.
        let place = open(dir.path());
        send(&place, number);
        assert_eq!(place.ingest().stored, 1);
    }
    // From a journal that was restored from a backup.
    fs_err::remove_dir_all(&journal).unwrap();
    fs_err::rename(kept.path().join("journal"), &journal).unwrap();
    let place = open(dir.path());
    let again = Ingested {
        repeated: 20,
        ..Ingested::default()
    };
    assert_eq!(place.ingest(), again);
    send(&place, 22);
    assert_eq!(place.ingest().stored, 1);
    assert_eq!(repeat(&place), (0, 20));
    let all: Vec<i128> = (0..23).collect();
    assert_eq!(numbers(&place.all(&of("bare"))), all);
}

#[test]
fn what_was_kept_long_enough_goes_by_its_own_profile() {
    let dir = TempDir::new().unwrap();
    let place = three_blocks(dir.path());
    place.send(&record("porch", "motion", br#"{"confidence": 1}"#));
    place.ingest();
    let at = |days| now() + Duration::days(days);
    let left = |place: &Place| {
        let count = |schema| place.all(&of(schema)).len();
        (count("bare"), count("motion"))
    };
    assert_eq!(place.vault.tidy(at(9)).unwrap().expired, 0);
    assert_eq!(left(&place), (9, 1));
    assert_eq!(
        place.vault.tidy(at(10)).unwrap().expired,
        1,
        "10 days, says the profile"
    );
    assert_eq!(left(&place), (9, 0));
    // A damaged block goes with those that are as old.
    damage(&place, "bare", 0, |block| block.truncate(3));
    assert_eq!(place.vault.tidy(at(29)).unwrap().expired, 0);
    assert_eq!(
        place.vault.tidy(at(30)).unwrap().expired,
        3,
        "30 days, where it says nothing"
    );
    assert_eq!(left(&place), (0, 0));
    assert_eq!(
        place
            .store
            .scan(Table::new("vault.by-subject"), Scan::all())
            .unwrap()
            .len(),
        1,
        "the damaged one's, for fsck"
    );
}

#[test]
fn records_are_shown_for_a_purpose_and_each_asking_is_in_the_log() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    place.send(&record(
        "porch",
        "bare",
        br#"{"number": 1, "owner": "ada"}"#,
    ));
    place.send(&record("porch", "closed", br#"{"number": 1}"#));
    place.ingest();
    let ask =
        |purpose_is: &str, query: &Query| place.vault.query(&purpose(purpose_is), query, now());
    let owner =
        |purpose_is: &str| ask(purpose_is, &of("bare")).unwrap().records[0].fields["owner"].clone();
    assert_eq!(owner("operation"), owner("operation"));
    assert_ne!(
        owner("operation"),
        owner("repair"),
        "two purposes do not join"
    );

    let mut auditor = purpose("operation");
    auditor.role = Role::Auditor;
    let refusals = [
        ask("advertising", &of("bare")),
        ask("operation", &of("closed")),
        place.vault.query(&auditor, &of("bare"), now()),
    ];
    let said: Vec<_> = refusals
        .iter()
        .map(|refused| match refused {
            Err(VaultError::Refused(refused)) => refused.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    insta::assert_debug_snapshot!(said, @r#"
    [
        "the profile does not allow this purpose; it allows operation, repair",
        "the profile does not allow this purpose; it allows none: no model that sent records of it has `purposes` in its [vault] section",
        "the role auditor may not read data of single subjects",
    ]
    "#);

    let of_porch = Query {
        subject: Some(subject("porch")),
        ..of("bare")
    };
    let mut operator = purpose("repair");
    operator.role = Role::Operator;
    place.vault.query(&operator, &of_porch, now()).unwrap();
    let entries = place.vault.log().entries(0, 100).unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|(_, entry)| {
            (
                entry.outcome,
                entry.purpose.as_deref(),
                entry.subject.is_some(),
                entry.facts.get("records").copied(),
            )
        })
        .collect();
    let done = |purpose, subject| (Outcome::Done, Some(purpose), subject, Some(1));
    let refused = (Outcome::Refused, None, false, None);
    assert_eq!(
        told.iter().filter(|it| **it == refused).count(),
        3,
        "{told:?}"
    );
    assert_eq!(told.last(), Some(&done("repair", true)));
    assert_eq!(told[0], done("operation", false));
    let hashes = |at: usize| (entries[at].1.query_hash, entries[at].1.result_hash);
    assert_eq!(hashes(0), hashes(1), "the same question, the same answer");
    assert_ne!(hashes(0).1, hashes(3).1, "another purpose, another answer");

    // The profile of today decides.
    place.profiles.put(
        "cam-2",
        &PROFILE.replace("[\"operation\", \"repair\"]", "[\"repair\"]"),
    );
    assert!(ask("operation", &of("bare")).is_err());
    assert_eq!(ask("repair", &of("bare")).unwrap().records.len(), 1);
}

#[test]
fn clocks_that_are_wrong_lose_nothing() {
    let dir = TempDir::new().unwrap();
    let place = open(dir.path());
    for at in [i64::MIN, -1, 0, 253_402_300_800_000, i64::MAX] {
        let mut early = record("porch", "motion", br#"{"confidence": 1}"#);
        early.at_unix_ms = at;
        place.send(&early);
    }
    let past = time::OffsetDateTime::from_unix_timestamp(-86_400 * 400).unwrap();
    assert_eq!(place.vault.ingest_available(past).unwrap().stored, 5);
    place.send(&record("porch", "motion", br#"{"confidence": 1}"#));
    assert_eq!(place.ingest().stored, 1);
    let all = place.all(&of("motion"));
    assert_eq!(all.len(), 6);
    assert_eq!(all[0].stored, "1968-11-27");
    assert_eq!(
        place.all(&Query {
            newest_first: true,
            ..of("motion")
        })[0]
            .stored,
        "2026-09-21"
    );
}

#[test]
fn a_full_disk_stops_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let disk = dir.path().join("disk");
    fs_err::create_dir(&disk).unwrap();
    let mount = |args: &[&str]| {
        Command::new(args[0])
            .args(&args[1..])
            .arg(&disk)
            .output()
            .is_ok_and(|it| it.status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs"]) {
        println!("skipped: mounting a tmpfs needs root");
        return;
    }
    let filled = {
        let place = open(&disk);
        let mut sent = 0_i128;
        for _ in 0..40 {
            place.send(&record(
                "porch",
                "bare",
                format!(r#"{{"number": {sent}}}"#).as_bytes(),
            ));
            sent += 1;
        }
        let ballast = disk.join("ballast");
        let mut size = 4 << 20;
        let mut content: Vec<u8> = Vec::new();
        while size > 0 {
            content.resize(content.len() + size, 1);
            if fs_err::write(&ballast, &content).is_err() {
                content.truncate(content.len() - size);
                size /= 2;
            }
        }
        let refused = place.vault.ingest_available(now()).unwrap_err();
        assert!(
            matches!(
                refused,
                VaultError::Store(stockade_store::StoreError::Full { .. })
            ),
            "{refused:?}"
        );
        // A device that was never seen: its key cannot be kept, so its message is not taken.
        let unseen = place
            .bus
            .prepare(&record("attic", "bare", br#"{"number": 0}"#));
        assert!(unseen.is_err(), "{unseen:?}");
        fs_err::remove_file(ballast).unwrap();
        let all: Vec<i128> = (0..sent).collect();
        place.ingest();
        numbers(&place.all(&of("bare"))) == all
    };
    assert!(mount(&["umount", "-l"]));
    assert!(filled);
}
