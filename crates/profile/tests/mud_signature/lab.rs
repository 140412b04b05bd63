//! A maker's authority and signer, made by openssl in a directory of their own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stockade_profile::mud::signature::{Anchors, UnixTime};
use tempfile::TempDir;

pub(crate) const FILE: &[u8] = br#"{"ietf-mud:mud":{"mud-version":1}}"#;

const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash";
const SIGNER: &str =
    "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash";

/// The time, as a test may ask for it.
pub(crate) fn now() -> UnixTime {
    UnixTime::now()
}

/// So many years from now.
pub(crate) fn years(count: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        now().as_secs() + count * 366 * 24 * 3_600,
    ))
}

/// `ca` signs `issuing`, `issuing` signs `signer`; `chain.pem` is signer and issuing.
pub(crate) struct Lab(TempDir);

impl Lab {
    pub(crate) fn new(kind: &str) -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        lab.write("file.json", FILE);
        lab.key("ca.key", "EC:prime256v1");
        lab.write("ca.ext", format!("[ext]\n{AUTHORITY}\n").as_bytes());
        lab.openssl("req -x509 -new -key ca.key -subj /CN=authority -days 7300 -out ca.pem");
        lab.key("issuing.key", "EC:prime256v1");
        lab.certify("issuing", "issuing authority", "ca", AUTHORITY);
        lab.key("signer.key", kind);
        lab.certify("signer", "mud signer", "issuing", SIGNER);
        let chain = [lab.read("signer.pem"), lab.read("issuing.pem")].concat();
        lab.write("chain.pem", &chain);
        lab
    }

    /// Another certificate for the signer's key.
    pub(crate) fn signer_with(&self, extensions: &str) {
        self.certify("signer", "mud signer", "issuing", extensions);
    }

    pub(crate) fn certify(&self, name: &str, subject: &str, by: &str, extensions: &str) {
        self.write("ext", extensions.as_bytes());
        self.openssl_words(&[
            "req",
            "-new",
            "-key",
            &format!("{name}.key"),
            "-subj",
            &format!("/CN={subject}"),
            "-out",
            "csr",
        ]);
        self.openssl(&format!(
            "x509 -req -in csr -CA {by}.pem -CAkey {by}.key -CAcreateserial -days 3650 -extfile ext -out {name}.pem"
        ));
    }

    pub(crate) fn key(&self, file: &str, kind: &str) {
        let algorithm = match kind.split_once(':') {
            Some(("RSA", bits)) => format!("RSA -pkeyopt rsa_keygen_bits:{bits}"),
            Some((_, curve)) => format!("EC -pkeyopt ec_paramgen_curve:{curve}"),
            None => kind.to_owned(),
        };
        self.openssl(&format!("genpkey -out {file} -algorithm {algorithm}"));
    }

    /// The signature of the file as a maker makes it with openssl (RFC 8520 §13.1).
    pub(crate) fn sign(&self, options: &str) -> Vec<u8> {
        self.openssl_to(
            "openssl.p7s",
            &format!(
                "cms -sign -binary -outform DER -in file.json -signer signer.pem -inkey signer.key -certfile issuing.pem {options}"
            ),
        )
    }

    pub(crate) fn anchors(&self) -> Anchors {
        self.anchors_of(&["ca.pem"])
    }

    pub(crate) fn anchors_of(&self, files: &[&str]) -> Anchors {
        let mut anchors = Anchors::default();
        for file in files {
            anchors.add(&self.read(file)).unwrap();
        }
        anchors
    }

    pub(crate) fn openssl_to(&self, out: &str, words: &str) -> Vec<u8> {
        self.openssl(&format!("{words} -out {out}"));
        self.read(out)
    }

    pub(crate) fn openssl(&self, words: &str) {
        self.try_openssl(words).unwrap();
    }

    pub(crate) fn try_openssl(&self, words: &str) -> Result<(), String> {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.try_words(&words)
    }

    fn openssl_words(&self, words: &[&str]) {
        self.try_words(words).unwrap();
    }

    fn try_words(&self, words: &[&str]) -> Result<(), String> {
        let output = Command::new("openssl")
            .args(words)
            .current_dir(self.path())
            .output()
            .map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("openssl {}: {said}", words.join(" ")))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path().join(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs_err::write(self.path().join(name), bytes).unwrap();
    }
}
