//! All that the vault has of one device, for its person.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::access::{Access, Action};
use crate::log::{Commitment, Entry};
use crate::record::StoredRecord;
use crate::treat::for_purpose;
use crate::value::Value;
use crate::vault::{Damage, Subject, Vault, VaultError, Wanted};

/// Most records in one piece.
const PIECE: usize = 1_000;

/// Where an export goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// In this data set,
    pub schema: String,
    /// behind this record.
    pub after: u64,
}

/// A piece of an export.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Export {
    /// The records, as they are stored: sealed fields as their readers get them.
    pub records: Vec<StoredRecord>,
    /// Blocks that could not be read: what they had is missing above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Damage>,
    /// Where it goes on; none at the end.
    pub next: Option<Cursor>,
}

impl Vault {
    /// The next piece of all that is stored of a device, for who may have it. No purpose is asked for; what is pseudonymised for
    /// each purpose anew is so for the purpose `export`.
    pub fn export(
        &self,
        access: &Access,
        subject: &Subject,
        from: Option<&Cursor>,
        now: OffsetDateTime,
    ) -> Result<Export, VaultError> {
        if let Err(refused) = access.may_on(Action::Export, subject) {
            return self.refuse(access, Action::Export, refused, now);
        }
        let keys = self.keys.find(subject)?;
        let mut export = Export::default();
        if let Some(keys) = &keys {
            for schema in self.data_sets() {
                let after = match from {
                    Some(from) if schema < from.schema => continue,
                    Some(from) if schema == from.schema => Some(from.after),
                    _ => None,
                };
                let wanted = Wanted {
                    schema: &schema,
                    subject: Some(keys.id),
                    after,
                    reverse: false,
                };
                self.export_set(wanted, &mut export)?;
                if export.next.is_some() {
                    break;
                }
            }
        }
        let mut told = Entry::new(now, access, Action::Export);
        told.subject = keys.map(|keys| Commitment::of(keys.secret()));
        let count = u64::try_from(export.records.len()).unwrap_or(u64::MAX);
        let _receipt = self.log().append(&told.fact("records", count))?;
        Ok(export)
    }

    /// What there is in one data set, as far as it fits.
    fn export_set(&self, wanted: Wanted<'_>, export: &mut Export) -> Result<(), VaultError> {
        let schema = wanted.schema;
        let policies = self.policies(schema)?;
        let key = self
            .keys
            .domain_key(&[b"purpose", schema.as_bytes(), b"export"])?;
        let mut runs = self.runs(wanted)?;
        while let Some(blocks) = runs.next()? {
            let run = self.open_run(schema, blocks, &|_| Ok(true), &mut export.damaged)?;
            for stored in run.records() {
                if wanted.after.is_some_and(|after| stored.number <= after) {
                    continue;
                }
                if export.records.len() >= PIECE {
                    export.next = export.records.last().map(|record| Cursor {
                        schema: record.schema.clone(),
                        after: record.number,
                    });
                    return Ok(());
                }
                let mut record = stored.decode(schema)?;
                let policy = policies.get(&stored.header.policy);
                for field in policy.map_or(&[][..], |policy| &policy.per_purpose) {
                    if let Some(Value::Text(text)) = record.fields.get_mut(field) {
                        *text = for_purpose(&key, text);
                    }
                }
                export.records.push(record);
            }
        }
        Ok(())
    }
}
