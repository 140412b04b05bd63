//! `name=value` arguments.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

/// What the command line said.
#[derive(Debug)]
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Reads `name=value` arguments.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut named = BTreeMap::new();
        for argument in arguments {
            let Some((name, value)) = argument.split_once('=') else {
                bail!("`{argument}` is not name=value")
            };
            named.insert(name.to_owned(), value.to_owned());
        }
        Ok(Self(named))
    }

    /// The text of a setting that has no default.
    pub(crate) fn text(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("`{name}=` is missing"))
    }

    /// A setting, or its default.
    pub(crate) fn get<T>(&self, name: &str, default: T) -> Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        match self.0.get(name) {
            None => Ok(default),
            Some(text) => text.parse().with_context(|| format!("`{name}={text}`")),
        }
    }
}
