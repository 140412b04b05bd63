//! The firewall: from a profile to rules, and from the kernel's rules back to decisions.

pub mod check;
pub mod compile;
mod control;
pub mod decide;
pub mod eval;
pub mod learn;
pub mod names;
pub mod nft;
pub mod policy;
pub mod readback;
pub mod surroundings;

pub use control::Firewall;
