//! The program itself, with keys in files, in `SoftHSM` and in swtpm.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use stockade_api::attest::{Credential, Endorsement};
use stockade_api::keys::{Answer, Request, Slot};
use stockade_api::{Blob, Places};
use stockade_host::local::Channel;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _over = self.0.kill();
        let _over = self.0.wait();
    }
}

struct Device {
    dir: tempfile::TempDir,
    places: Places,
    /// What the key process becomes: another user if we may choose.
    user: u32,
}

impl Device {
    fn new(key: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Another user has to come through.
        fs_err::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let places = Places::below(dir.path());
        for made in [places.etc(), places.run(), places.keys_state()] {
            fs_err::create_dir_all(made).unwrap();
        }
        let own = rustix::process::geteuid().as_raw();
        let user = if own == 0 { 64_231 } else { own };
        fs_err::set_permissions(places.keys_state(), Permissions::from_mode(0o700)).unwrap();
        own_by(&places.keys_state(), user);
        let device = Self { dir, places, user };
        device.settings(key);
        device
    }

    fn settings(&self, key: &str) {
        let text = format!(
            "gateway = \"gw\"\ntrust-domain = \"stockade.local\"\ndevice = \"porch\"\nmodel = \"cam-2\"\nkey = '{key}'\n"
        );
        fs_err::write(self.places.settings(), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, more: &[&str]) -> Running {
        let user = self.user.to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade-keys"));
        command
            .arg("--root")
            .arg(self.dir.path())
            .args(["--user", &user, "--agent", &user]);
        let child = command
            .args(more)
            .env("SOFTHSM2_CONF", self.path("tokens/softhsm2.conf"))
            .spawn();
        let running = Running(child.unwrap());
        wait("the key process to answer", || {
            Channel::connect(&self.places.keys_socket(), Duration::from_secs(5)).is_ok()
        });
        running
    }

    fn ask(&self, request: &Request) -> Answer {
        let channel = Channel::connect(&self.places.keys_socket(), Duration::from_secs(30));
        channel.unwrap().call(request).unwrap()
    }

    fn public(&self, slot: Slot) -> Option<Vec<u8>> {
        match self.ask(&Request::Public { slot }) {
            Answer::Public(spki) => Some(spki.0),
            Answer::Empty => None,
            other => panic!("{other:?}"),
        }
    }

    fn make(&self, slot: Slot) -> Vec<u8> {
        match self.ask(&Request::Make { slot }) {
            Answer::Public(spki) => spki.0,
            other => panic!("{other:?}"),
        }
    }

    /// That a slot signs a handshake by the key whose public half it gives.
    fn signs(&self, slot: Slot) {
        let context: &[u8] = match slot {
            Slot::Page => b"TLS 1.3, server CertificateVerify\0",
            _ => b"TLS 1.3, client CertificateVerify\0",
        };
        let message = [&[0x20; 64], context, &[9; 48]].concat();
        let asked = Request::SignTls {
            slot,
            message: Blob(message.clone()),
        };
        let Answer::Signature(signature) = self.ask(&asked) else {
            panic!("no signature by {slot}");
        };
        let spki = self.public(slot).unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki[26..]);
        key.verify(&message, &signature.0)
            .expect("the slot's own signature");
    }
}

/// Gives a tree to a user.
fn own_by(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs_err::read_dir(path).unwrap() {
            own_by(&entry.unwrap().path(), user);
        }
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "waiting for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// What every store has to do, over a restart too.
fn behaves(device: &Device, more: &[&str]) {
    let running = device.start(more);
    assert_eq!(device.public(Slot::Device), None, "empty at first");
    assert_eq!(
        device.ask(&Request::Csr { slot: Slot::Device }),
        Answer::Empty
    );
    let first = device.make(Slot::Device);
    assert_eq!(
        first.len(),
        91,
        "a SubjectPublicKeyInfo on P-256 (RFC 5480)"
    );
    assert_eq!(device.make(Slot::Device), first, "asked twice, made once");
    let (next, page) = (device.make(Slot::DeviceNext), device.make(Slot::Page));
    assert!(first != next && next != page && first != page, "three keys");
    for slot in [Slot::Device, Slot::DeviceNext, Slot::Page] {
        device.signs(slot);
    }
    csr_is_sound(device);
    drop(running);

    let _running = device.start(more);
    assert_eq!(
        device.public(Slot::Device),
        Some(first),
        "it is there after a restart"
    );
    device.signs(Slot::Device);
    for _twice in 0..2 {
        assert_eq!(device.ask(&Request::Promote), Answer::Done);
        assert_eq!(device.public(Slot::Device), Some(next.clone()));
        assert_eq!(device.public(Slot::DeviceNext), None);
        device.signs(Slot::Device);
    }
    assert_eq!(
        device.ask(&Request::Drop { slot: Slot::Page }),
        Answer::Done
    );
    assert_eq!(device.public(Slot::Page), None);
    assert_ne!(device.make(Slot::Page), page, "a new key is another one");
}

fn csr_is_sound(device: &Device) {
    let Answer::Csr(der) = device.ask(&Request::Csr { slot: Slot::Device }) else {
        panic!("no request");
    };
    let path = device.path("request.der");
    fs_err::write(&path, der.0).unwrap();
    let said = Command::new("openssl")
        .args([
            "req", "-inform", "DER", "-verify", "-noout", "-subject", "-in",
        ])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stderr) + String::from_utf8_lossy(&said.stdout);
    assert!(
        said.status.success() && text.contains("verify OK"),
        "{text}"
    );
}

fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    let quiet = command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let there = quiet.status().is_ok();
    if !there {
        drop(std::io::Write::write_fmt(
            &mut std::io::stdout(),
            format_args!("skipped: {program} is not installed (cargo xtask prepare)\n"),
        ));
    }
    there
}

#[test]
fn keys_in_files() {
    behaves(&Device::new("file"), &[]);
}

#[test]
fn keys_in_softhsm() {
    if !has("softhsm2-util") {
        return;
    }
    let uri = |device: &Device| {
        let pin = device.path("etc/stockade/pin");
        format!(
            "pkcs11:token=stockade?module-path={SOFTHSM}&pin-source={}",
            pin.display()
        )
    };
    let device = Device::new("file");
    device.settings(&uri(&device));
    let tokens = device.path("tokens");
    fs_err::create_dir(&tokens).unwrap();
    let conf = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\n",
        tokens.display()
    );
    fs_err::write(device.path("tokens/softhsm2.conf"), conf).unwrap();
    fs_err::write(device.path("etc/stockade/pin"), "123456\n").unwrap();
    let made = Command::new("softhsm2-util")
        .args([
            "--init-token",
            "--free",
            "--label",
            "stockade",
            "--pin",
            "123456",
            "--so-pin",
            "12345678",
        ])
        .env("SOFTHSM2_CONF", device.path("tokens/softhsm2.conf"))
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    own_by(&tokens, device.user);
    behaves(&device, &["--token-directory", tokens.to_str().unwrap()]);
}

#[test]
fn keys_in_a_tpm() {
    if !has("swtpm") {
        return;
    }
    let device = Device::new("file");
    let (state, socket) = (device.path("swtpm"), device.path("swtpm.sock"));
    fs_err::create_dir(&state).unwrap();
    device.settings(&format!("tpm:{}", socket.display()));
    let tpm = || swtpm(&state, &socket);
    // A TPM over a socket serves one connection, and ends with it: it is started with the key process each time.
    let before = tpm();
    let keys = device.start(&[]);
    let first = device.make(Slot::Device);
    device.signs(Slot::Device);
    drop((keys, before));
    let _absent = fs_err::remove_file(&socket);
    let before = tpm();
    let keys = device.start(&[]);
    assert_eq!(
        device.public(Slot::Device),
        Some(first),
        "the TPM makes the same key again"
    );
    device.make(Slot::DeviceNext);
    let slot = Slot::DeviceNext;
    assert_eq!(device.ask(&Request::Drop { slot }), Answer::Done);
    drop((keys, before));
    let _absent = fs_err::remove_file(&socket);
    let _tpm = tpm();
    let _keys = device.start(&[]);
    let (first, next, page) = (
        device.make(Slot::Device),
        device.make(Slot::DeviceNext),
        device.make(Slot::Page),
    );
    assert!(first != next && next != page && first != page, "three keys");
    for slot in [Slot::Page, Slot::Device, Slot::DeviceNext, Slot::Device] {
        device.signs(slot);
    }
    csr_is_sound(&device);
    assert_eq!(device.ask(&Request::Promote), Answer::Done);
    assert_eq!(device.public(Slot::Device), Some(next));
    device.signs(Slot::Device);
    erased_for_good(&device);
}

/// A TPM, and what it keeps, of its own.
fn swtpm(state: &Path, socket: &Path) -> Running {
    let child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init", "--server"])
        .arg(format!("type=unixio,path={}", socket.display()))
        .arg("--tpmstate")
        .arg(format!("dir={}", state.display()))
        .spawn();
    let running = Running(child.unwrap());
    wait("swtpm", || socket.exists());
    running
}

/// That no key is left, nor anything that a key could be made of.
fn erased_for_good(device: &Device) {
    let mut files = fs_err::read_dir(device.places.keys_state()).unwrap();
    let mut held = fs_err::File::open(files.next().unwrap().unwrap().path()).unwrap();
    assert_eq!(device.ask(&Request::EraseAll), Answer::Done);
    for slot in Slot::ALL {
        assert_eq!(device.public(slot), None, "{slot}");
    }
    let left = fs_err::read_dir(device.places.keys_state()).unwrap();
    assert_eq!(left.count(), 0, "no file is left");
    let mut was = Vec::new();
    std::io::Read::read_to_end(&mut held, &mut was).unwrap();
    assert!(
        !was.is_empty() && was.iter().all(|byte| *byte == 0),
        "zeros"
    );
}

#[test]
fn a_store_that_is_no_tpm_attests_nothing_and_erases_everything() {
    let device = Device::new("file");
    let _keys = device.start(&[]);
    assert_eq!(device.ask(&Request::Endorsement), Answer::Empty);
    let quote = Request::Quote {
        challenge: Blob(vec![7; 32]),
        registers: vec![0],
    };
    assert_eq!(device.ask(&quote), Answer::Empty);
    for slot in Slot::ALL {
        device.make(slot);
    }
    erased_for_good(&device);
}

#[test]
fn a_tpm_attests_its_registers_by_a_key_that_is_proved_to_be_its_own() {
    if !has("swtpm") || !has("tpm2_makecredential") {
        return;
    }
    let device = Device::new("file");
    let (state, socket) = (device.path("swtpm"), device.path("swtpm.sock"));
    fs_err::create_dir(&state).unwrap();
    device.settings(&format!("tpm:{}", socket.display()));
    let _tpm = swtpm(&state, &socket);
    let _keys = device.start(&[]);
    device.make(Slot::Device);
    device.make(Slot::Page);
    let Answer::Endorsement(keys) = device.ask(&Request::Endorsement) else {
        panic!("no keys");
    };
    assert_eq!(
        device.ask(&Request::Endorsement),
        Answer::Endorsement(keys.clone()),
        "the same keys"
    );
    let credential = Request::Activate(credential(&device, &keys, b"what only the TPM can read"));
    let activated = device.ask(&credential);
    assert_eq!(
        activated,
        Answer::Activated(Blob(b"what only the TPM can read".to_vec()))
    );
    let Request::Activate(mut wrong) = credential else {
        unreachable!()
    };
    wrong.object.0[9] ^= 1;
    let refused = device.ask(&Request::Activate(wrong));
    assert!(matches!(refused, Answer::Refused(_)), "{refused:?}");

    let asked = Request::Quote {
        challenge: Blob(vec![7; 32]),
        registers: vec![0, 1, 2, 3, 4, 5, 6, 7, 11, 23],
    };
    let Answer::Quote(quote) = device.ask(&asked) else {
        panic!("no quote");
    };
    assert_eq!(quote.registers.len(), 10);
    let mut point = vec![4];
    // The coordinates are the last of a TPMT_PUBLIC, each with its length before it.
    let public = &keys.attestation.0;
    point.extend(&public[public.len() - 66..public.len() - 34]);
    point.extend(&public[public.len() - 32..]);
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(&quote.attest.0, &quote.signature.0)
        .expect("the key's own signature");
    // Part 2 §10.12.12: magic, a quote, whose key, what was asked for.
    assert_eq!(quote.attest.0[..6], [0xff, b'T', b'C', b'G', 0x80, 0x18]);
    let has = |what: &[u8]| quote.attest.0.windows(what.len()).any(|it| it == what);
    let values: Vec<u8> = quote
        .registers
        .values()
        .flat_map(|it| it.0.clone())
        .collect();
    assert!(has(&[7; 32]) && has(digest(&SHA256, &values).as_ref()));
    device.signs(Slot::Page);
    device.signs(Slot::Device);
    erased_for_good(&device);
}

/// A credential made by tpm2-tools.
fn credential(device: &Device, keys: &Endorsement, secret: &[u8]) -> Credential {
    let sized = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes(), bytes].concat()
    };
    fs_err::write(device.path("ek.pub"), sized(&keys.endorsement.0)).unwrap();
    fs_err::write(device.path("secret"), secret).unwrap();
    // Part 1 §16: the name of a key is the digest of its public area, after the algorithm of the digest.
    let name = digest(&SHA256, &keys.attestation.0);
    let mut hex = "000b".to_owned();
    for byte in name.as_ref() {
        std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}")).unwrap();
    }
    let made = Command::new("tpm2_makecredential")
        .args(["-T", "none", "-n", &hex, "-u"])
        .arg(device.path("ek.pub"))
        .arg("-s")
        .arg(device.path("secret"))
        .arg("-o")
        .arg(device.path("credential"))
        .status();
    assert!(made.unwrap().success());
    // Its own header of 8 bytes, then both structures.
    let made = fs_err::read(device.path("credential")).unwrap();
    let mut rest = &made[8..];
    let mut next = || {
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let (one, after) = rest[2..].split_at(length);
        rest = after;
        Blob(one.to_vec())
    };
    Credential {
        object: next(),
        secret: next(),
    }
}
