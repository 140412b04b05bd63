//! Models and their profiles.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use stockade_profile::Profile;
use stockade_store::Batch;
use time::OffsetDateTime;

use super::record::{FORMAT, decode};
use super::{InstallError, MODELS, OpenError, Outcome, Registry, lock, to_json, unreadable};
use crate::name::{DeviceId, ModelName};

/// A model and its profile.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// The profile installed.
    pub profile: Arc<Profile>,
    /// The profile's canonical bytes.
    pub canonical: Arc<[u8]>,
    /// When it was installed.
    pub installed: OffsetDateTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredModel {
    v: u8,
    #[serde(with = "time::serde::rfc3339")]
    installed: OffsetDateTime,
    canonical: String,
}

/// A profile that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The model.
    pub model: ModelName,
    /// The profile's version.
    pub version: u64,
    /// Whether it differs from what was there.
    pub changed: bool,
    /// How many devices of the model there are.
    pub devices: usize,
}

impl Registry {
    /// Installs a profile; a model's version never goes back, also when its last device is gone.
    pub fn install_profile(
        &self,
        profile: Profile,
        now: OffsetDateTime,
    ) -> Result<Installed, InstallError> {
        let name = ModelName::new(profile.device.model.as_str())?;
        let version = profile.device.version;
        let canonical = profile.canonical();
        let _one_at_a_time = lock(&self.installing);
        let models = self.models.load_full();
        let installed = models.get(&name);
        if let Some(installed) = installed {
            stockade_profile::may_replace(&installed.profile, &profile).map_err(|reason| {
                InstallError::Rollback {
                    model: name.clone(),
                    reason: reason.to_string(),
                }
            })?;
        }
        let devices = self.ids_of(&name);
        let changed = installed.is_none_or(|installed| *installed.canonical != *canonical);
        if !changed {
            return Ok(Installed {
                model: name,
                version,
                changed,
                devices: devices.len(),
            });
        }
        Profile::from_canonical(&canonical).map_err(|reason| InstallError::Canonical {
            model: name.clone(),
            reason: reason.to_string(),
        })?;
        let stored = StoredModel {
            v: FORMAT,
            installed: now,
            canonical: BASE64.encode(&canonical),
        };
        let mut batch = Batch::new();
        batch.put(MODELS, name.as_str(), to_json(&stored));
        self.store.commit(batch)?;
        let model = Model {
            name: name.clone(),
            profile: Arc::new(profile),
            canonical: canonical.into(),
            installed: now,
        };
        let mut next = BTreeMap::clone(&models);
        next.insert(name.clone(), Arc::new(model));
        self.models.store(Arc::new(next));
        self.tell(
            now,
            None,
            Outcome::Changed,
            format!("profile of {name} version {version} installed"),
        );
        for id in &devices {
            self.notify(id);
        }
        Ok(Installed {
            model: name,
            version,
            changed,
            devices: devices.len(),
        })
    }

    /// The profile of a model.
    pub fn profile(&self, model: &ModelName) -> Option<Arc<Profile>> {
        self.models
            .load()
            .get(model)
            .map(|model| Arc::clone(&model.profile))
    }

    /// Every model, by name.
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.models.load().values().cloned().collect()
    }

    pub(crate) fn ids_of(&self, model: &ModelName) -> Vec<DeviceId> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices
            .iter()
            .filter(|(_, slot)| slot.now.load().model == *model)
            .map(|(id, _)| id.clone())
            .collect()
    }
}

pub(super) fn read_model(key: &[u8], value: &[u8]) -> Result<Model, OpenError> {
    let stored: StoredModel = decode(value).map_err(|e| unreadable("the profile", key, e))?;
    let canonical = BASE64
        .decode(&stored.canonical)
        .map_err(|e| unreadable("the profile", key, e))?;
    let profile = Profile::from_canonical(&canonical)
        .map_err(|e| unreadable("the profile", key, e.to_string()))?;
    let name = ModelName::new(profile.device.model.as_str())
        .map_err(|e| unreadable("the profile", key, e))?;
    Ok(Model {
        name,
        profile: Arc::new(profile),
        canonical: canonical.into(),
        installed: stored.installed,
    })
}
