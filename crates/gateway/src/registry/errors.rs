//! Why the registry did not do what was asked.

use stockade_store::StoreError;
use time::OffsetDateTime;

use super::codes::NoRandomness;
use crate::name::{DeviceId, DeviceName, ModelName};
use crate::tls::moment;

/// The registry could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("cannot read the registry")]
    Store(#[from] StoreError),
    /// A record in it cannot be read.
    #[error("cannot read {what} of {key} in the registry")]
    Record {
        /// Kind of record.
        what: &'static str,
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A device could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// There is one of this id.
    #[error("there is a device {0} already")]
    Exists(DeviceName),
    /// No profile says what the model is for.
    #[error(
        "there is no profile for the model {0}: install one first (stockade profile install FILE)"
    )]
    NoModel(ModelName),
    /// A device with a certificate is added in another way.
    #[error("the model {0} is not of the class \"constrained\": add it without --constrained")]
    NotConstrained(ModelName),
    /// Another device has the key.
    #[error("the device {0} has this key: every device has a key of its own")]
    KeyInUse(DeviceId),
    /// Sixteen million devices are there.
    #[error("there is no short name left for another constrained device")]
    NoNames,
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The store failed: nothing was added.
    #[error("cannot write to the registry")]
    Store(#[from] StoreError),
}

/// A device could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none of this id.
    #[error("there is no device {0}")]
    Unknown(DeviceId),
    /// Revoked is for ever.
    #[error("{id} is revoked since {}: remove it and add it anew", moment(*.since))]
    Revoked {
        /// The device.
        id: DeviceId,
        /// Since when.
        since: OffsetDateTime,
    },
    /// Only a quarantined device can be released.
    #[error("{id} is not in quarantine, it is {state}")]
    NotQuarantined {
        /// The device.
        id: DeviceId,
        /// How it stands.
        state: &'static str,
    },
    /// A constrained device needs no code.
    #[error("{0} enrols over the link, by the key of its label: it has no code")]
    ByKey(DeviceId),
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The store failed. What took rights away holds until the gateway stops, and is written as soon as that works.
    #[error("cannot write to the registry")]
    Store(#[from] StoreError),
}

/// A profile was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Its model's name cannot be part of a certificate.
    #[error(transparent)]
    Name(#[from] crate::name::NameError),
    /// Not newer than the one installed.
    #[error("the profile of {model} was not installed: {reason}")]
    Rollback {
        /// The model.
        model: ModelName,
        /// Why.
        reason: String,
    },
    /// Its own bytes do not read back.
    #[error("the profile of {model} does not read back from its canonical bytes: {reason}")]
    Canonical {
        /// The model.
        model: ModelName,
        /// Why.
        reason: String,
    },
    /// The store failed: nothing was installed.
    #[error("cannot write to the registry")]
    Store(#[from] StoreError),
}

/// A device that may not come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none of this id.
    #[error("is not in the registry")]
    Unknown,
    /// Its certificate names another model.
    #[error("shows a certificate of the model {shown}, but is registered as {registered}")]
    OtherModel {
        /// The certificate's model.
        shown: ModelName,
        /// The registry's.
        registered: ModelName,
    },
    /// Revoked.
    #[error("is revoked since {}: {reason}", moment(*.since))]
    Revoked {
        /// Why.
        reason: String,
        /// Since when.
        since: OffsetDateTime,
    },
    /// Its certificate was replaced, and the new one is in use: somebody holds an old key.
    #[error("shows a certificate that a newer one has superseded")]
    Superseded,
    /// Its certificate is not one the registry knows of.
    #[error("shows a certificate that the registry does not know")]
    UnknownCertificate,
    /// Its key is not the one on its label.
    #[error("holds a key that is not the one of its label")]
    UnknownKey,
    /// Its certificate has expired.
    #[error("shows a certificate that expired on {}", moment(*.0))]
    Expired(OffsetDateTime),
    /// No profile says what it is for.
    #[error("is of the model {0}, which has no profile")]
    NoProfile(ModelName),
}
