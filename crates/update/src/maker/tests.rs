use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::*;
use crate::repository::{RepositoryError, check};
use crate::shelf::Shelf;
use crate::target::Kind;

const DAY: u64 = 86_400;
/// A moment with whole seconds, like those in metadata.
const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::days(20_000));

struct World {
    dir: tempfile::TempDir,
    maker: Maker,
    now: OffsetDateTime,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let maker = Maker::init(&dir.path().join("maker"), "cam-2", 3, 2, START).unwrap();
        Self {
            dir,
            maker,
            now: START,
        }
    }

    fn key(&self, name: &str) -> Key {
        Key::read(&self.maker.keys().join(format!("{name}.pem"))).unwrap()
    }

    fn publish(&mut self, version: u64, keys: &[&str]) -> Result<Progress, MakerError> {
        let file = self.dir.path().join("system");
        fs_err::write(&file, format!("system {version}")).unwrap();
        let keys: Vec<Key> = keys.iter().map(|name| self.key(name)).collect();
        self.maker.publish(&file, &system(version), &keys, self.now)
    }

    fn sign(&mut self, name: &str) -> Result<Vec<Progress>, MakerError> {
        let key = self.key(name);
        self.maker.sign(&key, self.now)
    }

    /// What a device that came with the first root of trust sees in the repository, so many days after its maker.
    fn device(&self, repository: &Path, days: u64) -> Result<Vec<u64>, RepositoryError> {
        let state = self.dir.path().join("device");
        let root = self.maker.repository().join("metadata/1.root.json");
        let now = u64::try_from(self.now.unix_timestamp()).unwrap() + days * DAY;
        let shelf = Shelf::open(repository)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let checked = runtime.block_on(check(shelf, &state, &root, "cam-2", now))?;
        Ok(checked.offers.iter().map(|it| it.system.version).collect())
    }

    fn sees(&self) -> Vec<u64> {
        self.device(&self.maker.repository(), 0).unwrap()
    }
}

fn system(version: u64) -> System {
    System {
        form: target::FORM,
        model: "cam-2".to_owned(),
        version,
        kind: Kind::Image,
        security: false,
        name: None,
    }
}

#[test]
fn a_system_is_offered_as_soon_as_two_of_three_have_signed_it_and_not_before() {
    let mut world = World::new();
    assert_eq!(world.sees(), [0_u64; 0]);
    let first = world.publish(1, &["targets-1"]).unwrap();
    assert_eq!((first.missing, first.published), (1, false));
    assert_eq!(first.signed, ["targets-1"]);
    assert_eq!(world.sees(), [0_u64; 0], "one is not enough");
    assert!(matches!(world.sign("root-1"), Err(MakerError::Stranger(_))));
    assert_eq!(
        world.sign("targets-1").unwrap()[0].missing,
        1,
        "the same one twice is one"
    );
    let then = world.sign("targets-3").unwrap();
    assert!(then[0].published, "{then:?}");
    assert_eq!(world.sees(), [1]);
    assert!(world.maker.draft(Role::Targets).unwrap().is_none());
    assert!(
        matches!(world.publish(1, &[]), Err(MakerError::Asked(_))),
        "versions grow"
    );
    assert!(
        world
            .publish(2, &["targets-1", "targets-2"])
            .unwrap()
            .published
    );
    assert_eq!(world.sees(), [1, 2]);
}

#[test]
fn what_is_added_to_a_draft_voids_the_signatures_of_before() {
    let mut world = World::new();
    world.publish(1, &["targets-1"]).unwrap();
    let then = world.publish(2, &["targets-2"]).unwrap();
    assert_eq!((then.missing, then.version), (1, 2));
    assert_eq!(then.signed, ["targets-2"]);
    world.sign("targets-1").unwrap();
    assert_eq!(world.sees(), [1, 2]);
}

#[test]
fn a_draft_is_published_where_the_keys_beside_the_repository_are() {
    let mut world = World::new();
    let away = world.dir.path().join("timestamp-1.pem");
    let here = world.maker.keys().join("timestamp-1.pem");
    fs_err::rename(&here, &away).unwrap();
    let told = world.publish(1, &["targets-1", "targets-2"]).unwrap();
    assert_eq!((told.missing, told.published), (0, false));
    assert_eq!(world.sees(), [0_u64; 0]);
    assert!(matches!(
        world.maker.refresh(world.now),
        Err(MakerError::NoOnlineKey("timestamp", _))
    ));
    fs_err::rename(&away, &here).unwrap();
    world.maker.refresh(world.now).unwrap();
    assert_eq!(world.sees(), [1]);
}

#[test]
fn a_lost_key_is_rotated_out_and_devices_follow() {
    let mut world = World::new();
    assert!(
        world
            .publish(1, &["targets-1", "targets-2"])
            .unwrap()
            .published
    );
    for (role, lost) in [(Role::Root, "root-3"), (Role::Targets, "targets-1")] {
        let told = world
            .maker
            .rotate(role, &[lost.to_owned()], 1, world.now)
            .unwrap();
        assert_eq!(told.missing, 2, "nobody signed it yet");
        assert!(matches!(world.sign(lost), Err(MakerError::Stranger(_))) || lost == "root-3");
        assert_eq!(world.sees(), [1]);
        world.sign("root-1").unwrap();
        world.sign("root-2").unwrap();
        assert_eq!(world.sees(), [1], "devices are never left with half of it");
    }
    assert_eq!(
        world.maker.latest(Role::Root).unwrap().version(),
        2,
        "it waits for the systems"
    );
    // Targets are signed anew by those who may now.
    assert_eq!(world.maker.status(world.now).unwrap().drafts.len(), 2);
    world.sign("targets-2").unwrap();
    world.sign("targets-4").unwrap();
    assert_eq!(world.maker.latest(Role::Root).unwrap().version(), 3);
    assert_eq!(world.sees(), [1]);
    assert!(
        !world
            .publish(2, &["targets-1", "targets-2"])
            .unwrap()
            .published,
        "a key that went does not count"
    );
    let wrong = world
        .maker
        .rotate(Role::Root, &["root-9".to_owned()], 1, world.now);
    assert!(matches!(wrong, Err(MakerError::Asked(_))));
    let too_few = world.maker.rotate(
        Role::Root,
        &["root-1".to_owned(), "root-2".to_owned()],
        0,
        world.now,
    );
    assert!(matches!(too_few, Err(MakerError::Asked(_))));
}

#[test]
fn a_repository_that_nobody_refreshes_is_refused_after_a_week_and_said_so_before() {
    let mut world = World::new();
    world.publish(1, &["targets-1", "targets-2"]).unwrap();
    let expiry = |world: &World, days| {
        world
            .maker
            .status(world.now + Duration::days(days))
            .unwrap()
            .roles[3]
            .expiry
    };
    assert_eq!(
        [expiry(&world, 0), expiry(&world, 6), expiry(&world, 8)],
        [Expiry::Good, Expiry::Soon, Expiry::Over]
    );
    assert!(matches!(
        world.device(&world.maker.repository(), 8),
        Err(RepositoryError::Expired { .. })
    ));
    world.now += Duration::days(8);
    world.maker.refresh(world.now).unwrap();
    assert_eq!(world.sees(), [1]);
}

#[test]
fn a_bundle_is_the_newest_system_and_reads_as_tar_reads_it() {
    let mut world = World::new();
    world.publish(1, &["targets-1", "targets-2"]).unwrap();
    world.publish(2, &["targets-1", "targets-2"]).unwrap();
    let out = world.dir.path().join("bundle.tar");
    let length = world.maker.bundle(&out).unwrap();
    assert_eq!(length, fs_err::metadata(&out).unwrap().len());
    assert_eq!(world.device(&out, 0).unwrap(), [1, 2]);
    assert!(matches!(
        world.maker.bundle(&out),
        Err(MakerError::Exists(_))
    ));
    let listed = Command::new("tar")
        .args(["-tf".as_ref(), out.as_os_str()])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("targets/")
            && listed.contains("cam-2-2.img")
            && !listed.contains("cam-2-1.img"),
        "{listed}"
    );
    let whole = fs_err::read(&out).unwrap();
    let cut = world.dir.path().join("cut.tar");
    for length in [0, 511, 512, 5000, whole.len() - 1024] {
        fs_err::write(&cut, &whole[..length]).unwrap();
        assert!(world.device(&cut, 0).is_err(), "{length}");
    }
}

#[test]
fn nothing_is_overwritten_and_nonsense_is_refused() {
    let world = World::new();
    let folder = world.dir.path().join("maker");
    assert!(matches!(
        Maker::init(&folder, "cam-2", 3, 2, START),
        Err(MakerError::Exists(_))
    ));
    let other = world.dir.path().join("other");
    for (model, keys, threshold) in [
        ("cam-2", 2, 3),
        ("cam-2", 3, 0),
        ("cam-2", 99, 2),
        ("../x", 3, 2),
        ("", 3, 2),
    ] {
        assert!(
            Maker::init(&other, model, keys, threshold, START).is_err(),
            "{model} {keys} {threshold}"
        );
        assert!(!other.exists(), "{model}");
    }
    assert!(matches!(Maker::open(&other), Err(MakerError::NotHere(_))));
    fs_err::write(folder.join("drafts/targets.json"), "{}").unwrap();
    assert!(matches!(
        world.maker.status(START),
        Err(MakerError::Content { .. })
    ));
}

#[test]
fn secret_keys_are_for_their_owner_alone_and_what_devices_fetch_is_for_all() {
    let world = World::new();
    let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    for entry in fs_err::read_dir(world.maker.keys()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    assert_eq!(
        mode(&world.maker.repository().join("metadata/1.root.json")),
        0o644
    );
}
