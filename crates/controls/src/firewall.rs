//! The firewall: from a profile to rules, and from the kernel's rules back to decisions.

pub mod names;
pub mod nft;
pub mod readback;
