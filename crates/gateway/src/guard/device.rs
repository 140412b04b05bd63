//! What the guard knows about one device on the LAN.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use stockade_profile::{HttpsUrl, LinkAddress, ModelName};
use time::OffsetDateTime;

use super::text::{WireText, as_optional_text, as_text};

/// One device, known by the address of its network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Device {
    /// Its card's address.
    #[serde(with = "as_text")]
    pub mac: LinkAddress,
    /// What it is taken for.
    pub role: Role,
    /// Where its role comes from.
    pub origin: Origin,
    /// The device of the gateway's registry that it is, if an operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Why an operator isolated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Why>,
    /// Why the gateway isolated it: the state of its device in the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_quarantine: Option<Why>,
    /// Its addresses.
    #[serde(default)]
    pub addresses: Vec<Binding>,
    /// The name it gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<WireText>,
    /// The MUD file it announced first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mud: Option<Announced>,
    /// Another MUD file that it announced later; nobody follows it.
    #[serde(
        default,
        with = "as_optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub other_mud: Option<HttpsUrl>,
    /// When it was first seen or added.
    #[serde(with = "time::serde::rfc3339")]
    pub first_seen: OffsetDateTime,
    /// When it was last seen; the same as `first_seen` if it never was.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen: OffsetDateTime,
}

/// What a device is taken for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "is")]
pub enum Role {
    /// Nobody said: nothing but DHCP and the console's notice.
    Unknown,
    /// The owner's own: it may open connections, to devices too.
    Trusted,
    /// One of a model, held to the model's profile.
    Model {
        /// Which.
        #[serde(with = "as_text")]
        model: ModelName,
    },
}

impl Role {
    /// For a table: `unknown`, `trusted` or the model's name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown => "unknown",
            Self::Trusted => "trusted",
            Self::Model { model } => model.as_str(),
        }
    }

    /// The model, if it has one.
    pub fn model(&self) -> Option<&ModelName> {
        match self {
            Self::Model { model } => Some(model),
            Self::Unknown | Self::Trusted => None,
        }
    }
}

/// Where a role or a profile comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "from")]
pub enum Origin {
    /// From nowhere: it is unknown.
    Nowhere,
    /// An operator.
    Hand,
    /// A MUD file.
    Mud {
        /// Which.
        #[serde(with = "as_text")]
        url: HttpsUrl,
        /// Whether a signature of a trusted signer was on it.
        signed: bool,
    },
}

/// Why a device is isolated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Why {
    /// In words.
    pub reason: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// An address and why it is taken to be the device's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Binding {
    /// The address.
    pub address: IpAddr,
    /// How the guard knows.
    pub by: By,
    /// When it was last seen in use.
    #[serde(with = "time::serde::rfc3339")]
    pub seen: OffsetDateTime,
}

/// How the guard knows an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "how")]
pub enum By {
    /// An operator said so.
    Hand,
    /// The gateway's DHCP server gave it.
    Lease {
        /// Until when.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// The device claimed it by neighbour discovery (RFC 4862 §5.4), before anybody else did.
    Claim,
}

/// A MUD file that a device announced (RFC 8520 §10–12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Announced {
    /// Where it is.
    #[serde(with = "as_text")]
    pub url: HttpsUrl,
    /// How it was announced.
    pub via: Via,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// How a MUD URL was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// `DHCPv4` option 161 (RFC 8520 §10).
    Dhcp,
    /// `DHCPv6` option 112 (RFC 8520 §10).
    Dhcp6,
    /// LLDP (RFC 8520 §12).
    Lldp,
}

impl Via {
    /// For a sentence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dhcp => "DHCP",
            Self::Dhcp6 => "DHCPv6",
            Self::Lldp => "LLDP",
        }
    }
}

/// Where a device's packets are judged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// By nobody's profile: DHCP and the notice.
    Unknown,
    /// As one of the owner's own.
    Trusted,
    /// By its model's profile.
    Model(ModelName),
    /// Only what it needs to be mended; the model says which names those are.
    Quarantine(Option<ModelName>),
}

impl Device {
    /// A device nobody has said anything about.
    pub fn new(mac: LinkAddress, now: OffsetDateTime) -> Self {
        Self {
            mac,
            role: Role::Unknown,
            origin: Origin::Nowhere,
            device: None,
            quarantine: None,
            gateway_quarantine: None,
            addresses: Vec::new(),
            hostname: None,
            mud: None,
            other_mud: None,
            first_seen: now,
            last_seen: now,
        }
    }

    /// Whether anybody isolated it.
    pub fn is_quarantined(&self) -> bool {
        self.quarantine.is_some() || self.gateway_quarantine.is_some()
    }

    /// Where its packets are judged.
    pub fn place(&self) -> Place {
        if self.is_quarantined() {
            return Place::Quarantine(self.role.model().cloned());
        }
        match &self.role {
            Role::Unknown => Place::Unknown,
            Role::Trusted => Place::Trusted,
            Role::Model { model } => Place::Model(model.clone()),
        }
    }

    /// Whether an operator or a MUD file said anything about it, so that it must not be forgotten.
    pub fn is_settled(&self) -> bool {
        self.role != Role::Unknown || self.is_quarantined() || self.device.is_some()
    }
}
