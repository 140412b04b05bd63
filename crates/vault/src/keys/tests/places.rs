//! Root keys in a token and in a TPM: what was copied before a rotation stays shut after it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{assert_same_at, killed_after, open_at, some};
use crate::keys::{KeyError, RootPlace};

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _over = self.0.kill();
        let _over = self.0.wait();
    }
}

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        let text = format!("skipped: {program} is not installed (cargo xtask prepare)\n");
        drop(std::io::stdout().write_all(text.as_bytes()));
    }
    there
}

/// `place` makes the root key's place reachable once more. It is called before each opening.
fn what_was_copied_before_a_rotation_stays_shut(place: &mut dyn FnMut() -> RootPlace) {
    let dir = TempDir::new().unwrap();
    let copy = TempDir::new().unwrap();
    let (_, keys) = open_at(dir.path(), place()).unwrap();
    assert!(keys.root().1, "this root key can be destroyed");
    let made = some(&keys, 3);
    drop(keys);
    for entry in fs_err::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        fs_err::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    assert_same_at(copy.path(), place(), &made);
    let (_, keys) = open_at(dir.path(), place()).unwrap();
    keys.begin().unwrap();
    keys.finish(false).unwrap();
    drop(keys);
    assert_same_at(dir.path(), place(), &made);
    // All that was on disk before, with the same token or TPM.
    let shut = open_at(copy.path(), place()).unwrap_err();
    assert!(matches!(shut, KeyError::OtherRoot { .. }), "{shut}");

    // And a kill at any step leaves a root key that opens what is there.
    for steps in 0.. {
        let (_, keys) = open_at(dir.path(), place()).unwrap();
        let done = killed_after(steps, || {
            keys.begin()?;
            keys.finish(false)
        });
        drop(keys);
        assert_same_at(dir.path(), place(), &made);
        if done {
            break;
        }
    }
}

#[test]
fn in_a_token() {
    const HERE: &str = "SOFTHSM2_CONF";
    if !has("softhsm2-util") {
        return;
    }
    let Some(conf) = std::env::var_os(HERE) else {
        // The module finds its tokens by the environment of its process, so this test runs once more in one with it.
        let dir = TempDir::new().unwrap();
        let conf = dir.path().join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\n",
            dir.path().display()
        );
        fs_err::write(&conf, text).unwrap();
        fs_err::write(dir.path().join("pin"), "123456\n").unwrap();
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "vault"])
            .args(["--pin", "123456", "--so-pin", "12345678"])
            .env(HERE, &conf)
            .output();
        assert!(made.unwrap().status.success());
        let again = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "keys::tests::places::in_a_token"])
            .env(HERE, &conf)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(
            again.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    };
    let pin = Path::new(&conf).with_file_name("pin");
    let place = format!(
        "pkcs11:token=vault?module-path={SOFTHSM}&pin-source={}",
        pin.display()
    );
    what_was_copied_before_a_rotation_stays_shut(&mut || place.parse().unwrap());
    let nowhere = place.replace("token=vault", "token=other").parse().unwrap();
    let said = open_at(TempDir::new().unwrap().path(), nowhere)
        .unwrap_err()
        .to_string();
    assert_eq!(
        said,
        "the vault's root key: there is no PKCS#11 token `other`"
    );
}

/// Whether somebody accepts connections there. It is asked of the kernel: a connection would be the one that is served, and the
/// file is there before.
fn listens(socket: &Path) -> bool {
    const ACCEPTS: &str = "00010000";
    let sockets = fs_err::read_to_string("/proc/net/unix").unwrap();
    let path = socket.display().to_string();
    sockets
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .any(|it| it.get(3) == Some(&ACCEPTS) && it.last() == Some(&path.as_str()))
}

#[test]
fn in_a_tpm() {
    if !has("swtpm") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("tpm.sock");
    let mut running = None;
    what_was_copied_before_a_rotation_stays_shut(&mut || {
        // Over a socket it serves one connection, and ends with it.
        running = None;
        let _absent = fs_err::remove_file(&socket);
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init", "--server"])
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--tpmstate")
            .arg(format!("dir={}", dir.path().display()))
            .spawn();
        running = Some(Running(child.unwrap()));
        let until = Instant::now() + Duration::from_secs(20);
        while !listens(&socket) {
            assert!(Instant::now() < until, "waiting for swtpm");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        RootPlace::Tpm(socket.clone())
    });
}
