//! A real file system that is really full.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stockade_store::{
    Batch, Bus as _, BusError, BusStatus, Durability, Journal, JournalOptions, Scan, Sqlite,
    Store as _, StoreError, Stream, Table, suite,
};
use tempfile::TempDir;

/// A small file system in memory; gone with the value.
struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    /// `None`, and a line that says so, where it cannot be mounted.
    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    fn mount(size: &str) -> Option<Self> {
        let dir = TempDir::new().expect("a directory");
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { dir }),
            _ => {
                println!("skipped: mounting a tmpfs needs root");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all that is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        let mut size = 64 << 10;
        let mut content = Vec::new();
        while size > 0 {
            content.resize(content.len() + size, 1);
            if fs_err::write(&ballast, &content).is_err() {
                content.truncate(content.len() - size);
                size /= 2;
            }
        }
        ballast
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "cannot unmount {}",
            self.path().display()
        );
    }
}

fn until(condition: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("did not come true in 30 s");
}

#[test]
fn the_journal_refuses_on_a_full_disk_and_goes_on_when_there_is_room() {
    let Some(disk) = Tmpfs::mount("6m") else {
        return;
    };
    let dir = disk.path().join("journal");
    let options = JournalOptions {
        durability: Durability::Commit,
        segment_bytes: 256 << 10,
        ..JournalOptions::default()
    };
    let journal = Journal::open(&dir, options.clone()).unwrap();
    suite::wait(
        &journal,
        journal.append(Stream::Sessions, &[0; 1000]).unwrap(),
    )
    .unwrap();
    let ballast = disk.fill();

    let mut taken = 1;
    until(|| {
        // One by one, so that the last ones wait for room.
        !matches!(
            journal.append(Stream::Fleet, &[1; 10_000]),
            Ok(_) | Err(BusError::Full)
        )
    });
    assert!(
        matches!(journal.status(), BusStatus::Refusing { passing: true, .. }),
        "{:?}",
        journal.status()
    );
    let refused = journal.append(Stream::Sessions, &[2; 1000]);
    assert!(
        matches!(refused, Err(BusError::Refusing { .. })),
        "{refused:?}"
    );

    fs_err::remove_file(ballast).unwrap();
    until(|| journal.status() == BusStatus::Healthy);
    suite::wait(&journal, journal.last()).unwrap();
    suite::wait(
        &journal,
        journal.append(Stream::Sessions, &[3; 1000]).unwrap(),
    )
    .unwrap();
    taken += 1;
    drop(journal);
    let journal = Journal::open(&dir, options).unwrap();
    assert_eq!(
        suite::all(&journal, Stream::Sessions, 10).unwrap().len(),
        taken
    );
    assert!(
        !suite::all(&journal, Stream::Fleet, 1_000)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_store_refuses_on_a_full_disk_and_goes_on_when_there_is_room() {
    const TABLE: Table = Table::new("test.full");
    let Some(disk) = Tmpfs::mount("4m") else {
        return;
    };
    let store = Sqlite::open(&disk.path().join("state.db")).unwrap();
    let put = |key: u8, bytes: usize| {
        let mut batch = Batch::new();
        batch.put(TABLE, [key], vec![key; bytes]);
        store.commit(batch)
    };
    put(1, 10).unwrap();
    let ballast = disk.fill();
    let refused = put(2, 500_000);
    assert!(
        matches!(refused, Err(StoreError::Full { .. })),
        "{refused:?}"
    );
    assert_eq!(
        store.scan(TABLE, Scan::all()).unwrap().len(),
        1,
        "nothing of it was kept"
    );
    fs_err::remove_file(ballast).unwrap();
    put(2, 500_000).unwrap();
    assert_eq!(store.scan(TABLE, Scan::all()).unwrap().len(), 2);
}
