//! A TPM's own tools sign what is checked here, and open what is made here: swtpm and tpm2-tools.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of a test fails as the test does, and says when it is skipped"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use stockade_attest::credential::{CredentialError, make};
use stockade_attest::quote::{KeyError, QuoteError, ak_public, name, verify};

/// A software TPM in a folder of its own, and the tools that talk to it.
struct Tpm {
    folder: tempfile::TempDir,
    child: Child,
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _over = self.child.kill();
        let _over = self.child.wait();
    }
}

impl Tpm {
    fn start() -> Option<Self> {
        let there = |program| {
            let asked = Command::new(program).arg("--version").output();
            asked.is_ok()
        };
        if !(there("swtpm") && there("tpm2_quote")) {
            eprintln!("skipped: swtpm or tpm2-tools is not here");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tpm");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "startup-clear", "--server"])
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}.ctrl", socket.display()))
            .arg("--tpmstate")
            .arg(format!("dir={}", folder.path().display()))
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while !(socket.exists() && folder.path().join("tpm.ctrl").exists()) {
            assert!(Instant::now() < until, "waiting for swtpm");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Some(Self { folder, child })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs tpm2-tools, each word an argument, in a TPM that has memory: nobody frees it between two tools.
    fn run(&self, line: &str) {
        self.tool("tpm2_flushcontext -t");
        self.tool(line);
    }

    fn tool(&self, line: &str) {
        let mut words = line.split(' ');
        let tcti = format!("swtpm:path={}", self.path("tpm").display());
        let output = Command::new(words.next().unwrap())
            .args(words)
            .env("TPM2TOOLS_TCTI", tcti)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {error}");
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).unwrap()
    }

    /// The content of a `TPM2B` in a file.
    fn sized(&self, name: &str) -> Vec<u8> {
        let all = self.file(name);
        assert_eq!(
            usize::from(u16::from_be_bytes([all[0], all[1]])),
            all.len() - 2
        );
        all[2..].to_vec()
    }
}

/// r and s of a `TPMT_SIGNATURE`.
fn signature(bytes: &[u8]) -> [u8; 64] {
    assert_eq!(bytes[..4], [0, 0x18, 0, 0x0b], "ECDSA with SHA-256");
    let mut out = [0; 64];
    let mut rest = &bytes[4..];
    for half in out.chunks_exact_mut(32) {
        let length = usize::from(rest[1]);
        half[32 - length..].copy_from_slice(&rest[2..2 + length]);
        rest = &rest[2 + length..];
    }
    out
}

#[test]
fn a_quote_is_believed_for_its_key_its_challenge_and_its_registers_only() {
    let Some(tpm) = Tpm::start() else { return };
    tpm.run("tpm2_createek -G ecc -c ek.ctx -u ek.pub");
    for ak in ["ak", "other"] {
        tpm.run(&format!(
            "tpm2_createak -C ek.ctx -c {ak}.ctx -G ecc -g sha256 -s ecdsa -u {ak}.pub -n {ak}.name"
        ));
    }
    tpm.run(&format!("tpm2_pcrextend 11:sha256={}", "5a".repeat(32)));
    tpm.run(
        "tpm2_quote -c ak.ctx -l sha256:0,7,11 -q c0ffee -m quote -s signature -o values -F values",
    );
    let (attest, signature) = (tpm.file("quote"), signature(&tpm.file("signature")));
    let key = ak_public(&tpm.sized("ak.pub")).unwrap();
    assert_eq!(key.name, tpm.file("ak.name"));

    let challenge = [0xc0, 0xff, 0xee];
    let quoted = verify(&attest, &signature, &key, &challenge).unwrap();
    assert_eq!(quoted.pcrs, [0, 7, 11]);
    let values = tpm.file("values");
    let value = |at: usize| <[u8; 32]>::try_from(&values[at * 32..][..32]).unwrap();
    let told = BTreeMap::from([(0, value(0)), (7, value(1)), (11, value(2)), (12, [9; 32])]);
    let believed = quoted.values(&told).unwrap();
    assert_eq!(believed.keys().copied().collect::<Vec<_>>(), [0, 7, 11]);
    assert_ne!(believed[&11], [0; 32]);
    let mut lied = told;
    lied.insert(11, [0; 32]);
    assert_eq!(quoted.values(&lied), Err(QuoteError::Registers));
    lied.remove(&11);
    assert_eq!(quoted.values(&lied), Err(QuoteError::Registers));

    assert_eq!(
        verify(&attest, &signature, &key, b"another"),
        Err(QuoteError::Challenge)
    );
    let other = ak_public(&tpm.sized("other.pub")).unwrap();
    assert_eq!(
        verify(&attest, &signature, &other, &challenge),
        Err(QuoteError::Signature)
    );
    let mut changed = attest;
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(
        verify(&changed, &signature, &key, &challenge),
        Err(QuoteError::Signature)
    );
}

#[test]
fn a_key_that_signs_anything_or_decrypts_does_not_attest() {
    let Some(tpm) = Tpm::start() else { return };
    tpm.run("tpm2_createek -G ecc -c ek.ctx -u ek.pub");
    let endorsement = tpm.sized("ek.pub");
    assert_eq!(ak_public(&endorsement), Err(KeyError::Malformed));
    tpm.run("tpm2_createprimary -c primary.ctx");
    tpm.run("tpm2_create -C primary.ctx -G ecc256:ecdsa-sha256 -u free.pub -r free.priv");
    assert_eq!(ak_public(&tpm.sized("free.pub")), Err(KeyError::Attributes));
    assert_eq!(
        make(&tpm.sized("free.pub"), &[0; 34], b"x", &[1; 32]),
        Err(CredentialError::Key)
    );
    assert_eq!(
        make(&endorsement, &[0; 34], &[0; 33], &[1; 32]),
        Err(CredentialError::Secret)
    );
    assert_eq!(
        make(&endorsement, &[0; 34], b"x", &[0; 32]),
        Err(CredentialError::Agreement)
    );
}

#[test]
fn a_credential_opens_in_the_tpm_of_both_keys_and_only_for_the_named_one() {
    let Some(tpm) = Tpm::start() else { return };
    for kind in ["ecc", "rsa"] {
        tpm.run(&format!("tpm2_createek -G {kind} -c ek.ctx -u ek.pub"));
        for ak in ["ak", "other"] {
            tpm.run(&format!(
                "tpm2_createak -C ek.ctx -c {ak}.ctx -G ecc -g sha256 -s ecdsa -u {ak}.pub -n {ak}.name"
            ));
        }
        let secret = b"exactly thirty-two bytes of them";
        let made = make(
            &tpm.sized("ek.pub"),
            &name(&tpm.sized("ak.pub")),
            secret,
            &[0x42; 32],
        )
        .unwrap();
        // The file of tpm2-tools: a magic number, a version, both parts with their lengths.
        let mut file = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1].to_vec();
        for part in [&made.id_object, &made.encrypted_secret] {
            file.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
            file.extend(part);
        }
        fs_err::write(tpm.path("credential"), file).unwrap();
        let activate = |ak: &str| {
            tpm.run("tpm2_startauthsession --policy-session -S session.ctx");
            tpm.run("tpm2_policysecret -S session.ctx -c e");
            let line = format!(
                "tpm2_activatecredential -c {ak}.ctx -C ek.ctx -i credential -o opened -P session:session.ctx"
            );
            let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tpm.run(&line)));
            tpm.run("tpm2_flushcontext session.ctx");
            opened.is_ok()
        };
        assert!(activate("ak"), "{kind}");
        assert_eq!(tpm.file("opened"), secret, "{kind}");
        assert!(!activate("other"), "{kind}");
    }
}
