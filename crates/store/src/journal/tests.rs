//! The journal on disks that fill up, fail, tear writes and rot.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::disk::{Disk, RealDisk};
use super::frame::{ALL_BEFORE_SYNCED, FILE_HEADER, FileHeader, Stamp, body_crc, write_frame};
use super::{Durability, Journal, JournalError, JournalOptions};
use crate::bus::{Bus, BusError, BusStatus, Seq, Stream};
use crate::suite::{all, wait};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Takes half of what is written.
    Full,
    /// Syncs fail; what was written stays readable, as the kernel does it.
    Failing,
    /// Syncs never end.
    Stuck,
}

/// A real disk with moods.
#[derive(Debug)]
struct MoodyDisk {
    mood: Mutex<Mood>,
    changed: Condvar,
    synced: AtomicU64,
}

impl MoodyDisk {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            mood: Mutex::new(Mood::Well),
            changed: Condvar::new(),
            synced: AtomicU64::new(0),
        })
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
        self.changed.notify_all();
    }
}

impl Disk for MoodyDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if *self.mood.lock().unwrap_or_else(PoisonError::into_inner) == Mood::Full {
            RealDisk.write_at(file, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        RealDisk.write_at(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut mood = self.mood.lock().unwrap_or_else(PoisonError::into_inner);
        while *mood == Mood::Stuck {
            mood = self
                .changed
                .wait(mood)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if *mood == Mood::Failing {
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::IO.raw_os_error(),
            ));
        }
        drop(mood);
        self.synced.fetch_add(1, Ordering::Relaxed);
        RealDisk.sync(file)
    }
}

fn open(dir: &Path) -> Result<Journal, JournalError> {
    Journal::open(dir, JournalOptions::default())
}

fn texts(bus: &dyn Bus, stream: Stream) -> Vec<String> {
    let records = all(bus, stream, 1_000).unwrap();
    records
        .into_iter()
        .map(|(_, record)| String::from_utf8(record).unwrap())
        .collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs_err::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

/// Appends each record in a group of its own.
fn write_groups(dir: &Path, options: JournalOptions, records: &[&str]) {
    let journal = Journal::open(dir, options).unwrap();
    for record in records {
        let seq = journal.append(Stream::Sessions, record.as_bytes()).unwrap();
        wait(&journal, seq).unwrap();
    }
}

/// A condition that another thread brings about.
fn until(condition: impl Fn() -> bool) {
    let (lock, never) = (Mutex::new(()), Condvar::new());
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        drop(
            never
                .wait_timeout(lock.lock().unwrap(), Duration::from_millis(10))
                .unwrap(),
        );
    }
    panic!("did not come true in 30 s");
}

#[test]
fn a_file_cut_anywhere_opens_with_the_whole_records_before_the_cut() {
    let dir = TempDir::new().unwrap();
    let records = ["one", "two and a bit", "3", "four"];
    write_groups(dir.path(), JournalOptions::default(), &records);
    let path = segments(dir.path()).remove(0);
    // As opening leaves it: without the zeros.
    drop(open(dir.path()).unwrap());
    let whole = fs_err::read(&path).unwrap();
    let mut ends = vec![FILE_HEADER];
    for record in records {
        ends.push(
            ends.last().unwrap()
                + super::frame::HEADER
                + super::frame::RECORD_HEADER
                + record.len(),
        );
    }
    assert_eq!(ends.last(), Some(&whole.len()));
    for length in FILE_HEADER..=whole.len() {
        for zeros in [0, 100] {
            let torn = [&whole[..length], &vec![0; zeros]].concat();
            fs_err::write(&path, torn).unwrap();
            let journal = open(dir.path()).unwrap();
            let intact = ends.iter().filter(|end| **end <= length).count() - 1;
            assert_eq!(
                texts(&journal, Stream::Sessions),
                records[..intact],
                "cut at {length}"
            );
            // A sync each, which takes its time.
            if length % 10 == 0 {
                wait(
                    &journal,
                    journal.append(Stream::Sessions, b"after").unwrap(),
                )
                .unwrap();
                drop(journal);
                let journal = open(dir.path()).unwrap();
                assert_eq!(
                    texts(&journal, Stream::Sessions).last().map(String::as_str),
                    Some("after")
                );
            }
        }
    }
}

#[test]
fn a_flipped_bit_among_records_that_were_safe_is_an_error_that_names_the_place() {
    let dir = TempDir::new().unwrap();
    write_groups(
        dir.path(),
        JournalOptions::default(),
        &["one", "two", "three"],
    );
    let path = segments(dir.path()).remove(0);
    drop(open(dir.path()).unwrap());
    let whole = fs_err::read(&path).unwrap();
    let length = |record: &str| super::frame::HEADER + super::frame::RECORD_HEADER + record.len();
    let second = FILE_HEADER + length("one");
    let third = second + length("two");
    for at in FILE_HEADER..whole.len() {
        let mut rotten = whole.clone();
        rotten[at] ^= 1 << (at % 8);
        fs_err::write(&path, &rotten).unwrap();
        let opened = open(dir.path());
        if at < third {
            let start = if at < second { FILE_HEADER } else { second };
            let Err(JournalError::Damaged { file, offset, .. }) = opened else {
                panic!("byte {at}: {opened:?}");
            };
            assert_eq!((file, offset), (path.clone(), start as u64), "byte {at}");
        } else {
            // Nothing behind it says that it was ever safe: that is what a crash leaves.
            assert_eq!(
                texts(&opened.unwrap(), Stream::Sessions),
                ["one", "two"],
                "byte {at}"
            );
        }
    }
    for at in 0..FILE_HEADER {
        let mut rotten = whole.clone();
        rotten[at] ^= 1 << (at % 8);
        fs_err::write(&path, &rotten).unwrap();
        assert!(open(dir.path()).is_err(), "byte {at} of the header");
    }
}

#[test]
fn damage_to_a_finished_segment_or_its_absence_is_an_error() {
    let small = JournalOptions {
        segment_bytes: 100,
        ..JournalOptions::default()
    };
    let dir = TempDir::new().unwrap();
    write_groups(
        dir.path(),
        small,
        &[
            "one".repeat(20).as_str(),
            "two".repeat(20).as_str(),
            "three",
        ],
    );
    let paths = segments(dir.path());
    assert_eq!(paths.len(), 3);
    let middle = fs_err::read(&paths[1]).unwrap();

    fs_err::write(&paths[1], &middle[..middle.len() - 1]).unwrap();
    assert!(
        matches!(open(dir.path()), Err(JournalError::Damaged { file, .. }) if file == paths[1])
    );
    fs_err::write(&paths[1], [middle.as_slice(), &[0]].concat()).unwrap();
    assert!(
        matches!(open(dir.path()), Err(JournalError::Damaged { file, .. }) if file == paths[1])
    );
    fs_err::remove_file(&paths[1]).unwrap();
    assert!(
        matches!(open(dir.path()), Err(JournalError::Damaged { file, .. }) if file == paths[2])
    );
    fs_err::write(&paths[1], &middle).unwrap();
    assert_eq!(texts(&open(dir.path()).unwrap(), Stream::Sessions).len(), 3);
}

#[test]
fn newer_and_foreign_files_are_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()).unwrap());
    let path = segments(dir.path()).remove(0);
    let mut newer = fs_err::read(&path).unwrap();
    newer[8] = 2;
    fs_err::write(&path, newer).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("format 2; this version knows formats up to 1"),
        "{error}"
    );
    fs_err::write(&path, "hello").unwrap();
    assert!(matches!(open(dir.path()), Err(JournalError::Foreign { file }) if file == path));
    fs_err::remove_file(&path).unwrap();
    fs_err::write(dir.path().join("notes.txt"), "hello").unwrap();
    assert!(matches!(
        open(dir.path()),
        Err(JournalError::Foreign { .. })
    ));
}

#[test]
fn a_full_disk_refuses_and_recovers_and_loses_nothing() {
    let (dir, disk) = (TempDir::new().unwrap(), MoodyDisk::new());
    let journal = Journal::open_on(
        dir.path(),
        JournalOptions::default(),
        Arc::<MoodyDisk>::clone(&disk),
    )
    .unwrap();
    let first = journal.append(Stream::Sessions, b"one").unwrap();
    wait(&journal, first).unwrap();

    disk.set(Mood::Full);
    let second = journal.append(Stream::Sessions, b"two").unwrap();
    until(|| journal.status() != BusStatus::Healthy);
    assert!(
        matches!(journal.status(), BusStatus::Refusing { passing: true, reason } if reason.contains("full"))
    );
    assert!(matches!(
        journal.append(Stream::Sessions, b"three"),
        Err(BusError::Refusing { .. })
    ));
    assert_eq!(
        *journal.durable().borrow(),
        first,
        "nothing more is durable"
    );
    assert_eq!(texts(&journal, Stream::Sessions), ["one"]);

    disk.set(Mood::Well);
    wait(&journal, second).unwrap();
    until(|| journal.status() == BusStatus::Healthy);
    let last = journal.append(Stream::Sessions, b"three").unwrap();
    wait(&journal, last).unwrap();
    drop(journal);
    assert_eq!(
        texts(&open(dir.path()).unwrap(), Stream::Sessions),
        ["one", "two", "three"]
    );
}

#[test]
fn closing_on_a_full_disk_ends_and_keeps_what_was_acknowledged() {
    let (dir, disk) = (TempDir::new().unwrap(), MoodyDisk::new());
    let journal = Journal::open_on(
        dir.path(),
        JournalOptions::default(),
        Arc::<MoodyDisk>::clone(&disk),
    )
    .unwrap();
    wait(&journal, journal.append(Stream::Sessions, b"one").unwrap()).unwrap();
    disk.set(Mood::Full);
    journal
        .append(Stream::Sessions, b"two, never acknowledged")
        .unwrap();
    until(|| journal.status() != BusStatus::Healthy);
    drop(journal);
    assert_eq!(texts(&open(dir.path()).unwrap(), Stream::Sessions), ["one"]);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_a_restart() {
    let (dir, disk) = (TempDir::new().unwrap(), MoodyDisk::new());
    let journal = Journal::open_on(
        dir.path(),
        JournalOptions::default(),
        Arc::<MoodyDisk>::clone(&disk),
    )
    .unwrap();
    let first = journal.append(Stream::Sessions, b"one").unwrap();
    wait(&journal, first).unwrap();
    disk.set(Mood::Failing);
    journal.append(Stream::Sessions, b"two").unwrap();
    until(|| journal.status() != BusStatus::Healthy);
    // A second sync would succeed, and mean nothing.
    disk.set(Mood::Well);
    assert!(matches!(
        journal.status(),
        BusStatus::Refusing { passing: false, .. }
    ));
    assert!(matches!(
        journal.append(Stream::Sessions, b"three"),
        Err(BusError::Refusing { .. })
    ));
    assert_eq!(*journal.durable().borrow(), first);
    drop(journal);
    // "two" may be there: it was on its way, and nobody was told that it is safe.
    assert!(texts(&open(dir.path()).unwrap(), Stream::Sessions).starts_with(&["one".to_owned()]));
}

/// Which parts of the file were written.
#[derive(Debug, Default)]
struct NotingDisk(Mutex<Vec<(u64, usize)>>);

impl Disk for NotingDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((offset, bytes.len()));
        RealDisk.write_at(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        RealDisk.sync(file)
    }
}

#[test]
fn opening_writes_again_what_may_be_in_memory_only() {
    let dir = TempDir::new().unwrap();
    write_groups(dir.path(), JournalOptions::default(), &["one", "two"]);
    let length = super::frame::HEADER + super::frame::RECORD_HEADER + "one".len();
    let disk = Arc::new(NotingDisk::default());
    drop(
        Journal::open_on(
            dir.path(),
            JournalOptions::default(),
            Arc::<NotingDisk>::clone(&disk),
        )
        .unwrap(),
    );
    assert_eq!(
        disk.0.lock().unwrap().first(),
        Some(&((FILE_HEADER + length) as u64, length)),
        "the last group"
    );
}

#[test]
fn a_slow_disk_pushes_back_and_then_goes_on() {
    let (dir, disk) = (TempDir::new().unwrap(), MoodyDisk::new());
    let options = JournalOptions {
        buffer_bytes: 4_096,
        ..JournalOptions::default()
    };
    let journal = Journal::open_on(dir.path(), options, Arc::<MoodyDisk>::clone(&disk)).unwrap();
    disk.set(Mood::Stuck);
    let mut taken = 0;
    let refused = loop {
        match journal.append(Stream::Sessions, &[7; 100]) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 1_000, "the buffer has a bound");
    };
    assert!(matches!(refused, BusError::Full));
    disk.set(Mood::Well);
    wait(&journal, journal.last()).unwrap();
    assert_eq!(all(&journal, Stream::Sessions, 1_000).unwrap().len(), taken);
    journal.append(Stream::Sessions, b"on").unwrap();
}

#[test]
fn many_appends_share_a_sync() {
    let (dir, disk) = (TempDir::new().unwrap(), MoodyDisk::new());
    let journal = Journal::open_on(
        dir.path(),
        JournalOptions::default(),
        Arc::<MoodyDisk>::clone(&disk),
    )
    .unwrap();
    disk.set(Mood::Stuck);
    for _ in 0..10_000 {
        journal.append(Stream::Sessions, b"x").unwrap();
    }
    let before = disk.synced.load(Ordering::Relaxed);
    disk.set(Mood::Well);
    wait(&journal, journal.last()).unwrap();
    let syncs = disk.synced.load(Ordering::Relaxed) - before;
    assert!(
        syncs <= 2,
        "one for what was under way, one for all that gathered; not {syncs}"
    );
}

#[test]
fn an_interval_acknowledges_before_the_sync_and_syncs_by_itself() {
    let (dir, disk) = (TempDir::new().unwrap(), MoodyDisk::new());
    let durability = Durability::Interval(Duration::from_millis(50));
    let options = JournalOptions {
        durability,
        ..JournalOptions::default()
    };
    let journal = Journal::open_on(dir.path(), options, Arc::<MoodyDisk>::clone(&disk)).unwrap();
    let before = disk.synced.load(Ordering::Relaxed);
    wait(&journal, journal.append(Stream::Sessions, b"x").unwrap()).unwrap();
    until(|| disk.synced.load(Ordering::Relaxed) > before);
    disk.set(Mood::Failing);
    wait(&journal, journal.append(Stream::Sessions, b"y").unwrap()).unwrap();
    until(|| journal.status() != BusStatus::Healthy);
}

#[test]
fn space_is_freed_once_every_stream_is_past_it() {
    let dir = TempDir::new().unwrap();
    let small = JournalOptions {
        segment_bytes: 1_000,
        ..JournalOptions::default()
    };
    let journal = Journal::open(dir.path(), small.clone()).unwrap();
    let mut last = Seq::ZERO;
    for _ in 0..100 {
        journal.append(Stream::Sessions, &[1; 50]).unwrap();
        last = journal.append(Stream::Telemetry, &[2; 50]).unwrap();
        wait(&journal, last).unwrap();
    }
    let files = segments(dir.path()).len();
    assert!(files > 10, "{files}");
    journal.trim(Stream::Sessions, last).unwrap();
    assert_eq!(
        segments(dir.path()).len(),
        files,
        "the telemetry is still needed"
    );
    journal.trim(Stream::Telemetry, last).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    drop(journal);
    let journal = Journal::open(dir.path(), small).unwrap();
    assert!(
        journal.append(Stream::Sessions, b"x").unwrap() > last,
        "positions go on"
    );
}

#[test]
fn what_was_there_at_a_parting_goes_without_what_came_behind_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path()).unwrap();
    assert!(journal.first() > journal.last(), "nothing is there");
    let old = journal.append(Stream::Sessions, b"old").unwrap();
    wait(&journal, old).unwrap();
    assert_eq!(journal.first(), old);
    journal.part();
    assert_eq!(segments(dir.path()).len(), 1, "nothing came behind it");
    let new = journal.append(Stream::Sessions, b"new").unwrap();
    wait(&journal, new).unwrap();
    let newer = journal.append(Stream::Sessions, b"newer").unwrap();
    wait(&journal, newer).unwrap();
    assert_eq!(segments(dir.path()).len(), 2, "one parting, one segment");
    journal.trim(Stream::Sessions, old).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    assert_eq!(journal.first(), new);
    assert_eq!(texts(&journal, Stream::Sessions), ["new", "newer"]);
    drop(journal);
    let journal = open(dir.path()).unwrap();
    assert_eq!(journal.first(), new, "also after a start");
    assert_eq!(texts(&journal, Stream::Sessions), ["new", "newer"]);
}

#[test]
fn a_payload_that_looks_like_a_frame_is_not_taken_for_one() {
    let dir = TempDir::new().unwrap();
    // A device does not know the salt; with it, this would be an intact frame.
    let mut forged = Vec::new();
    let inner: &[(Stream, &[u8])] = &[(Stream::Sessions, b"forged")];
    for salt in [0, 1, u32::MAX] {
        let stamp = Stamp {
            first: Seq::new(1 << 40),
            body_crc: body_crc(inner),
            flags: ALL_BEFORE_SYNCED,
            salt,
        };
        write_frame(&mut forged, inner, stamp);
    }
    let journal = open(dir.path()).unwrap();
    wait(&journal, journal.append(Stream::Sessions, b"one").unwrap()).unwrap();
    wait(
        &journal,
        journal.append(Stream::Telemetry, &forged).unwrap(),
    )
    .unwrap();
    drop(journal);
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs_err::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let journal = open(dir.path()).unwrap();
    assert_eq!(texts(&journal, Stream::Sessions), ["one"]);
    assert_eq!(journal.read(Stream::Telemetry, Seq::ZERO, 10).unwrap(), []);
}

#[test]
fn rot_under_a_running_journal_is_an_error_of_the_reader() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path()).unwrap();
    wait(&journal, journal.append(Stream::Sessions, b"one").unwrap()).unwrap();
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[FILE_HEADER + 30] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let read = journal.read(Stream::Sessions, Seq::ZERO, 10);
    assert!(
        matches!(read, Err(BusError::Damaged { offset, .. }) if offset == FILE_HEADER as u64),
        "{read:?}"
    );
}

#[test]
fn a_header_is_what_it_was() {
    let header = FileHeader {
        first: Seq::new(7),
        after: Seq::new(3),
        salt: 0xdead_beef,
    };
    assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
}

#[test]
fn a_journal_written_by_other_code_from_the_description_is_read() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/journal_open");
    let opened = |name: &str| {
        let dir = TempDir::new().unwrap();
        fs_err::copy(
            corpus.join(name),
            dir.path().join("00000000000000000001.segment"),
        )
        .unwrap();
        open(dir.path()).map(|journal| {
            (
                texts(&journal, Stream::Sessions),
                texts(&journal, Stream::Fleet),
            )
        })
    };
    let (sessions, fleet) = opened("three").unwrap();
    assert_eq!(
        (sessions, fleet),
        (
            vec!["one".to_owned(), String::new()],
            vec!["three".to_owned()]
        )
    );
    let damaged = |name| matches!(opened(name), Err(JournalError::Damaged { offset: 40, .. }));
    assert!(damaged("damage-before-synced") && damaged("damage-header-before-synced"));
    for name in [
        "wrong-salt",
        "stream-unknown",
        "length-beyond",
        "seq-zero",
        "seq-top",
        "count-zero",
        "count-more",
    ] {
        assert_eq!(opened(name).unwrap(), (vec![], vec![]), "{name}");
    }
}
