//! `[storage]`: where the state is.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de};
use stockade_store::Postgres;

use super::Config;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [storage]"
)]
pub(crate) struct Storage {
    /// `commit`: a message is acknowledged once it is on disk. `interval`: once it is handed to the system, which
    /// puts it on disk within a second; a power cut may lose what was acknowledged.
    pub(crate) durability: Durability,
    /// `postgres://USER@HOST/DATABASE`: the state is there, and not in a file in the data directory.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "postgres")]
    pub(crate) database: Option<String>,
    /// A file with that user's password, for nobody else to read; relative to the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_password: Option<PathBuf>,
    /// A file with certificates (PEM) of the authorities that may have signed the database server's; those of the system
    /// otherwise. Relative to the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_authorities: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Durability {
    Commit,
    Interval,
}

impl Default for Storage {
    fn default() -> Self {
        Config::default().storage
    }
}

fn postgres<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    Postgres::check(&text).map_err(de::Error::custom)?;
    Ok(Some(text))
}
