//! `kill -9` at any moment: what was acknowledged is there.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stockade_store::{Bus as _, Durability, Journal, JournalOptions, Seq, Stream, suite};
use tempfile::TempDir;

const DIR: &str = "STOCKADE_TEST_JOURNAL";

fn options(durability: Durability) -> JournalOptions {
    JournalOptions {
        durability,
        segment_bytes: 64 << 10,
        ..JournalOptions::default()
    }
}

/// Not a test by itself: the process that gets killed. It appends, and says which positions are durable.
#[test]
#[ignore = "the child process of the test below"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let journal = Journal::open(Path::new(&dir), options(Durability::Commit)).unwrap();
    let mut out = std::io::stdout().lock();
    for number in 0_u64.. {
        // Larger and smaller records, so that groups and segments end anywhere.
        let length = usize::try_from(number * 7919 % 900).unwrap();
        let record = [number.to_le_bytes().as_slice(), &vec![0x5a; length]].concat();
        match journal.append_all(&[(Stream::Sessions, &record), (Stream::Telemetry, &record)]) {
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
        if number % 16 == 0 {
            suite::wait(&journal, journal.last()).unwrap();
            writeln!(out, "acknowledged {}", journal.durable().borrow().get()).unwrap();
            out.flush().unwrap();
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = TempDir::new().unwrap();
    let mut known: BTreeMap<Seq, Vec<u8>> = BTreeMap::new();
    for round in 0..20_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let killer = std::thread::spawn({
            let pid = rustix::process::Pid::from_child(&child);
            move || {
                std::thread::park_timeout(Duration::from_millis(60 + round * 13 % 100));
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        });
        let acknowledged = lines
            .map_while(Result::ok)
            .filter_map(|line| {
                line.strip_prefix("acknowledged ")
                    .and_then(|number| number.parse().ok())
            })
            .last();
        killer.join().unwrap();
        child.wait().unwrap();

        let journal = Journal::open(dir.path(), options(Durability::Commit)).unwrap();
        let records = suite::all(&journal, Stream::Sessions, 1_000).unwrap();
        let telemetry = suite::all(&journal, Stream::Telemetry, 1_000).unwrap();
        assert_eq!(
            records.len(),
            telemetry.len(),
            "what was appended together is there together"
        );
        let last = records.last().map_or(Seq::ZERO, |(seq, _)| *seq);
        let acknowledged = Seq::new(acknowledged.unwrap_or(0));
        let newest = telemetry.last().map_or(last, |(seq, _)| *seq);
        assert!(
            newest >= acknowledged,
            "round {round}: {acknowledged} was acknowledged, {newest} is there"
        );
        let found: BTreeMap<_, _> = records.into_iter().collect();
        for (seq, record) in &known {
            assert_eq!(
                found.get(seq),
                Some(record),
                "round {round}: a record of an earlier round"
            );
        }
        known = found;
    }
    assert!(
        known.len() > 100,
        "the rounds did some work: {}",
        known.len()
    );
}
