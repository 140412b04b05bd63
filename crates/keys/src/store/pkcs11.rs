//! A token behind a PKCS#11 module (OASIS PKCS#11 3.1): keys that never leave it.
//!
//! The module is foreign code in this process: it sees these keys, which it has anyway, and nothing else.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use stockade_api::keys::{Slot, Token as Place};

use aws_lc_rs::digest::{SHA256, digest};

use super::{Point, Signature, Store, StoreError};

/// secp256r1, 1.2.840.10045.3.1.7 (RFC 5480 §2.1.1.1).
const SECP256R1: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// A point comes as an octet string (PKCS#11 3.1 §6.3.3).
const OCTET_STRING_65: &[u8] = &[0x04, 65];
/// No PIN is longer.
const MAX_PIN: usize = 256;

/// A logged-in session.
pub(super) struct Token {
    session: Session,
}

impl From<cryptoki::error::Error> for StoreError {
    fn from(error: cryptoki::error::Error) -> Self {
        Self::Failed(format!("the PKCS#11 token failed: {error}"))
    }
}

impl Token {
    /// Loads the module, finds the token by its label, and logs in.
    pub(super) fn open(place: &Place) -> Result<Self, StoreError> {
        let module = Pkcs11::new(&place.module)?;
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        for slot in module.get_slots_with_token()? {
            if module.get_token_info(slot)?.label() == place.label {
                let session = module.open_rw_session(slot)?;
                session.login(UserType::User, Some(&pin(&place.pin)?))?;
                return Ok(Self { session });
            }
        }
        Err(StoreError::Failed(format!(
            "there is no PKCS#11 token `{}`",
            place.label
        )))
    }

    fn find(&self, class: ObjectClass, slot: Slot) -> Result<Option<ObjectHandle>, StoreError> {
        let template = [Attribute::Class(class), Attribute::Label(label(slot))];
        Ok(self.session.find_objects(&template)?.first().copied())
    }

    fn both(&self, slot: Slot) -> Result<Vec<ObjectHandle>, StoreError> {
        Ok(self
            .session
            .find_objects(&[Attribute::Label(label(slot))])?)
    }
}

/// What a slot's objects are called in the token.
fn label(slot: Slot) -> Vec<u8> {
    format!("stockade-{slot}").into_bytes()
}

fn pin(path: &Path) -> Result<AuthPin, StoreError> {
    let pin = zeroize::Zeroizing::new(fs_err::read_to_string(path)?);
    let pin = pin.trim_end_matches(['\r', '\n']);
    if pin.is_empty() || pin.len() > MAX_PIN {
        return Err(StoreError::Damaged(path.to_owned()));
    }
    Ok(AuthPin::new(pin.into()))
}

impl Store for Token {
    fn public(&mut self, slot: Slot) -> Result<Option<Point>, StoreError> {
        // A public half without its private half is what a power cut leaves of a key.
        let halves = (
            self.find(ObjectClass::PRIVATE_KEY, slot)?,
            self.find(ObjectClass::PUBLIC_KEY, slot)?,
        );
        let (Some(_), Some(public)) = halves else {
            return Ok(None);
        };
        let attributes = self
            .session
            .get_attributes(public, &[AttributeType::EcPoint])?;
        let damaged = || StoreError::Failed("the token's key is not on P-256".to_owned());
        let Some(Attribute::EcPoint(point)) = attributes.into_iter().next() else {
            return Err(damaged());
        };
        let point = point.strip_prefix(OCTET_STRING_65).ok_or_else(damaged)?;
        point.try_into().map(Some).map_err(|_| damaged())
    }

    fn make(&mut self, slot: Slot) -> Result<(), StoreError> {
        self.destroy(slot)?;
        let name = || Attribute::Label(label(slot));
        let public = [
            Attribute::Token(true),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(SECP256R1.to_vec()),
            Attribute::Verify(true),
            name(),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            name(),
        ];
        self.session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
        Ok(())
    }

    fn sign(&mut self, slot: Slot, message: &[u8]) -> Result<Signature, StoreError> {
        let key = self
            .find(ObjectClass::PRIVATE_KEY, slot)?
            .ok_or(StoreError::Empty(slot))?;
        let signature =
            self.session
                .sign(&Mechanism::Ecdsa, key, digest(&SHA256, message).as_ref())?;
        let wrong = |_| StoreError::Failed("the token's signature has a wrong length".to_owned());
        signature.as_slice().try_into().map_err(wrong)
    }

    fn promote(&mut self) -> Result<(), StoreError> {
        let next = self.both(Slot::DeviceNext)?;
        if self.public(Slot::DeviceNext)?.is_some() {
            self.destroy(Slot::Device)?;
        }
        for object in next {
            self.session
                .update_attributes(object, &[Attribute::Label(label(Slot::Device))])?;
        }
        Ok(())
    }

    fn destroy(&mut self, slot: Slot) -> Result<(), StoreError> {
        for object in self.both(slot)? {
            self.session.destroy_object(object)?;
        }
        Ok(())
    }
}
