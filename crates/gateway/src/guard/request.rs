//! What may be asked of the guard over its socket: a closed list, as JSON of bounded length.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use stockade_profile::{LinkAddress, ModelName};

use super::text::{as_optional_text, as_text};
use crate::events::printable;

/// Longest request, in bytes: a profile in base64, and a little.
pub const MAX_REQUEST: usize = 2 * stockade_profile::MAX_BYTES + 4_096;
/// Longest answer, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Most addresses an operator can give one device.
pub const MAX_ADDRESSES: usize = 16;
/// Longest reason, in bytes.
const MAX_REASON: usize = 300;
/// Most entries of a list that is read page by page.
pub const MAX_PAGE: u32 = 1_000;

/// Something asked of the guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// How it is, and what it guards.
    Status,
    /// Every device.
    List,
    /// One device: its addresses, and what it may do in words.
    Show {
        /// Which.
        #[serde(with = "as_text")]
        mac: LinkAddress,
    },
    /// Say what a device is; one that is known already is changed.
    Add(Add),
    /// Take back all that was said of a device: it is unknown again.
    Remove {
        /// Which.
        #[serde(with = "as_text")]
        mac: LinkAddress,
    },
    /// Take the profile of the MUD file that the device announced.
    Accept {
        /// Which.
        #[serde(with = "as_text")]
        mac: LinkAddress,
    },
    /// Isolate a device.
    Quarantine {
        /// Which.
        #[serde(with = "as_text")]
        mac: LinkAddress,
        /// Why, for whoever looks later.
        reason: Reason,
    },
    /// End what an operator began with `quarantine`.
    Release {
        /// Which.
        #[serde(with = "as_text")]
        mac: LinkAddress,
    },
    /// The registry's decision about one of its devices.
    Gateway {
        /// The device of the registry.
        device: RegistryId,
        /// Why it is isolated; absent: it is not.
        #[serde(default)]
        isolated: Option<Reason>,
    },
    /// Every model the guard has a profile of.
    Models,
    /// A profile, as its canonical bytes in base64.
    Install {
        /// The bytes.
        canonical: String,
    },
    /// Forget a model that no device is of.
    Uninstall {
        /// Which.
        #[serde(with = "as_text")]
        model: ModelName,
    },
    /// What happened, oldest first.
    Events(Page),
    /// Packets that were blocked, oldest first.
    Blocked(Page),
    /// Compare the kernel's rules with what they should be.
    Check,
    /// Load the whole table anew.
    Reload,
    /// Take the rules away, give the interface back, and end.
    Off,
}

/// What an operator says of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Add {
    /// Its card's address.
    #[serde(with = "as_text")]
    pub mac: LinkAddress,
    /// The model it is of.
    #[serde(
        default,
        with = "as_optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub model: Option<ModelName>,
    /// It is one of the owner's own.
    #[serde(default)]
    pub trusted: bool,
    /// Addresses it has for good.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The device of the registry that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<RegistryId>,
}

/// A part of a list that grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Page {
    /// Only those after this number.
    pub after: u64,
    /// At most so many.
    pub limit: u32,
}

/// A reason for people: bounded, and without characters that steer a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason(String);

impl Reason {
    /// Takes a text.
    pub fn new(text: &str) -> Result<Self, RequestError> {
        if text.len() > MAX_REASON {
            return Err(RequestError::Reason);
        }
        Ok(Self(printable(text)))
    }

    /// As much of a text as a reason may have.
    pub fn cut(text: &str) -> Self {
        let mut end = text.len().min(MAX_REASON);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(printable(text.get(..end).unwrap_or_default()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// The name of a device in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistryId(String);

impl RegistryId {
    /// Takes a name that the registry could have.
    pub fn new(text: &str) -> Result<Self, RequestError> {
        let id = crate::name::DeviceId::new(text)
            .map_err(|error| RequestError::Form(error.to_string()))?;
        Ok(Self(id.to_string()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for RegistryId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// Why a request was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Longer than a request may be.
    #[error("a request has at most {MAX_REQUEST} bytes, this has {0}")]
    Length(usize),
    /// Not one of the requests.
    #[error("not a request of the guard: {0}")]
    Form(String),
    /// A reason that is too long.
    #[error("a reason has at most {MAX_REASON} bytes")]
    Reason,
    /// More than one thing at once, or nothing.
    #[error("{0}")]
    Sense(&'static str),
}

impl Request {
    /// Reads one request.
    pub fn read(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_REQUEST {
            return Err(RequestError::Length(bytes.len()));
        }
        let request: Self = serde_json::from_slice(bytes)
            .map_err(|error| RequestError::Form(printable(&error.to_string())))?;
        request.sensible()?;
        Ok(request)
    }

    /// The bytes that [`Request::read`] reads.
    pub fn write(&self) -> Vec<u8> {
        // The types have string keys and no fallible parts; an empty request would be refused.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn sensible(&self) -> Result<(), RequestError> {
        let says = |wrong| Err(RequestError::Sense(wrong));
        match self {
            Self::Add(add) if add.trusted && add.model.is_some() => {
                says("a device is trusted or of a model, not both")
            }
            Self::Add(add)
                if !add.trusted
                    && add.model.is_none()
                    && add.addresses.is_empty()
                    && add.device.is_none() =>
            {
                says("say what the device is: a model, trusted, an address or a device")
            }
            Self::Add(add) if add.addresses.len() > MAX_ADDRESSES => {
                says("more addresses than one device may have")
            }
            Self::Events(page) | Self::Blocked(page)
                if page.limit == 0 || page.limit > MAX_PAGE =>
            {
                says("a page has 1 to 1000 entries")
            }
            _ => Ok(()),
        }
    }
}

/// What comes back: the answer, or why not and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Reply {
    /// As asked.
    Done(serde_json::Value),
    /// Not done.
    Refused(Refusal),
}

/// Why something was not done, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[error("{error}{}", .help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default())]
pub struct Refusal {
    /// What is wrong.
    pub error: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Refusal {
    /// Without advice.
    pub fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            help: None,
        }
    }

    /// With advice.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mac: LinkAddress = "02:00:00:00:00:01".parse().unwrap();
        let all = [
            Request::Status,
            Request::Show { mac },
            Request::Add(Add {
                mac,
                model: Some(ModelName::new("cam-2").unwrap()),
                trusted: false,
                addresses: vec!["192.0.2.7".parse().unwrap()],
                device: Some(RegistryId::new("porch").unwrap()),
            }),
            Request::Quarantine {
                mac,
                reason: Reason::new("odd").unwrap(),
            },
            Request::Gateway {
                device: RegistryId::new("porch").unwrap(),
                isolated: None,
            },
            Request::Events(Page { after: 0, limit: 5 }),
            Request::Off,
        ];
        for request in all {
            assert_eq!(Request::read(&request.write()), Ok(request));
        }
    }

    #[test]
    fn what_is_not_on_the_list_is_refused() {
        for bad in [
            r#"{"request":"exec","command":"sh"}"#,
            r#"{"request":"show","mac":"02:00:00:00:00:01; reboot"}"#,
            r#"{"request":"show","mac":"02:00:00:00:00:01","also":1}"#,
            r#"{"request":"add","mac":"02:00:00:00:00:01"}"#,
            r#"{"request":"add","mac":"02:00:00:00:00:01","model":"../x"}"#,
            r#"{"request":"add","mac":"02:00:00:00:00:01","model":"cam","trusted":true}"#,
            r#"{"request":"events","after":0,"limit":100000}"#,
            r#"{"request":"gateway","device":"a b"}"#,
            "",
            "[]",
        ] {
            assert!(Request::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let long = format!(
            r#"{{"request":"quarantine","mac":"02:00:00:00:00:01","reason":"{}"}}"#,
            "x".repeat(400)
        );
        assert!(Request::read(long.as_bytes()).is_err());
        assert_eq!(
            Request::read(&vec![b' '; MAX_REQUEST + 1]),
            Err(RequestError::Length(MAX_REQUEST + 1))
        );
    }
}
