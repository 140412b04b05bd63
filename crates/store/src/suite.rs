//! What every [`Store`] and every [`Bus`] must do; an implementation that passes may stand behind the seam.
//!
//! A *place* is where one instance keeps its data: calling it opens what is there, again and again. Each check gets
//! its own from `fresh`.

mod cluster;

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::bus::{Bus, BusError, BusStatus, Seq, Stream};
use crate::store::{Batch, Scan, Store, StoreError, Table};

pub use self::cluster::Cluster;

/// Opens the same data each time it is called.
pub type Place<T> = Box<dyn Fn() -> Box<T>>;
/// What came of a check.
pub type Checked = Result<(), Box<dyn Error>>;

const A: Table = Table::new("suite.a");
const B: Table = Table::new("suite.b");

/// Runs all checks of a [`Store`].
pub fn store(fresh: &dyn Fn() -> Place<dyn Store>) -> Checked {
    keeps_what_it_was_given(&*fresh()())?;
    scans_in_the_order_of_keys(&*fresh()())?;
    scans_only_what_is_asked_for(&*fresh()())?;
    a_batch_happens_whole_or_not_at_all(&*fresh()())?;
    requirements_are_about_the_state_before(&*fresh()())?;
    of_two_claims_one_wins(fresh()())?;
    what_is_done_last_to_a_key_is_done(&*fresh()())?;
    nothing_counted_is_lost_between_two_that_opened_it(&fresh())?;
    shows_all_entries_of_one_moment(&fresh())?;
    takes_a_large_batch(&*fresh()())?;
    what_was_committed_is_there_after_opening_again(&fresh())
}

fn keeps_what_it_was_given(store: &dyn Store) -> Checked {
    assert_eq!(store.get(A, b"k")?, None);
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut batch = Batch::new();
    batch
        .put(A, *b"k", *b"1")
        .put(B, *b"k", *b"2")
        .put(A, every_byte.clone(), every_byte.clone())
        .put(A, *b"", *b"");
    store.commit(batch)?;
    assert_eq!(
        store.get(A, b"k")?.as_deref(),
        Some(b"1".as_slice()),
        "tables must not mix"
    );
    assert_eq!(store.get(B, b"k")?.as_deref(), Some(b"2".as_slice()));
    assert_eq!(store.get(A, &every_byte)?, Some(every_byte));
    assert_eq!(
        store.get(A, b"")?.as_deref(),
        Some(b"".as_slice()),
        "an empty value is a value"
    );
    let mut batch = Batch::new();
    batch
        .put(A, *b"k", *b"new")
        .delete(B, *b"k")
        .delete(B, *b"never there");
    store.commit(batch)?;
    assert_eq!(store.get(A, b"k")?.as_deref(), Some(b"new".as_slice()));
    assert_eq!(store.get(B, b"k")?, None);
    Ok(store.commit(Batch::new())?)
}

fn filled(store: &dyn Store, keys: &[&[u8]]) -> Checked {
    let mut batch = Batch::new();
    for key in keys {
        batch.put(A, *key, [*key, b"!"].concat());
        batch.put(B, *key, *b"of another table");
    }
    Ok(store.commit(batch)?)
}

fn keys(store: &dyn Store, scan: Scan) -> Result<Vec<Vec<u8>>, StoreError> {
    let entries = store.scan(A, scan)?;
    assert!(
        entries
            .iter()
            .all(|(key, value)| *value == [key.as_slice(), b"!"].concat()),
        "a value of another key"
    );
    Ok(entries.into_iter().map(|(key, _)| key).collect())
}

fn scans_in_the_order_of_keys(store: &dyn Store) -> Checked {
    filled(
        store,
        &[b"b", b"a\xff", b"a", b"", b"\xff\xff", b"a\0", b"\xff"],
    )?;
    let ordered: [&[u8]; 7] = [b"", b"a", b"a\0", b"a\xff", b"b", b"\xff", b"\xff\xff"];
    assert_eq!(keys(store, Scan::all())?, ordered);
    let backwards: Vec<_> = ordered.into_iter().rev().collect();
    assert_eq!(keys(store, Scan::all().reverse())?, backwards);
    Ok(())
}

fn scans_only_what_is_asked_for(store: &dyn Store) -> Checked {
    filled(
        store,
        &[b"a", b"b", b"b1", b"b2", b"b3", b"c", b"\xff", b"\xff1"],
    )?;
    let check = |scan: Scan, wanted: &[&[u8]]| -> Checked {
        assert_eq!(keys(store, scan.clone())?, wanted, "{scan:?}");
        Ok(())
    };
    check(Scan::prefix(*b"b"), &[b"b", b"b1", b"b2", b"b3"])?;
    check(Scan::prefix(*b"b").limit(2), &[b"b", b"b1"])?;
    check(Scan::prefix(*b"b").after(*b"b1"), &[b"b2", b"b3"])?;
    check(Scan::prefix(*b"b").after(*b"b1x").limit(1), &[b"b2"])?;
    check(Scan::prefix(*b"b").reverse().limit(2), &[b"b3", b"b2"])?;
    check(Scan::prefix(*b"b").reverse().after(*b"b2"), &[b"b1", b"b"])?;
    check(
        Scan::prefix(*b"b").after(*b"a"),
        &[b"b", b"b1", b"b2", b"b3"],
    )?;
    check(Scan::prefix(*b"b").after(*b"c"), &[])?;
    check(
        Scan::prefix(*b"b").reverse().after(*b"c"),
        &[b"b3", b"b2", b"b1", b"b"],
    )?;
    check(Scan::prefix(*b"b").reverse().after(*b"a"), &[])?;
    check(Scan::prefix(*b"\xff"), &[b"\xff", b"\xff1"])?;
    check(Scan::prefix(*b"nothing"), &[])?;
    check(Scan::all().after(*b"b3"), &[b"c", b"\xff", b"\xff1"])?;
    check(Scan::all().limit(0), &[])
}

fn a_batch_happens_whole_or_not_at_all(store: &dyn Store) -> Checked {
    filled(store, &[b"old"])?;
    let mut batch = Batch::new();
    batch
        .put(A, *b"new", *b"1")
        .delete(A, *b"old")
        .require_absent(B, *b"old");
    assert!(matches!(store.commit(batch), Err(StoreError::Conflict { table }) if table == B));
    assert_eq!(
        keys(store, Scan::all())?,
        [b"old"],
        "a refused batch changed something"
    );
    Ok(())
}

fn requirements_are_about_the_state_before(store: &dyn Store) -> Checked {
    let mut batch = Batch::new();
    // What the batch itself writes does not count, wherever the requirement stands.
    batch.put(A, *b"k", *b"1").require_absent(A, *b"k");
    store.commit(batch)?;
    for (value, holds) in [(b"2", false), (b"1", true)] {
        let mut batch = Batch::new();
        batch.require_equals(A, *b"k", *value).put(A, *b"k", *b"3");
        assert_eq!(store.commit(batch).is_ok(), holds);
    }
    let mut batch = Batch::new();
    batch.require_equals(A, *b"not there", *b"");
    assert!(
        matches!(store.commit(batch), Err(StoreError::Conflict { .. })),
        "absent is not empty"
    );
    Ok(())
}

fn of_two_claims_one_wins(store: Box<dyn Store>) -> Checked {
    const CLAIMS: usize = 4;
    let store: Arc<dyn Store> = Arc::from(store);
    let start = Arc::new(Barrier::new(CLAIMS));
    let claim = |number: usize| {
        let (store, start) = (Arc::clone(&store), Arc::clone(&start));
        move || {
            let mut batch = Batch::new();
            batch
                .require_absent(A, *b"claim")
                .put(A, *b"claim", number.to_be_bytes());
            start.wait();
            store.commit(batch)
        }
    };
    let claims: Vec<_> = (0..CLAIMS)
        .map(|number| std::thread::spawn(claim(number)))
        .collect();
    let mut winners = Vec::new();
    for (number, thread) in claims.into_iter().enumerate() {
        match thread.join().map_err(|_| "a claim panicked")? {
            Ok(()) => winners.push(number.to_be_bytes().to_vec()),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    assert_eq!(winners.len(), 1, "exactly one claim wins");
    assert_eq!(store.get(A, b"claim")?, winners.pop());
    Ok(())
}

fn what_is_done_last_to_a_key_is_done(store: &dyn Store) -> Checked {
    let mut batch = Batch::new();
    batch
        .put(A, *b"gone", *b"1")
        .delete(A, *b"gone")
        .delete(A, *b"there")
        .put(A, *b"there", *b"1")
        .put(A, *b"there", *b"2");
    store.commit(batch)?;
    assert_eq!(store.get(A, b"gone")?, None);
    assert_eq!(store.get(A, b"there")?.as_deref(), Some(b"2".as_slice()));
    store.scrub()?;
    assert_eq!(store.scan(A, Scan::all())?.len(), 1);
    Ok(())
}

/// Adds one to the number under the key `count`, as often as told, again whenever somebody else was quicker.
pub fn count_up(store: &dyn Store, times: u32) -> Result<(), StoreError> {
    for _ in 0..times {
        loop {
            let before = store.get(A, b"count")?;
            let number = before
                .as_deref()
                .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
                .map_or(0, u32::from_be_bytes);
            let mut batch = Batch::new();
            match before {
                Some(before) => batch.require_equals(A, *b"count", before),
                None => batch.require_absent(A, *b"count"),
            };
            batch.put(A, *b"count", (number + 1).to_be_bytes());
            // Each step leaves a pair behind, which nobody may ever see half of.
            batch
                .put(A, [b"pair", &number.to_be_bytes()[..]].concat(), *b"")
                .put(B, [b"pair", &number.to_be_bytes()[..]].concat(), *b"");
            match store.commit(batch) {
                Ok(()) => break,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Asserts that the number under the key `count` is this.
pub fn counted(store: &dyn Store, wanted: u32) -> Checked {
    assert_eq!(
        store.get(A, b"count")?,
        Some(wanted.to_be_bytes().to_vec()),
        "a step was lost or done twice"
    );
    assert_eq!(
        u32::try_from(store.scan(B, Scan::prefix(*b"pair"))?.len())?,
        wanted
    );
    Ok(())
}

fn nothing_counted_is_lost_between_two_that_opened_it(place: &Place<dyn Store>) -> Checked {
    let threads: Vec<_> = (0..4)
        .map(|number| (number % 2 == 0).then(place))
        .scan(None, |last: &mut Option<Arc<dyn Store>>, new| {
            if let Some(new) = new {
                *last = Some(Arc::from(new));
            }
            last.clone()
        })
        .map(|store| std::thread::spawn(move || count_up(&*store, 25)))
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    counted(&*place(), 100)
}

fn shows_all_entries_of_one_moment(place: &Place<dyn Store>) -> Checked {
    let (store, other) = (place(), place());
    count_up(&*store, 600)?;
    let mut batch = Batch::new();
    batch.put(
        Table::new("suitf"),
        *b"k",
        *b"of a table that was not asked for",
    );
    store.commit(batch)?;
    let writer = std::thread::spawn(move || count_up(&*other, 100));
    for _ in 0..3 {
        let mut found = [0, 0];
        let mut last = (String::new(), Vec::new());
        store.snapshot("suite.", &mut |table, key, _| {
            let this = (table.to_owned(), key.to_owned());
            assert!(last < this, "by table and key");
            if key.starts_with(b"pair") {
                let [a, b] = &mut found;
                *(if table == A.as_str() { a } else { b }) += 1;
            }
            last = this;
            ControlFlow::Continue(())
        })?;
        let [a, b] = found;
        assert!(a == b && a >= 600, "not of one moment: {a} and {b}");
    }
    writer.join().map_err(|_| "the writer panicked")??;
    let mut seen = 0;
    store.snapshot("suite.b", &mut |_, _, _| {
        seen += 1;
        ControlFlow::Break(())
    })?;
    assert_eq!(seen, 1, "it can be broken off");
    counted(&*store, 700)
}

fn takes_a_large_batch(store: &dyn Store) -> Checked {
    let mut batch = Batch::new();
    for number in 0..4_000_u32 {
        batch.put(A, number.to_be_bytes(), vec![7; 10_000]);
    }
    store.commit(batch)?;
    assert_eq!(store.scan(A, Scan::all())?.len(), 4_000);
    Ok(())
}

fn what_was_committed_is_there_after_opening_again(place: &Place<dyn Store>) -> Checked {
    for round in 0..3_u8 {
        let store = place();
        let seen: Vec<_> = keys(&*store, Scan::all())?;
        assert_eq!(seen, (0..round).map(|n| vec![n]).collect::<Vec<_>>());
        filled(&*store, &[&[round]])?;
    }
    Ok(())
}

/// Runs all checks of a [`Bus`].
pub fn bus(fresh: &dyn Fn() -> Place<dyn Bus>) -> Checked {
    gives_growing_positions_over_all_streams(&*fresh()())?;
    reads_each_stream_in_order(&*fresh()())?;
    reads_in_pieces_without_loss(&*fresh()())?;
    takes_several_as_one(&*fresh()())?;
    many_threads_append_at_once(fresh()())?;
    refuses_what_is_too_large_and_goes_on(&*fresh()())?;
    trimming_keeps_what_others_need(&*fresh()())?;
    what_was_durable_is_there_after_opening_again(&fresh())
}

/// Waits until `seq` is durable.
pub fn wait(bus: &dyn Bus, seq: Seq) -> Checked {
    let mut durable = bus.durable();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), durable.wait_for(|now| *now >= seq))
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Every record of `stream`, read in pieces of `piece`.
pub fn all(bus: &dyn Bus, stream: Stream, piece: usize) -> Result<Vec<(Seq, Vec<u8>)>, BusError> {
    let mut records: Vec<(Seq, Vec<u8>)> = Vec::new();
    loop {
        let after = records.last().map_or(Seq::ZERO, |(seq, _)| *seq);
        let more = bus.read(stream, after, piece)?;
        assert!(more.len() <= piece, "more records than asked for");
        if more.is_empty() {
            return Ok(records);
        }
        records.extend(more);
    }
}

/// Appends, and again as long as the buffer is full.
fn append_patiently(bus: &dyn Bus, stream: Stream, record: &[u8]) -> Result<Seq, BusError> {
    loop {
        match bus.append(stream, record) {
            Err(BusError::Full) => std::thread::yield_now(),
            other => return other,
        }
    }
}

fn gives_growing_positions_over_all_streams(bus: &dyn Bus) -> Checked {
    assert_eq!(bus.status(), BusStatus::Healthy);
    let mut before = bus.last();
    for round in 0..10_u8 {
        for stream in Stream::ALL {
            let seq = bus.append(stream, &[round])?;
            assert!(seq > before, "positions grow");
            assert_eq!(bus.last(), seq);
            before = seq;
        }
    }
    wait(bus, before)?;
    assert_eq!(
        *bus.durable().borrow(),
        before,
        "nothing is durable before it was appended"
    );
    Ok(())
}

fn reads_each_stream_in_order(bus: &dyn Bus) -> Checked {
    let mut wanted = Vec::new();
    let mut last = Seq::ZERO;
    for number in 0..100_u32 {
        let record = number.to_le_bytes();
        let seq = bus.append(Stream::Telemetry, &record)?;
        wanted.push((seq, record.to_vec()));
        last = bus.append(Stream::Sessions, b"of another stream")?;
    }
    let empty = bus.append(Stream::Telemetry, b"")?;
    wanted.push((empty, Vec::new()));
    wait(bus, last.max(empty))?;
    assert_eq!(all(bus, Stream::Telemetry, usize::MAX)?, wanted);
    assert_eq!(bus.read(Stream::Fleet, Seq::ZERO, 10)?, []);
    let (middle, _) = wanted.split_off(50).remove(0);
    assert_eq!(
        bus.read(Stream::Telemetry, middle, 1)?
            .first()
            .map(|(seq, _)| *seq > middle),
        Some(true)
    );
    assert_eq!(bus.read(Stream::Telemetry, last.max(empty), 10)?, []);
    Ok(())
}

fn reads_in_pieces_without_loss(bus: &dyn Bus) -> Checked {
    let mut last = Seq::ZERO;
    let record = vec![7; 10_000];
    for number in 0..500_usize {
        let (record, _) = record.split_at(number * 20);
        last = append_patiently(bus, Stream::Telemetry, record)?;
    }
    wait(bus, last)?;
    for piece in [1, 7, 1000] {
        let lengths: Vec<_> = all(bus, Stream::Telemetry, piece)?
            .into_iter()
            .map(|(_, record)| record.len())
            .collect();
        assert_eq!(
            lengths,
            (0..500).map(|number| number * 20).collect::<Vec<_>>()
        );
    }
    Ok(())
}

fn takes_several_as_one(bus: &dyn Bus) -> Checked {
    let before = bus.append(Stream::Fleet, b"before")?;
    let last = bus.append_all(&[
        (Stream::Telemetry, b"t".as_slice()),
        (Stream::Sessions, b"s"),
        (Stream::Telemetry, b"u"),
    ])?;
    assert!(last.get() >= before.get() + 3);
    wait(bus, last)?;
    let telemetry = bus.read(Stream::Telemetry, before, 10)?;
    let sessions = bus.read(Stream::Sessions, before, 10)?;
    let texts = |records: &[(Seq, Vec<u8>)]| {
        records
            .iter()
            .map(|(_, record)| record.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(&telemetry), [b"t", b"u"]);
    assert_eq!(texts(&sessions), [b"s"]);
    let in_order =
        |between: Seq| telemetry.first().is_some_and(|(seq, _)| *seq < between) && between < last;
    assert!(
        sessions.first().is_some_and(|(seq, _)| in_order(*seq)),
        "in the order given"
    );
    assert_eq!(telemetry.last().map(|(seq, _)| *seq), Some(last));
    Ok(())
}

fn many_threads_append_at_once(bus: Box<dyn Bus>) -> Checked {
    const THREADS: u8 = 4;
    const EACH: u32 = 2_000;
    let bus: Arc<dyn Bus> = Arc::from(bus);
    let append = |thread: u8| {
        let bus = Arc::clone(&bus);
        move || -> Result<Seq, BusError> {
            let mut last = Seq::ZERO;
            for number in 0..EACH {
                let record = [[thread; 4], number.to_le_bytes()].concat();
                last = append_patiently(&*bus, Stream::Sessions, &record)?;
            }
            Ok(last)
        }
    };
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| std::thread::spawn(append(thread)))
        .collect();
    let mut last = Seq::ZERO;
    for thread in threads {
        last = last.max(thread.join().map_err(|_| "an appender panicked")??);
    }
    wait(&*bus, last)?;
    let records = all(&*bus, Stream::Sessions, 1_000)?;
    assert!(
        records
            .iter()
            .zip(records.iter().skip(1))
            .all(|((a, _), (b, _))| a < b),
        "positions grow"
    );
    for thread in 0..THREADS {
        let of_thread = records
            .iter()
            .filter(|(_, record)| record.first() == Some(&thread));
        let wanted = (0..EACH).map(|number| [[thread; 4], number.to_le_bytes()].concat());
        assert!(
            of_thread.map(|(_, record)| record.clone()).eq(wanted),
            "each thread's records, in its order"
        );
    }
    Ok(())
}

fn refuses_what_is_too_large_and_goes_on(bus: &dyn Bus) -> Checked {
    // Larger than any implementation may take.
    let huge = vec![0; (64 << 20) + 1];
    assert!(matches!(
        bus.append(Stream::Fleet, &huge),
        Err(BusError::TooLarge { .. })
    ));
    let seq = bus.append(Stream::Fleet, b"small")?;
    wait(bus, seq)?;
    assert_eq!(
        bus.read(Stream::Fleet, Seq::ZERO, 10)?,
        [(seq, b"small".to_vec())]
    );
    Ok(())
}

fn trimming_keeps_what_others_need(bus: &dyn Bus) -> Checked {
    let first = bus.append(Stream::Telemetry, b"one")?;
    let second = bus.append(Stream::Telemetry, b"two")?;
    let session = bus.append(Stream::Sessions, b"session")?;
    wait(bus, session)?;
    bus.trim(Stream::Telemetry, first)?;
    assert_eq!(
        bus.read(Stream::Telemetry, first, 10)?,
        [(second, b"two".to_vec())]
    );
    bus.trim(Stream::Telemetry, second)?;
    assert_eq!(bus.read(Stream::Telemetry, second, 10)?, []);
    assert_eq!(
        bus.read(Stream::Sessions, Seq::ZERO, 10)?,
        [(session, b"session".to_vec())]
    );
    Ok(())
}

fn what_was_durable_is_there_after_opening_again(place: &Place<dyn Bus>) -> Checked {
    let mut wanted = Vec::new();
    for round in 0..4_u8 {
        let bus = place();
        assert_eq!(all(&*bus, Stream::Sessions, 3)?, wanted);
        assert_eq!(
            *bus.durable().borrow(),
            bus.last(),
            "all that is there is durable"
        );
        for number in 0..5 {
            let before = bus.last();
            let seq = bus.append(Stream::Sessions, &[round, number])?;
            assert!(seq > before, "no position is given out twice");
            wanted.push((seq, vec![round, number]));
        }
        // The last rounds close with records under way: closing finishes them.
        if round < 2 {
            wait(&*bus, bus.last())?;
        }
    }
    assert_eq!(all(&*place(), Stream::Sessions, 100)?, wanted);
    Ok(())
}
