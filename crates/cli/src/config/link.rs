//! `[link]`: how constrained devices reach the gateway, beside UDP.

use serde::{Deserialize, Deserializer, Serialize, de};
use stockade_gateway::link::Bearer;

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [link]"
)]
pub(crate) struct Link {
    /// Bearers of short range: `serial:PATH[@BAUD]`, `nfc[:READER]`, `ble[:CONTROLLER]`.
    #[serde(deserialize_with = "bearers")]
    pub(crate) bearers: Vec<String>,
}

impl Link {
    /// The bearers, as they were checked when they were read.
    pub(crate) fn parsed(&self) -> anyhow::Result<Vec<Bearer>> {
        self.bearers.iter().map(|text| Ok(text.parse()?)).collect()
    }
}

fn bearers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    for text in &texts {
        text.parse::<Bearer>().map_err(de::Error::custom)?;
    }
    Ok(texts)
}
