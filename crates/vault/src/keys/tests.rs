//! The keys, and what is left of them.

mod places;

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stockade_store::{Batch, Entry, Scan, Scrub, Sqlite, Store, StoreError, Table};
use tempfile::TempDir;

use super::{KeyError, Keys, META, NAMES, RootPlace, SUBJECTS, SubjectKeys};
use crate::vault::Subject;

type Act = Box<dyn FnOnce()>;

thread_local! {
    /// Steps until the process is "killed": from then on nothing it does has an effect.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    /// What others do right behind the next read of a key of a table.
    static BEHIND_GET: Cell<Option<(Table, Act)>> = const { Cell::new(None) };
}

/// A point at which the process may be killed.
pub(super) fn step() -> io::Result<()> {
    match LEFT.get() {
        Some(0) => Err(io::Error::other("killed")),
        Some(left) => {
            LEFT.set(Some(left - 1));
            Ok(())
        }
        None => Ok(()),
    }
}

/// Runs `act` in a process that is killed after `steps`; whether it came to its end.
pub(crate) fn killed_after<T, E>(steps: u32, act: impl FnOnce() -> Result<T, E>) -> bool {
    LEFT.set(Some(steps));
    let done = act().is_ok();
    LEFT.set(None);
    done
}

/// A store whose process may be killed before and after each commit, and which may leave its log as it is.
#[derive(Debug)]
pub(crate) struct Mortal {
    sqlite: Sqlite,
    pub(crate) scrubs: AtomicBool,
}

impl Mortal {
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            sqlite: Sqlite::open(&dir.join("store.db"))?,
            scrubs: AtomicBool::new(true),
        })
    }
}

/// What must not be found once a device is erased, by name: its keys, those that wrapped them, and its row.
pub(crate) fn planted(keys: &Keys, device: &Subject) -> Vec<(&'static str, Vec<u8>)> {
    let own = keys.find(device).unwrap().unwrap();
    let epoch =
        |of: fn(&super::keyring::Epoch) -> [u8; 32]| of(keys.state().keyring.current()).to_vec();
    vec![
        ("data key", own.data.to_vec()),
        ("secret", own.secret.to_vec()),
        ("epoch key", epoch(|epoch| epoch.kek)),
        ("bus key", epoch(|epoch| epoch.bus)),
        (
            "wrapped keys",
            keys.store
                .get(SUBJECTS, own.id.as_bytes())
                .unwrap()
                .unwrap(),
        ),
        ("name", keys.name(device).to_vec()),
    ]
}

fn dead(source: io::Error) -> StoreError {
    StoreError::Failed {
        file: "store".to_owned(),
        doing: "live",
        source: Box::new(source),
    }
}

impl Store for Mortal {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.sqlite.get(table, key);
        match BEHIND_GET.take() {
            Some((of, act)) if of == table => act(),
            other => BEHIND_GET.set(other),
        }
        value
    }

    fn scan(&self, table: Table, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        self.sqlite.scan(table, scan)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        step().map_err(dead)?;
        self.sqlite.commit(batch)?;
        step().map_err(dead)
    }

    fn snapshot(
        &self,
        prefix: &str,
        each: &mut stockade_store::EachEntry<'_>,
    ) -> Result<(), StoreError> {
        self.sqlite.snapshot(prefix, each)
    }

    fn scrub(&self) -> Result<Scrub, StoreError> {
        step().map_err(dead)?;
        if self.scrubs.load(Ordering::Relaxed) {
            self.sqlite.scrub()
        } else {
            Ok(Scrub::Busy)
        }
    }
}

#[test]
fn keys_that_were_made_beforehand_are_those_of_the_first_message_which_writes_nothing() {
    let dir = TempDir::new().unwrap();
    let (_store, keys) = open(dir.path()).unwrap();
    let first = keys.subject(&device(1)).unwrap();
    assert_eq!(
        keys.introduce(&[device(0), device(1), device(2)]).unwrap(),
        2
    );
    assert_eq!(
        keys.introduce(&[device(0), device(1), device(2)]).unwrap(),
        0
    );
    assert_eq!(keys.subject(&device(1)).unwrap().id, first.id);
    drop(keys);
    let (_store, keys) = open(dir.path()).unwrap();
    // A process that may write nothing.
    let found = killed_after(0, || keys.subject(&device(2)).map(|keys| keys.id));
    let unknown = killed_after(0, || keys.subject(&device(3)).map(|keys| keys.id));
    assert_eq!((found, unknown), (true, false));
}

pub(crate) fn device(number: u32) -> Subject {
    Subject {
        model: "cam-2".to_owned(),
        device: format!("porch-{number}"),
    }
}

fn open(dir: &Path) -> Result<(Arc<Mortal>, Keys), KeyError> {
    open_at(dir, RootPlace::File(dir.join("root.key")))
}

fn open_at(dir: &Path, place: RootPlace) -> Result<(Arc<Mortal>, Keys), KeyError> {
    let store = Arc::new(Mortal::open(dir)?);
    let keys = Keys::open(Arc::clone(&store) as Arc<dyn Store>, place, dir)?;
    Ok((store, keys))
}

fn of(keys: &SubjectKeys) -> ([u8; 32], [u8; 32]) {
    (*keys.data, *keys.secret)
}

/// Every subject's keys are `before`, also for a vault that was started anew.
fn assert_same(dir: &Path, before: &[([u8; 32], [u8; 32])]) {
    assert_same_at(dir, RootPlace::File(dir.join("root.key")), before);
}

fn assert_same_at(dir: &Path, place: RootPlace, before: &[([u8; 32], [u8; 32])]) {
    let (_store, keys) = open_at(dir, place).unwrap();
    for (number, before) in (0..).zip(before) {
        let found = keys.find(&device(number)).unwrap().unwrap();
        assert!(of(&found) == *before, "subject {number} has other keys");
    }
}

fn some(keys: &Keys, count: u32) -> Vec<([u8; 32], [u8; 32])> {
    let subjects: Vec<_> = (0..count).map(device).collect();
    let made = keys.subjects(&subjects).unwrap();
    made.iter().map(|keys| of(keys)).collect()
}

#[test]
fn a_subject_keeps_its_keys_and_shares_them_with_nobody() {
    let dir = TempDir::new().unwrap();
    let (_, keys) = open(dir.path()).unwrap();
    let made = some(&keys, 3);
    assert_eq!(
        made.iter().collect::<std::collections::BTreeSet<_>>().len(),
        3
    );
    assert!(keys.find(&device(9)).unwrap().is_none());
    // Model and device are two things.
    let other = Subject {
        model: "cam-2porch".to_owned(),
        device: "-0".to_owned(),
    };
    assert!(keys.find(&other).unwrap().is_none());
    drop(keys);
    assert_same(dir.path(), &made);
}

#[test]
fn a_subject_named_twice_at_once_is_one() {
    let dir = TempDir::new().unwrap();
    let (_, keys) = open(dir.path()).unwrap();
    let both = keys.subjects(&[device(1), device(1)]).unwrap();
    assert_eq!(both.first().unwrap().id, both.last().unwrap().id);
}

#[test]
fn a_rotation_gives_every_subject_a_new_row_and_ends_the_old_epoch() {
    let dir = TempDir::new().unwrap();
    let (store, keys) = open(dir.path()).unwrap();
    let made = some(&keys, 5);
    let rows = store.scan(SUBJECTS, Scan::all()).unwrap();
    let bus = *keys.bus_key(1).unwrap();
    keys.begin().unwrap();
    assert_eq!(*keys.bus_key(1).unwrap(), bus, "until the end it opens");
    assert_eq!(keys.rewrapped(), Some(0));
    let rotated = keys.finish(false).unwrap();
    assert_eq!((rotated.epoch, rotated.rewrapped), (2, 5));
    assert_eq!(keys.rewrapped(), None);
    assert_eq!(rotated.destroyed, [1]);
    assert!(keys.bus_key(1).is_none());
    drop(keys);
    assert_same(dir.path(), &made);
    // The rows from before, put back, open no more.
    let mut batch = Batch::new();
    for (key, row) in rows {
        batch.put(SUBJECTS, key, row);
    }
    store.commit(batch).unwrap();
    let (_, keys) = open(dir.path()).unwrap();
    let dead = keys.find(&device(0)).unwrap_err();
    assert!(
        matches!(dead, KeyError::Destroyed { epoch: 1, .. }),
        "{dead}"
    );
    keys.begin().unwrap();
    assert_eq!(keys.finish(false).unwrap().dead, 5);
}

#[test]
fn a_rotation_killed_at_any_step_loses_no_subject_and_is_finished_later() {
    let mut points = 0;
    loop {
        let dir = TempDir::new().unwrap();
        let (store, keys) = open(dir.path()).unwrap();
        let made = some(&keys, 3);
        let before = store.scan(SUBJECTS, Scan::all()).unwrap();
        let done = killed_after(points, || {
            keys.begin()?;
            keys.finish(false)
        });
        drop((store, keys));
        assert_same(dir.path(), &made);
        let (store, keys) = open(dir.path()).unwrap();
        let begun = keys.epoch() == 2;
        assert!(begun || !done);
        if keys.is_rotating() {
            let rotated = keys.finish(false).unwrap();
            assert_eq!(rotated.destroyed, [1]);
        }
        assert_same(dir.path(), &made);
        for (key, row) in &before {
            let now = store.get(SUBJECTS, key).unwrap().unwrap();
            assert_eq!(begun, now != *row, "killed after {points} steps");
        }
        let mut names: Vec<_> = fs_err::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("store.db"))
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["keyring", "root.key"],
            "killed after {points} steps"
        );
        if done {
            break;
        }
        points += 1;
    }
    assert!(points > 15, "only {points} points were tried");
}

#[test]
fn an_older_keyring_another_root_key_and_none_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let (_, keys) = open(dir.path()).unwrap();
    some(&keys, 1);
    let at = |name: &str| dir.path().join(name);
    let older = fs_err::read(at("keyring")).unwrap();
    keys.begin().unwrap();
    keys.finish(false).unwrap();
    drop(keys);
    let newest = fs_err::read(at("keyring")).unwrap();
    let root = fs_err::read(at("root.key")).unwrap();
    let refused = |dir: &Path| {
        let text = open(dir).unwrap_err().to_string();
        text.replace(&dir.display().to_string(), "[dir]")
    };
    let mut said = Vec::new();

    fs_err::write(at("keyring"), older).unwrap();
    said.push(refused(dir.path()));
    fs_err::remove_file(at("keyring")).unwrap();
    said.push(refused(dir.path()));
    let mut damaged = newest.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs_err::write(at("keyring"), damaged).unwrap();
    said.push(refused(dir.path()));
    fs_err::write(at("keyring"), &newest).unwrap();
    fs_err::remove_file(at("root.key")).unwrap();
    said.push(refused(dir.path()));
    let mut other = root.clone();
    let digit = other.iter_mut().rev().nth(1).unwrap();
    *digit = if *digit == b'0' { b'1' } else { b'0' };
    fs_err::write(at("root.key"), other).unwrap();
    private(&at("root.key"), 0o600);
    said.push(refused(dir.path()));
    private(&at("root.key"), 0o644);
    said.push(refused(dir.path()));
    fs_err::write(at("root.key"), root).unwrap();
    private(&at("root.key"), 0o600);
    open(dir.path()).unwrap();
    let foreign = TempDir::new().unwrap();
    open(foreign.path()).unwrap();
    for name in ["keyring", "root.key"] {
        fs_err::copy(foreign.path().join(name), at(name)).unwrap();
    }
    said.push(refused(dir.path()));
    insta::assert_snapshot!(said.join("\n"), @r"
    [dir]/keyring: the keyring is older than what it should open: after its copy was made the epoch changed; restore its newest copy
    [dir]/keyring: the vault's keyring is missing, and nothing in the vault can be read without it: restore its newest copy
    [dir]/keyring: the keyring is damaged: restore its newest copy
    [dir]/root.key: the vault's root key is missing: restore it from its backup, or name its place by [vault] root-key
    [dir]/root.key is not the root key that wrapped [dir]/keyring: an older keyring was restored, or another root key; restore the newest of both
    [dir]/root.key: others could read the key; if nobody did: chmod 600
    [dir]/keyring: the keyring of another vault: restore this one's newest copy
    ");
}

fn private(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;

    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_damaged_row_is_named_and_the_old_epoch_waits_for_it() {
    let dir = TempDir::new().unwrap();
    let (store, keys) = open(dir.path()).unwrap();
    let made = some(&keys, 3);
    let damaged = keys.find(&device(1)).unwrap().unwrap().id;
    let row = store.get(SUBJECTS, damaged.as_bytes()).unwrap().unwrap();
    drop(keys);
    for at in 0..row.len() {
        let mut wrong = row.clone();
        wrong[at] ^= 1;
        let mut batch = Batch::new();
        batch.put(SUBJECTS, *damaged.as_bytes(), wrong);
        store.commit(batch).unwrap();
        let (_, keys) = open(dir.path()).unwrap();
        let error = keys.by_id(damaged).unwrap_err().to_string();
        assert!(error.contains(&damaged.to_string()), "{error}");
        assert!(of(&keys.find(&device(0)).unwrap().unwrap()) == *made.first().unwrap());
    }
    let (_, keys) = open(dir.path()).unwrap();
    keys.begin().unwrap();
    let error = keys.finish(false).unwrap_err();
    assert!(matches!(error, KeyError::KeepsOldEpoch { count: 1, first } if first == damaged));
    // A backup of the row mends it, and then the epoch ends.
    let mut batch = Batch::new();
    batch.put(SUBJECTS, *damaged.as_bytes(), row);
    store.commit(batch).unwrap();
    assert_eq!(keys.finish(false).unwrap().destroyed, [1]);
    assert_same(dir.path(), &made);
    // Given up, it is lost, and said to be.
    let mut batch = Batch::new();
    batch.put(SUBJECTS, *damaged.as_bytes(), [9]);
    store.commit(batch).unwrap();
    keys.begin().unwrap();
    assert_eq!(keys.finish(true).unwrap().damaged, 1);
}

#[test]
fn a_row_under_another_subjects_id_does_not_open() {
    let dir = TempDir::new().unwrap();
    let (store, keys) = open(dir.path()).unwrap();
    some(&keys, 2);
    let [one, other] = [0, 1].map(|number| keys.find(&device(number)).unwrap().unwrap().id);
    drop(keys);
    let row = store.get(SUBJECTS, one.as_bytes()).unwrap().unwrap();
    let mut batch = Batch::new();
    batch.put(SUBJECTS, *other.as_bytes(), row);
    store.commit(batch).unwrap();
    let (_, keys) = open(dir.path()).unwrap();
    assert!(matches!(keys.by_id(other), Err(KeyError::Damaged { .. })));
}

#[test]
fn what_is_forgotten_is_a_new_subject_when_it_comes_back() {
    let dir = TempDir::new().unwrap();
    let (store, keys) = open(dir.path()).unwrap();
    some(&keys, 2);
    let before = keys.find(&device(0)).unwrap().unwrap();
    let (name, id) = keys.locate(&device(0)).unwrap().unwrap();
    keys.remove(Batch::new(), name, id).unwrap();
    assert!(keys.find(&device(0)).unwrap().is_none());
    assert!(keys.by_id(before.id).unwrap().is_none());
    let after = keys.subject(&device(0)).unwrap();
    assert!(after.id != before.id && of(&after) != of(&before));
    assert_eq!(store.scan(NAMES, Scan::all()).unwrap().len(), 2);
}

#[test]
fn what_is_removed_while_it_is_read_is_not_kept() {
    let dir = TempDir::new().unwrap();
    let keys = Arc::new(open(dir.path()).unwrap().1);
    for table in [NAMES, SUBJECTS] {
        keys.subject(&device(0)).unwrap();
        let (name, id) = keys.locate(&device(0)).unwrap().unwrap();
        *keys.caches() = super::Caches::default();
        let remover = Arc::clone(&keys);
        let remove = move || remover.remove(Batch::new(), name, id).unwrap();
        BEHIND_GET.set(Some((table, Box::new(remove))));
        let _read_before = keys.find(&device(0)).unwrap();
        assert!(BEHIND_GET.take().is_none());
        assert!(keys.find(&device(0)).unwrap().is_none(), "{table}");
        assert!(keys.by_id(id).unwrap().is_none(), "{table}");
    }
}

#[test]
fn damaged_keys_keep_no_more_epochs_alive_than_a_keyring_holds() {
    let dir = TempDir::new().unwrap();
    let (store, keys) = open(dir.path()).unwrap();
    some(&keys, 2);
    let damaged = keys.find(&device(1)).unwrap().unwrap().id;
    let mut row = store.get(SUBJECTS, damaged.as_bytes()).unwrap().unwrap();
    *row.last_mut().unwrap() ^= 1;
    let mut batch = Batch::new();
    batch.put(SUBJECTS, *damaged.as_bytes(), row);
    store.commit(batch).unwrap();
    let rotate = |keys: &Keys, give_up| keys.rotate(|| Ok::<_, KeyError>(()), give_up);
    for _ in 0..40 {
        let kept = rotate(&keys, false);
        assert!(matches!(kept, Err(KeyError::KeepsOldEpoch { .. })));
    }
    drop(keys);
    let (_, keys) = open(dir.path()).unwrap();
    assert!(keys.find(&device(0)).unwrap().is_some());
    assert_eq!(keys.epoch(), 32);
    assert_eq!(rotate(&keys, true).unwrap().epoch, 33);
    assert!(!keys.is_rotating());
}

#[test]
fn the_log_is_remembered() {
    let dir = TempDir::new().unwrap();
    let (_, keys) = open(dir.path()).unwrap();
    assert_eq!(keys.log_seen(), None);
    keys.remember_log(7, [3; 32]).unwrap();
    drop(keys);
    assert_eq!(open(dir.path()).unwrap().1.log_seen(), Some((7, [3; 32])));
}

#[test]
fn a_stolen_store_names_nobody() {
    let dir = TempDir::new().unwrap();
    let (store, keys) = open(dir.path()).unwrap();
    some(&keys, 2);
    drop(keys);
    store.scrub().unwrap();
    for entry in fs_err::read_dir(dir.path()).unwrap() {
        let bytes = fs_err::read(entry.unwrap().path()).unwrap();
        for word in [b"porch".as_slice(), b"cam-2"] {
            assert!(!bytes.windows(word.len()).any(|it| it == word));
        }
    }
    assert!(
        store.get(META, b"installation").unwrap().is_some(),
        "something was read"
    );
}

#[test]
fn mutated_keyrings_are_refused_and_nothing_panics() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()).unwrap());
    let path = dir.path().join("keyring");
    let whole = fs_err::read(&path).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let place = RootPlace::File(dir.path().join("root.key"));
    let root = super::Root::open(place, false).unwrap();
    for _ in 0..1_000 {
        let mut bytes = whole.clone();
        let at = next(bytes.len());
        match next(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << next(8),
            _ => bytes.insert(at, 0),
        }
        fs_err::write(&path, bytes).unwrap();
        assert!(super::Keyring::load(dir.path(), &root).is_err());
    }
}
