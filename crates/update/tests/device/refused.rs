//! What is not installed, and by which name it is refused.

use stockade_api::update::{Errand, Phase};

use crate::world::{DAY, SIZE, World, image};

/// Refused by this name, and the device is as it was.
#[track_caller]
fn refused(world: &World, why: &str) {
    let said = world.install_refused();
    assert!(said.contains(why), "{said}");
    assert_eq!(world.phase(), Phase::Idle);
    assert_eq!(world.boot(), 1);
}

fn offered() -> World {
    let mut world = World::new();
    world.publish(2);
    world.fetched();
    world
}

fn change(world: &World, folder: &str, name: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let folder = world.places().spool().join(folder);
    let mut files = fs_err::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path());
    let file = files
        .find(|it| it.to_string_lossy().ends_with(name))
        .unwrap();
    fs_err::write(&file, change(fs_err::read(&file).unwrap())).unwrap();
}

fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

fn cut(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() / 2);
    bytes
}

#[test]
fn a_system_that_was_changed_or_cut_short() {
    let world = offered();
    change(&world, "targets", "cam-2-2.img", flipped);
    refused(&world, "Hash mismatch");
    let world = offered();
    change(&world, "targets", "cam-2-2.img", cut);
    refused(&world, "Hash mismatch");
    let world = offered();
    change(&world, "targets", "cam-2-2.img", |bytes| {
        [bytes, vec![0]].concat()
    });
    refused(&world, "aximum");
}

#[test]
fn metadata_that_was_changed_or_is_missing() {
    for name in ["timestamp.json", "2.targets.json", "2.snapshot.json"] {
        let world = offered();
        change(&world, "metadata", name, |bytes| {
            let mut read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            read["signed"]["version"] = 9.into();
            serde_json::to_vec(&read).unwrap()
        });
        let said = world.install_refused();
        let named = said.contains("signed by enough") || said.contains("Hash mismatch");
        assert!(named, "{name}: {said}");
        change(&world, "metadata", name, cut);
        world.install_refused();
        fs_err::remove_file(world.places().spool().join("metadata").join(name)).unwrap();
        refused(&world, &format!("metadata/{name} is missing"));
    }
}

#[test]
fn a_repository_that_is_older_than_what_was_seen() {
    let mut world = offered();
    world.does(Errand::Look).unwrap();
    let old = world.dir.path().join("old");
    fs_err::rename(world.places().spool(), &old).unwrap();
    world.publish(3);
    world.fetched();
    world.does(Errand::Look).unwrap();
    fs_err::remove_dir_all(world.places().spool()).unwrap();
    fs_err::rename(&old, world.places().spool()).unwrap();
    refused(&world, "older than what was seen before");
}

#[test]
fn a_repository_that_nobody_renewed_whatever_the_clock_says() {
    let mut world = offered();
    world.now += 8 * DAY;
    refused(&world, "timestamp held good until");
    // A clock that goes back does not bring it back once a later time was seen.
    let mut world = offered();
    world.now += 6 * DAY;
    world.does(Errand::Look).unwrap();
    world.now = 0;
    world.does(Errand::Look).unwrap();
    world.now += 8 * DAY + u64::try_from(crate::world::START.unix_timestamp()).unwrap();
    refused(&world, "timestamp held good until");
    // A device that never knew the time believes what is signed, and nothing that is over for sure.
    let mut world = offered();
    world.now = 0;
    world.install().unwrap();
}

#[test]
fn a_clock_that_is_far_ahead_is_not_believed_for_ever() {
    let mut world = offered();
    let right = world.now;
    world.now += 10_000 * DAY;
    refused(&world, "is this device's clock right?");
    world.now = right;
    world.install().unwrap();
}

#[test]
fn a_system_for_another_model_or_older_than_one_that_ran() {
    let mut world = World::new();
    world.publish_as("lock-1", 7, &image(7, SIZE));
    world.fetched();
    refused(&world, "nothing for cam-2");
    let mut world = offered();
    world.publish(3);
    world.fetched();
    let install = |version| Errand::Install {
        version: Some(version),
        bundle: None,
    };
    world.does(install(3)).unwrap();
    world.boot();
    world.phase();
    world.does(Errand::Confirm).unwrap();
    assert!(world.refused(install(2)).contains("3 runs: 2 is not newer"));
    assert!(world.refused(install(3)).contains("3 runs: 3 is not newer"));
    assert!(world.refused(install(9)).contains("no version 9 for cam-2"));
    // Even from the slot with the older system in it, which a person started by hand.
    let back = fs_err::read_to_string(world.root().join("proc/cmdline")).unwrap();
    fs_err::write(
        world.root().join("proc/cmdline"),
        back.replace("slot=B", "slot=A"),
    )
    .unwrap();
    fs_err::write(world.root().join("etc/os-release"), "IMAGE_VERSION=1\n").unwrap();
    assert!(
        world
            .refused(install(2))
            .contains("3 ran here before: 2 is older")
    );
}

#[test]
fn a_bundle_cut_short_anywhere_or_without_what_is_needed() {
    let world = offered();
    let bundle = world.dir.path().join("cam-2.tar");
    world.maker.bundle(&bundle).unwrap();
    let whole = fs_err::read(&bundle).unwrap();
    let part = world.dir.path().join("part.tar");
    // Its end is two empty blocks, of which one is enough.
    for length in (0..whole.len() - 1024).step_by(whole.len() / 40) {
        fs_err::write(&part, &whole[..length]).unwrap();
        let said = world.bundle_refused(&part);
        assert!(said.contains("cut short"), "{length}: {said}");
    }
    fs_err::write(&part, b"x".repeat(4096)).unwrap();
    assert!(world.bundle_refused(&part).contains("no tar archive"));
    let none = world.bundle_refused(&world.dir.path().join("none.tar"));
    assert!(none.contains("none.tar"), "{none}");
    let bundle = Some(bundle.display().to_string());
    world
        .does(Errand::Install {
            version: None,
            bundle,
        })
        .unwrap();
    assert_eq!(world.boot(), 2, "the whole one");
}

#[test]
fn what_the_fetching_user_put_in_the_place_of_files() {
    let world = offered();
    let timestamp = world.places().spool().join("metadata/timestamp.json");
    let aside = world.dir.path().join("timestamp.json");
    fs_err::rename(&timestamp, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &timestamp).unwrap();
    refused(&world, "timestamp.json");
    fs_err::remove_file(&timestamp).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &timestamp,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    refused(&world, "not a regular file");
    fs_err::remove_file(&timestamp).unwrap();
    fs_err::write(&timestamp, vec![b' '; 1024 * 1024]).unwrap();
    refused(&world, "too long for metadata");
}

#[test]
fn a_system_that_does_not_fit_into_the_slot() {
    let mut world = World::new();
    world.publish_as("cam-2", 2, &image(2, SIZE + 10_000));
    world.fetched();
    refused(&world, "and the system has 610000");
}

#[test]
fn what_is_remembered_and_damaged_is_not_taken_for_nothing() {
    let world = offered();
    world.does(Errand::Look).unwrap();
    for name in ["state.json", "trusted.json"] {
        let path = world.places().update_state().join(name);
        let kept = fs_err::read(&path).unwrap();
        fs_err::write(&path, cut(kept.clone())).unwrap();
        let said = world.install_refused();
        assert!(said.contains("is damaged"), "{said}");
        fs_err::write(&path, kept).unwrap();
    }
    world.install().unwrap();
}

#[test]
fn a_second_installer_at_the_same_time() {
    let world = offered();
    world.does(Errand::Settle).unwrap();
    let lock = fs_err::File::open(world.places().update_state().join("lock")).unwrap();
    rustix::fs::flock(lock.file(), rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(
        world
            .install_refused()
            .contains("another update is going on")
    );
}
