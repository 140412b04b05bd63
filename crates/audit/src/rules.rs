//! All rules of an audit.

use std::collections::BTreeSet;

use stockade_controls::engine::{CONTROLS, Rule};

/// Every rule there is, in the order of a report. What is asked of an image and of a host by one id is told once.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let controls = CONTROLS.iter().flat_map(|control| control.rules());
    let built = [
        crate::elf::rules(),
        crate::kernel::rules(),
        crate::signed::rules(),
    ];
    let built = built.into_iter().flatten().copied();
    let software = stockade_advisories::RULES.iter().copied();
    let mut told = BTreeSet::new();
    controls
        .copied()
        .chain(crate::image::rules())
        .chain(built)
        .chain(software)
        .chain(stockade_probe::rules())
        .filter(move |rule| told.insert(rule.id))
}
