//! The controls: facts, rules and plans, without input or output.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]
#![forbid(unsafe_code)]

pub mod firewall;
#[doc(hidden)]
pub mod fuzzing;
