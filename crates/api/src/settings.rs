//! `/etc/stockade/agent.toml`: who this device is and where its gateway is. Only root writes it.

use serde::{Deserialize, Serialize};

/// The port of the gateway's MQTT over TLS.
fn mqtt_port() -> u16 {
    8883
}

/// The port of the gateway's enrolment (EST).
fn est_port() -> u16 {
    8444
}

/// The port of the device's own page.
fn page_port() -> u16 {
    443
}

/// Where the device's key lives: a file.
fn key() -> String {
    "file".to_owned()
}

/// Who this device is and where its gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The gateway's name or address.
    pub gateway: String,
    /// Its port for MQTT over TLS.
    #[serde(default = "mqtt_port")]
    pub mqtt_port: u16,
    /// Its port for enrolment.
    #[serde(default = "est_port")]
    pub est_port: u16,
    /// The trust domain of device names.
    pub trust_domain: String,
    /// This device's id.
    pub device: String,
    /// The model that it was enrolled as.
    pub model: String,
    /// Where its key lives: `file`, `pkcs11:…` or `tpm:…`.
    #[serde(default = "key")]
    pub key: String,
    /// The port of its own page.
    #[serde(default = "page_port")]
    pub page_port: u16,
    /// The UDP and TCP port of its DNS forwarder, if names are to be followed.
    #[serde(default)]
    pub forwarder: Option<u16>,
}

/// Why settings can not be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the settings are not sound: {0}")]
pub struct SettingsError(String);

impl Settings {
    /// Reads the settings' text.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        toml::from_str(text).map_err(|why: toml::de::Error| SettingsError(why.to_string()))
    }

    /// The settings as text.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string(self).map_err(|why| SettingsError(why.to_string()))
    }
}
