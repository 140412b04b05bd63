//! Rights follow from profiles and the operator, and void grants are known to be void.

use stockade_link::cbor::Reader;
use stockade_link::credential::thumbprint;
use stockade_link::crypto::{Curve, Secret};
use stockade_link::grant::{Clock, Grant, GrantError, Granted};
use stockade_store::Sqlite;
use time::Duration;

use super::super::crypto::AwsKey;
use super::*;
use crate::registry::RegistrySettings;

const START: OffsetDateTime = time::macros::datetime!(2026-11-22 12:00 UTC);

const CAMERA: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-1"
version = 1
class = "constrained"
[[comms.peer]]
model = "siren-1"
scope = ["siren.sound"]
"#;
const SIREN: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "siren-1"
version = 1
class = "constrained"
"#;

struct World {
    dir: tempfile::TempDir,
    registry: Arc<Registry>,
    grants: Grants,
}

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn key(device: &str) -> PublicKey {
    let byte = device.bytes().fold(1, u8::wrapping_add);
    let key = AwsKey::new(Curve::P256, &Secret::new([byte | 1; 32]));
    key.unwrap().public().unwrap()
}

fn open(dir: &tempfile::TempDir) -> (Arc<Registry>, Grants) {
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("state.db")).unwrap());
    let kept = Arc::clone(&store);
    let registry = Registry::open(store, Arc::default(), RegistrySettings::default());
    let registry = Arc::new(registry.unwrap());
    let keys = Arc::new(LinkKeys::open(&dir.path().join("link")).unwrap());
    let grants = Grants::open(kept, Arc::clone(&registry), keys);
    (registry, grants.unwrap())
}

impl World {
    /// Two cameras and a siren, enrolled.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (registry, grants) = open(&dir);
        for profile in [CAMERA, SIREN] {
            let profile = stockade_profile::parse(profile).unwrap();
            registry.install_profile(profile, START).unwrap();
        }
        let world = Self {
            dir,
            registry,
            grants,
        };
        for (model, device) in [("cam-1", "porch"), ("cam-1", "yard"), ("siren-1", "hall")] {
            let name = DeviceName::new(model, device).unwrap();
            let print = thumbprint(&mut AwsLc::default(), &key(device)).unwrap();
            let link = world.registry.add_constrained(&name, print, START).unwrap();
            let mut buffer = [0; 200];
            let kid = link.kid.bytes();
            let credential = ccs(
                &mut buffer,
                Some(&name.to_string()),
                Some(&kid),
                &key(device),
            );
            world
                .registry
                .enrol_link(&name.id, &print, credential.unwrap(), START)
                .unwrap();
        }
        world
    }

    fn reopen(self) -> Self {
        drop((self.registry, self.grants));
        let (registry, grants) = open(&self.dir);
        Self {
            dir: self.dir,
            registry,
            grants,
        }
    }

    /// What a device is told: its epoch, and its grants with whom they are for.
    fn told(&self, device: &str, now: OffsetDateTime) -> (u64, Vec<(Vec<u8>, String)>) {
        let bundle = self.grants.bundle(&id(device), now).unwrap();
        let mut reader = Reader::new(&bundle);
        assert_eq!(reader.array(), Ok(3));
        assert_eq!(reader.uint(), Ok(seconds(now)));
        let epoch = reader.uint().unwrap();
        let offers = (0..reader.array().unwrap()).map(|_| {
            assert_eq!(reader.array(), Ok(3));
            let grant = reader.bytes().unwrap().to_vec();
            let credential = Credential::read(reader.bytes().unwrap()).unwrap();
            let name = reader.text().unwrap().to_owned();
            assert_eq!(credential.subject, Some(name.as_str()));
            (grant, name)
        });
        let offers = offers.collect();
        assert!(reader.is_empty());
        (epoch, offers)
    }

    /// The siren judges a grant of `device`.
    fn judged(&self, grant: &[u8], device: &str, clock: &mut Clock) -> Result<Granted, GrantError> {
        let authority = self.grants.keys().authority();
        Grant::read(grant)?.verify(
            &mut AwsLc::default(),
            authority,
            "siren-1/hall",
            &key(device),
            (clock, 0),
        )
    }
}

fn clock(now: OffsetDateTime, epoch: u64) -> Clock {
    let mut clock = Clock::default();
    clock.tell(seconds(now), epoch, 0);
    clock
}

#[test]
fn a_profile_lets_devices_ask_and_nobody_else() {
    let world = World::new();
    let (epoch, offers) = world.told("porch", START);
    assert_eq!((epoch, offers.len()), (1, 1));
    let (grant, name) = &offers[0];
    assert_eq!(name, "siren-1/hall");
    let mut clock = clock(START, 1);
    let granted = world.judged(grant, "porch", &mut clock).unwrap();
    assert!(granted.allows(&clock, 0, 3, "siren/sound"));
    assert!(!granted.allows(&clock, 0, 4, "siren/sound"));
    assert_eq!(granted.ends(), LIFE * 1000);
    assert_eq!(
        world.judged(grant, "yard", &mut clock),
        Err(GrantError::OtherKey)
    );
    assert!(
        world.told("hall", START).1.is_empty(),
        "a siren asks nobody"
    );
    assert_eq!(world.grants.list(START).len(), 2);
}

#[test]
fn who_is_quarantined_loses_its_grants_and_the_epoch_says_so() {
    let world = World::new();
    let (_, offers) = world.told("porch", START);
    let (_, of_yard) = world.told("yard", START);
    world
        .registry
        .quarantine(&id("porch"), "odd", START)
        .unwrap();
    assert!(world.told("porch", START).1.is_empty());
    let (epoch, _) = world.told("hall", START);
    assert_eq!(epoch, 2);
    let mut clock = clock(START, epoch);
    for (device, offers) in [("porch", &offers), ("yard", &of_yard)] {
        let judged = world.judged(&offers[0].0, device, &mut clock);
        assert_eq!(judged, Err(GrantError::Revoked));
    }
    // The other camera fetches a new one.
    let (_, fresh) = world.told("yard", START);
    assert!(world.judged(&fresh[0].0, "yard", &mut clock).is_ok());
    // It rises once for one loss, and survives a restart.
    let world = world.reopen();
    assert_eq!(world.told("hall", START).0, 2);
    world
        .registry
        .release(&id("porch"), "mended", START)
        .unwrap();
    let (_, offers) = world.told("porch", START);
    assert!(world.judged(&offers[0].0, "porch", &mut clock).is_ok());
}

#[test]
fn a_device_that_is_removed_or_a_scope_that_is_taken_back_is_noticed_after_a_restart_too() {
    let world = World::new();
    world.told("porch", START);
    let world = world.reopen();
    world.registry.remove(&id("porch"), START).unwrap();
    assert_eq!(world.told("hall", START).0, 2);
    world.told("yard", START);
    let less = CAMERA
        .replace("version = 1", "version = 2")
        .replace("siren.sound", "siren.test");
    let less = stockade_profile::parse(&less).unwrap();
    world.registry.install_profile(less, START).unwrap();
    assert_eq!(world.told("hall", START).0, 3);
    // What has run out voids nothing.
    world.told("yard", START);
    let later = START + Duration::days(3);
    world.registry.remove(&id("yard"), later).unwrap();
    assert_eq!(world.told("hall", later).0, 3);
}

#[test]
fn the_operator_grants_for_a_while_and_takes_back() {
    let world = World::new();
    let scope = vec![("/siren/test".to_owned(), 1)];
    let order = |life| {
        world
            .grants
            .order(&id("yard"), &id("hall"), &scope, life, START)
    };
    assert!(matches!(order(0), Err(GrantsError::Life)));
    let right = order(3600).unwrap();
    assert_eq!(right.until, Some(seconds(START) + 3600));
    let (_, offers) = world.told("yard", START);
    assert_eq!(offers.len(), 2, "the operator's and the profile's");
    let mut clock = clock(START, 1);
    let granted = world.judged(&offers[0].0, "yard", &mut clock).unwrap();
    assert!(granted.allows(&clock, 0, 1, "siren/test"));
    assert_eq!(granted.ends(), 3_600_000);
    assert_eq!(world.told("yard", START + Duration::hours(2)).1.len(), 1);
    assert_eq!(
        world.told("hall", START + Duration::hours(2)).0,
        1,
        "it has run out by itself"
    );
    assert_eq!(world.grants.revoke(&id("hall"), START).unwrap(), 2);
    assert_eq!(
        world.told("yard", START).1.len(),
        1,
        "the profile still says so"
    );
    clock.tell(seconds(START), 2, 0);
    assert!(!granted.stands(&clock, 0));
    let unknown = world
        .grants
        .order(&id("yard"), &id("roof"), &scope, 60, START);
    assert!(matches!(unknown, Err(GrantsError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_epoch_rises_at_once_and_for_what_was_lost_while_nobody_looked() {
    let world = World::new();
    world.told("porch", START);
    world.told("yard", START);
    world
        .registry
        .quarantine(&id("porch"), "odd", START)
        .unwrap();
    let World {
        dir: _dir,
        registry,
        grants,
    } = world;
    let grants = Arc::new(grants);
    // Nobody asks for grants here: only what is kept is looked at.
    let epoch = || grants.lock().get(&id("hall")).unwrap().epoch;
    let reaches = async |wanted| {
        for _ in 0..1000 {
            if epoch() == wanted {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the epoch is {} still", epoch());
    };
    assert_eq!(epoch(), 1);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clock = crate::tls::Clock::new(|| START);
    let running = tokio::spawn(run(Arc::clone(&grants), clock, stopped));
    reaches(2).await;
    grants.bundle(&id("yard"), START).unwrap();
    registry.revoke(&id("yard"), "stolen", START).unwrap();
    reaches(3).await;
    stop.send_replace(true);
    running.await.unwrap();
}

#[test]
fn what_a_device_has_no_room_for_is_said_and_the_operators_word_comes_first() {
    let world = World::new();
    for number in 0..4 {
        let scope = vec![(format!("/siren/test/{number}"), 1)];
        let right = world
            .grants
            .order(&id("yard"), &id("hall"), &scope, 3600, START);
        assert_eq!(right.unwrap().fits, number < 2, "{number}");
    }
    let rights = world.grants.list(START);
    let (fit, left): (Vec<_>, Vec<_>) = rights
        .iter()
        .filter(|right| right.from.id == id("yard"))
        .partition(|right| right.fits);
    assert_eq!((fit.len(), left.len()), (2, 3));
    assert!(fit.iter().all(|right| right.until.is_some()));
    let (_, offers) = world.told("yard", START);
    assert_eq!(offers.len(), fit.len());
    let bundle = world.grants.bundle(&id("yard"), START).unwrap();
    assert!(bundle.len() <= GRANTS_MAX, "{}", bundle.len());
    let all = rights.iter().filter(|right| right.from.id == id("porch"));
    assert!(all.into_iter().all(|right| right.fits));
}
