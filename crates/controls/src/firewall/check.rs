//! Whether the kernel's rules are those of the profile: each difference by name, and what they decide for every packet.

mod classes;
mod compare;
mod differences;
mod questions;
mod sources;
mod told;

pub use compare::compare;
pub use differences::{Difference, DifferenceKind, differences};
pub use told::{CounterExample, Got, Verdict};
