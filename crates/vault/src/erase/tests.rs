//! What is left of an erased device: every file is searched, and backups are put back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stockade_profile::Profile;
use stockade_store::telemetry::Record;
use stockade_store::{Batch, Bus, Journal, JournalOptions, Scan, Store, Stream, suite};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::{Erased, Forgotten, TOMBSTONES};
use crate::access::{Access, Role};
use crate::keys::tests::{Mortal, device, killed_after, planted};
use crate::keys::{KeyError, Keys, RootPlace, SUBJECTS};
use crate::vault::{BLOCKS, Profiles, Query, Vault, VaultError};
use crate::{Action, SealedBus};

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 1
class = "linux"
[comms]
key = "file"
certificate-life = "7d"
[data.motion]
device = { use = "pseudonym", scope = "dataset" }
confidence = { use = "keep" }
[vault.motion]
purposes = ["test"]
"#;

#[derive(Debug)]
struct One(Arc<Profile>);

impl Profiles for One {
    fn profile(&self, _model: &str) -> Option<Arc<Profile>> {
        Some(Arc::clone(&self.0))
    }
}

struct World {
    store: Arc<Mortal>,
    bus: Arc<dyn Bus>,
    keys: Arc<Keys>,
    vault: Vault,
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap()
}

fn operator() -> Access {
    Access {
        who: "anna".to_owned(),
        role: Role::Operator,
        purpose: Some("test".to_owned()),
    }
}

#[expect(
    clippy::unwrap_in_result,
    reason = "only the vault's own errors are of interest"
)]
fn open(dir: &Path) -> Result<World, VaultError> {
    let options = JournalOptions {
        segment_bytes: 16 << 10,
        ..JournalOptions::default()
    };
    let journal = Arc::new(Journal::open(&dir.join("journal"), options).expect("a journal"));
    let store = Arc::new(Mortal::open(dir)?);
    let kept = Arc::clone(&store) as Arc<dyn Store>;
    let place = RootPlace::File(dir.join("root.key"));
    let keys = Arc::new(Keys::open(Arc::clone(&kept), place, dir)?);
    let profiles: Arc<dyn Profiles> = Arc::new(One(Arc::new(
        stockade_profile::parse(PROFILE).expect("a sound profile"),
    )));
    let bus: Arc<dyn Bus> = Arc::new(SealedBus::open(
        journal,
        Arc::clone(&kept),
        Arc::clone(&keys),
        Arc::clone(&profiles),
    )?);
    let vault = Vault::open(kept, Arc::clone(&bus), Arc::clone(&keys), dir, profiles)?;
    Ok(World {
        store,
        bus,
        keys,
        vault,
    })
}

impl World {
    fn send(&self, number: u32) {
        let subject = device(number);
        let record = Record {
            v: 1,
            device: subject.device.into(),
            model: subject.model.into(),
            profile_version: 1,
            schema: "motion".into(),
            topic: "cam-2/x/motion".into(),
            at_unix_ms: 0,
            payload: br#"{"confidence": 0.5}"#.into(),
        };
        let prepared = self.bus.prepare(&record).unwrap();
        let seq = self.bus.append(Stream::Telemetry, &prepared).unwrap();
        suite::wait(&*self.bus, seq).unwrap();
    }

    /// Two devices with stored records, and one of each on the bus.
    fn filled(dir: &Path) -> Self {
        let world = open(dir).unwrap();
        for number in [0, 1, 0, 1] {
            world.send(number);
            world.vault.ingest_available(now()).unwrap();
        }
        for number in [0, 1] {
            world.send(number);
        }
        world
    }

    fn erase(&self, defer: bool) -> Result<Erased, VaultError> {
        self.vault
            .erase(&operator(), &device(0), defer, || Ok(None), now())
    }

    /// The pseudonyms in what can be read of a device, and how many blocks cannot be.
    fn seen(&self, number: u32) -> (Vec<String>, usize) {
        let query = Query {
            schema: "motion".to_owned(),
            subject: Some(device(number)),
            limit: 100,
            ..Query::default()
        };
        let page = self.vault.query(&operator(), &query, now()).unwrap();
        let text = |record: &crate::StoredRecord| format!("{:?}", record.fields["device"]);
        (page.records.iter().map(text).collect(), page.damaged.len())
    }

    /// All that must not be found after the erasure.
    fn planted(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut all = planted(&self.keys, &device(0));
        let own = self.keys.find(&device(0)).unwrap().unwrap().id;
        for (_, block) in self.store.scan(BLOCKS, Scan::all()).unwrap() {
            if block.windows(16).any(|it| it == own.as_bytes()) {
                all.push(("block", block));
            }
        }
        assert_eq!(all.len(), 8, "two blocks");
        let text = self.seen(0).0.pop().unwrap();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        all.push(("pseudonym", digits.as_bytes()[digits.len() - 32..].to_vec()));
        all
    }
}

/// What of `planted` is in any file below `dir`.
fn found(dir: &Path, planted: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    let mut all = Vec::new();
    let mut left = vec![dir.to_owned()];
    let mut searched = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs_err::read_dir(path).unwrap().map(|it| it.unwrap().path()));
            continue;
        }
        let bytes = fs_err::read(path).unwrap();
        searched += 1;
        for (name, secret) in planted {
            // Pages may cut long ones.
            let needle = &secret[..secret.len().min(48)];
            if bytes.windows(needle.len()).any(|it| it == needle) {
                all.push(*name);
            }
        }
    }
    assert!(searched > 5, "only {searched} files were searched");
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether the row of the device, kept by somebody, opens with all that is there now.
fn row_opens(world: &World, planted: &[(&'static str, Vec<u8>)], id: [u8; 16]) -> bool {
    let (_, row) = planted
        .iter()
        .find(|(name, _)| *name == "wrapped keys")
        .unwrap();
    let mut batch = Batch::new();
    batch.put(SUBJECTS, id, row.as_slice());
    world.store.commit(batch).unwrap();
    match world.keys.by_id(crate::SubjectId::from_bytes(id)) {
        Ok(keys) => keys.is_some(),
        Err(KeyError::Destroyed { epoch: 1, .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn no_file_has_anything_of_an_erased_device_and_its_keys_open_no_more() {
    let dir = TempDir::new().unwrap();
    let world = World::filled(dir.path());
    let planted = world.planted();
    let id = *world.keys.find(&device(0)).unwrap().unwrap().id.as_bytes();
    let there = found(dir.path(), &planted);
    assert_eq!(there, ["block", "name", "wrapped keys"], "the search finds");

    let erased = world.erase(false).unwrap();
    assert_eq!((erased.found, erased.blocks, erased.records), (true, 3, 3));
    assert_eq!(erased.waits, None);
    assert_eq!(erased.rotation.unwrap().destroyed, [1]);
    assert_eq!(found(dir.path(), &planted), [""; 0]);
    assert_eq!(world.seen(0), (vec![], 0));
    assert_eq!(world.seen(1).0.len(), 3, "what was on the bus too");
    assert!(
        world
            .store
            .scan(TOMBSTONES, Scan::all())
            .unwrap()
            .is_empty()
    );
    // The proof.
    let log = world.vault.log();
    let entry = |at: u64| log.entries(at, 1).unwrap().pop().unwrap().1;
    assert_eq!(entry(erased.proof.entry).action, Action::Erase);
    assert_eq!(entry(erased.proof.entry).subject, erased.proof.subject);
    let rotation = entry(erased.proof.rotation.unwrap());
    assert_eq!(
        (rotation.action, rotation.facts["erased"]),
        (Action::RotateKeys, 1)
    );
    let size: u64 = erased
        .proof
        .checkpoint
        .lines()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(size > erased.proof.rotation.unwrap());

    assert!(!row_opens(&world, &planted, id));
    drop(world);
    let world = open(dir.path()).unwrap();
    assert!(!row_opens(&world, &planted, id), "nor after a start");
}

#[test]
fn a_reader_delays_the_scrub_alone_and_the_search_finds_the_device_until_then() {
    let dir = TempDir::new().unwrap();
    let world = World::filled(dir.path());
    let planted = world.planted();
    world.store.scrubs.store(false, Ordering::Relaxed);
    let erased = world.erase(false).unwrap();
    assert_eq!((erased.waits, world.keys.epoch()), (None, 2));
    assert!(
        erased
            .remains
            .iter()
            .any(|it| it.contains("somebody reads"))
    );
    world.vault.settle(now()).unwrap();
    assert_eq!(
        found(dir.path(), &planted),
        ["block", "name", "wrapped keys"]
    );
    world.store.scrubs.store(true, Ordering::Relaxed);
    world.vault.settle(now()).unwrap();
    assert_eq!(found(dir.path(), &planted), [""; 0]);
}

#[test]
fn without_the_rotation_a_kept_row_opens_and_a_deferred_erasure_says_so() {
    let dir = TempDir::new().unwrap();
    let world = World::filled(dir.path());
    let planted = world.planted();
    let id = *world.keys.find(&device(0)).unwrap().unwrap().id.as_bytes();
    let erased = world.erase(true).unwrap();
    assert_eq!((erased.records, erased.rotation), (3, None));
    assert!(erased.waits.unwrap().contains("2026-09-22 13:13"));
    assert_eq!(world.seen(0), (vec![], 0));
    assert!(row_opens(&world, &planted, id));
    let mut batch = Batch::new();
    batch.delete(SUBJECTS, id);
    world.store.commit(batch).unwrap();
    drop(world);

    // A day later it is settled.
    let world = open(dir.path()).unwrap();
    world.vault.settle(now()).unwrap();
    assert_eq!(world.keys.epoch(), 1, "not yet");
    world.vault.settle(now() + super::DEFER).unwrap();
    assert_eq!(world.keys.epoch(), 2);
    assert_eq!(found(dir.path(), &planted), [""; 0]);
    assert!(!row_opens(&world, &planted, id));
}

#[test]
fn an_erasure_killed_at_any_step_is_not_begun_or_completed_at_the_next_start() {
    // In memory: it is the process that is killed here.
    let template = TempDir::new_in("/dev/shm").unwrap();
    let world = World::filled(template.path());
    let planted = world.planted();
    let id = *world.keys.find(&device(0)).unwrap().unwrap().id.as_bytes();
    drop(world);
    let (mut begun, mut not_begun) = (0, 0);
    for steps in 0.. {
        let dir = TempDir::new_in("/dev/shm").unwrap();
        copy(template.path(), dir.path());
        let world = open(dir.path()).unwrap();
        let done = killed_after(steps, || {
            let erased = world.erase(false).ok();
            erased.and_then(|erased| erased.rotation).ok_or(())
        });
        drop(world);

        let world = open(dir.path()).unwrap();
        world.vault.settle(now()).unwrap();
        world.vault.ingest_available(now()).unwrap();
        assert_eq!(world.seen(1).0.len(), 3, "after {steps} steps");
        if world.keys.find(&device(0)).unwrap().is_some() {
            assert!(!done);
            not_begun += 1;
            assert_eq!(world.seen(0).0.len(), 3, "after {steps} steps");
            continue;
        }
        begun += 1;
        assert_eq!(world.seen(0), (vec![], 0));
        assert_eq!(found(dir.path(), &planted), [""; 0], "after {steps} steps");
        assert!(!row_opens(&world, &planted, id), "after {steps} steps");
        if done {
            break;
        }
    }
    assert!(begun > 25 && not_begun > 0, "{begun} and {not_begun}");
}

#[test]
fn a_device_that_still_sends_is_somebody_new() {
    let dir = TempDir::new().unwrap();
    let world = World::filled(dir.path());
    world.vault.ingest_available(now()).unwrap();
    let before = world.seen(0).0;
    world.erase(false).unwrap();
    world.send(0);
    world.vault.ingest_available(now()).unwrap();
    let after = world.seen(0).0;
    assert_eq!(after.len(), 1);
    assert!(!before.contains(&after[0]), "the pseudonym is another");
}

#[test]
fn a_message_that_was_treated_before_the_erasure_is_not_stored_after_it() {
    let dir = TempDir::new().unwrap();
    let world = World::filled(dir.path());
    let record = Record {
        v: 1,
        device: device(0).device.into(),
        model: "cam-2".into(),
        profile_version: 1,
        schema: "motion".into(),
        topic: "cam-2/x/motion".into(),
        at_unix_ms: 0,
        payload: br#"{"confidence": 0.5}"#.into(),
    };
    let prepared = world.bus.prepare(&record).unwrap();
    world.erase(false).unwrap();
    let seq = world.bus.append(Stream::Telemetry, &prepared).unwrap();
    suite::wait(&*world.bus, seq).unwrap();
    assert_eq!(world.vault.ingest_available(now()).unwrap().refused, 1);
    assert_eq!(world.seen(0), (vec![], 0));
}

#[test]
fn the_broker_is_asked_before_the_vault_begins_and_not_for_who_may_not() {
    let dir = TempDir::new().unwrap();
    let world = World::filled(dir.path());
    let analyst = Access {
        role: Role::Analyst,
        ..operator()
    };
    let never = || panic!("who may not erase has the broker forget");
    let refused = world.vault.erase(&analyst, &device(0), false, never, now());
    assert!(matches!(refused, Err(VaultError::Refused(_))));

    let ill = || Err("the journal takes no records".to_owned());
    let failed = world
        .vault
        .erase(&operator(), &device(0), false, ill, now());
    let said = failed.unwrap_err().to_string();
    assert!(said.ends_with("the journal takes no records"), "{said}");
    assert!(
        world
            .store
            .scan(TOMBSTONES, Scan::all())
            .unwrap()
            .is_empty()
    );
    world.vault.settle(now()).unwrap();
    assert!(world.keys.find(&device(0)).unwrap().is_some());

    let gone = Forgotten {
        retained: 2,
        cleared: false,
        ..Forgotten::default()
    };
    let erased = world
        .vault
        .erase(&operator(), &device(0), false, || Ok(Some(gone)), now())
        .unwrap();
    assert_eq!((erased.records, erased.broker), (3, Some(gone)));
    assert!(
        erased
            .remains
            .iter()
            .any(|it| it.contains("others still need"))
    );
    // Also for a device that the vault has nothing of.
    let again = world
        .vault
        .erase(&operator(), &device(0), false, || Ok(Some(gone)), now())
        .unwrap();
    assert_eq!((again.found, again.broker), (false, Some(gone)));
}

#[test]
fn who_may_not_erase_is_refused_and_on_record() {
    let dir = TempDir::new().unwrap();
    let world = World::filled(dir.path());
    for (role, erased) in [
        (Role::Analyst, false),
        (Role::Auditor, false),
        (Role::Subject(device(1)), false),
        (Role::Subject(device(0)), true),
    ] {
        let access = Access { role, ..operator() };
        let before = world.vault.log().head().0;
        let done = world
            .vault
            .erase(&access, &device(0), true, || Ok(None), now());
        assert_eq!(done.is_ok(), erased, "{access:?}");
        assert_eq!(world.vault.log().head().0, before + 1);
    }
    let unknown = world
        .vault
        .erase(&operator(), &device(7), false, || Ok(None), now());
    assert!(!unknown.unwrap().found);
}

fn copy(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_old_backup_put_back_does_not_bring_the_device_back() {
    let [dir, backup] = [(); 2].map(|()| TempDir::new().unwrap());
    let world = World::filled(dir.path());
    world.vault.ingest_available(now()).unwrap();
    drop(world);
    copy(dir.path(), backup.path());
    let world = open(dir.path()).unwrap();
    world.erase(false).unwrap();
    drop(world);
    let after = TempDir::new().unwrap();
    copy(dir.path(), after.path());

    // The store alone, as a backup of it has it: nothing in it opens, and it is said block by block.
    fs_err::copy(backup.path().join("store.db"), dir.path().join("store.db")).unwrap();
    let _none = fs_err::remove_file(dir.path().join("store.db-wal"));
    let world = open(dir.path()).unwrap();
    let refused = world.vault.query(
        &operator(),
        &Query {
            schema: "motion".to_owned(),
            limit: 10,
            ..Query::default()
        },
        now(),
    );
    let page = refused.unwrap();
    assert_eq!((page.records.len(), page.damaged.len()), (0, 6));
    drop(world);

    // All but the log: the log knows a newer epoch.
    fs_err::copy(backup.path().join("keyring"), dir.path().join("keyring")).unwrap();
    let said = open(dir.path()).err().unwrap().to_string();
    assert!(said.contains("the log tells of epoch 2"), "{said}");

    // The store as it is now, and the old keyring.
    fs_err::copy(after.path().join("store.db"), dir.path().join("store.db")).unwrap();
    let said = open(dir.path()).err().unwrap().to_string();
    assert!(said.contains("the keyring is older"), "{said}");

    // Everything, root key and keyring and log too: nobody here can tell. A checkpoint kept elsewhere can.
    let world = open(backup.path()).unwrap();
    assert_eq!(world.seen(0).0.len(), 3);
}
