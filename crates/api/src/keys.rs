//! What may be asked of `stockade-keys`, the process that holds a device's private keys. It signs; it never gives a key away.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Blob;
use crate::attest::{Credential, Endorsement, Quote};
use crate::signed::Fingerprint;

/// A place for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// The key of the certificate that the device is known by.
    Device,
    /// The key of the certificate that takes its place, once that is proved.
    DeviceNext,
    /// The key of the device's page and of the TLS fronts.
    Page,
}

impl Slot {
    /// Every slot.
    pub const ALL: [Self; 3] = [Self::Device, Self::DeviceNext, Self::Page];
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::DeviceNext => "device-next",
            Self::Page => "page",
        })
    }
}

/// Where the keys are: `file`, `tpm`, `tpm:PATH` (a device or a Unix socket), or a PKCS#11 URI (RFC 7512).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Files that one user can read.
    File,
    /// A token behind a PKCS#11 module.
    Pkcs11(Token),
    /// A TPM 2.0.
    Tpm(PathBuf),
}

/// A PKCS#11 token and how to log in to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token's label.
    pub label: String,
    /// The module, a shared library.
    pub module: PathBuf,
    /// A file that holds the user PIN and nothing else.
    pub pin: PathBuf,
}

/// Text that names no place for keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no place for keys: write `file`, `tpm`, or \
     `pkcs11:token=LABEL?module-path=/…/libmodule.so&pin-source=/…`"
)]
pub struct NotAPlace(String);

/// What the kernel's resource manager of the first TPM is called.
const FIRST_TPM: &str = "/dev/tpmrm0";

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let wrong = || NotAPlace(text.chars().take(200).collect());
        match text.split_once(':') {
            None if text == "file" => Ok(Self::File),
            None if text == "tpm" => Ok(Self::Tpm(FIRST_TPM.into())),
            Some(("tpm", path)) => absolute(path).map(Self::Tpm).ok_or_else(wrong),
            Some(("pkcs11", uri)) => token(uri).map(Self::Pkcs11).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

fn absolute(path: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

/// RFC 7512 §2.3, as far as it is needed: the token by its label, the module by its path, the PIN by its file. What else an URI may
/// say is refused, because it would be ignored.
fn token(uri: &str) -> Option<Token> {
    let (path, query) = uri.split_once('?')?;
    let label = decoded(path.strip_prefix("token=")?)?;
    let (mut module, mut pin) = (None, None);
    for part in query.split('&') {
        let (name, value) = part.split_once('=')?;
        let value = decoded(value)?;
        let (place, value) = match name {
            "module-path" => (&mut module, value.as_str()),
            "pin-source" => (&mut pin, value.strip_prefix("file:").unwrap_or(&value)),
            _ => return None,
        };
        if place.replace(absolute(value)?).is_some() {
            return None;
        }
    }
    (!label.is_empty()).then_some(Token {
        label,
        module: module?,
        pin: pin?,
    })
}

/// Percent-decoding (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high.wrapping_shl(4) | low).ok()?
            }
            b';' | b'#' | 0 => return None,
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// What may be asked, by the agent and by root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The public half of a slot's key.
    Public {
        /// The slot.
        slot: Slot,
    },
    /// The public half, of a new key if the slot is empty.
    Make {
        /// The slot.
        slot: Slot,
    },
    /// A certificate request (PKCS#10) for a slot's key. The names are the gateway's to write: it says none.
    Csr {
        /// The slot.
        slot: Slot,
    },
    /// The signature of a TLS 1.3 `CertificateVerify` (RFC 8446 §4.4.3): as client by the device's keys, as server by the page's.
    SignTls {
        /// The slot.
        slot: Slot,
        /// All of what is signed.
        message: Blob,
    },
    /// Evidence signed by the key in `device`; for root only.
    SignEvidence {
        /// The certificate of that key.
        certificate: Fingerprint,
        /// The evidence, as it was written.
        payload: Blob,
    },
    /// Puts the key of `device-next` in the place of `device`. Nothing if there is none: asked twice, it is done once.
    Promote,
    /// Destroys a key.
    Drop {
        /// The slot.
        slot: Slot,
    },
    /// Destroys every key, for good; for root only.
    EraseAll,
    /// The TPM's own keys. A store that is no TPM has none: it is empty.
    Endorsement,
    /// What is in a credential for the TPM's own keys.
    Activate(Credential),
    /// The TPM's registers, signed; for root only.
    Quote {
        /// What the quote has to have in it: 32 bytes.
        challenge: Blob,
        /// Which registers.
        registers: Vec<u8>,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// A public key: its `SubjectPublicKeyInfo` in DER.
    Public(Blob),
    /// The slot is empty.
    Empty,
    /// A certificate request in DER.
    Csr(Blob),
    /// A signature for TLS, in DER (RFC 8446 §4.2.3).
    Signature(Blob),
    /// A statement, signed.
    Evidence(Blob),
    /// The TPM's own keys.
    Endorsement(Endorsement),
    /// What was in the credential.
    Activated(Blob),
    /// Registers, signed.
    Quote(Quote),
    /// It is done.
    Done,
    /// It is not done: why, as half a sentence.
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_that_are_told_are_known() {
        let known = |text: &str| text.parse::<Place>().ok();
        assert_eq!(known("file"), Some(Place::File));
        assert_eq!(known("tpm"), Some(Place::Tpm("/dev/tpmrm0".into())));
        assert_eq!(
            known("tpm:/run/a.sock"),
            Some(Place::Tpm("/run/a.sock".into()))
        );
        let token = Token {
            label: "a b".to_owned(),
            module: "/usr/lib/softhsm/libsofthsm2.so".into(),
            pin: "/etc/pin".into(),
        };
        let uri = "pkcs11:token=a%20b?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin";
        assert_eq!(known(uri), Some(Place::Pkcs11(token)));
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for text in [
            "",
            "files",
            "tpm:relative",
            "pkcs11:token=a",
            "pkcs11:token=a?module-path=/m",
            "pkcs11:token=a;object=b?module-path=/m&pin-source=/p",
            "pkcs11:token=a?module-path=/m&pin-source=/p&pin-value=1",
            "pkcs11:token=a?module-path=/m&module-path=/n&pin-source=/p",
            "pkcs11:token=%zz?module-path=/m&pin-source=/p",
            "pkcs11:token=a?module-path=m&pin-source=/p",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
