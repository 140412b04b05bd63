//! Every transition of a device, and what survives a restart.

use std::sync::atomic::{AtomicBool, Ordering};

use std::net::SocketAddr;

use stockade_store::{Entry, Sqlite};
use tempfile::TempDir;

use super::*;
use crate::name::DeviceName;
use crate::tls::{Leaf, hello};

const START: OffsetDateTime = time::macros::datetime!(2026-11-22 12:00 UTC);

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 3
class = "linux"
[[comms.publish]]
topic = "cam-2/${device}/motion"
max-bytes = 512
"#;

/// A store whose disk can be made to fail.
#[derive(Debug)]
struct Disk {
    store: Sqlite,
    broken: AtomicBool,
}

impl Store for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(table, key)
    }

    fn scan(&self, table: Table, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        self.store.scan(table, scan)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Full {
                file: "state.db".to_owned(),
            });
        }
        self.store.commit(batch)
    }
}

struct Fleet {
    registry: Registry,
    disk: Arc<Disk>,
    dir: TempDir,
}

fn name(id: &str) -> DeviceName {
    DeviceName::new("cam-2", id).unwrap()
}

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn open(dir: &TempDir) -> (Registry, Arc<Disk>) {
    let store = Sqlite::open(&dir.path().join("state.db")).unwrap();
    let disk = Arc::new(Disk {
        store,
        broken: AtomicBool::new(false),
    });
    let store: Arc<dyn Store> = Arc::<Disk>::clone(&disk);
    let registry = Registry::open(store, Arc::default(), RegistrySettings::default()).unwrap();
    (registry, disk)
}

impl Fleet {
    /// A registry with one device, `porch`, that has not enrolled.
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (registry, disk) = open(&dir);
        registry
            .install_profile(stockade_profile::parse(PROFILE).unwrap(), START)
            .unwrap();
        Self {
            registry,
            disk,
            dir,
        }
    }

    fn reopen(self) -> Self {
        drop((self.registry, self.disk));
        let (registry, disk) = open(&self.dir);
        Self {
            registry,
            disk,
            dir: self.dir,
        }
    }

    /// Enrols a device with the certificate `print`, good for a week.
    fn enrol(&self, device: &str, print: u8) {
        let code = self.registry.add(&name(device), START).unwrap();
        self.enrol_with(device, code.reveal(), print, START)
            .unwrap();
    }

    fn proof(&self, device: &str, code: &str, now: OffsetDateTime) -> CodeProof {
        self.registry
            .check_code(device, code, IpAddr::from([192, 0, 2, 1]), now)
            .unwrap()
    }

    fn enrol_with(
        &self,
        device: &str,
        code: &str,
        print: u8,
        now: OffsetDateTime,
    ) -> Result<Issued, EnrolError> {
        let proof = self.proof(device, code, now);
        self.registry.enrol(
            proof,
            [print; 32],
            now,
            Box::new(move |_| Ok(issued(print, now))),
        )
    }

    fn renew(
        &self,
        device: &str,
        old: u8,
        new: u8,
        now: OffsetDateTime,
    ) -> Result<Issued, EnrolError> {
        let shown = Renewal {
            name: name(device),
            fingerprint: [old; 32],
            not_after: START + Duration::days(7),
        };
        self.registry.reenrol(
            &shown,
            [new; 32],
            now,
            Box::new(move |_| Ok(issued(new, now))),
        )
    }

    fn admit(&self, device: &str, print: u8) -> Result<Admission, Refusal> {
        self.registry.admit(&name(device), &[print; 32], START)
    }

    fn state(&self, device: &str) -> State {
        self.registry.get(&id(device), START).unwrap().state
    }

    fn break_disk(&self, broken: bool) {
        self.disk.broken.store(broken, Ordering::SeqCst);
    }
}

fn issued(print: u8, now: OffsetDateTime) -> Issued {
    Issued {
        der: vec![print; 10],
        fingerprint: [print; 32],
        not_after: now + Duration::days(7),
    }
}

#[test]
fn a_device_is_pending_until_it_enrols_and_then_active() {
    let fleet = Fleet::new();
    let code = fleet.registry.add(&name("porch"), START).unwrap();
    assert_eq!(code.expires(), START + Duration::hours(24));
    assert_eq!(fleet.state("porch"), State::Pending);
    assert_eq!(
        fleet.admit("porch", 1).unwrap_err(),
        Refusal::UnknownCertificate
    );
    fleet.enrol_with("porch", code.reveal(), 1, START).unwrap();
    assert_eq!(fleet.state("porch"), State::Active);
    let admission = fleet.admit("porch", 1).unwrap();
    assert!(
        !admission.quarantined
            && admission.permits_tls(hello::TLS13)
            && !admission.permits_tls(hello::TLS12)
    );
}

#[test]
fn a_device_needs_a_model_and_an_id_of_its_own() {
    let fleet = Fleet::new();
    fleet.registry.add(&name("porch"), START).unwrap();
    assert!(matches!(
        fleet.registry.add(&name("porch"), START),
        Err(AddError::Exists(_))
    ));
    let other = DeviceName::new("lock-9", "door").unwrap();
    assert!(matches!(
        fleet.registry.add(&other, START),
        Err(AddError::NoModel(_))
    ));
}

#[test]
fn quarantine_gathers_reasons_and_release_ends_it() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    let registry = &fleet.registry;
    registry.quarantine(&id("porch"), "opened", START).unwrap();
    registry
        .quarantine(&id("porch"), "cloned", START + Duration::HOUR)
        .unwrap();
    registry
        .quarantine(&id("porch"), "opened", START + Duration::HOUR)
        .unwrap();
    let reasons = vec!["opened".to_owned(), "cloned".to_owned()];
    assert_eq!(
        fleet.state("porch"),
        State::Quarantined {
            reasons,
            evidence: Vec::new(),
            since: START
        }
    );
    assert!(fleet.admit("porch", 1).unwrap().quarantined);
    registry.release(&id("porch"), "mended", START).unwrap();
    assert_eq!(fleet.state("porch"), State::Active);
    assert!(matches!(
        registry.release(&id("porch"), "again", START),
        Err(ChangeError::NotQuarantined { .. })
    ));
}

#[test]
fn evidence_releases_only_whom_evidence_quarantined() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    let (registry, porch) = (&fleet.registry, id("porch"));
    let wrong = ["credentials/default-password: account `guest`".to_owned()];
    registry.judged(&porch, &wrong, START).unwrap();
    assert_eq!(fleet.state("porch").reasons(), wrong);
    assert!(fleet.admit("porch", 1).unwrap().quarantined);
    registry.judged(&porch, &[], START).unwrap();
    assert_eq!(fleet.state("porch"), State::Active);

    registry.judged(&porch, &wrong, START).unwrap();
    registry.quarantine(&porch, "opened", START).unwrap();
    assert_eq!(fleet.state("porch").reasons().len(), 2);
    registry.judged(&porch, &[], START).unwrap();
    assert_eq!(fleet.state("porch").reasons(), ["opened"]);
    registry.judged(&porch, &[], START).unwrap();
    assert_eq!(fleet.state("porch").reasons(), ["opened"]);
    registry.release(&porch, "mended", START).unwrap();
    assert_eq!(fleet.state("porch"), State::Active);

    registry.revoke(&porch, "stolen", START).unwrap();
    assert!(registry.judged(&porch, &[], START).is_err());
    assert!(registry.judged(&porch, &wrong, START).is_err());
}

#[test]
fn a_pending_device_that_is_released_is_pending() {
    let fleet = Fleet::new();
    fleet.registry.add(&name("porch"), START).unwrap();
    fleet
        .registry
        .quarantine(&id("porch"), "odd", START)
        .unwrap();
    fleet.registry.release(&id("porch"), "fine", START).unwrap();
    assert_eq!(fleet.state("porch"), State::Pending);
}

#[test]
fn revoked_is_for_ever() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    let registry = &fleet.registry;
    registry.revoke(&id("porch"), "stolen", START).unwrap();
    assert!(matches!(
        fleet.admit("porch", 1),
        Err(Refusal::Revoked { .. })
    ));
    let porch = id("porch");
    assert!(matches!(
        registry.revoke(&porch, "x", START),
        Err(ChangeError::Revoked { .. })
    ));
    assert!(matches!(
        registry.quarantine(&porch, "x", START),
        Err(ChangeError::Revoked { .. })
    ));
    assert!(matches!(
        registry.release(&porch, "x", START),
        Err(ChangeError::Revoked { .. })
    ));
    assert!(matches!(
        registry.renew_code(&porch, START),
        Err(ChangeError::Revoked { .. })
    ));
    assert!(matches!(
        fleet.renew("porch", 1, 2, START),
        Err(EnrolError::Refused(Refusal::Revoked { .. }))
    ));
    let fleet = fleet.reopen();
    assert!(matches!(
        fleet.admit("porch", 1),
        Err(Refusal::Revoked { .. })
    ));
    fleet.registry.remove(&id("porch"), START).unwrap();
    assert_eq!(fleet.admit("porch", 1).unwrap_err(), Refusal::Unknown);
    fleet.enrol("porch", 2);
    assert_eq!(
        fleet.admit("porch", 1).unwrap_err(),
        Refusal::UnknownCertificate,
        "a new life, a new certificate"
    );
    assert!(fleet.admit("porch", 2).is_ok());
}

#[test]
fn too_many_violations_in_a_minute_quarantine_and_say_why() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    let porch = id("porch");
    let violate = |at| {
        fleet
            .registry
            .violation(&porch, Control::Comms, "may not publish to `x`", at)
    };
    for second in 0..30 {
        assert!(!violate(START + Duration::seconds(second)).quarantined);
    }
    let last = violate(START + Duration::seconds(59));
    assert_eq!(
        last,
        Violations {
            total: 31,
            last_minute: 31,
            quarantined: true
        }
    );
    let State::Quarantined { reasons, .. } = fleet.state("porch") else {
        panic!("not quarantined")
    };
    let why =
        "31 violations of its profile within a minute, the last: comms: may not publish to `x`";
    assert_eq!(reasons, [why]);
    let event = fleet.registry.events().latest(Some("porch"), 1).remove(0);
    assert_eq!(
        (event.control, event.reason),
        ("comms", format!("quarantined: {why}"))
    );
    fleet.registry.release(&porch, "mended", START).unwrap();
    assert!(
        !violate(START + Duration::seconds(59)).quarantined,
        "who is released starts anew"
    );
}

#[test]
fn thirty_violations_a_minute_apart_quarantine_nobody() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    for minute in 0..100 {
        let at = START + Duration::minutes(minute);
        assert!(
            !fleet
                .registry
                .violation(&id("porch"), Control::Comms, "x", at)
                .quarantined
        );
    }
}

#[test]
fn a_new_certificate_supersedes_the_old_one_with_its_first_use() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    assert!(fleet.admit("porch", 1).is_ok());
    fleet.renew("porch", 1, 2, START).unwrap();
    assert!(fleet.admit("porch", 1).is_ok(), "not used so far");
    let mut changes = fleet.registry.changes();
    assert!(fleet.admit("porch", 2).is_ok());
    assert_eq!(
        changes.try_recv().unwrap(),
        id("porch"),
        "sessions on the old one have to be looked at"
    );
    assert_eq!(fleet.admit("porch", 1).unwrap_err(), Refusal::Superseded);
    fleet.registry.flush(START).unwrap();
    let fleet = fleet.reopen();
    assert_eq!(fleet.admit("porch", 1).unwrap_err(), Refusal::Superseded);
    assert!(fleet.admit("porch", 2).is_ok());
    assert!(
        fleet.renew("porch", 1, 3, START).is_err(),
        "a superseded certificate renews nothing"
    );
}

#[test]
fn a_lost_answer_is_given_again_and_only_to_the_same_key() {
    let fleet = Fleet::new();
    let code = fleet.registry.add(&name("porch"), START).unwrap();
    let first = fleet.enrol_with("porch", code.reveal(), 1, START).unwrap();
    assert_eq!(
        fleet.enrol_with("porch", code.reveal(), 1, START).unwrap(),
        first
    );
    assert!(matches!(
        fleet.enrol_with("porch", code.reveal(), 2, START),
        Err(EnrolError::CodeUsed)
    ));
    let fleet = fleet.reopen();
    assert_eq!(
        fleet.enrol_with("porch", code.reveal(), 1, START).unwrap(),
        first,
        "also after a crash"
    );
    assert!(fleet.admit("porch", 1).is_ok());
    let source = IpAddr::from([192, 0, 2, 1]);
    let again = fleet
        .registry
        .check_code("porch", code.reveal(), source, START)
        .unwrap_err();
    assert_eq!(again, CodeRefused::NoCode, "its first use spends it");
    fleet.renew("porch", 1, 2, START).unwrap();
    assert_eq!(fleet.renew("porch", 1, 2, START).unwrap(), issued(2, START));
}

#[test]
fn a_code_ends_with_its_time_or_with_the_next_code() {
    let fleet = Fleet::new();
    let source = IpAddr::from([192, 0, 2, 1]);
    let old = fleet.registry.add(&name("porch"), START).unwrap();
    let day = START + Duration::hours(24);
    let late = fleet
        .registry
        .check_code("porch", old.reveal(), source, day)
        .unwrap_err();
    assert_eq!(late, CodeRefused::Expired(day));
    let new = fleet.registry.renew_code(&id("porch"), day).unwrap();
    let check = |code: &EnrolmentCode| {
        fleet
            .registry
            .check_code("porch", code.reveal(), source, day)
    };
    assert_eq!(check(&old).unwrap_err(), CodeRefused::Wrong);
    assert!(check(&new).is_ok());
    fleet.registry.revoke(&id("porch"), "stolen", day).unwrap();
    assert_eq!(check(&new).unwrap_err(), CodeRefused::Revoked);
    let ghost = fleet
        .registry
        .check_code("ghost", new.reveal(), source, day)
        .unwrap_err();
    assert_eq!(ghost, CodeRefused::UnknownDevice);
}

#[test]
fn a_code_that_was_right_when_looked_at_is_looked_at_again_when_spent() {
    let fleet = Fleet::new();
    let code = fleet.registry.add(&name("porch"), START).unwrap();
    let source = IpAddr::from([192, 0, 2, 1]);
    let check = || {
        fleet
            .registry
            .check_code("porch", code.reveal(), source, START)
            .unwrap()
    };
    let spend = |proof, print: u8| {
        fleet.registry.enrol(
            proof,
            [print; 32],
            START,
            Box::new(move |_| Ok(issued(print, START))),
        )
    };
    let (first, second) = (check(), check());
    assert!(spend(first, 1).is_ok());
    assert!(
        matches!(spend(second, 2), Err(EnrolError::CodeUsed)),
        "two at once: one wins"
    );
}

#[test]
fn a_device_past_its_certificate_comes_back_into_quarantine_within_the_window() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    fleet.admit("porch", 1).unwrap();
    let expiry = START + Duration::days(7);
    let leaf = Leaf {
        name: name("porch"),
        fingerprint: [1; 32],
        not_before: START,
        not_after: expiry,
    };
    let in_time = expiry + Duration::days(29);
    assert_eq!(
        fleet
            .registry
            .admit(&name("porch"), &[1; 32], in_time)
            .unwrap_err(),
        Refusal::Expired(expiry)
    );
    assert_eq!(fleet.registry.may_return(&leaf, in_time), Ok(()));
    let late = expiry + Duration::days(31);
    let too_late = ReturnRefused::TooLate {
        days: 31,
        window: 30,
    };
    assert_eq!(fleet.registry.may_return(&leaf, late), Err(too_late));
    assert!(matches!(
        fleet.renew("porch", 1, 2, late),
        Err(EnrolError::Return(_))
    ));
    fleet.renew("porch", 1, 2, in_time).unwrap();
    let reasons = vec!["came back 29 days after its certificate expired".to_owned()];
    assert_eq!(
        fleet.state("porch"),
        State::Quarantined {
            reasons,
            evidence: Vec::new(),
            since: in_time
        }
    );
    assert!(
        fleet
            .registry
            .admit(&name("porch"), &[2; 32], in_time)
            .unwrap()
            .quarantined
    );
    assert!(matches!(
        fleet.registry.may_return(&leaf, in_time),
        Err(ReturnRefused::Refused(Refusal::Superseded))
    ));
}

#[test]
fn a_window_of_nothing_lets_nobody_back() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(Sqlite::open(&dir.path().join("state.db")).unwrap());
    let settings = RegistrySettings {
        return_window: Duration::ZERO,
        ..RegistrySettings::default()
    };
    let registry = Registry::open(store, Arc::default(), settings).unwrap();
    assert!(
        registry
            .within_window(START, START + Duration::SECOND)
            .is_err()
    );
    assert!(registry.within_window(START, START).is_ok());
}

#[test]
fn another_model_is_refused() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    let other = DeviceName::new("lock-9", "porch").unwrap();
    let refusal = fleet.registry.admit(&other, &[1; 32], START).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "shows a certificate of the model lock-9, but is registered as cam-2"
    );
}

#[test]
fn everything_survives_a_restart() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    fleet.enrol("gate", 2);
    fleet
        .registry
        .quarantine(&id("gate"), "opened", START)
        .unwrap();
    fleet
        .registry
        .seen(&id("porch"), START, "192.0.2.7:1234".parse().unwrap());
    fleet
        .registry
        .violation(&id("porch"), Control::Comms, "may not", START);
    fleet.registry.flush(START).unwrap();
    let before = fleet.registry.list(START + Duration::HOUR);
    let fleet = fleet.reopen();
    assert_eq!(fleet.registry.list(START + Duration::HOUR), before);
    assert_eq!(
        fleet.registry.at_address("192.0.2.7".parse().unwrap()),
        Some(id("porch"))
    );
    assert_eq!(fleet.registry.models().len(), 1);
    let porch = fleet.registry.get(&id("porch"), START).unwrap();
    assert_eq!(
        (porch.violations, porch.recent_violations[0].reason.as_str()),
        (1, "may not")
    );
}

#[test]
fn a_code_is_not_in_the_store() {
    let fleet = Fleet::new();
    let code = fleet.registry.add(&name("porch"), START).unwrap();
    let plain = code.reveal().replace('-', "");
    for (_, value) in fleet.disk.scan(DEVICES, Scan::all()).unwrap() {
        let text = String::from_utf8(value).unwrap();
        assert!(
            !text.contains(code.reveal()) && !text.contains(&plain),
            "{text}"
        );
    }
}

#[test]
fn a_broken_disk_takes_rights_away_and_gives_none() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    fleet.enrol("gate", 2);
    fleet
        .registry
        .quarantine(&id("gate"), "opened", START)
        .unwrap();
    fleet.break_disk(true);
    assert!(matches!(
        fleet.registry.release(&id("gate"), "mended", START),
        Err(ChangeError::Store(_))
    ));
    assert!(
        fleet.admit("gate", 2).unwrap().quarantined,
        "what gives rights is written first"
    );
    assert!(matches!(
        fleet.registry.revoke(&id("porch"), "stolen", START),
        Err(ChangeError::Store(_))
    ));
    assert!(
        matches!(fleet.admit("porch", 1), Err(Refusal::Revoked { .. })),
        "what takes them holds at once"
    );
    assert!(fleet.registry.flush(START).is_err());
    fleet.break_disk(false);
    fleet.registry.flush(START).unwrap();
    let fleet = fleet.reopen();
    assert!(
        matches!(fleet.admit("porch", 1), Err(Refusal::Revoked { .. })),
        "and is written when that works again"
    );
}

#[test]
fn a_full_disk_is_told_once_and_so_is_room_again() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    let told = || -> Vec<String> {
        let events = fleet.registry.events().latest(None, 100);
        let reasons = events.into_iter().map(|event| event.reason);
        reasons
            .filter(|reason| reason.starts_with("the registry"))
            .collect()
    };
    fleet.break_disk(true);
    assert!(
        fleet
            .registry
            .quarantine(&id("porch"), "odd", START)
            .is_err()
    );
    for _ in 0..5 {
        assert!(fleet.registry.flush(START).is_err());
    }
    let alarm = "the registry cannot be written: no room left on the disk for state.db";
    assert_eq!(told(), [alarm]);
    fleet.break_disk(false);
    fleet.registry.flush(START).unwrap();
    fleet.registry.flush(START).unwrap();
    assert_eq!(told(), ["the registry is written to disk again", alarm]);
}

#[test]
fn a_profile_never_goes_back() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    let mut changes = fleet.registry.changes();
    let profile = |version: u64, bytes: u32| {
        let text = PROFILE.replace("version = 3", &format!("version = {version}"));
        stockade_profile::parse(&text.replace("512", &bytes.to_string())).unwrap()
    };
    let same = fleet
        .registry
        .install_profile(profile(3, 512), START)
        .unwrap();
    assert!(!same.changed && changes.try_recv().is_err());
    assert!(matches!(
        fleet.registry.install_profile(profile(3, 513), START),
        Err(InstallError::Rollback { .. })
    ));
    assert!(matches!(
        fleet.registry.install_profile(profile(2, 512), START),
        Err(InstallError::Rollback { .. })
    ));
    let new = fleet
        .registry
        .install_profile(profile(4, 100), START)
        .unwrap();
    assert!(new.changed && new.devices == 1 && new.version == 4);
    assert_eq!(changes.try_recv().unwrap(), id("porch"));
    let fleet = fleet.reopen();
    assert!(
        fleet
            .registry
            .install_profile(profile(3, 512), START)
            .is_err()
    );
    assert_eq!(
        fleet.admit("porch", 1).unwrap().profile.comms.publish[0].max_bytes,
        100
    );
}

#[test]
fn every_change_is_told_to_who_watches_after_it_is_on_disk() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    let mut changes = fleet.registry.changes();
    let told = |expected: &str, changes: &mut broadcast::Receiver<DeviceId>| {
        assert_eq!(changes.try_recv().unwrap(), id("porch"));
        let (other, _disk) = open(&fleet.dir);
        assert_eq!(
            other.get(&id("porch"), START).unwrap().state.as_str(),
            expected
        );
    };
    fleet.registry.quarantine(&id("porch"), "x", START).unwrap();
    told("quarantined", &mut changes);
    fleet.registry.release(&id("porch"), "x", START).unwrap();
    told("active", &mut changes);
    fleet.registry.revoke(&id("porch"), "x", START).unwrap();
    told("revoked", &mut changes);
    assert!(changes.try_recv().is_err());
}

#[test]
fn an_address_shared_by_two_devices_names_none() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    fleet.enrol("gate", 2);
    let (here, there) = ("192.0.2.1:1", "192.0.2.2:1");
    let at = |address: &str| {
        fleet
            .registry
            .at_address(address.parse::<SocketAddr>().unwrap().ip())
    };
    fleet
        .registry
        .seen(&id("porch"), START, here.parse().unwrap());
    assert_eq!(at(here), Some(id("porch")));
    fleet
        .registry
        .seen(&id("gate"), START, here.parse().unwrap());
    assert_eq!(at(here), None);
    fleet
        .registry
        .seen(&id("gate"), START, there.parse().unwrap());
    assert_eq!((at(here), at(there)), (Some(id("porch")), Some(id("gate"))));
}

#[test]
fn a_record_of_a_newer_version_is_refused_by_name() {
    let fleet = Fleet::new();
    let mut batch = Batch::new();
    batch.put(DEVICES, "porch", br#"{"v":2,"anything":true}"#.to_vec());
    fleet.disk.commit(batch).unwrap();
    let Fleet {
        registry,
        disk,
        dir,
    } = fleet;
    drop((registry, disk));
    let store = Arc::new(Sqlite::open(&dir.path().join("state.db")).unwrap());
    let error = Registry::open(store, Arc::default(), RegistrySettings::default()).unwrap_err();
    let text = stockade_host::chain(&error);
    assert_eq!(
        text,
        "cannot read the record of porch in the registry: format 2 is newer than this version knows (1)"
    );
}

#[test]
fn a_new_code_lets_a_device_enrol_anew_and_its_state_stays() {
    let fleet = Fleet::new();
    fleet.enrol("porch", 1);
    fleet.admit("porch", 1).unwrap();
    fleet
        .registry
        .quarantine(&id("porch"), "opened", START)
        .unwrap();
    let code = fleet.registry.renew_code(&id("porch"), START).unwrap();
    fleet.enrol_with("porch", code.reveal(), 2, START).unwrap();
    let event = fleet.registry.events().latest(Some("porch"), 1).remove(0);
    assert_eq!(event.reason, "enrolled anew with another code");
    assert!(
        fleet.admit("porch", 2).unwrap().quarantined,
        "a code is no way out of quarantine"
    );
    assert_eq!(fleet.admit("porch", 1).unwrap_err(), Refusal::Superseded);
}

#[test]
fn the_first_uses_of_many_certificates_are_written_together() {
    let fleet = Fleet::new();
    for device in 0..AT_ONCE + 10 {
        let name = format!("d{device}");
        fleet.enrol(&name, 1);
        fleet.admit(&name, 1).unwrap();
    }
    fleet.registry.flush(START).unwrap();
    let fleet = fleet.reopen();
    let all = fleet.registry.list(START);
    assert_eq!(all.len(), AT_ONCE + 10);
    assert!(
        all.iter()
            .all(|record| record.certificate.is_some() && record.next_certificate.is_none())
    );
}

/// A model too small for certificates.
const SOIL: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "soil-1"
version = 1
class = "constrained"
[[comms.publish]]
topic = "soil-1/${device}/moisture"
max-bytes = 64
"#;

#[test]
fn a_constrained_device_is_known_by_its_key_and_enrols_by_proving_it_and_both_survive() {
    let fleet = Fleet::new();
    let soil = stockade_profile::parse(SOIL).unwrap();
    fleet.registry.install_profile(soil, START).unwrap();
    let bed = DeviceName::new("soil-1", "bed").unwrap();
    let link = fleet
        .registry
        .add_constrained(&bed, [7; 32], START)
        .unwrap();
    assert_eq!(link.kid.bytes(), [0]);
    let second = DeviceName::new("soil-1", "pot").unwrap();
    let refused = fleet.registry.add_constrained(&second, [7; 32], START);
    assert!(matches!(refused, Err(AddError::KeyInUse(other)) if other == bed.id));
    let refused = fleet
        .registry
        .add_constrained(&name("attic"), [8; 32], START);
    assert!(matches!(refused, Err(AddError::NotConstrained(_))));
    let pot = fleet
        .registry
        .add_constrained(&second, [8; 32], START)
        .unwrap();
    assert_eq!(pot.kid.bytes(), [1]);

    let wrong = fleet.registry.enrol_link(&bed.id, &[8; 32], b"ccs", START);
    assert!(wrong.is_err(), "a key that is not its own enrols nobody");
    let code = fleet.registry.renew_code(&bed.id, START);
    assert!(matches!(code, Err(ChangeError::ByKey(id)) if id == bed.id));
    assert_eq!(
        fleet.registry.get(&bed.id, START).unwrap().state,
        State::Pending
    );
    fleet
        .registry
        .enrol_link(&bed.id, &[7; 32], b"ccs", START)
        .unwrap();

    let fleet = fleet.reopen();
    let record = fleet.registry.get(&bed.id, START).unwrap();
    assert_eq!(record.state, State::Active);
    assert_eq!(record.link.unwrap().credential.unwrap(), b"ccs");
    assert_eq!(fleet.registry.by_kid(link.kid), Some(bed.id.clone()));
    assert_eq!(
        fleet.registry.by_link_key(&[8; 32]),
        Some(second.id.clone())
    );
    let refused = fleet.registry.admit_link(&bed.id, &[8; 32]);
    assert_eq!(refused.unwrap_err(), Refusal::UnknownKey);

    fleet.registry.quarantine(&bed.id, "test", START).unwrap();
    assert!(
        fleet
            .registry
            .admit_link(&bed.id, &[7; 32])
            .unwrap()
            .quarantined
    );
    fleet.registry.release(&bed.id, "test", START).unwrap();
    assert_eq!(
        fleet.registry.get(&bed.id, START).unwrap().state,
        State::Active
    );
    fleet.registry.revoke(&bed.id, "test", START).unwrap();
    assert!(matches!(
        fleet.registry.admit_link(&bed.id, &[7; 32]),
        Err(Refusal::Revoked { .. })
    ));
    fleet.registry.remove(&second.id, START).unwrap();
    assert_eq!(fleet.registry.by_link_key(&[8; 32]), None);
    assert_eq!(fleet.registry.by_kid(pot.kid), None);
}

#[test]
fn a_short_name_has_one_spelling() {
    for bytes in [&[0][..], &[0x17], &[0, 0x18], &[0xff, 0xff], &[1, 0, 0]] {
        assert_eq!(Kid::from_bytes(bytes).unwrap().bytes(), bytes);
    }
    for bytes in [&[][..], &[0x18], &[0, 0x17], &[0, 0xff, 0xff], &[0; 4]] {
        assert_eq!(Kid::from_bytes(bytes), None, "{bytes:?}");
    }
}
