//! `[data.*]`: what is stored of what the device publishes, field by field.

use std::collections::BTreeMap;

use crate::Control;
use crate::fault::{Faulted, Faults};
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::{choice, identifier, label, name};
use crate::units::Generalisation;
use crate::words::{Words, listed, ticked};

name! {
    /// The name of a data set.
    SchemaName: "a data set", identifier
}

name! {
    /// The name of a field, as the device sends it.
    FieldName: "a field", label
}

name! {
    /// Who may open a sealed field.
    ReaderName: "a reader", identifier
}

choice! {
    /// Within what the same value gets the same pseudonym.
    Scope: "a scope of a pseudonym" {
        /// Within one data set of the model.
        Dataset = "dataset",
        /// Within all data sets of the model.
        Model = "model",
        /// Within all data sets of all models.
        Fleet = "fleet",
    }
}

choice! {
    /// The word that says how a field is treated.
    Use: "a way to treat a field" {
        /// See [`Treatment::Keep`].
        Keep = "keep",
        /// See [`Treatment::Drop`].
        Drop = "drop",
        /// See [`Treatment::Generalise`].
        Generalise = "generalise",
        /// See [`Treatment::Pseudonym`].
        Pseudonym = "pseudonym",
        /// See [`Treatment::Seal`].
        Seal = "seal",
    }
}

/// How each field of a data set is treated; a field that is not named is dropped.
pub type Schema = BTreeMap<FieldName, Treatment>;

/// How one field is treated before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// Stored as it is.
    Keep,
    /// Not stored.
    Drop,
    /// Stored more coarsely.
    Generalise {
        /// How coarse.
        to: Generalisation,
    },
    /// Replaced by a keyed pseudonym.
    Pseudonym {
        /// Within what the same value gets the same pseudonym.
        scope: Scope,
    },
    /// Stored so that only some can read it.
    Seal {
        /// Those who can; never empty.
        readers: Vec<ReaderName>,
    },
}

impl Form for Treatment {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let treatment = match keys.required("use", "\"keep\"") {
            Ok(Use::Keep) => Ok(Self::Keep),
            Ok(Use::Drop) => Ok(Self::Drop),
            Ok(Use::Generalise) => {
                let to = keys.required("to", "\"1min\"");
                to.map(|to| Self::Generalise { to })
            }
            Ok(Use::Pseudonym) => {
                let scope = keys.required("scope", "\"dataset\"");
                scope.map(|scope| Self::Pseudonym { scope })
            }
            Ok(Use::Seal) => {
                let readers = keys.some("readers", "[\"owner\"]");
                readers.map(|readers| Self::Seal { readers })
            }
            Err(faulted) => {
                keys.know(&["to", "scope", "readers"]);
                Err(faulted)
            }
        };
        keys.finish()?;
        treatment
    }

    fn write(&self) -> Value {
        let table = Writer::default();
        let table = match self {
            Self::Keep => table.put("use", &Use::Keep),
            Self::Drop => table.put("use", &Use::Drop),
            Self::Generalise { to } => table.put("use", &Use::Generalise).put("to", to),
            Self::Pseudonym { scope } => table.put("use", &Use::Pseudonym).put("scope", scope),
            Self::Seal { readers } => table.put("use", &Use::Seal).put("readers", readers),
        };
        table.done()
    }
}

pub(crate) fn words(data: &BTreeMap<SchemaName, Schema>, words: &mut Words<'_>) {
    const CONTROL: Control = Control::Data;
    if data.is_empty() {
        words.say(CONTROL, "nothing of what it sends is stored");
    }
    for (schema, fields) in data {
        for (field, treatment) in fields {
            let what = match treatment {
                Treatment::Keep => "is stored as it is".to_owned(),
                Treatment::Drop => "is never stored".to_owned(),
                Treatment::Generalise { to } => {
                    format!("is rounded to {} before it is stored", to.spoken())
                }
                Treatment::Pseudonym { scope } => {
                    let within = match scope {
                        Scope::Dataset => "this data set",
                        Scope::Model => "the data of this model",
                        Scope::Fleet => "the data of all models",
                    };
                    format!("is replaced by a pseudonym, the same one throughout {within}")
                }
                Treatment::Seal { readers } => {
                    format!("is sealed; only {} can open it", listed(readers, ticked))
                }
            };
            words.say(CONTROL, format!("`{schema}`: {field} {what}"));
        }
        words.say(CONTROL, format!("`{schema}`: any other field is dropped"));
    }
}
