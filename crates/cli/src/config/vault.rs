//! `[vault]`: where its root key is.

use serde::{Deserialize, Deserializer, Serialize, de};
use stockade_vault::RootPlace;

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    default,
    expecting = "the section [vault]"
)]
pub(crate) struct Vault {
    /// `file:PATH`, `tpm`, `tpm:PATH`, or a PKCS#11 URI; a file in the data directory otherwise.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "place")]
    pub(crate) root_key: Option<String>,
}

fn place<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse::<RootPlace>().map_err(de::Error::custom)?;
    Ok(Some(text))
}
