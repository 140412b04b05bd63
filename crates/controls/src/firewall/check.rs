//! Whether the kernel's rules are those of the profile: each difference by name, and what they decide for every packet.

mod differences;

pub use differences::{Difference, DifferenceKind, differences};
