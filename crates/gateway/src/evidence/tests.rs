use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use stockade_api::events::{Batch as Events, Came};
use stockade_api::helper::{Event, Weight};
use stockade_api::signed::{Command, Evidence};
use stockade_controls::engine::{RuleState, Severity, Standard};
use stockade_profile::{VerifyingKey, parse};
use stockade_store::{Journal, JournalOptions, Sqlite};
use time::Duration;

use super::*;
use crate::events::EventLog;
use crate::name::DeviceName;
use crate::registry::{Issued, RegistrySettings};
use crate::tls::sha256;

pub(crate) const START: OffsetDateTime =
    OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::days(20_000));
pub(crate) const PROFILE: &str = "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 7\nclass = \"linux\"\n";

/// A device as it is: a key, a certificate, a count.
struct Porch {
    key: EcdsaKeyPair,
    fingerprint: [u8; 32],
    number: AtomicU64,
}

pub(crate) struct World {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) judge: Judge,
    porch: Porch,
    pub(crate) id: DeviceId,
}

fn key_pair() -> (EcdsaKeyPair, Vec<u8>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let der = rcgen::CertificateParams::new(vec!["porch".to_owned()]).unwrap();
    let der = der.self_signed(&key).unwrap().der().to_vec();
    let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(alg, &key.serialize_der()).unwrap();
    (pair, der)
}

fn judge(world: (&Arc<dyn Store>, &Arc<dyn Bus>, &Arc<Registry>), dir: &Path) -> Judge {
    let (store, bus, registry) = world;
    let settings = EvidenceSettings::default();
    Judge::open(
        Arc::clone(store),
        Arc::clone(bus),
        Arc::clone(registry),
        settings,
        &dir.join("signer"),
        START,
    )
    .unwrap()
}

impl World {
    fn new() -> Self {
        Self::with(PROFILE)
    }

    pub(crate) fn with(profile: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("state")).unwrap());
        let journal = Journal::open(&dir.path().join("journal"), JournalOptions::default());
        let bus: Arc<dyn Bus> = Arc::new(journal.unwrap());
        let events = Arc::new(EventLog::default());
        let registry = Registry::open(Arc::clone(&store), events, RegistrySettings::default());
        let registry = Arc::new(registry.unwrap());
        registry
            .install_profile(parse(profile).unwrap(), START)
            .unwrap();
        let name = DeviceName::new("cam-2", "porch").unwrap();
        let code = registry.add(&name, START).unwrap();
        let (key, der) = key_pair();
        let fingerprint = sha256(&der);
        let from = std::net::IpAddr::from([127, 0, 0, 1]);
        let proof = registry
            .check_code("porch", code.reveal(), from, START)
            .unwrap();
        let issued = Issued {
            der,
            fingerprint,
            not_after: START + Duration::days(90),
        };
        registry
            .enrol(proof, [1; 32], START, Box::new(|_| Ok(issued)))
            .unwrap();
        let judge = judge((&store, &bus, &registry), dir.path());
        let porch = Porch {
            key,
            fingerprint,
            number: AtomicU64::new(0),
        };
        Self {
            dir,
            store,
            bus,
            registry,
            judge,
            porch,
            id: name.id,
        }
    }

    /// The gateway is killed and starts again.
    fn again(&mut self) {
        self.judge = judge((&self.store, &self.bus, &self.registry), self.dir.path());
    }

    pub(crate) fn evidence(&self, severity: Option<Severity>, nonce: Option<String>) -> Evidence {
        let state = match severity {
            Some(_) => Standard::Broken,
            None => Standard::Passed,
        };
        let rule = RuleState {
            rule: "credentials/default-password".to_owned(),
            state,
            severity,
            count: severity.map_or(0, |_| 1),
            says: severity.map_or(Vec::new(), |_| vec!["account `guest`\u{1b}[2J".to_owned()]),
        };
        Evidence {
            form: Evidence::FORM,
            device: "porch".to_owned(),
            number: self.porch.number.fetch_add(1, Ordering::Relaxed) + 1,
            at: 1,
            nonce,
            done: 0,
            agent: "0.1.0".to_owned(),
            system: None,
            posture: Posture {
                form: 1,
                model: "cam-2".to_owned(),
                profile_version: 7,
                at: 1,
                rules: vec![rule],
            },
            attestation: None,
        }
    }

    fn signed(&self, evidence: &Evidence) -> Vec<u8> {
        signed_by(&self.porch.key, &self.porch.fingerprint, evidence)
    }

    /// The broker writes a message of the device down.
    pub(crate) fn comes(&self, name: &str, payload: &[u8], at: OffsetDateTime) {
        let record = telemetry::Record {
            v: telemetry::VERSION,
            device: "porch".into(),
            model: "cam-2".into(),
            profile_version: 7,
            schema: name.into(),
            topic: format!("stockade/porch/{name}").into(),
            at_unix_ms: i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap(),
            payload: payload.into(),
        };
        let seq = self.bus.append(Stream::Posture, &record.encode()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut durable = self.bus.durable();
        runtime
            .block_on(async {
                durable
                    .wait_for(|reached| *reached >= seq)
                    .await
                    .map(|_| ())
            })
            .unwrap();
    }

    pub(crate) fn says(&self, evidence: &Evidence, at: OffsetDateTime) {
        self.comes("posture", &self.signed(evidence), at);
        self.judge.take_available(at).unwrap();
    }

    pub(crate) fn state(&self) -> State {
        self.registry.get(&self.id, START).unwrap().state
    }

    pub(crate) fn told(&self) -> String {
        self.registry
            .events()
            .latest(Some("porch"), 1)
            .remove(0)
            .reason
    }

    /// The commands that wait, as the device reads them.
    fn commands(&self, now: OffsetDateTime) -> Vec<Command> {
        let key = VerifyingKey::from_pem(&self.judge.signer()).unwrap();
        let waiting = self.judge.waiting(&self.id, now);
        waiting
            .iter()
            .filter_map(|it| Command::verify(it, std::slice::from_ref(&key)).ok())
            .collect()
    }

    pub(crate) fn nonce(&self, now: OffsetDateTime) -> Option<String> {
        self.commands(now)
            .into_iter()
            .find_map(|command| match command.order {
                Order::AssessNow { nonce } => Some(nonce),
                _ => None,
            })
    }
}

fn signed_by(key: &EcdsaKeyPair, fingerprint: &[u8; 32], evidence: &Evidence) -> Vec<u8> {
    let sign = |bytes: &[u8]| {
        let signature = key.sign(&SystemRandom::new(), bytes).unwrap();
        Ok::<_, std::convert::Infallible>(signature.as_ref().to_vec())
    };
    evidence.sign_with(fingerprint, sign).unwrap()
}

#[test]
fn only_what_the_devices_own_key_signed_for_it_counts_and_each_number_once() {
    let world = World::new();
    let good = world.evidence(None, None);
    let (stranger, der) = key_pair();
    let foreign = signed_by(&stranger, &sha256(&der), &good);
    let forged = signed_by(&stranger, &world.porch.fingerprint, &good);
    let mut other = good.clone();
    other.device = "attic".to_owned();
    let mut model = good.clone();
    model.posture.model = "thermo-1".to_owned();
    let bad = [
        (b"mended".to_vec(), "the signed message can not be read"),
        (foreign, "not the device's own"),
        (forged, "the signature is wrong"),
        (world.signed(&other), "of another device"),
        (world.signed(&model), "of another model"),
    ];
    for (message, why) in &bad {
        world.comes("posture", message, START);
        world.judge.take_available(START).unwrap();
        assert!(world.told().contains(why), "{}", world.told());
        assert!(world.judge.kept(&world.id).is_none());
    }
    world.says(&good, START);
    assert_eq!(
        world
            .judge
            .kept(&world.id)
            .unwrap()
            .last
            .as_ref()
            .unwrap()
            .number,
        1
    );
    world.says(&good, START);
    assert!(
        world.told().contains("is not above the last one, 1"),
        "{}",
        world.told()
    );
    let record = world.registry.get(&world.id, START).unwrap();
    assert_eq!(record.violations, 6);
}

#[test]
fn quarantine_by_evidence_ends_with_fresh_evidence_and_an_operators_does_not() {
    let world = World::new();
    world.says(&world.evidence(Some(Severity::Critical), None), START);
    let reasons = world.state().reasons();
    assert_eq!(
        reasons,
        ["credentials/default-password: account `guest`\\u{1b}[2J"]
    );

    // Mended, it says; but that may be from before.
    world.says(&world.evidence(None, None), START);
    assert_eq!(world.state().reasons(), reasons);
    let nonce = world.nonce(START).expect("the gateway asks");
    world.says(&world.evidence(None, Some("another".to_owned())), START);
    assert_eq!(world.state().reasons(), reasons);
    world.says(&world.evidence(None, Some(nonce.clone())), START);
    assert_eq!(world.state(), State::Active);

    // A question is answered once.
    world.says(&world.evidence(Some(Severity::Critical), None), START);
    world
        .registry
        .quarantine(&world.id, "opened", START)
        .unwrap();
    world.says(&world.evidence(None, Some(nonce)), START);
    assert_eq!(world.state().reasons().len(), 2);
    let later = START + Duration::HOUR;
    world.judge.look(later).unwrap();
    let nonce = world.nonce(later).expect("the gateway asks again");
    world.says(&world.evidence(None, Some(nonce)), later);
    assert_eq!(world.state().reasons(), ["opened"]);
}

#[test]
fn evidence_of_fewer_rules_is_not_better_evidence() {
    let world = World::new();
    world.says(&world.evidence(Some(Severity::Critical), None), START);
    let reasons = world.state().reasons();
    let fresh = |at, rule: Option<Standard>| {
        world.judge.look(at).unwrap();
        world.judge.wish(&world.id, Wish::Assess, at).unwrap();
        let mut evidence = world.evidence(None, Some(world.nonce(at).unwrap()));
        match rule {
            Some(state) => evidence.posture.rules[0].state = state,
            None => evidence.posture.rules.clear(),
        }
        world.says(&evidence, at);
        world.state()
    };
    for hour in 1..3 {
        let at = START + Duration::hours(hour);
        assert_eq!(fresh(at, None).reasons(), reasons);
    }
    let at = START + Duration::hours(4);
    assert_eq!(fresh(at, Some(Standard::DoesNotApply)), State::Active);
    // A rule that no device knows any more holds nobody for good: an operator ends that.
    world.says(&world.evidence(Some(Severity::Critical), None), at);
    world.registry.release(&world.id, "I know", at).unwrap();
    let later = at + Duration::HOUR;
    assert_eq!(fresh(later, None), State::Active);
    world.judge.look(later + Duration::days(3)).unwrap();
    assert_eq!(world.state(), State::Active);
}

#[test]
fn what_is_high_has_a_day_and_an_operators_release_another() {
    let world = World::new();
    world.says(&world.evidence(Some(Severity::High), None), START);
    world.judge.look(START + Duration::hours(23)).unwrap();
    assert_eq!(world.state(), State::Active);
    let day = START + Duration::hours(24);
    world.judge.look(day).unwrap();
    assert_eq!(world.state().reasons().len(), 1);
    world.registry.release(&world.id, "I know", day).unwrap();
    world.judge.look(day + Duration::HOUR).unwrap();
    assert_eq!(world.state(), State::Active);
    world.judge.look(day + Duration::hours(26)).unwrap();
    assert_eq!(world.state().reasons().len(), 1);
}

#[test]
fn what_is_found_again_and_again_gets_its_day_once_whatever_is_said_of_it_in_between() {
    let world = World::new();
    for hour in 0..25 {
        let mut evidence = world.evidence(Some(Severity::High), None);
        if hour % 2 == 1 {
            evidence.posture.rules[0].state = Standard::CannotTell;
        }
        assert_eq!(world.state(), State::Active, "hour {hour}");
        world.says(&evidence, START + Duration::hours(hour));
    }
    assert_ne!(world.state(), State::Active);
}

#[test]
fn commands_wait_through_a_restart_until_evidence_says_that_they_are_done() {
    let mut world = World::new();
    assert!(matches!(
        world.judge.wish(&world.id, Wish::Apply, START),
        Err(NotAsked::NoAgent(_))
    ));
    world.says(&world.evidence(None, None), START);
    let apply = world.judge.wish(&world.id, Wish::Apply, START).unwrap();
    let undo = world.judge.wish(&world.id, Wish::Undo, START).unwrap();
    assert!(undo > apply);
    assert_eq!(
        world.judge.wish(&world.id, Wish::Apply, START).unwrap(),
        apply
    );
    world.again();
    let numbers: Vec<u64> = world.commands(START).iter().map(|it| it.number).collect();
    assert_eq!(numbers, [apply, undo]);
    let mut done = world.evidence(None, None);
    done.done = apply;
    world.says(&done, START);
    let left = world.commands(START);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].order, Order::Undo);
    assert!(world.commands(START + Duration::days(8)).is_empty());
}

/// An event of the device, as its helper notes what came of something.
fn told(number: u64, came: &Came) -> Event {
    Event {
        number,
        at: u64::try_from(START.unix_timestamp()).unwrap(),
        weight: came.weight(),
        by: "gateway".to_owned(),
        kind: came.kind().to_owned(),
        says: came.sentence(),
    }
}

#[test]
fn of_each_command_is_known_whether_it_was_carried_out_or_why_not() {
    let mut world = World::new();
    world.says(&world.evidence(None, None), START);
    let wish = |wish| world.judge.wish(&world.id, wish, START).unwrap();
    let numbers = [Wish::Apply, Wish::Undo, Wish::UpnpOff, Wish::Renew].map(wish);
    let [apply, undo, upnp, renew] = numbers;
    let came = |number, done, says: &str| Came::Command {
        number,
        done,
        says: says.to_owned(),
    };
    // One is told of before evidence says that it was taken, one after; of one the device says nothing, and one never was.
    let hears = |world: &World, events| {
        world.comes("events", &Events::new(1, 0, events).write(), START);
        world.judge.take_available(START).unwrap();
    };
    let first = [
        told(1, &came(apply, true, "2 steps")),
        told(2, &came(9, true, "never asked for")),
    ];
    hears(&world, first.to_vec());
    let mut evidence = world.evidence(None, None);
    evidence.done = upnp;
    world.says(&evidence, START);
    let second = told(3, &came(undo, false, "nothing was\u{1b}[2J applied"));
    hears(&world, vec![second]);
    world.again();
    let kept = world.judge.kept(&world.id).unwrap();
    let known: Vec<_> = kept
        .taken
        .iter()
        .map(|it| {
            (
                it.number,
                it.outcome.as_ref().map(|it| (it.done, &*it.says)),
            )
        })
        .collect();
    assert_eq!(
        known,
        [
            (apply, Some((true, "2 steps"))),
            (undo, Some((false, r"nothing was\u{1b}[2J applied"))),
            (upnp, None),
        ]
    );
    assert_eq!(world.commands(START)[0].number, renew);
    // However many there are, the last ones are known.
    for _ in 0..20 {
        let number = world.judge.wish(&world.id, Wish::Apply, START).unwrap();
        let mut evidence = world.evidence(None, None);
        evidence.done = number;
        world.says(&evidence, START);
    }
    let kept = world.judge.kept(&world.id).unwrap();
    assert_eq!((kept.taken.len(), kept.waiting.len()), (8, 0));
}

#[test]
fn a_profile_that_the_device_refuses_is_not_sent_again_until_it_or_the_device_changes() {
    let world = World::new();
    world.says(&world.evidence(None, None), START);
    let install = |version: u8| {
        let newer = PROFILE.replace("version = 7", &format!("version = {version}"));
        let newer = parse(&newer).unwrap();
        world.registry.install_profile(newer, START).unwrap();
    };
    install(8);
    let sent = world.judge.waiting(&world.id, START);
    let refused = |signed: &[u8]| Came::Profile {
        name: Came::name(signed),
        says: "no key that is trusted has signed it".to_owned(),
    };
    let mut number = 0;
    let mut hears = |event: &dyn Fn(u64) -> Event| {
        number += 1;
        let batch = Events::new(1, 0, vec![event(number)]);
        world.comes("events", &batch.write(), START);
        world.judge.take_available(START).unwrap();
    };
    hears(&|number| told(number, &refused(b"another")));
    assert_eq!(world.judge.waiting(&world.id, START), sent);
    hears(&|number| told(number, &refused(&sent[0])));
    world.says(&world.evidence(None, None), START);
    assert!(world.judge.waiting(&world.id, START).is_empty());
    // A new version is another profile.
    install(9);
    let next = world.judge.waiting(&world.id, START);
    assert_eq!(next.len(), 1);
    hears(&|number| told(number, &refused(&next[0])));
    assert!(world.judge.waiting(&world.id, START).is_empty());
    // A device that starts anew may trust others by now.
    hears(&|number| Event {
        kind: "started".to_owned(),
        ..told(number, &refused(&next[0]))
    });
    assert_eq!(world.judge.waiting(&world.id, START), next);
}

#[test]
fn a_newer_profile_goes_to_the_device_until_it_goes_by_it() {
    let world = World::new();
    world.says(&world.evidence(None, None), START);
    assert!(world.judge.waiting(&world.id, START).is_empty());
    let newer = PROFILE.replace("version = 7", "version = 8");
    world
        .registry
        .install_profile(parse(&newer).unwrap(), START)
        .unwrap();
    let waiting = world.judge.waiting(&world.id, START);
    let key = VerifyingKey::from_pem(&world.judge.signer()).unwrap();
    let sent = stockade_profile::verify(&waiting[0], &[key]).unwrap();
    assert_eq!(sent.profile().device.version, 8);
    let mut has = world.evidence(None, None);
    has.posture.profile_version = 8;
    world.says(&has, START);
    assert!(world.judge.waiting(&world.id, START).is_empty());
}

#[test]
fn what_was_acknowledged_is_judged_once_whatever_ends_the_gateway_in_between() {
    let mut world = World::new();
    let event = |number, weight, says: &str| Event {
        number,
        at: u64::try_from(START.unix_timestamp()).unwrap(),
        weight,
        by: "owner".to_owned(),
        kind: "upnp-on".to_owned(),
        says: says.to_owned(),
    };
    let critical = world.evidence(Some(Severity::Critical), None);
    world.comes("posture", &world.signed(&critical), START);
    let first = Events::new(9, 0, vec![event(1, Weight::Change, "UPnP is on")]);
    world.comes("events", &first.write(), START);
    // Killed before it judged.
    world.again();
    world.judge.take_available(START).unwrap();
    assert_eq!(world.state().reasons().len(), 1);
    let second = Events::new(
        9,
        3,
        vec![
            event(1, Weight::Change, "UPnP is on"),
            event(2, Weight::Change, "UPnP is off"),
        ],
    );
    world.comes("events", &second.write(), START);
    world.judge.take_available(START).unwrap();
    world.again();
    world.judge.take_available(START).unwrap();
    let events = world.registry.events().latest(Some("porch"), 100);
    let count = |text: &str| events.iter().filter(|it| it.reason.contains(text)).count();
    assert_eq!(
        (
            count("UPnP is on"),
            count("UPnP is off"),
            count("3 events were lost")
        ),
        (1, 1, 1)
    );
    world.comes("events", b"{}", START);
    world.judge.take_available(START).unwrap();
    assert!(world.told().contains("events refused"), "{}", world.told());
}

#[test]
fn silence_is_told_once_and_a_device_without_an_agent_is_not_silent() {
    let world = World::new();
    world.judge.look(START + Duration::days(3)).unwrap();
    assert!(!world.told().contains("no evidence"));
    world.says(&world.evidence(None, None), START);
    for days in 2..5 {
        world.judge.look(START + Duration::days(days)).unwrap();
    }
    let events = world.registry.events().latest(Some("porch"), 100);
    let silent = events
        .iter()
        .filter(|it| it.reason.contains("no evidence since"));
    assert_eq!(silent.count(), 1);
    assert_eq!(world.state(), State::Active);
}

#[test]
fn a_signing_key_that_devices_know_is_not_made_anew() {
    let world = World::new();
    world.says(&world.evidence(None, None), START);
    fs_err::remove_file(world.dir.path().join("signer/signer.key")).unwrap();
    let lost = Judge::open(
        Arc::clone(&world.store),
        Arc::clone(&world.bus),
        Arc::clone(&world.registry),
        EvidenceSettings::default(),
        &world.dir.path().join("signer"),
        START,
    );
    assert!(matches!(
        lost,
        Err(JudgeError::Signer(SignerError::Lost(_)))
    ));
}

#[test]
fn a_device_that_is_removed_is_forgotten() {
    let world = World::new();
    world.says(&world.evidence(None, None), START);
    assert!(world.judge.posture(&world.id).unwrap().is_some());
    world.registry.remove(&world.id, START).unwrap();
    world.judge.look(START).unwrap();
    assert!(world.judge.kept(&world.id).is_none());
    assert!(world.judge.posture(&world.id).unwrap().is_none());
}

#[test]
fn an_opened_case_is_quarantined_at_once_and_only_an_operator_ends_that() {
    let mut world = World::new();
    let opened = |number| Event {
        number,
        at: u64::try_from(START.unix_timestamp()).unwrap(),
        weight: Weight::Warning,
        by: "helper".to_owned(),
        kind: "tamper-opened".to_owned(),
        says: format!("{OPENED}: line CASE_OPEN\u{1b}[2J"),
    };
    let well = world.evidence(None, None);
    world.comes("posture", &world.signed(&well), START);
    let batch = Events::new(9, 0, vec![opened(1)]).write();
    world.comes("events", &batch, START);
    world.judge.take_available(START).unwrap();
    let reasons = world.state().reasons();
    assert_eq!(reasons.len(), 1);
    assert!(
        reasons[0].starts_with("Its case was opened: line CASE_OPEN"),
        "{reasons:?}"
    );
    assert!(!reasons[0].contains('\u{1b}'), "{reasons:?}");
    // All is well, says whoever has its key now; the same event again changes nothing either.
    let later = START + Duration::days(3);
    let well = world.evidence(None, None);
    world.comes("posture", &world.signed(&well), later);
    world.comes("events", &batch, later);
    world.again();
    world.judge.take_available(later).unwrap();
    assert_eq!(world.state().reasons(), reasons);
    let number = world.judge.clear_tamper(&world.id, "a new battery", later);
    assert!(number.unwrap() > 0);
    world
        .registry
        .release(&world.id, "a new battery", later)
        .unwrap();
    assert!(world.state().reasons().is_empty());
    let sent = world.judge.waiting(&world.id, later);
    let key = VerifyingKey::from_pem(&world.judge.signer()).unwrap();
    let command = Command::verify(sent.last().unwrap(), &[key]).unwrap();
    let reason = "a new battery".to_owned();
    assert_eq!(command.order, Order::ClearTamper { reason });
}
