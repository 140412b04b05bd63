//! What happened on a device, on its way to the gateway.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::helper::{Event, Weight};

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

/// What came of something that the gateway sent, as an event: a sentence for people that programs read back. A gateway that knows
/// nothing of it shows the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// A command was taken.
    Command {
        /// Its number.
        number: u64,
        /// Whether it was carried out.
        done: bool,
        /// What was done, or why not.
        says: String,
    },
    /// A profile is refused, and would be refused again.
    Profile {
        /// Which signed bytes, as [`Came::name`] calls them.
        name: String,
        /// Why.
        says: String,
    },
}

const COMMAND_DONE: &str = "command-done";
const COMMAND_NOT_DONE: &str = "command-not-done";
const PROFILE_REFUSED: &str = "profile-refused";

impl Came {
    /// What signed bytes are called: the first half of the digits of their SHA-256.
    pub fn name(signed: &[u8]) -> String {
        let digest = digest(&SHA256, signed);
        let half = digest.as_ref().first_chunk().copied();
        format!("{:032x}", u128::from_be_bytes(half.unwrap_or_default()))
    }

    /// The kind of the event.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Command { done: true, .. } => COMMAND_DONE,
            Self::Command { done: false, .. } => COMMAND_NOT_DONE,
            Self::Profile { .. } => PROFILE_REFUSED,
        }
    }

    /// How much it matters.
    pub const fn weight(&self) -> Weight {
        match self {
            Self::Command { done: true, .. } => Weight::Change,
            Self::Command { done: false, .. } | Self::Profile { .. } => Weight::Warning,
        }
    }

    /// The sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Command { number, done, says } => {
                let not = if *done { "" } else { "not " };
                format!("Command {number} was {not}carried out: {says}")
            }
            Self::Profile { name, says } => format!("Profile {name} was refused: {says}"),
        }
    }

    /// What an event says of this; none if it is of something else.
    pub fn read(event: &Event) -> Option<Self> {
        let (head, says) = event.says.split_once(": ")?;
        let says = says.to_owned();
        if event.kind == PROFILE_REFUSED {
            let name = head
                .strip_prefix("Profile ")?
                .strip_suffix(" was refused")?;
            let name = name.to_owned();
            return Some(Self::Profile { name, says });
        }
        let (done, end) = match &*event.kind {
            COMMAND_DONE => (true, " was carried out"),
            COMMAND_NOT_DONE => (false, " was not carried out"),
            _ => return None,
        };
        let number = head.strip_prefix("Command ")?.strip_suffix(end)?;
        let number = number.parse().ok()?;
        Some(Self::Command { number, done, says })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_something_reads_back_from_its_event() {
        let command = |done| Came::Command {
            number: 7,
            done,
            says: "2 steps: all went well".to_owned(),
        };
        let profile = Came::Profile {
            name: Came::name(b"signed"),
            says: "it is older".to_owned(),
        };
        let sentences = [
            "Command 7 was carried out: 2 steps: all went well",
            "Command 7 was not carried out: 2 steps: all went well",
            "Profile 4a3cdfae6f291c8f544daea5b72905cf was refused: it is older",
        ];
        let all = [command(true), command(false), profile];
        for (came, sentence) in all.into_iter().zip(sentences) {
            let event = |kind: &str, says: &str| Event {
                number: 1,
                at: 1,
                weight: came.weight(),
                by: "gateway".to_owned(),
                kind: kind.to_owned(),
                says: says.to_owned(),
            };
            assert_eq!(came.sentence(), sentence);
            let read = Came::read(&event(came.kind(), sentence));
            assert_eq!(read.as_ref(), Some(&came));
            assert_eq!(Came::read(&event("blocked", sentence)), None);
            for odd in ["", "Command : x", "Command -1 was carried out: x", "x: y"] {
                assert_eq!(Came::read(&event(came.kind(), odd)), None, "{odd}");
            }
        }
    }
}
