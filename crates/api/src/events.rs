//! What happened on a device, on its way to the gateway.

use serde::{Deserialize, Serialize};

use crate::helper::Event;

/// The version of this form.
const FORM: u32 = 1;
/// The largest batch, in bytes, as the gateway takes it.
pub const MOST: usize = 64 * 1024;

/// Some events, in order. One that comes twice has the same number twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Batch {
    /// The version of this form.
    pub form: u32,
    /// Which log the numbers are of: another one when the device began anew.
    pub log: u64,
    /// How many events of this log were lost for want of room.
    pub lost: u64,
    /// The events; none is a greeting.
    pub events: Vec<Event>,
}

/// A batch that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It is too long.
    #[error("a batch of {0} bytes is too long")]
    TooLong(usize),
    /// It makes no sense.
    #[error("the batch makes no sense: {0}")]
    Content(String),
}

impl Batch {
    /// A batch in the form of today.
    pub const fn new(log: u64, lost: u64, events: Vec<Event>) -> Self {
        Self {
            form: FORM,
            log,
            lost,
            events,
        }
    }

    /// The batch as it crosses.
    pub fn write(&self) -> Vec<u8> {
        // Its parts are text, numbers and lists: they can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a batch.
    pub fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() > MOST {
            return Err(BatchError::TooLong(bytes.len()));
        }
        let content = |why: String| BatchError::Content(why);
        let batch: Self = serde_json::from_slice(bytes).map_err(|why| content(why.to_string()))?;
        if batch.form != FORM {
            return Err(content(format!("form {} is not known here", batch.form)));
        }
        Ok(batch)
    }
}
