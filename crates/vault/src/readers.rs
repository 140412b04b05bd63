//! Who reads sealed fields, and what stands behind a token: for the operator, and in the log.

use stockade_profile::{ReaderName, Treatment};
use time::OffsetDateTime;

use crate::access::{Access, Action};
use crate::log::{Commitment, Entry};
use crate::treat::{DataSetKeys, ReaderKey, StoredReaders};
use crate::value::Value;
use crate::vault::{Subject, Vault, VaultError};

/// One value that was replaced: whose, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Whose it is.
    pub subject: Subject,
    /// The data set.
    pub schema: String,
    /// The field.
    pub field: String,
    /// What is stored in its place.
    pub shown: String,
}

impl Vault {
    /// The readers that have keys: name, the device that it is for if it is for one, and the key.
    pub fn readers(
        &self,
        access: &Access,
        now: OffsetDateTime,
    ) -> Result<Vec<(String, Option<String>, ReaderKey)>, VaultError> {
        if let Err(refused) = access.may(Action::Readers, &[]) {
            return self.refuse(access, Action::Readers, refused, now);
        }
        Ok(StoredReaders(&*self.store).all()?)
    }

    /// Names a reader's key, or takes it back; the number of the log's entry. It is for what comes from now on.
    pub fn set_reader(
        &self,
        access: &Access,
        (reader, device): (&ReaderName, Option<&str>),
        key: Option<&ReaderKey>,
        now: OffsetDateTime,
    ) -> Result<u64, VaultError> {
        if let Err(refused) = access.may(Action::Readers, &[]) {
            return self.refuse(access, Action::Readers, refused, now);
        }
        // A device's name is no name for the log.
        let question = format!("{reader} {device:?} {key:?}");
        let mut entry = Entry::new(now, access, Action::Readers)
            .fact("named", u64::from(key.is_some()))
            .fact("for-one-device", u64::from(device.is_some()));
        entry.query_hash = Some(self.log().digest("reader", question.as_bytes()));
        let receipt = self.log().append(&entry)?;
        StoredReaders(&*self.store).put(reader, device, key)?;
        Ok(receipt.index)
    }

    /// What stands behind a token, or behind a text of a preserved format: for an operator and a purpose that the profile
    /// allows, and in the log before the answer. None for a token that is not of this subject and field. A text of a
    /// preserved format always has something behind it.
    pub fn reveal(
        &self,
        access: &Access,
        replaced: &Replaced,
        now: OffsetDateTime,
    ) -> Result<Option<Value>, VaultError> {
        let Replaced {
            subject,
            schema,
            field,
            shown,
        } = replaced;
        if let Err(refused) = access.may(Action::Readers, &[]) {
            return self.refuse(access, Action::Query, refused, now);
        }
        let purposes = self.purposes([subject.model.as_str()], schema);
        if let Err(refused) = access.may(Action::Query, &purposes) {
            return self.refuse(access, Action::Query, refused, now);
        }
        let found = self.keys.find(subject)?;
        let profile = self.profiles.profile(&subject.model);
        let said = profile
            .as_deref()
            .and_then(|profile| profile.data.get(schema.as_str())?.get(field.as_str()));
        let value = match (&found, said.map(|said| &said.treatment)) {
            (Some(subject_keys), Some(treatment)) => {
                let keys = DataSetKeys::new(&self.keys, &subject.model, schema)?;
                let secret = subject_keys.secret();
                match treatment {
                    Treatment::Token => keys.detokenise(secret, field, shown),
                    Treatment::FormatPreserving { alphabet } => keys
                        .decrypt_format(secret, field, *alphabet, shown)
                        .map(Value::Text),
                    _ => None,
                }
            }
            _ => None,
        };
        let mut entry =
            Entry::new(now, access, Action::Query).fact("revealed", u64::from(value.is_some()));
        entry.dataset = profile
            .is_some_and(|profile| profile.data.contains_key(schema.as_str()))
            .then(|| schema.clone());
        entry.subject = found.map(|keys| Commitment::of(keys.secret()));
        let question = format!("{schema} {field} {shown}");
        entry.query_hash = Some(self.log().digest("reveal", question.as_bytes()));
        let _receipt = self.log().append(&entry)?;
        Ok(value)
    }
}
