//! Root keys in a PKCS#11 token (OASIS PKCS#11 3.1): an HMAC key a generation, which never leaves it.
//!
//! The module is foreign code in this process: it could see whatever the vault sees.

use aws_lc_rs::hkdf;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use stockade_api::keys::Token as Place;
use zeroize::Zeroizing;

use super::{Installation, KeyError, Secret, expand};
use crate::keys::to_hex;

/// No PIN is longer.
const MAX_PIN: usize = 256;

/// A logged-in session.
pub(super) struct Token(Session);

#[expect(clippy::needless_pass_by_value, reason = "so it is called by map_err")]
fn failed(error: cryptoki::error::Error) -> KeyError {
    KeyError::Root(format!("the PKCS#11 token failed: {error}"))
}

impl Token {
    /// Loads the module, finds the token by its label, and logs in.
    pub(super) fn open(place: &Place) -> Result<Self, KeyError> {
        let module = Pkcs11::new(&place.module).map_err(failed)?;
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        module.initialize(arguments).map_err(failed)?;
        for slot in module.get_slots_with_token().map_err(failed)? {
            if module.get_token_info(slot).map_err(failed)?.label() != place.label {
                continue;
            }
            let pin = Zeroizing::new(fs_err::read_to_string(&place.pin)?);
            let pin = pin.trim_end_matches(['\r', '\n']);
            if pin.is_empty() || pin.len() > MAX_PIN {
                return Err(KeyError::Unusable {
                    file: place.pin.clone(),
                    detail: "holds no PIN of the PKCS#11 token",
                });
            }
            let session = module.open_rw_session(slot).map_err(failed)?;
            let pin = AuthPin::new(pin.into());
            session.login(UserType::User, Some(&pin)).map_err(failed)?;
            return Ok(Self(session));
        }
        Err(KeyError::Root(format!(
            "there is no PKCS#11 token `{}`",
            place.label
        )))
    }

    pub(super) fn secret(
        &self,
        of: &Installation,
        generation: u32,
    ) -> Result<Option<Secret>, KeyError> {
        let Some(key) = self.find(of, generation)?.first().copied() else {
            return Ok(None);
        };
        let mac = self
            .0
            .sign(&Mechanism::Sha256Hmac, key, of)
            .map_err(failed)?;
        let mac = Zeroizing::new(mac);
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &mac);
        expand(&prk, &[b"token"]).map(Some)
    }

    pub(super) fn make(&self, of: &Installation, generation: u32) -> Result<(), KeyError> {
        self.destroy(of, generation)?;
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::ValueLen(32.into()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Label(label(of, generation)),
        ];
        self.0
            .generate_key(&Mechanism::GenericSecretKeyGen, &template)
            .map_err(failed)?;
        Ok(())
    }

    pub(super) fn destroy(&self, of: &Installation, generation: u32) -> Result<(), KeyError> {
        for object in self.find(of, generation)? {
            self.0.destroy_object(object).map_err(failed)?;
        }
        Ok(())
    }

    fn find(&self, of: &Installation, generation: u32) -> Result<Vec<ObjectHandle>, KeyError> {
        let label = Attribute::Label(label(of, generation));
        self.0.find_objects(&[label]).map_err(failed)
    }
}

fn label(of: &Installation, generation: u32) -> Vec<u8> {
    format!("stockade-vault-{}-{generation}", *to_hex(of)).into_bytes()
}
