//! A real TPM (swtpm), made known and asked how it started.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use stockade_api::attest::{Endorsement, Introduction, Quote, Welcome, challenge};
use stockade_api::signed::Evidence;
use stockade_host::tpm::{self, Handle, Hierarchy, Tpm};

use super::*;
use crate::evidence::tests::{PROFILE, START, World};
use crate::name::DeviceId;
use crate::registry::State;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _over = self.0.kill();
        let _over = self.0.wait();
    }
}

/// A TPM with an endorsement key, and what was measured into it.
struct Chip {
    tpm: Tpm,
    endorsement: (Handle, Vec<u8>),
    log: Vec<u8>,
    _running: Running,
    _dir: tempfile::TempDir,
}

const RESTRICTED: u32 = 0x0005_0472;
const WANTED: [u8; 3] = [4, 11, 12];

fn public(attributes: u32, policy: &[u8], symmetric: &[u16], scheme: &[u16]) -> tpm::Command {
    let mut public = tpm::Command::default();
    public.u16(0x23);
    public.u16(0x0b);
    public.u32(attributes);
    public.sized(policy);
    for number in symmetric.iter().chain(scheme) {
        public.u16(*number);
    }
    public.u16(3);
    public.u16(0x10);
    public
}

impl Chip {
    /// A TPM into which each of these was measured, at the register and by the name; none where swtpm is not installed.
    fn started(measured: &[(u8, &str, &str)]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("tpm.sock");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init", "--server"])
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--tpmstate")
            .arg(format!("dir={}", dir.path().display()))
            .spawn();
        let Ok(child) = child else {
            drop(writeln!(
                std::io::stdout(),
                "skipped: swtpm is not installed (cargo xtask prepare)"
            ));
            return None;
        };
        let running = Running(child);
        let wire = measured_into(&connect(&socket), measured);
        let mut tpm = Tpm::start(Box::new(wire)).unwrap();
        let mut template = public(
            0x0003_00b2,
            &[
                0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5,
                0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b,
                0x33, 0x14, 0x69, 0xaa,
            ],
            &[6, 128, 0x43],
            &[0x10],
        );
        template.sized(&[0; 32]);
        template.sized(&[0; 32]);
        let endorsement = tpm
            .create_primary(Hierarchy::Endorsement, &template.into_bytes())
            .unwrap();
        Some(Self {
            tpm,
            endorsement,
            log: log(measured),
            _running: running,
            _dir: dir,
        })
    }

    /// A key that signs; by another number another key.
    fn key(&mut self, attributes: u32, number: u8) -> (Handle, Vec<u8>) {
        let mut template = public(attributes, &[], &[0x10], &[0x18, 0x0b]);
        template.sized(&[number; 32]);
        template.sized(&[]);
        self.tpm
            .create_primary(Hierarchy::Owner, &template.into_bytes())
            .unwrap()
    }

    fn keys(&self, attestation: &[u8]) -> Introduction {
        Introduction::Keys(Endorsement {
            endorsement: Blob(self.endorsement.1.clone()),
            certificate: None,
            attestation: Blob(attestation.to_vec()),
        })
    }

    /// What the gateway's credential holds.
    fn opens(&mut self, key: Handle, welcome: Welcome) -> Option<Introduction> {
        let Welcome::Credential(it) = welcome else {
            panic!("no credential");
        };
        let opened = self
            .tpm
            .activate(key, self.endorsement.0, &it.object.0, &it.secret.0);
        opened
            .ok()
            .map(|secret| Introduction::Secret(Blob(secret.to_vec())))
    }

    /// Makes a key known for a device.
    fn known(&mut self, attester: &Attester, id: &DeviceId, now: OffsetDateTime) -> Handle {
        let (key, public) = self.key(RESTRICTED, 1);
        let roots = Roots::default();
        let welcome = attester.introduce(id, self.keys(&public), &roots, now);
        let secret = self.opens(key, welcome.unwrap()).unwrap();
        let welcome = attester.introduce(id, secret, &roots, now);
        assert_eq!(welcome.unwrap(), Welcome::Known);
        key
    }

    fn quoted(&mut self, key: Handle, nonce: &str, device: &str, which: &[u8]) -> Quoted {
        let (attest, signature) = self
            .tpm
            .quote(key, &challenge(nonce, device), which)
            .unwrap();
        let registers = self.tpm.registers(which).unwrap().into_iter();
        Quoted {
            quote: Quote {
                attest: Blob(attest),
                signature: Blob(signature.to_vec()),
                registers: registers.map(|(at, it)| (at, Blob(it.to_vec()))).collect(),
            },
            log: Blob(self.log.clone()),
        }
    }
}

fn connect(socket: &Path) -> UnixStream {
    let until = Instant::now() + std::time::Duration::from_secs(20);
    loop {
        if let Ok(stream) = UnixStream::connect(socket) {
            return stream;
        }
        assert!(Instant::now() < until, "waiting for swtpm");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// TPM 2.0 part 3 §22.2, `PCR_Extend`, as the firmware does it; first it starts the TPM (§9.3).
fn measured_into(mut stream: &UnixStream, measured: &[(u8, &str, &str)]) -> UnixStream {
    let mut ask = |bytes: &[u8]| {
        stream.write_all(bytes).unwrap();
        let mut answer = [0; 64];
        let count = stream.read(&mut answer).unwrap();
        assert_eq!(answer[6..10], [0; 4], "{:x?}", &answer[..count]);
    };
    ask(&[0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0]);
    for (register, _, content) in measured {
        let head = [0x80, 2, 0, 0, 0, 65, 0, 0, 1, 0x82, 0, 0, 0, *register];
        let password = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let digests = [0, 0, 0, 1, 0, 0x0b];
        let it = digest(&SHA256, content.as_bytes());
        ask(&[&head[..], &password, &digests, it.as_ref()].concat());
    }
    stream.try_clone().unwrap()
}

/// The event log of that (PC Client PFP 1.06 §10.4.5.1, §10.2.2): `EV_IPL` with the name.
fn log(measured: &[(u8, &str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let spec = [
        &b"Spec ID Event03\0"[..],
        &[0, 0, 0, 0, 0, 2, 0, 2],
        &[1, 0, 0, 0, 0x0b, 0, 32, 0, 0],
    ]
    .concat();
    out.extend([0, 0, 0, 0, 3, 0, 0, 0]);
    out.extend([0; 20]);
    out.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    out.extend(spec);
    for (register, name, content) in measured {
        out.extend(u32::from(*register).to_le_bytes());
        out.extend([0x0d, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0]);
        out.extend(digest(&SHA256, content.as_bytes()).as_ref());
        out.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        out.extend(name.as_bytes());
    }
    out
}

/// A register, the name in the log, and what was measured.
type Measured = (u8, &'static str, &'static str);

const GOOD: [Measured; 4] = [
    (4, "boot loader", "loader 7"),
    (11, ".linux", "kernel 7"),
    (11, ".initrd", "initrd 7"),
    (12, "kernel_cmdline: quiet", "quiet"),
];

fn attester(dir: &Path) -> (Attester, DeviceId) {
    let store = stockade_store::Sqlite::open(&dir.join("state")).unwrap();
    let id = DeviceId::new("porch").unwrap();
    (Attester::open(Arc::new(store)).unwrap(), id)
}

#[test]
fn a_tpm_is_made_known_once_and_only_by_opening_what_it_alone_can_open() {
    let Some(mut chip) = Chip::started(&[]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (attester, id) = attester(dir.path());
    let roots = Roots::default();
    let (key, public) = chip.key(RESTRICTED, 1);
    let (other_key, other) = chip.key(RESTRICTED, 2);
    let says = |said: Introduction, now| attester.introduce(&id, said, &roots, now);
    let closed = says(chip.keys(&public), START);
    assert!(matches!(closed, Err(IntroduceError::Closed)), "{closed:?}");
    attester.await_key(&id, START).unwrap();
    let late = says(chip.keys(&public), START + WINDOW);
    assert!(matches!(late, Err(IntroduceError::Closed)), "{late:?}");

    // A credential for one key is opened with no other, and a secret is guessed at once.
    let welcome = says(chip.keys(&public), START).unwrap();
    assert!(chip.opens(other_key, welcome.clone()).is_none());
    let guess = Introduction::Secret(Blob(vec![0; 32]));
    let wrong = says(guess, START);
    assert!(matches!(wrong, Err(IntroduceError::Wrong)), "{wrong:?}");
    let secret = chip.opens(key, welcome).unwrap();
    let again = says(secret, START);
    assert!(matches!(again, Err(IntroduceError::NotAsked)), "{again:?}");
    let welcome = says(chip.keys(&public), START).unwrap();
    let slow = chip.opens(key, welcome).unwrap();
    let slow = says(slow, START + Duration::minutes(3));
    assert!(matches!(slow, Err(IntroduceError::NotAsked)), "{slow:?}");

    // A key that signs anything attests nothing. A TPM has room for three keys.
    chip.tpm.flush(other_key).unwrap();
    let (_, loose) = chip.key(0x0004_0472, 1);
    let loose = says(chip.keys(&loose), START);
    assert!(matches!(loose, Err(IntroduceError::Key(_))), "{loose:?}");

    let welcome = says(chip.keys(&public), START).unwrap();
    let secret = chip.opens(key, welcome).unwrap();
    assert_eq!(says(secret, START).unwrap(), Welcome::Known);
    assert_eq!(
        says(chip.keys(&public), START + WINDOW).unwrap(),
        Welcome::Known
    );
    let another = says(chip.keys(&other), START);
    assert!(
        matches!(another, Err(IntroduceError::Another)),
        "{another:?}"
    );

    // It holds over a restart, until somebody resets it.
    let opened = Attester::open(Arc::clone(&attester.store)).unwrap();
    assert_eq!(opened.key(&id), attester.key(&id));
    attester.await_key(&id, START).unwrap();
    assert!(matches!(
        says(chip.keys(&other), START),
        Ok(Welcome::Credential(_))
    ));
}

/// The public half of a TPM's key on P-256.
struct OfTpm(Vec<u8>);

impl PublicKeyData for OfTpm {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

#[test]
fn with_roots_only_a_tpm_that_its_maker_vouches_for_is_believed() {
    let Some(chip) = Chip::started(&[]) else {
        return;
    };
    let maker = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut about = CertificateParams::new(Vec::new()).unwrap();
        about.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        about
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        (
            about.self_signed(&key).unwrap().pem(),
            Issuer::new(about, key),
        )
    };
    let (pem, vouches) = maker("a maker of TPMs");
    let (_, stranger) = maker("a maker of TPMs");
    let area = &chip.endorsement.1;
    let at = area.len() - 68;
    let point = [&[4], &area[at + 2..at + 34], &area[at + 36..]].concat();
    let certified = |by: &Issuer<'_, KeyPair>, point: Vec<u8>| {
        let mut about = CertificateParams::new(Vec::new()).unwrap();
        about.not_after = rcgen::date_time_ymd(2100, 1, 1);
        about.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::Other(vec![
            2, 23, 133, 8, 1,
        ])];
        about.signed_by(&OfTpm(point), by).unwrap().der().to_vec()
    };
    let roots = Roots::read(pem.as_bytes()).unwrap();
    let check = |certificate: Option<&[u8]>| roots.check(certificate, area, START);
    let good = certified(&vouches, point.clone());
    assert!(check(Some(&good)).unwrap());
    assert!(matches!(check(None), Err(RootsError::Missing)));
    let unknown = certified(&stranger, point);
    let unknown = check(Some(&unknown));
    assert!(
        matches!(unknown, Err(RootsError::NotTrusted(_))),
        "{unknown:?}"
    );
    let key = KeyPair::generate().unwrap();
    let others = certified(&vouches, key.der_bytes().to_vec());
    assert!(matches!(check(Some(&others)), Err(RootsError::AnotherKey)));
    assert!(check(Some(b"none")).is_err());
    assert!(!Roots::default().check(None, area, START).unwrap());
    assert!(Roots::read(b"").is_err());
}

/// A device that is judged, and its TPM.
struct Porch {
    world: World,
    chip: Chip,
    key: Handle,
}

impl Porch {
    fn started(measured: &[(u8, &str, &str)]) -> Option<Self> {
        let mut chip = Chip::started(measured)?;
        let profile = format!("{PROFILE}[boot]\nmeasured = [4, \"11-12\"]\n");
        let world = World::with(&profile);
        let attester = world.judge.attester();
        attester.await_key(&world.id, START).unwrap();
        let key = chip.known(attester, &world.id, START);
        Some(Self { world, chip, key })
    }

    /// Evidence that answers `nonce`, of a system in version 7.
    fn evidence(&mut self, nonce: &str) -> Evidence {
        let quoted = self.chip.quoted(self.key, nonce, "porch", &WANTED);
        let mut evidence = self.world.evidence(None, Some(nonce.to_owned()));
        evidence.system = Some("7".to_owned());
        evidence.attestation = Some(Attestation::Quoted(Box::new(quoted)));
        evidence
    }

    /// The gateway's question.
    fn asked(&self, now: OffsetDateTime) -> String {
        if self.world.judge.kept(&self.world.id).is_none() {
            self.world.says(&self.world.evidence(None, None), now);
        }
        self.world.judge.look(now).unwrap();
        self.world.nonce(now).expect("a question")
    }

    fn answers(&mut self, now: OffsetDateTime) {
        let nonce = self.asked(now);
        let evidence = self.evidence(&nonce);
        self.world.says(&evidence, now);
    }

    fn wrong(&self) -> Vec<String> {
        let kept = self.world.judge.kept(&self.world.id).unwrap();
        kept.attested.as_ref().unwrap().verdict.wrong.clone()
    }

    fn record(&self) {
        let attester = self.world.judge.attester();
        let model = ModelName::new("cam-2").unwrap();
        attester.record(&self.world.id, &model, None).unwrap();
    }

    fn reasons(&self) -> Vec<String> {
        self.world.state().reasons()
    }
}

#[test]
fn who_started_as_recorded_stays_and_who_did_not_is_quarantined_at_once_with_the_component() {
    let changed: [(&str, [Measured; 4]); 3] = [
        ("kernel command line", {
            let mut it = GOOD;
            it[3] = (12, "kernel_cmdline: init=/bin/sh", "init=/bin/sh");
            it
        }),
        ("initrd", {
            let mut it = GOOD;
            it[2].2 = "another";
            it
        }),
        ("boot loader", {
            let mut it = GOOD;
            it[0].2 = "another";
            it
        }),
    ];
    let Some(mut good) = Porch::started(&GOOD) else {
        return;
    };
    good.answers(START);
    assert!(
        good.wrong()[0].contains("no reference for version 7"),
        "{:?}",
        good.wrong()
    );
    assert_eq!(
        good.world.state(),
        State::Active,
        "a model that is new here gets time"
    );
    good.record();
    let model = ModelName::new("cam-2").unwrap();
    good.world
        .judge
        .ask_again(&model, START + Duration::minutes(1))
        .unwrap();
    good.answers(START + Duration::minutes(1));
    assert_eq!(good.wrong(), Vec::<String>::new());
    assert_eq!(good.world.state(), State::Active);
    let reference = Reference::clone(&good.world.judge.attester().references()[0]);

    for (component, measured) in changed {
        let mut porch = Porch::started(&measured).unwrap();
        porch.world.judge.attester().add(reference.clone()).unwrap();
        porch.answers(START);
        let reasons = porch.reasons();
        assert!(
            reasons
                .iter()
                .any(|why| why.starts_with("attestation: ") && why.contains(component)),
            "{component}: {reasons:?}"
        );
        // Evidence without a fresh word of the TPM frees nobody.
        porch.world.says(&porch.world.evidence(None, None), START);
        assert!(matches!(porch.world.state(), State::Quarantined { .. }));
        // The operator's word for this start does.
        porch.record();
        porch
            .world
            .judge
            .ask_again(&model, START + Duration::hours(2))
            .unwrap();
        porch.answers(START + Duration::hours(2));
        assert_eq!(porch.world.state(), State::Active);
    }
}

/// That evidence changed in this way is not believed, and why.
fn refused(why: &str, change: impl FnOnce(&mut Porch, &str, &mut Quoted)) {
    let Some(mut porch) = Porch::started(&GOOD) else {
        return;
    };
    porch.answers(START);
    porch.record();
    let now = START + Duration::hours(1);
    let nonce = porch.asked(now);
    let mut evidence = porch.evidence(&nonce);
    let Some(Attestation::Quoted(quoted)) = &mut evidence.attestation else {
        panic!("quoted");
    };
    change(&mut porch, &nonce, quoted);
    porch.world.says(&evidence, now);
    assert!(
        porch.reasons().concat().contains(why),
        "{why}: {:?}",
        porch.reasons()
    );
    assert!(
        !porch
            .world
            .judge
            .attester()
            .last(&porch.world.id)
            .unwrap()
            .unwrap()
            .verdict
            .proved
    );
}

#[test]
fn a_quote_for_another_question_or_device_or_by_another_key_proves_nothing() {
    refused("it answers another challenge", |porch, _, quoted| {
        *quoted = porch
            .chip
            .quoted(porch.key, "an old question", "porch", &WANTED);
    });
    refused("it answers another challenge", |porch, nonce, quoted| {
        *quoted = porch.chip.quoted(porch.key, nonce, "attic", &WANTED);
    });
    refused(
        "not signed by the device's attestation key",
        |porch, nonce, quoted| {
            let (key, _) = porch.chip.key(RESTRICTED, 9);
            *quoted = porch.chip.quoted(key, nonce, "porch", &WANTED);
        },
    );
    refused("it did not sign register 4", |porch, nonce, quoted| {
        *quoted = porch.chip.quoted(porch.key, nonce, "porch", &[11, 12]);
    });
    refused("not those that the TPM signed", |_, _, quoted| {
        quoted.quote.registers.insert(4, Blob(vec![0; 32]));
    });
    refused("not those that the TPM signed", |_, _, quoted| {
        quoted.quote.registers.remove(&12);
    });
    refused("a register's value has a wrong length", |_, _, quoted| {
        quoted.quote.registers.insert(4, Blob(vec![0; 20]));
    });
    refused("the signature has a wrong length", |_, _, quoted| {
        quoted.quote.signature.0.push(0);
    });
    refused(
        "not signed by the device's attestation key",
        |_, _, quoted| {
            quoted.quote.attest.0[40] ^= 1;
        },
    );
    refused("its event log can not be read", |_, _, quoted| {
        quoted.log.0.truncate(70);
    });
}

#[test]
fn no_word_of_the_tpm_is_held_against_a_device_whose_profile_asks_for_it() {
    let Some(mut porch) = Porch::started(&GOOD) else {
        return;
    };
    let nonce = porch.asked(START);
    let mut evidence = porch.evidence(&nonce);
    evidence.attestation = Some(Attestation::Missing(
        "the device's keys are in no TPM".to_owned(),
    ));
    porch.world.says(&evidence, START);
    let reasons = porch.reasons().concat();
    assert!(
        reasons.contains("not attested: the device's keys are in no TPM"),
        "{reasons}"
    );

    let Some(porch) = Porch::started(&GOOD) else {
        return;
    };
    let nonce = porch.asked(START);
    porch
        .world
        .says(&porch.world.evidence(None, Some(nonce)), START);
    let reasons = porch.reasons().concat();
    assert!(reasons.contains("does not say how it started"), "{reasons}");
}

#[test]
fn a_tpm_that_stops_answering_is_held_against_the_device_after_the_grace() {
    let Some(mut porch) = Porch::started(&GOOD) else {
        return;
    };
    porch.answers(START);
    porch.record();
    porch.answers(START + Duration::hours(1));
    // Evidence goes on, but never answers.
    let late = START + Duration::hours(27);
    porch.world.says(&porch.world.evidence(None, None), late);
    let reasons = porch.reasons().concat();
    assert!(
        reasons.contains("its TPM has not answered since"),
        "{reasons}"
    );
}

#[test]
fn a_device_is_asked_when_its_helper_starts_and_a_version_without_reference_is_refused_where_others_have_one()
 {
    use stockade_api::events::Batch as Events;
    let Some(mut porch) = Porch::started(&GOOD) else {
        return;
    };
    porch.answers(START);
    porch.record();
    porch.answers(START + Duration::hours(1));
    let now = START + Duration::hours(1) + Duration::minutes(2);
    assert_eq!(
        porch.world.nonce(now),
        None,
        "it was asked and has answered"
    );
    let begins = Events::new(1, 0, Vec::new());
    porch.world.comes("events", &begins.write(), now);
    porch.world.judge.take_available(now).unwrap();
    let nonce = porch.world.nonce(now).expect("a session begins");
    let mut evidence = porch.evidence(&nonce);
    evidence.system = Some("8".to_owned());
    porch.world.says(&evidence, now);
    let reasons = porch.reasons().concat();
    assert!(reasons.contains("no reference for version 8"), "{reasons}");
}
