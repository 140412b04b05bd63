use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use stockade_tlog::{Audit, Audited, Files, VerifierKey, audit};
use time::OffsetDateTime;

use super::*;
use crate::access::{Access, Action, Refused, Role};
use crate::vault::Subject;

/// Puts a text into a field.
type Set = fn(&mut Entry, &str);

const NOW: OffsetDateTime = time::macros::datetime!(2026-11-23 12:00:00.123456 UTC);

struct Folder<'a>(&'a Path);

impl Files for Folder<'_> {
    fn read(&mut self, path: &str, most: usize) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(disk::read(self.0, path, most)?)
    }
}

/// What somebody with the files and the public key sees; and that there is no other file.
fn audited(vault: &Path) -> Audited {
    let text = fs_err::read_to_string(vault.join(PUBLIC)).unwrap();
    let key = VerifierKey::parse(&text).unwrap();
    let with = Audit {
        key: &key,
        witnesses: &[],
        old: None,
    };
    let audited = audit(&mut Folder(&vault.join(FOLDER)), &with, &AwsLc, |_, _| {}).unwrap();
    let mut read = audited.files.clone();
    read.sort();
    assert_eq!(
        read,
        files(&vault.join(FOLDER)).into_keys().collect::<Vec<_>>()
    );
    audited
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), fs_err::read(&path).unwrap());
            }
        }
    }
    found
}

fn put_back(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    fs_err::remove_dir_all(dir).unwrap();
    for (name, bytes) in files {
        let path = dir.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }
}

fn analyst(purpose: Option<&str>) -> Access {
    Access {
        who: "ana".to_owned(),
        role: Role::Analyst,
        purpose: purpose.map(str::to_owned),
    }
}

fn entry(number: u64) -> Entry {
    let mut entry = Entry::new(NOW, &analyst(Some("maintenance")), Action::Query);
    entry.dataset = Some("motion".to_owned());
    entry.fact("records", number)
}

/// Entries with the log's next numbers, the last of them by the way that everybody goes.
fn fill(log: &Log, count: u64) {
    let next = log.head().0;
    let many: Vec<_> = (next..next + count - 1)
        .map(|n| entry(n).encode().unwrap())
        .collect();
    for group in many.chunks(MAX_GROUP) {
        log.write(group.to_vec()).unwrap();
    }
    let last = next + count - 1;
    assert_eq!(log.append(&entry(last)).unwrap().index, last);
}

#[test]
fn what_was_appended_is_read_back_after_a_restart_and_verified_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), None).unwrap();
    assert_eq!(audited(dir.path()).checkpoint.size, 0);
    for count in [1, 254, 1, 1, 255, 1] {
        fill(&log, count);
        let (size, root) = log.head();
        let seen = audited(dir.path()).checkpoint;
        assert_eq!((seen.size, seen.root), (size, Hash(root)));
        assert_eq!(
            Log::open(dir.path(), Some(log.head())).unwrap().head(),
            log.head()
        );
    }
    let log = Log::open(dir.path(), Some(log.head())).unwrap();
    let read = log.entries(250, 10).unwrap();
    let expected: Vec<_> = (250..260)
        .map(|n| (n, Entry::decode(&entry(n).encode().unwrap()).unwrap()))
        .collect();
    assert_eq!(read, expected);
    assert_eq!(log.entries(510, 100).unwrap().len(), 3);
    assert_eq!(log.entries(600, 100).unwrap(), []);
}

#[test]
fn an_entry_is_json_that_anybody_reads() {
    let mut entry = entry(50);
    entry.budget = Some("0.1".to_owned());
    entry.query_hash = Some(Digest([0xab; 32]));
    entry.subject = Some(Commitment::of(b"a secret"));
    insta::assert_snapshot!(String::from_utf8(entry.encode().unwrap()).unwrap(), @r#"{"v":1,"at":"2026-11-23T12:00:00Z","who":"ana","role":"analyst","action":"query","outcome":"done","dataset":"motion","purpose":"maintenance","query-hash":"abababababababababababababababababababababababababababababababab","budget":"0.1","subject":"598a0d126d3d9cd7f09d6588986a51d24a94ad340c2371920ea51b35d8f0af2d","facts":{"records":50}}"#);
    let access = analyst(Some("curiosity"));
    let why = Refused::OtherPurpose {
        allowed: Vec::new(),
    };
    let refused = Entry::refused(NOW, &access, Action::Query, &why);
    insta::assert_snapshot!(String::from_utf8(refused.encode().unwrap()).unwrap(), @r#"{"v":1,"at":"2026-11-23T12:00:00Z","who":"ana","role":"analyst","action":"query","outcome":"refused","reason":"other-purpose"}"#);
}

#[test]
fn any_width_that_a_reader_of_tiles_may_ask_for_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), None).unwrap();
    fill(&log, 300);
    let on_disk = files(&dir.path().join(FOLDER));
    for (path, bytes) in &on_disk {
        assert_eq!(log.file(path).unwrap().as_ref(), Some(bytes), "{path}");
    }
    // As at an older checkpoint.
    let full = &on_disk["tile/0/000"];
    assert_eq!(log.file("tile/0/000.p/5").unwrap().unwrap(), full[..160]);
    let five = log.file("tile/entries/001.p/5").unwrap().unwrap();
    assert!(on_disk["tile/entries/001.p/44"].starts_with(&five));
    for none in [
        "tile/0/001.p/45",
        "tile/0/001",
        "tile/2/000.p/1",
        "log.key",
        "../log.key",
        "tile/entries/../../../log.key",
    ] {
        assert_eq!(log.file(none).unwrap(), None, "{none}");
    }
}

#[test]
fn many_at_once_are_each_in_the_log_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), None).unwrap();
    let mut given: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..60)
                        .map(|n| log.append(&entry(n)).unwrap().index)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .collect()
    });
    given.sort_unstable();
    assert_eq!(given, (0..480).collect::<Vec<_>>());
    assert_eq!(audited(dir.path()).checkpoint.size, 480);
}

/// Every state that the folder passes through in a write, and each file half written.
#[test]
fn a_write_that_was_cut_off_anywhere_leaves_a_whole_log() {
    for (before, more) in [(0, 1), (254, 1), (255, 3), (256, 1), (511, 256)] {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let folder = dir.path().join(FOLDER);
        let log = Log::open(dir.path(), None).unwrap();
        let group = |count: u64| {
            (0..count)
                .map(|n| entry(n).encode().unwrap())
                .collect::<Vec<_>>()
        };
        if before > 0 {
            log.write(group(before)).unwrap();
        }
        let old = files(&folder);
        let state = lock(&log.state).state.with(&folder, group(more)).unwrap();
        let written = files(&folder);
        let new: Vec<_> = written
            .iter()
            .filter(|(path, _)| !old.contains_key(*path))
            .collect();
        assert!(new.len() >= 2);
        let checkpoint = note(&log.key, &state);
        drop(log);
        let mut steps = vec![(old.clone(), before)];
        let mut folder_now = old.clone();
        for (path, bytes) in new {
            folder_now.insert(path.clone(), bytes[..bytes.len() / 2].to_vec());
            steps.push((folder_now.clone(), before));
            folder_now.insert(path.clone(), bytes.clone());
            steps.push((folder_now.clone(), before));
        }
        for part in [0, checkpoint.len() / 2, checkpoint.len()] {
            folder_now.insert("checkpoint.new".to_owned(), checkpoint[..part].to_vec());
            steps.push((folder_now.clone(), before));
        }
        folder_now.remove("checkpoint.new");
        folder_now.insert("checkpoint".to_owned(), checkpoint);
        steps.push((folder_now, before + more));
        for (at, (step, size)) in steps.into_iter().enumerate() {
            put_back(&folder, &step);
            let log = Log::open(dir.path(), None).unwrap();
            assert_eq!(log.head().0, size, "{before} and {more}, step {at}");
            fill(&log, 2);
            let seen = audited(dir.path());
            assert_eq!(seen.checkpoint.size, size + 2);
        }
    }
}

/// Run by the test below, in a process of its own.
#[test]
#[ignore = "the process that a_killed_process_loses_nothing_it_acknowledged kills"]
fn appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os("STOCKADE_LOG_TEST") else {
        return;
    };
    let log = Log::open(Path::new(&dir), None).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    println!("acknowledged {}", log.append(&entry(0)).unwrap().index);
                }
            });
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut most = None;
    for count in [1, 7, 40, 3, 120] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "log::tests::appends_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("STOCKADE_LOG_TEST", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged = lines
            .map_while(Result::ok)
            .filter_map(|line| line.rsplit_once("acknowledged ")?.1.parse::<u64>().ok());
        for index in acknowledged.take(count) {
            most = most.max(Some(index));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let log = Log::open(dir.path(), None).unwrap();
        assert!(log.head().0 > most.unwrap(), "{most:?}");
        assert_eq!(audited(dir.path()).checkpoint.size, log.head().0);
    }
}

#[test]
fn an_old_copy_of_the_log_is_noticed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(FOLDER);
    let log = Log::open(dir.path(), None).unwrap();
    fill(&log, 20);
    let backup = files(&folder);
    fill(&log, 280);
    let remembered = log.head();
    fill(&log, 30);
    drop(log);
    let told = |remembered| {
        Log::open(dir.path(), Some(remembered))
            .unwrap_err()
            .to_string()
    };
    Log::open(dir.path(), Some(remembered)).unwrap();
    assert!(told((300, [7; 32])).starts_with("the log has 330 entries and had 300:"));
    put_back(&folder, &backup);
    assert_eq!(
        told(remembered),
        "the log has 20 entries and had 300: an old copy was put in its place, or it was changed; restore the newest copy"
    );
    fs_err::remove_dir_all(&folder).unwrap();
    assert!(told(remembered).starts_with("the log has 0 entries and had 300:"));
    // Begun anew with the same key, and as long.
    let log = Log::open(dir.path(), None).unwrap();
    log.write(vec![entry(9).encode().unwrap()]).unwrap();
    fill(&log, 329);
    drop(log);
    assert!(told(remembered).starts_with("the log has 330 entries and had 300:"));
}

#[test]
fn a_damaged_edge_a_lost_key_and_a_forged_checkpoint_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(FOLDER);
    fill(&Log::open(dir.path(), None).unwrap(), 300);
    let whole = files(&folder);
    let told = || Log::open(dir.path(), None).unwrap_err().to_string();
    for path in [
        "checkpoint",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/001.p/44",
    ] {
        let mut damaged = whole.clone();
        let bytes = damaged.get_mut(path).unwrap();
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        put_back(&folder, &damaged);
        let text = told();
        assert!(text.starts_with("log/"), "{path}: {text}");
        let mut missing = whole.clone();
        missing.remove(path);
        put_back(&folder, &missing);
        if path != "checkpoint" {
            assert!(
                told().starts_with(&format!("log/{path} is missing")),
                "{path}"
            );
        }
    }
    put_back(&folder, &whole);
    fs_err::rename(dir.path().join(KEY), dir.path().join("away")).unwrap();
    assert!(told().contains("the key of the log is missing"));
    let other = tempfile::tempdir().unwrap();
    drop(Log::open(other.path(), None).unwrap());
    fs_err::copy(other.path().join(KEY), dir.path().join(KEY)).unwrap();
    assert!(told().starts_with("log/checkpoint is not signed by stockade-vault-"));
}

#[test]
fn a_write_that_failed_acknowledges_nothing_and_the_next_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), None).unwrap();
    fill(&log, 255);
    let before = log.head();
    // Where the next tile's folder should be there is a file.
    let blocked = dir.path().join(FOLDER).join("tile/1");
    fs_err::write(&blocked, "").unwrap();
    assert!(
        log.append(&entry(255))
            .unwrap_err()
            .to_string()
            .starts_with("the log was not written")
    );
    assert_eq!(log.head(), before);
    fs_err::remove_file(&blocked).unwrap();
    fill(&log, 3);
    assert_eq!(audited(dir.path()).checkpoint.size, 258);
    // Nobody knows whether a checkpoint was published: nothing more is signed.
    fs_err::remove_file(dir.path().join(FOLDER).join(CHECKPOINT)).unwrap();
    fs_err::create_dir_all(dir.path().join(FOLDER).join("checkpoint/x")).unwrap();
    log.append(&entry(0)).unwrap_err();
    let told = log.append(&entry(0)).unwrap_err().to_string();
    assert_eq!(
        told,
        "the log was not written: the log stopped when a write failed; start again"
    );
}

#[test]
fn nothing_of_a_person_is_in_the_files() {
    let planted = [
        "marta-meier",
        "porch-cam",
        "Marta Meier",
        "marta@example.org",
        "8.5417",
    ];
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), None).unwrap();
    let owner = Access {
        who: planted[0].to_owned(),
        role: Role::Subject(Subject {
            model: "cam-2".to_owned(),
            device: planted[1].to_owned(),
        }),
        purpose: Some(planted[2].to_owned()),
    };
    let mut entry = Entry::new(NOW, &owner, Action::Export);
    entry.subject = Some(Commitment::of(b"the subject's secret"));
    entry.query_hash = Some(log.digest("query", planted[1].as_bytes()));
    entry.result_hash = Some(log.digest("result", planted[4].as_bytes()));
    let _receipt = log.append(&entry).unwrap();
    let _receipt = log
        .append(&Entry::refused(
            NOW,
            &owner,
            Action::Query,
            &Refused::NoPurpose {
                allowed: Vec::new(),
            },
        ))
        .unwrap();
    let guess = analyst(Some(planted[0]));
    let why = Refused::OtherPurpose {
        allowed: Vec::new(),
    };
    let _receipt = log
        .append(&Entry::refused(NOW, &guess, Action::Query, &why))
        .unwrap();
    // What is no name is not written at all.
    let fields: [Set; 6] = [
        |entry, text| entry.object = Some(text.to_owned()),
        |entry, text| entry.who = text.to_owned(),
        |entry, text| entry.dataset = Some(text.to_owned()),
        |entry, text| entry.purpose = Some(text.to_owned()),
        |entry, text| entry.reason = Some(text.to_owned()),
        |entry, text| entry.facts.insert(text.to_owned(), 1).map_or((), drop),
    ];
    for set in fields {
        for text in [
            planted[2],
            planted[3],
            "a b",
            "",
            "a/b",
            "a\"b",
            &"a".repeat(65),
        ] {
            let mut entry = Entry::by_vault(NOW, Action::Erase);
            set(&mut entry, text);
            assert!(
                matches!(log.append(&entry), Err(LogError::NotAName)),
                "{text}"
            );
        }
    }
    let mut entry = Entry::by_vault(NOW, Action::Stat);
    entry.budget = Some(planted[0].to_owned());
    assert!(matches!(log.append(&entry), Err(LogError::NotAName)));
    let written = files(dir.path());
    assert_eq!(log.head().0, 3);
    for (path, bytes) in written {
        let text = String::from_utf8_lossy(&bytes);
        for word in planted {
            assert!(!text.contains(word), "{word} is in {path}");
        }
    }
}

#[test]
fn a_subject_is_the_same_in_each_entry_and_found_by_its_secret_only() {
    let (a, b) = (Commitment::of(&[1; 32]), Commitment::of(&[2; 32]));
    assert_eq!(a, Commitment::of(&[1; 32]));
    assert_ne!(a, b);
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (
        Log::open(one.path(), None).unwrap(),
        Log::open(two.path(), None).unwrap(),
    );
    assert_eq!(one.digest("query", b"x"), one.digest("query", b"x"));
    assert_ne!(one.digest("query", b"x"), one.digest("result", b"x"));
    assert_ne!(one.digest("query", b"x"), two.digest("query", b"x"));
}
