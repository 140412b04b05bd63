//! Real event logs are read as `tpm2_eventlog` reads them, those that it can not read as well, and broken ones end in an error.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of a test fails as the test does, and says when it is skipped"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use stockade_attest::Algorithm;
use stockade_attest::fuzzing;
use stockade_attest::log::{EventLog, LogError, Registers};

/// The folder of real logs, where it is.
fn data(folder: &str) -> Option<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/eventlog");
    let there = data.is_dir();
    if !there {
        eprintln!("skipped: there are no event logs in ../shared/data/eventlog");
    }
    there.then(|| data.join(folder))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// All logs of the data set.
fn logs() -> Vec<PathBuf> {
    let Some(data) = data("") else {
        return Vec::new();
    };
    let all = ["tpm2-tools", "go-eventlog"].map(|folder| files(&data.join(folder)));
    let mut all = all.concat();
    all.retain(|path| {
        let other = path
            .extension()
            .is_some_and(|it| it == "yaml" || it == "json");
        // Tables of ACPI that tell where a log is.
        !other && !path.ends_with("CCEL.bin") && !path.ends_with("cos-113-intel-tdx.table.bin")
    });
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// What `tpm2_eventlog` says of registers, kinds, digests and replayed values, without its pretty forms of what events say.
fn told_by_others(yaml: &str) -> String {
    let (events, registers) = yaml.split_once("\npcrs:\n").unwrap_or((yaml, ""));
    let mut out = String::new();
    for line in events.lines() {
        let line = line.trim_start().trim_start_matches("- ");
        let Some((key, value)) = line.split_once(": ") else {
            continue;
        };
        let value = value.trim_matches('"');
        match key {
            "PCRIndex" | "EventType" | "Digest" => writeln!(out, "{value}").unwrap(),
            // What an event says may have a line of this name, but never such a value.
            "AlgorithmId" => write!(out, "{value} ").unwrap(),
            _ => (),
        }
    }
    for line in registers.lines() {
        let line = line.trim();
        match line.split_once(':') {
            Some((bank, "")) => writeln!(out, "bank {bank}").unwrap(),
            Some((pcr, value)) => {
                let value = value.trim().trim_start_matches("0x");
                writeln!(out, "{} {value}", pcr.trim()).unwrap();
            }
            None => (),
        }
    }
    out
}

/// The same of ours.
fn told_by_us(log: &EventLog<'_>) -> String {
    let mut out = String::new();
    let agile = log.events[0].data.starts_with(b"Spec ID Event03");
    for (number, event) in log.events.iter().enumerate() {
        writeln!(out, "{}", event.pcr).unwrap();
        writeln!(out, "{}", event.kind_name().unwrap()).unwrap();
        for (algorithm, digest) in &event.digests {
            if agile && number == 0 {
                writeln!(out, "{}", hex(digest)).unwrap();
            } else {
                writeln!(out, "{} {}", algorithm.name(), hex(digest)).unwrap();
            }
        }
    }
    for algorithm in &log.algorithms {
        let registers = log.replay(*algorithm);
        if !registers.is_empty() {
            writeln!(out, "bank {}", algorithm.name()).unwrap();
        }
        for (pcr, value) in registers {
            writeln!(out, "{pcr} {}", hex(&value)).unwrap();
        }
    }
    out
}

#[test]
fn every_committed_oracle_is_met() {
    let Some(folder) = data("tpm2-tools") else {
        return;
    };
    let mut compared = 0;
    for path in files(&folder) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(of) = name.strip_suffix(".yaml").filter(|it| it.contains(".bin")) else {
            continue;
        };
        let of = ["event-pretty-39_", "event-pretty_", "event-raw_"]
            .iter()
            .find_map(|it| of.strip_prefix(it))
            .unwrap_or(of);
        let bytes = fs_err::read(folder.join(of)).unwrap();
        let log = EventLog::read(&bytes).unwrap();
        let yaml = fs_err::read_to_string(&path).unwrap();
        assert_eq!(told_by_us(&log), told_by_others(&yaml), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 19, "every file of the oracle");
}

#[test]
fn every_log_that_the_tool_reads_is_read_alike_and_the_others_too() {
    if Command::new("tpm2_eventlog")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: tpm2_eventlog is not here (Debian: tpm2-tools)");
        return;
    }
    let (mut same, mut ours) = (0, Vec::new());
    for path in logs() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs_err::read(&path).unwrap();
        let log = EventLog::read(&bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
        let output = Command::new("tpm2_eventlog").arg(&path).output().unwrap();
        if !output.status.success() {
            ours.push(name);
            continue;
        }
        let yaml = String::from_utf8_lossy(&output.stdout);
        assert_eq!(told_by_us(&log), told_by_others(&yaml), "{name}");
        same += 1;
    }
    eprintln!(
        "{same} logs as tpm2_eventlog reads them, and {} that it can not read",
        ours.len()
    );
    if same > 0 {
        let only_ours = [
            "cos-113-intel-tdx-dupe-separator.bin",
            "event_log.bin",
            "short_no_action_eventlog",
        ];
        assert_eq!(ours, only_ours);
    }
}

#[test]
fn a_guest_of_tdx_has_its_own_registers() {
    for path in logs() {
        let bytes = fs_err::read(&path).unwrap();
        let log = EventLog::read(&bytes).unwrap();
        let tdx = ["cos-113-intel-tdx-dupe-separator.bin", "event_log.bin"];
        let is_tdx = tdx.iter().any(|it| path.ends_with(it));
        assert_eq!(
            log.registers() == Registers::Tdx,
            is_tdx,
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_is_no_log_is_refused() {
    if let Some(folder) = data("go-eventlog") {
        for name in [
            "CCEL.bin",
            "cos-113-intel-tdx.table.bin",
            "linux_tpm12.json",
        ] {
            let bytes = fs_err::read(folder.join(name)).unwrap();
            assert!(EventLog::read(&bytes).is_err(), "{name}");
        }
    }
    assert_eq!(EventLog::read(b""), Err(LogError::Empty));
    assert_eq!(EventLog::read(&[0; 4096]), Err(LogError::Empty));
    assert_eq!(EventLog::read(&[0, 0, 0, 0, 1]), Err(LogError::Short(0)));
    // An event that claims 4 GiB.
    let mut greedy = vec![0; 28];
    greedy[4] = 1;
    greedy.extend([0xff; 4]);
    assert_eq!(EventLog::read(&greedy), Err(LogError::Short(0)));
}

#[test]
fn the_locality_of_the_start_is_in_register_0() {
    let mut log = vec![0; 28];
    log[4] = 3;
    log.extend([17, 0, 0, 0]);
    log.extend(b"StartupLocality\0\x03");
    log.extend([0, 0, 0, 0, 8, 0, 0, 0]);
    log.extend([7; 20]);
    log.extend([0; 4]);
    let log = EventLog::read(&log).unwrap();
    let mut start = [0; 20];
    start[19] = 3;
    let expected = Algorithm::Sha1.extend(&start, &[7; 20]);
    assert_eq!(log.replay(Algorithm::Sha1)[&0], expected);
}

/// xorshift64*: the same mutations each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % bound
    }
}

#[test]
fn a_hundred_thousand_broken_logs_end_soon_and_never_panic() {
    let mut originals: Vec<Vec<u8>> = logs().iter().map(|it| fs_err::read(it).unwrap()).collect();
    // A log of 256 KiB is 96 % padding.
    for log in &mut originals {
        log.truncate(40_000);
    }
    originals.retain(|log| !log.is_empty());
    if originals.is_empty() {
        return;
    }
    let began = Instant::now();
    let mut random = Random(0x5eed);
    let (mut read, mut refused) = (0, 0);
    for round in 0..100_000_usize {
        let mut log = originals[round % originals.len()].clone();
        for _ in 0..=random.below(8) {
            let at = random.below(log.len());
            match random.below(5) {
                0 => log[at] ^= 1 << random.below(8),
                1 => log[at] = 0xff,
                2 => log.truncate(at.max(1)),
                3 => {
                    let end = (at + random.below(64)).min(log.len());
                    log.drain(at..end);
                }
                _ => {
                    let piece: Vec<u8> = log[at..].iter().take(random.below(64)).copied().collect();
                    log.splice(at..at, piece);
                }
            }
            if log.is_empty() {
                log.push(0);
            }
        }
        match EventLog::read(&log) {
            // What was read is paid for by the input: an event has 28 bytes at least in the old form, 16 in the new one.
            Ok(it) => {
                assert!(it.events.len() <= log.len() / 16 + 1);
                read += 1;
            }
            Err(_) => refused += 1,
        }
        // Telling is slower than reading: some of them.
        if round % 50 == 0 {
            fuzzing::event_log(&log);
        }
    }
    assert!(
        read > 1000 && refused > 1000,
        "{read} read, {refused} refused"
    );
    eprintln!(
        "100000 broken logs in {:?}: {read} read, {refused} refused",
        began.elapsed()
    );
}

#[test]
fn components_are_told_in_words() {
    let Some(folder) = data("tpm2-tools") else {
        return;
    };
    let mut out = String::new();
    for name in ["event-bootorder.bin", "event-uefiservices.bin"] {
        let bytes = fs_err::read(folder.join(name)).unwrap();
        for event in &EventLog::read(&bytes).unwrap().events {
            writeln!(out, "{:2} {}", event.pcr, event.component()).unwrap();
        }
    }
    insta::assert_snapshot!(out);
}
