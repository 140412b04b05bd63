//! What the values of a field join into, level by level.

use std::collections::BTreeMap;

use crate::fault::{Faulted, Faults, Malformed, quote};
use crate::read::{Form, Node, Value, list, plain};
use crate::text::{label, name};

name! {
    /// A value, or what several values join into.
    Category: "a value of a hierarchy", label
}

/// Most levels above the values.
const MAX_DEPTH: usize = 8;

/// For each value what it joins into: `{ "8001" = ["zurich", "ch"], "8002" = ["zurich", "ch"] }`. Every value has as
/// many levels, and what is joined stays joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy(BTreeMap<Category, Levels>);

/// From finer to coarser. Unlike other lists it may say the same twice: a level need not be coarser for every value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Levels(Vec<Category>);

impl Hierarchy {
    /// A hierarchy from its rows; what is wrong with them otherwise.
    pub fn new(
        rows: impl IntoIterator<Item = (Category, Vec<Category>)>,
    ) -> Result<Self, Malformed> {
        Self::check(
            rows.into_iter()
                .map(|(value, levels)| (value, Levels(levels)))
                .collect(),
        )
    }

    fn check(rows: BTreeMap<Category, Levels>) -> Result<Self, Malformed> {
        let hierarchy = Self(rows);
        let depth = hierarchy.depth();
        if !(1..=MAX_DEPTH).contains(&depth) {
            return Err(Malformed::new(format!(
                "a hierarchy has values, and 1 to {MAX_DEPTH} levels for each"
            )));
        }
        let mut above = vec![BTreeMap::new(); depth];
        for (value, levels) in &hierarchy.0 {
            if levels.0.len() != depth {
                let wrong = Malformed::new(format!(
                    "`{}` has not as many levels as the others",
                    quote(value.as_str())
                ));
                return Err(wrong.help(format!("each value has {depth}")));
            }
            for (above, pair) in above.iter_mut().zip(levels.0.windows(2)) {
                if let [lower, upper] = pair
                    && above
                        .insert(lower, upper)
                        .is_some_and(|other| other != upper)
                {
                    let wrong = format!("`{}` joins into two things", quote(lower.as_str()));
                    return Err(Malformed::new(wrong)
                        .help("what is joined on one level stays joined on the next"));
                }
            }
        }
        Ok(hierarchy)
    }

    /// How many levels there are above the values; at least one.
    pub fn depth(&self) -> usize {
        self.0.values().next().map_or(0, |levels| levels.0.len())
    }

    /// What `value` is on a level: on level 1 what it joins into first. Nothing for a value that it has not.
    pub fn at(&self, value: &str, level: u8) -> Option<&str> {
        let above = usize::from(level).checked_sub(1)?;
        self.0.get(value)?.0.get(above).map(Category::as_str)
    }

    /// Each value, and what it joins into, from finer to coarser.
    pub fn rows(&self) -> impl Iterator<Item = (&Category, &[Category])> {
        self.0
            .iter()
            .map(|(value, levels)| (value, levels.0.as_slice()))
    }
}

impl Form for Hierarchy {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let rows = BTreeMap::read(node, faults)?;
        Self::check(rows).map_err(|wrong| faults.error(node.at, wrong))
    }

    fn write(&self) -> Value {
        self.0.write()
    }
}

impl Form for Levels {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let levels = list(node, faults)?
            .iter()
            .map(|node| Category::read(node, faults));
        levels.collect::<Result<_, _>>().map(Self)
    }

    fn write(&self) -> Value {
        Value::List(self.0.iter().map(|level| plain(level.write())).collect())
    }
}
