//! Credentials: secrets that only the TPM with a certain endorsement key can read, and only if a certain key is in it as well
//! (TPM 2.0 library specification part 1 §24).

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};

use crate::digest::Algorithm;
use crate::quote::{BOUND, DECRYPT, ECC, NULL, Public, RESTRICTED, RSA, SIGN, point, public};

/// Part 2 §6.3: AES, and its mode CFB.
const AES: u16 = 0x0006;
const CFB: u16 = 0x0043;
/// Part 2 §11.2.4.5: the exponent of an RSA key that says 0.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Why there is no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The endorsement key is none of those that are known.
    #[error("it is not an endorsement key on P-256 or of RSA with 2048 bits, with AES-128")]
    Key,
    /// The secret is longer than the digest of a name, 32 bytes.
    #[error("the secret is too long")]
    Secret,
    /// The key is a point that is not on the curve, or the random bytes are no private key: one of 2^32 is none.
    #[error("no agreement on a key")]
    Agreement,
}

/// A credential, in the two parts that `TPM2_ActivateCredential` takes (part 3 §12.5), without their own lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The content of `TPM2B_ID_OBJECT`.
    pub id_object: Vec<u8>,
    /// The content of `TPM2B_ENCRYPTED_SECRET`.
    pub encrypted_secret: Vec<u8>,
}

/// Makes a credential (part 1 §24.4): `secret` for the TPM with the endorsement key of this public area (`TPMT_PUBLIC`), if a
/// key of this name is in it. The random bytes must be new each time.
pub fn make(
    ek_public: &[u8],
    ak_name: &[u8],
    secret: &[u8],
    random: &[u8; 32],
) -> Result<Credential, CredentialError> {
    if secret.len() > 32 {
        return Err(CredentialError::Secret);
    }
    let mut key = public(ek_public).ok_or(CredentialError::Key)?;
    let asked = BOUND | RESTRICTED | DECRYPT;
    if key.attributes & (asked | SIGN) != asked {
        return Err(CredentialError::Key);
    }
    let (seed, encrypted_secret) = seed(&mut key, random)?;
    // §24.4 (3) to (5).
    let wrapping = kdf_a(&seed, b"STORAGE\0", ak_name, 128);
    let mut identity = sized(secret);
    let encrypted = UnboundCipherKey::new(&AES_128, &wrapping)
        .and_then(EncryptingKey::cfb128)
        .and_then(|key| {
            let start = EncryptionContext::Iv128(FixedLength::from([0; 16]));
            key.less_safe_encrypt(&mut identity, start)
        });
    encrypted.map_err(|_| CredentialError::Key)?;
    let integrity = hmac::Key::new(hmac::HMAC_SHA256, &kdf_a(&seed, b"INTEGRITY\0", &[], 256));
    let tag = hmac::sign(&integrity, &[&identity, ak_name].concat());
    Ok(Credential {
        id_object: [sized(tag.as_ref()), identity].concat(),
        encrypted_secret,
    })
}

/// The seed that both ends make the other keys from, and what lets the TPM have it.
fn seed(key: &mut Public<'_>, random: &[u8; 32]) -> Result<(Vec<u8>, Vec<u8>), CredentialError> {
    let bytes = &mut key.bytes;
    let mut head = || Some((bytes.be16()?, bytes.be16()?, bytes.be16()?, bytes.be16()?));
    if head() != Some((AES, 128, CFB, NULL)) {
        return Err(CredentialError::Key);
    }
    match key.kind {
        // Part 1 §C.6.4: one pass of Diffie-Hellman with a new key.
        ECC => {
            let theirs = point(bytes).ok_or(CredentialError::Key)?;
            let wrong = |_| CredentialError::Agreement;
            let mine = PrivateKey::from_private_key(&ECDH_P256, random).map_err(wrong)?;
            let public = mine
                .compute_public_key()
                .map_err(|_| CredentialError::Agreement)?;
            let (_, public) = public
                .as_ref()
                .split_first()
                .ok_or(CredentialError::Agreement)?;
            let (x, y) = public
                .split_at_checked(32)
                .ok_or(CredentialError::Agreement)?;
            let their_x = theirs.get(1..33).ok_or(CredentialError::Key)?;
            let peer = UnparsedPublicKey::new(&ECDH_P256, &theirs);
            let seed = agree(&mine, peer, CredentialError::Agreement, |shared| {
                Ok(kdf_e(shared, b"IDENTITY\0", x, their_x))
            })?;
            Ok((seed, [sized(x), sized(y)].concat()))
        }
        // Part 1 §B.10.4: the seed itself, by OAEP.
        RSA => {
            let mut rest = || Some((bytes.be16()?, bytes.be32()?, bytes.sized()?));
            let modulus = match rest() {
                Some((2048, 0 | 0x1_0001, modulus)) if modulus.len() == 256 => modulus,
                _ => return Err(CredentialError::Key),
            };
            let key = PublicKeyComponents {
                n: modulus,
                e: &EXPONENT[..],
            };
            let key: Result<PublicEncryptingKey, _> = key.try_into();
            let key = key.and_then(OaepPublicEncryptingKey::new);
            let key = key.map_err(|_| CredentialError::Key)?;
            let mut out = vec![0; key.ciphertext_size()];
            key.encrypt(
                &OAEP_SHA256_MGF1SHA256,
                random,
                &mut out,
                Some(b"IDENTITY\0"),
            )
            .map_err(|_| CredentialError::Key)?;
            Ok((random.to_vec(), out))
        }
        _ => Err(CredentialError::Key),
    }
}

/// Part 1 §11.4.10.2: at most as many bits as the digest has.
fn kdf_a(key: &[u8], label: &[u8], context: &[u8], bits: u16) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut input = 1_u32.to_be_bytes().to_vec();
    input.extend(label);
    input.extend(context);
    input.extend(u32::from(bits).to_be_bytes());
    let mut out = hmac::sign(&key, &input).as_ref().to_vec();
    out.truncate(usize::from(bits >> 3_u8));
    out
}

/// Part 1 §11.4.10.3: as many bits as the digest has.
fn kdf_e(shared: &[u8], label: &[u8], ours: &[u8], theirs: &[u8]) -> Vec<u8> {
    let count = 1_u32.to_be_bytes();
    Algorithm::Sha256.digest(&[&count, shared, label, ours, theirs].concat())
}

/// A `TPM2B`; what is put in has 32 bytes at most.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or_default();
    [&length.to_be_bytes(), bytes].concat()
}
