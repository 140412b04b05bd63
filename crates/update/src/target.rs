//! What a target's custom metadata says about the system in it.

use serde::{Deserialize, Serialize};

/// The name of our object in a target's custom metadata (TUF §4.5).
pub const CUSTOM: &str = "stockade";

/// The format of [`System`]; another form is refused.
pub const FORM: u32 = 1;

/// One system of one model that a device may install: `custom.stockade` of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct System {
    /// The format of this object: [`FORM`].
    pub form: u32,
    /// The model that it is for: `device.model` of the profile.
    pub model: String,
    /// The version; a device goes to higher ones only.
    pub version: u64,
    /// What the target is.
    pub kind: Kind,
    /// Whether it mends a vulnerability: then it is due within `updates.security-within`.
    #[serde(default)]
    pub security: bool,
    /// The name that people call it by, such as `2026.11.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A whole image of a slot.
    Image,
    /// A bundle that RAUC installs.
    Rauc,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Rauc => "rauc",
        })
    }
}
