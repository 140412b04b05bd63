//! What the guard writes down: devices, profiles and MUD files, each record with the version of its form.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stockade_profile::{LinkAddress, Profile};
use stockade_store::{Batch, Scan, Store, StoreError, Table};
use time::OffsetDateTime;

use super::core::{Action, Core, Installed};
use super::device::{Device, Origin};
use super::mud::File;

const DEVICES: Table = Table::new("guard.devices");
const MODELS: Table = Table::new("guard.models");
const FILES: Table = Table::new("guard.mud");
const BEFORE: Table = Table::new("guard.before");
/// The version of the records' form.
const FORMAT: u8 = 1;

/// Why the guard can not go on from what was written down.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record that can not be read.
    #[error(
        "{what} `{key}` can not be read: {why}; restore the directory from a backup, or start with a new one"
    )]
    Record {
        /// What it is of.
        what: &'static str,
        /// Which.
        key: String,
        /// Why.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<T> {
    v: u8,
    is: T,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    canonical: String,
    origin: Origin,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// The guard's records.
#[derive(Debug)]
pub struct Kept {
    store: Arc<dyn Store>,
}

impl Kept {
    /// Over a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Gives the core what was written down.
    pub fn restore(&self, core: &mut Core) -> Result<(), KeptError> {
        let devices: Vec<Device> = self.all(DEVICES, "the device")?;
        let files: Vec<File> = self.all(FILES, "the MUD file")?;
        let mut models = Vec::new();
        for model in self.all::<Model>(MODELS, "the model")? {
            models.push(installed(model)?);
        }
        core.restore(devices, models, files);
        Ok(())
    }

    /// Writes down what the actions say, all of it or nothing.
    pub fn write<'a>(
        &self,
        core: &Core,
        actions: impl IntoIterator<Item = &'a Action>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for action in actions {
            match action {
                Action::Save(mac) => {
                    if let Some(device) = core.device(*mac) {
                        batch.put(DEVICES, key(*mac), record(device));
                    }
                }
                Action::Forget(mac) => {
                    batch.delete(DEVICES, key(*mac));
                }
                Action::SaveModel(name) => {
                    if let Some(model) = core.models().get(name) {
                        let stored = Model {
                            canonical: BASE64.encode(model.profile.canonical()),
                            origin: model.origin.clone(),
                            at: model.at,
                        };
                        batch.put(MODELS, name.as_str(), record(&stored));
                    }
                }
                Action::ForgetModel(name) => {
                    batch.delete(MODELS, name.as_str());
                }
                Action::SaveFile(url) => {
                    if let Some(file) = core.file(url.as_str()) {
                        batch.put(FILES, url.as_str(), record(file));
                    }
                }
                Action::ForgetFile(url) => {
                    batch.delete(FILES, url.as_str());
                }
                Action::Place { .. }
                | Action::Cut { .. }
                | Action::Load
                | Action::Fetch(_)
                | Action::Tell { .. } => {}
            }
        }
        self.store.commit(batch)
    }

    /// How the interface was before the guard changed it: settings and their values.
    pub fn before(&self) -> Result<BTreeMap<String, String>, KeptError> {
        let entries = self.store.scan(BEFORE, Scan::all())?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(entries
            .into_iter()
            .map(|(key, value)| (text(key), text(value)))
            .collect())
    }

    /// Remembers how settings were before, unless that is known already: a second start must not take the guard's own values
    /// for the owner's.
    pub fn remember(&self, settings: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for (name, value) in settings {
            if self.store.get(BEFORE, name.as_bytes())?.is_none() {
                batch.put(BEFORE, name.as_str(), value.as_str());
            }
        }
        self.store.commit(batch)
    }

    /// Forgets how it was: it is so again.
    pub fn restored(&self) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for (name, _) in self.store.scan(BEFORE, Scan::all())? {
            batch.delete(BEFORE, name);
        }
        self.store.commit(batch)
    }

    fn all<T: DeserializeOwned>(
        &self,
        table: Table,
        what: &'static str,
    ) -> Result<Vec<T>, KeptError> {
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            let wrong = |why: String| KeptError::Record {
                what,
                key: key.escape_ascii().to_string(),
                why,
            };
            let record: Record<T> =
                serde_json::from_slice(&value).map_err(|error| wrong(error.to_string()))?;
            if record.v == FORMAT {
                Ok(record.is)
            } else {
                Err(wrong(format!(
                    "it has the form {}, this version knows {FORMAT}",
                    record.v
                )))
            }
        };
        self.store
            .scan(table, Scan::all())?
            .into_iter()
            .map(read)
            .collect()
    }
}

fn key(mac: LinkAddress) -> String {
    mac.to_string()
}

fn record<T: Serialize>(value: &T) -> Vec<u8> {
    // String keys and no fallible parts; an empty record would be refused when it is read.
    serde_json::to_vec(&Record {
        v: FORMAT,
        is: value,
    })
    .unwrap_or_default()
}

fn installed(model: Model) -> Result<Installed, KeptError> {
    let wrong = |why: String| KeptError::Record {
        what: "the profile of a model",
        key: model.origin_words(),
        why,
    };
    let bytes = BASE64
        .decode(&model.canonical)
        .map_err(|error| wrong(error.to_string()))?;
    let profile = Profile::from_canonical(&bytes).map_err(|error| wrong(error.to_string()))?;
    Ok(Installed {
        profile: Arc::new(profile),
        origin: model.origin,
        at: model.at,
    })
}

impl Model {
    fn origin_words(&self) -> String {
        match &self.origin {
            Origin::Nowhere | Origin::Hand => format!("installed {}", self.at),
            Origin::Mud { url, .. } => url.to_string(),
        }
    }
}
