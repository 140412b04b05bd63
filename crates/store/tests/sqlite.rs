//! What the embedded store promises beyond the suite.

use std::os::unix::fs::MetadataExt as _;

use rusqlite::Connection;
use stockade_store::{Batch, Sqlite, Store as _, StoreError, Table};
use tempfile::TempDir;

const TABLE: Table = Table::new("test");

#[test]
fn its_files_are_for_this_user_only() {
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(&dir.path().join("state.db")).unwrap();
    let mut batch = Batch::new();
    batch.put(TABLE, *b"k", *b"v");
    store.commit(batch).unwrap();
    let mut files = 0;
    for entry in fs_err::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(
            fs_err::metadata(&path).unwrap().mode() & 0o777,
            0o600,
            "{}",
            path.display()
        );
        files += 1;
    }
    assert!(files >= 2, "the database and its log");
}

#[test]
fn what_is_deleted_is_gone_from_the_file_once_it_is_closed() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    let secret = b"a value that must not stay behind".repeat(20);
    let contains = || {
        fs_err::read(&path)
            .unwrap()
            .windows(33)
            .any(|part| secret.starts_with(part))
    };
    let store = Sqlite::open(&path).unwrap();
    let mut batch = Batch::new();
    batch
        .put(TABLE, *b"k", secret.clone())
        .put(TABLE, *b"l", *b"stays");
    store.commit(batch).unwrap();
    drop(store);
    assert!(contains(), "the test can see it");
    let store = Sqlite::open(&path).unwrap();
    let mut batch = Batch::new();
    batch.delete(TABLE, *b"k");
    store.commit(batch).unwrap();
    drop(store);
    assert!(!contains());
    assert!(
        !dir.path().join("state.db-wal").exists(),
        "the log is merged at the end"
    );
}

#[test]
fn a_newer_store_and_another_programs_database_are_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    drop(Sqlite::open(&path).unwrap());
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 2)
        .unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );

    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert!(matches!(
        Sqlite::open(&foreign),
        Err(StoreError::Foreign { .. })
    ));
    let text = dir.path().join("text.db");
    fs_err::write(
        &text,
        "not a database at all, but long enough to look at".repeat(100),
    )
    .unwrap();
    assert!(matches!(
        Sqlite::open(&text),
        Err(StoreError::Failed { .. })
    ));
}
