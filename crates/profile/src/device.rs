//! `[device]`: which model the profile is for.

use crate::fault::{Faulted, Faults};
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::{choice, identifier, label, name};

name! {
    /// The name of a model, as its profile says it.
    ModelName: "a model", identifier
}

name! {
    /// Who makes the model, for people.
    Manufacturer: "a manufacturer", label
}

choice! {
    /// What kind of device a model is.
    Class: "a class of devices" {
        /// Runs Linux and the agent.
        Linux = "linux",
        /// Too small for either; speaks through a link.
        Constrained = "constrained",
        /// Can run nothing of ours; the gateway protects it.
        Agentless = "agentless",
    }
}

impl ModelName {
    /// A name made of any text: what a name can not have becomes `-`.
    pub(crate) fn made_of(text: &str) -> Option<Self> {
        let plain = |c: char| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '.' | '_') => c,
            _ => '-',
        };
        let name: String = text.chars().map(plain).take(64).collect();
        let parts: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
        let name = parts.join("-");
        Self::new(name.trim_matches(['.', '_', '-'])).ok()
    }

    /// For a model that nobody named.
    pub(crate) fn unnamed() -> Self {
        Self("unnamed".into())
    }
}

impl Manufacturer {
    /// For a maker that nobody named.
    pub(crate) fn unknown() -> Self {
        Self("unknown".into())
    }
}

/// Which model the profile is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Who makes it.
    pub manufacturer: Manufacturer,
    /// The model's name, in certificates and in topics.
    pub model: ModelName,
    /// Grows with every change of the profile; never zero.
    pub version: u64,
    /// What kind of device it is.
    pub class: Class,
}

const VERSIONS: std::ops::RangeInclusive<u64> = 1..=9_007_199_254_740_991;

impl Form for Device {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let manufacturer = keys.required("manufacturer", "\"Acme\"");
        let model = keys.required("model", "\"cam-2\"");
        let version = keys.required("version", "1");
        // JavaScript in a page must be able to show it exactly.
        let version = keys.within("version", version, &VERSIONS);
        let class = keys.required("class", "\"linux\"");
        keys.finish()?;
        Ok(Self {
            manufacturer: manufacturer?,
            model: model?,
            version: version?,
            class: class?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("manufacturer", &self.manufacturer)
            .put("model", &self.model)
            .put("version", &self.version)
            .put("class", &self.class)
            .done()
    }
}
