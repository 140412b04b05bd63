//! Backups made, changed, cut off, put back; and everything looked at.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use stockade_store::suite::Cluster;
use stockade_store::{Batch, Postgres, PostgresSettings, Scan, Sqlite, Store, Table};
use stockade_vault::{
    Access, BackupError, Checked, Empty, Keys, Log, Restored, Role, RootPlace, StoredRecord,
    VaultError, restore,
};
use tempfile::TempDir;

use super::place::{Place, now, of, open, record, subject, try_open};

const BLOCKS: Table = Table::new("vault.blocks");
const INDEX: Table = Table::new("vault.by-subject");
const SUBJECTS: Table = Table::new("vault.subjects");
const NAMES: Table = Table::new("vault.subject-names");
const COUNTERS: Table = Table::new("vault.counters");

fn operator() -> Access {
    Access {
        who: "anna".to_owned(),
        role: Role::Operator,
        purpose: None,
    }
}

/// Two devices, three blocks, and something of the gateway's beside.
fn filled(dir: &Path) -> Place {
    let place = open(dir);
    for (device, payload) in [("porch", "1"), ("hall", "2"), ("porch", "3")] {
        let payload = format!("{{\"confidence\": {payload}}}");
        place.send(&record(device, "motion", payload.as_bytes()));
        place.ingest();
    }
    let mut batch = Batch::new();
    batch.put(Table::new("registry.devices"), *b"porch", *b"known");
    batch.put(Table::new("console.sessions"), *b"s", *b"logged in");
    place.store.commit(batch).expect("stored");
    place
}

fn backed_up(place: &Place) -> Vec<u8> {
    let mut file = Vec::new();
    let done = place.vault.backup(&operator(), &mut file, now());
    let done = done.expect("a backup");
    assert!(
        done.entries > 10 && done.epoch == place.keys.epoch(),
        "{done:?}"
    );
    file
}

fn lose_the_store(dir: &Path) {
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        drop(fs_err::remove_file(dir.join(name)));
    }
}

fn restored_into(
    store: &Arc<dyn Store>,
    dir: &Path,
    mut file: impl Read + Seek,
    accept_older: bool,
) -> Result<Restored, BackupError> {
    let root = RootPlace::File(dir.with_extension("root"));
    let keys = Keys::open(Arc::clone(store), root, dir)?;
    let log = Log::open(dir, keys.log_seen())?;
    let into = Empty {
        store: &**store,
        keys: &keys,
        log: &log,
    };
    restore(into, &mut file, accept_older, now())
}

fn restored(dir: &Path, file: &[u8], accept_older: bool) -> Result<Restored, BackupError> {
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.join("state.db"))?);
    restored_into(&store, dir, Cursor::new(file), accept_older)
}

fn records(place: &Place) -> Vec<StoredRecord> {
    place.all(&of("motion"))
}

#[test]
fn what_was_backed_up_is_there_again_and_the_keys_are_not_in_the_file() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let place = filled(&data);
    let before = records(&place);
    let file = backed_up(&place);
    drop(place);
    let root = fs_err::read(data.with_extension("root")).unwrap();
    let keyring = fs_err::read(data.join("keyring")).unwrap();
    for secret in [
        &root[root.len() - 32..],
        &keyring[keyring.len() - 32..],
        b"confidence",
        b"porch",
    ] {
        assert!(!file.windows(secret.len()).any(|it| it == secret));
    }

    lose_the_store(&data);
    let done = restored(&data, &file, false).unwrap();
    assert_eq!((done.subjects, done.unreadable), (2, 0));
    assert_eq!(done.since.len(), 0);
    let place = open(&data);
    assert_eq!(records(&place), before);
    let get = |table, key: &[u8]| place.store.get(Table::new(table), key).unwrap();
    assert_eq!(get("registry.devices", b"porch").unwrap(), b"known");
    assert_eq!(
        get("console.sessions", b"s"),
        None,
        "nobody is logged in by a backup"
    );
    place.send(&record("porch", "motion", br#"{"confidence": 4}"#));
    assert_eq!(place.ingest().stored, 1, "and it goes on");
    drop(place);
    let again = restored(&data, &file, true).unwrap_err();
    assert!(matches!(again, BackupError::NotEmpty(_)), "{again}");
}

#[test]
fn a_changed_or_cut_backup_is_refused_and_nothing_of_it_is_restored() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let file = backed_up(&filled(&data));
    lose_the_store(&data);
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&data.join("state.db")).unwrap());
    let refused = |bytes: &[u8], what: &str| {
        let error = restored_into(&store, &data, Cursor::new(bytes), true).expect_err(what);
        let named = matches!(
            error,
            BackupError::Damaged(_) | BackupError::NoBackup | BackupError::OtherVault
        );
        assert!(named, "{what}: {error}");
    };
    for at in (0..file.len()).step_by(file.len() / 150) {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        refused(&changed, &format!("byte {at}"));
        refused(&file[..at], &format!("cut at {at}"));
    }
    refused(&[file.as_slice(), b"x"].concat(), "longer");
    refused(&[file.as_slice(), &file].concat(), "twice");
    assert_eq!(store.scan(BLOCKS, Scan::all()).unwrap(), []);
    let other = dir.path().join("other");
    let of_another = backed_up(&filled(&other));
    let error = restored_into(&store, &data, Cursor::new(of_another), true).unwrap_err();
    assert!(matches!(error, BackupError::OtherVault), "{error}");
    restored(&data, &file, false).unwrap();
}

#[test]
fn an_old_backup_is_refused_with_what_it_would_forget_and_a_dead_one_always() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let place = filled(&data);
    let file = backed_up(&place);
    place.page(&of("motion"));
    let copy = |name: &str| {
        let to = dir.path().join(name);
        let copied = std::process::Command::new("cp")
            .args(["-r", "--"])
            .args([&data, &to])
            .status();
        assert!(copied.unwrap().success());
        fs_err::copy(data.with_extension("root"), to.with_extension("root")).unwrap();
        lose_the_store(&to);
        to
    };
    let later = copy("later");
    let error = restored(&later, &file, false).unwrap_err().to_string();
    assert!(
        error.contains("query (1)") && error.contains("--accept-older"),
        "{error}"
    );
    assert_eq!(restored(&later, &file, true).unwrap().since["query"], 1);

    let erase = |defer| {
        place
            .vault
            .erase(&operator(), &subject("hall"), defer, || Ok(None), now())
    };
    erase(true).unwrap();
    let error = restored(&copy("erased"), &file, true).unwrap_err();
    assert!(matches!(error, BackupError::UndoesErasure), "{error}");
    erase(false).unwrap();
    place.send(&record("hall", "motion", br#"{"confidence": 1}"#));
    place.ingest();
    place
        .vault
        .erase(&operator(), &subject("hall"), false, || Ok(None), now())
        .unwrap();
    let error = restored(&copy("dead"), &file, true).unwrap_err();
    assert!(
        matches!(error, BackupError::Dead { backup: 1, .. }),
        "{error}"
    );
    // The keyring of then does not help: the log knows better.
    let fresh = backed_up(&place);
    let old = copy("old");
    fs_err::copy(later.join("keyring"), old.join("keyring")).unwrap();
    let error = restored(&old, &fresh, true).unwrap_err();
    assert!(matches!(error, BackupError::KeyringOlder { .. }), "{error}");
}

/// Ends in the middle, the second time it is read.
struct Dying {
    file: Cursor<Vec<u8>>,
    left: Option<usize>,
    dies_after: usize,
}

impl Read for Dying {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == Some(0) {
            return Err(io::Error::other("killed"));
        }
        let most = self.left.unwrap_or(usize::MAX).min(to.len());
        let count = self.file.read(&mut to[..most])?;
        self.left = self.left.map(|left| left - count);
        Ok(count)
    }
}

impl Seek for Dying {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.left = Some(self.dies_after);
        self.file.seek(to)
    }
}

#[test]
fn a_restore_that_was_killed_is_noticed_and_repeated() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let place = filled(&data);
    let before = records(&place);
    let file = backed_up(&place);
    let other = backed_up(&place);
    drop(place);
    for dies_after in [1, 200, file.len() / 2, file.len() - 1] {
        lose_the_store(&data);
        let dying = Dying {
            file: Cursor::new(file.clone()),
            left: None,
            dies_after,
        };
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&data.join("state.db")).unwrap());
        let error = restored_into(&store, &data, dying, true).unwrap_err();
        drop(store);
        assert!(matches!(error, BackupError::Io(_)), "{error}");
        let error = try_open(&data).err().unwrap();
        assert!(matches!(error, VaultError::HalfRestored), "{error}");
        let error = restored(&data, &other, true).unwrap_err();
        assert!(matches!(error, BackupError::Unfinished), "{error}");
        restored(&data, &file, true).unwrap();
        assert_eq!(records(&open(&data)), before);
    }
}

#[test]
fn a_full_disk_fails_the_backup() {
    let dir = TempDir::new().unwrap();
    let place = filled(dir.path());
    let mut full = fs_err::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let error = place.vault.backup(&operator(), &mut full, now());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
}

#[test]
fn a_backup_moves_a_vault_to_postgresql() {
    let server = TempDir::new_in("/dev/shm").unwrap();
    let Some(cluster) = Cluster::start(server.path()).unwrap() else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let file = backed_up(&filled(&data));
    let url = cluster.fresh().unwrap();
    let store: Arc<dyn Store> = Arc::new(
        Postgres::open(&PostgresSettings {
            url: &url,
            password: None,
            authorities: None,
        })
        .unwrap(),
    );
    restored_into(&store, &data, Cursor::new(&file), false).unwrap();
    let embedded = Sqlite::open(&data.join("state.db")).unwrap();
    for table in [BLOCKS, INDEX, SUBJECTS, NAMES, COUNTERS] {
        let there = store.scan(table, Scan::all()).unwrap();
        assert!(!there.is_empty());
        assert_eq!(there, embedded.scan(table, Scan::all()).unwrap(), "{table}");
    }
}

fn checked(place: &Place, repair: bool) -> Checked {
    let checked = place.vault.fsck(&operator(), repair, now());
    checked.expect("looked at")
}

/// What is wrong, a line each.
fn told(checked: &Checked) -> Vec<String> {
    let line = |found: &stockade_vault::Found| {
        let end = match (found.unjudged, found.repaired) {
            (true, _) => " (not judged)",
            (_, true) => " (repaired)",
            _ => "",
        };
        format!("{}: {}{end}", found.what, found.detail)
    };
    checked.found.iter().map(line).collect()
}

#[test]
fn a_sound_vault_has_nothing_wrong() {
    let dir = TempDir::new().unwrap();
    let checked = checked(&filled(dir.path()), true);
    assert_eq!(told(&checked), [""; 0]);
    assert_eq!(
        (checked.blocks, checked.records, checked.subjects),
        (3, 3, 2)
    );
    assert!(checked.log.is_some());
}

#[test]
fn each_damage_is_named_the_rest_is_read_and_the_index_is_made_anew() {
    let dir = TempDir::new().unwrap();
    let place = filled(dir.path());
    let entries = |table| place.store.scan(table, Scan::all()).unwrap();
    let index = entries(INDEX);
    let mut batch = Batch::new();
    batch.delete(INDEX, index[0].0.clone());
    batch.put(INDEX, [&[7; 16][..], &index[0].0[16..]].concat(), *b"");
    batch.put(INDEX, *b"nonsense", *b"");
    place.store.commit(batch).unwrap();
    let first = checked(&place, false);
    assert_eq!(told(&first).len(), 3, "{:?}", told(&first));
    assert_eq!(
        told(&checked(&place, true))
            .iter()
            .filter(|it| it.ends_with("(repaired)"))
            .count(),
        3
    );
    assert_eq!(told(&checked(&place, false)), [""; 0]);
    assert_eq!(entries(INDEX), index);

    // A block, counters, the name of a device; then another device's keys.
    let (key, mut block) = entries(BLOCKS).remove(0);
    let middle = block.len() - 20;
    block[middle] ^= 1;
    let mut batch = Batch::new();
    batch.put(BLOCKS, key, block);
    batch.put(COUNTERS, *b"motion", *b"nonsense");
    let (name, _) = entries(NAMES).remove(0);
    batch.put(NAMES, name, *b"short");
    batch.put(BLOCKS, *b"no key", *b"no block");
    place.store.commit(batch).unwrap();
    let found = told(&checked(&place, true));
    for wanted in [
        "block 1 of motion: damaged: its content is not what was sealed",
        "a block under the key",
        "the counters of motion: not what the vault writes",
        "of the index of devices: not what the vault writes",
        "no device leads to them",
    ] {
        assert!(
            found.iter().any(|it| it.contains(wanted)),
            "{wanted}: {found:#?}"
        );
    }
    assert!(found.len() <= 6, "{found:#?}");
}

#[test]
fn a_lost_key_leaves_its_blocks_unjudged_and_a_damaged_log_is_named() {
    let dir = TempDir::new().unwrap();
    drop(filled(dir.path()));
    let place = open(dir.path());
    let (id, _) = place.store.scan(SUBJECTS, Scan::all()).unwrap().remove(0);
    let mut batch = Batch::new();
    batch.delete(SUBJECTS, id);
    place.store.commit(batch).unwrap();
    let found = told(&checked(&place, false));
    assert!(
        found.iter().any(|it| it.contains("(not judged)")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|it| it.contains("has no keys")),
        "{found:#?}"
    );

    let bundles = dir.path().join("log/tile/entries");
    let bundle = fs_err::read_dir(bundles)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let bundle = if bundle.is_dir() {
        fs_err::read_dir(bundle)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    } else {
        bundle
    };
    let mut bytes = fs_err::read(&bundle).unwrap();
    bytes[10] ^= 1;
    fs_err::write(&bundle, bytes).unwrap();
    let checked = place.vault.fsck(&operator(), false, now());
    // Either the log says so, or it can no longer be appended to.
    match checked {
        Ok(checked) => assert!(
            told(&checked).iter().any(|it| it.starts_with("the log:")),
            "{checked:?}"
        ),
        Err(error) => assert!(matches!(error, VaultError::Log(_)), "{error}"),
    }
}
