//! `[data.*]`: what is stored of what the device publishes, field by field.

mod hierarchy;
pub(crate) mod policy;
mod range;
mod treatment;
mod usage;

use std::collections::BTreeMap;

pub use self::hierarchy::{Category, Hierarchy};
pub use self::range::{Decimal, Percent, Range};
pub use self::treatment::{Alphabet, FieldRole, ReaderName, Scope, Treatment, Use};
pub use self::usage::{Budget, Contribution, DataSetUse, PurposeName, ReleaseGoal};
use crate::Control;
use crate::fault::{Faulted, Faults, Malformed};
use crate::read::{Form, Keys, Node, Value};
use crate::text::{identifier, label, name};
use crate::units::{Generalisation, spoken};
use crate::words::{Words, listed, ticked};

name! {
    /// The name of a data set.
    SchemaName: "a data set", identifier
}

name! {
    /// The name of a field, as the device sends it.
    FieldName: "a field", label
}

/// How each field of a data set is treated; a field that is not named is dropped.
pub type Schema = BTreeMap<FieldName, Field>;

/// What is said of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// How it is treated before it is stored.
    pub treatment: Treatment,
    /// What it says about people, if the profile says it; see [`Self::role`].
    pub role: Option<FieldRole>,
    /// The numbers that it can be: any other value is dropped. It bounds what one record adds to an aggregate.
    pub range: Option<Range>,
    /// How its values join into coarser ones.
    pub hierarchy: Option<Hierarchy>,
}

impl From<Treatment> for Field {
    fn from(treatment: Treatment) -> Self {
        Self {
            treatment,
            role: None,
            range: None,
            hierarchy: None,
        }
    }
}

impl Field {
    /// What it says about people. Where the profile does not say: what is replaced or sealed names somebody, and what
    /// can be read may single somebody out.
    pub fn role(&self) -> FieldRole {
        self.role.unwrap_or(match self.treatment {
            Treatment::Keep | Treatment::Generalise { .. } | Treatment::Noise { .. } => {
                FieldRole::Quasi
            }
            Treatment::Drop
            | Treatment::Pseudonym { .. }
            | Treatment::FormatPreserving { .. }
            | Treatment::Token
            | Treatment::Seal { .. } => FieldRole::Direct,
        })
    }
}

impl Form for Field {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let treatment = Treatment::read(&mut keys);
        let role = keys.optional("role");
        let range = keys.optional::<Range>("range");
        let hierarchy = keys.optional::<Hierarchy>("hierarchy");
        let mut outcome = Ok(());
        if let (Ok(treatment), Ok(range), Ok(hierarchy)) = (&treatment, &range, &hierarchy)
            && let Err((key, wrong)) = fits(treatment, range.is_some(), hierarchy.as_ref())
        {
            outcome = Err(keys.error(key, wrong));
        }
        keys.finish()?;
        outcome?;
        Ok(Self {
            treatment: treatment?,
            role: role?,
            range: range?,
            hierarchy: hierarchy?,
        })
    }

    fn write(&self) -> Value {
        self.treatment
            .write()
            .some("role", self.role.as_ref())
            .some("range", self.range.as_ref())
            .some("hierarchy", self.hierarchy.as_ref())
            .done()
    }
}

/// What a treatment needs beside it, and what makes no sense beside it.
fn fits(
    treatment: &Treatment,
    range: bool,
    hierarchy: Option<&Hierarchy>,
) -> Result<(), (&'static str, Malformed)> {
    match treatment {
        Treatment::Generalise {
            to: Generalisation::Level(level),
        } => {
            let depth = hierarchy.map_or(0, Hierarchy::depth);
            if usize::from(*level) > depth {
                let wrong = Malformed::new(format!("the hierarchy has {depth} levels"));
                return Err(("to", wrong.help("a hierarchy says what each value becomes: hierarchy = { \"8001\" = [\"zurich\", \"ch\"] }")));
            }
        }
        Treatment::Generalise {
            to: Generalisation::Duration(_) | Generalisation::Distance(_),
        } if range => {
            let wrong = Malformed::new("a time or a place has no `range`");
            return Err(("range", wrong.help("`range` is for numbers")));
        }
        Treatment::Noise { .. } if !range => {
            let wrong = Malformed::new("noise needs a `range`: it is measured by it");
            return Err(("range", wrong.help("for example `range = [0, 100]`")));
        }
        Treatment::Keep
        | Treatment::Drop
        | Treatment::Generalise { .. }
        | Treatment::Pseudonym { .. }
        | Treatment::FormatPreserving { .. }
        | Treatment::Token
        | Treatment::Noise { .. }
        | Treatment::Seal { .. } => {}
    }
    Ok(())
}

pub(crate) fn words(
    data: &BTreeMap<SchemaName, Schema>,
    vault: &BTreeMap<SchemaName, DataSetUse>,
    words: &mut Words<'_>,
) {
    const CONTROL: Control = Control::Data;
    if data.is_empty() {
        words.say(CONTROL, "nothing of what it sends is stored");
    }
    for (schema, fields) in data {
        for (name, field) in fields {
            let mut what = field.treatment.words();
            if let Some(range) = field.range {
                what = format!(
                    "{what}, if it is a number from {} to {}",
                    range.min, range.max
                );
            }
            words.say(CONTROL, format!("`{schema}`: {name} {what}"));
        }
        words.say(CONTROL, format!("`{schema}`: any other field is dropped"));
        let usage = vault.get(schema).cloned().unwrap_or_default();
        let shown = if usage.purposes.is_empty() {
            "to nobody".to_owned()
        } else {
            format!("only for {}", listed(&usage.purposes, ticked))
        };
        let kept = spoken(usage.retention());
        words.say(
            CONTROL,
            format!("`{schema}`: is erased after {kept}; one device's data is shown {shown}"),
        );
    }
}
