//! The gateway's own keys on the link: one for handshakes, and one that does nothing but sign grants.

use std::path::Path;

use stockade_link::credential::{ccs, thumbprint};
use stockade_link::crypto::{Crypto as _, CryptoError, Curve, PublicKey, Secret, Y};
use zeroize::Zeroizing;

use super::Own;
use super::crypto::{AwsKey, AwsLc};
use crate::pki::{PkiError, files};
use crate::registry::hex;

/// What the gateway's key is called: no device is, since theirs are counted up from zero (RFC 9528, section 3.5.3.2: −1).
const KID: [u8; 1] = [0x20];
/// The gateway's name in its credential.
const NAME: &str = "gateway";

/// What stands before the coordinates of a point of P-256 to make it a `SubjectPublicKeyInfo` (RFC 5480, section 2).
const POINT: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Both keys.
#[derive(Debug)]
pub struct LinkKeys {
    handshakes: Secret<32>,
    own: PublicKey,
    pub(super) authority: AwsKey,
    pub(super) public: PublicKey,
    /// What grants call the key that signed them: the beginning of its thumbprint.
    pub(super) name: [u8; 4],
}

impl LinkKeys {
    /// Reads them from a directory, and makes them at the first start.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        files::private_dir(dir)?;
        let handshakes = secret(&dir.join("edhoc.key"))?;
        let grants = secret(&dir.join("grants.key"))?;
        Self::of(&handshakes, &grants).map_err(|error| PkiError::Unusable {
            path: dir.to_owned(),
            reason: error.to_string(),
        })
    }

    /// The keys of these secrets.
    pub(super) fn of(handshakes: &[u8; 32], grants: &[u8; 32]) -> Result<Self, CryptoError> {
        // Unlike `Zeroizing`, it prints nothing.
        let handshakes = Secret::new(*handshakes);
        let own = AwsKey::new(Curve::P256, &handshakes)?.public()?;
        let authority = AwsKey::new(Curve::P256, &Secret::new(*grants))?;
        let public = authority.public()?;
        let [a, b, c, d, ..] = thumbprint(&mut AwsLc::default(), &public)?;
        Ok(Self {
            handshakes,
            own,
            authority,
            public,
            name: [a, b, c, d],
        })
    }

    /// What the gateway proves to be itself with.
    pub fn own(&self) -> Result<Own, CryptoError> {
        Ok(Own {
            kid: KID.to_vec(),
            credential: self.credential(),
            key: AwsKey::new(Curve::P256, &self.handshakes)?,
        })
    }

    /// The gateway's credential, as devices have it.
    pub fn credential(&self) -> Vec<u8> {
        let mut buffer = [0; 128];
        ccs(&mut buffer, Some(NAME), Some(&KID), &self.own)
            .map_or_else(|_| Vec::new(), <[u8]>::to_vec)
    }

    /// The key that grants are verified with, in PEM.
    pub fn authority_pem(&self) -> String {
        let PublicKey::P256 { x, y: Y::Full(y) } = &self.public else {
            return String::new();
        };
        files::pem("PUBLIC KEY", &[POINT, x, y].concat())
    }

    /// The key that grants are verified with.
    pub const fn authority(&self) -> &PublicKey {
        &self.public
    }
}

/// A private key of P-256 in hexadecimal; made, if it is not there.
fn secret(path: &Path) -> Result<Zeroizing<[u8; 32]>, PkiError> {
    let unusable = |reason: &str| PkiError::Unusable {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if let Some(text) = files::read_private(path)? {
        let bytes = stockade_attest::unhex(text.trim_end()).map(Zeroizing::new);
        let key = bytes.and_then(|it| it.as_slice().try_into().ok());
        let key = key.map(Zeroizing::new);
        return key.ok_or_else(|| unusable("a key is 64 hexadecimal digits"));
    }
    let mut key = Zeroizing::new([0; 32]);
    let mut crypto = AwsLc::default();
    // One number in 2^32 is no key of P-256.
    for _ in 0..4 {
        crypto
            .random(&mut *key)
            .map_err(|error| unusable(&error.to_string()))?;
        if AwsKey::new(Curve::P256, &Secret::new(*key)).is_ok() {
            let text = Zeroizing::new(hex(&*key) + "\n");
            files::create(path, text.as_bytes(), 0o600)?;
            return Ok(key);
        }
    }
    Err(unusable("the random source is broken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_has_a_private_key_in_it() {
        let keys = LinkKeys::of(&[0x42; 32], &[0x42; 32]).unwrap();
        let (keys, own) = (format!("{keys:?}"), format!("{:?}", keys.own().unwrap()));
        for printed in [keys, own] {
            assert!(!printed.contains("66, 66"), "{printed}");
            assert!(!printed.contains("4242"), "{printed}");
        }
    }
}
