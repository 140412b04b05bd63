//! The controls: facts, rules and plans, without input or output.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]
#![forbid(unsafe_code)]

pub mod boot;
pub mod comms;
pub mod credentials;
pub mod engine;
pub mod firewall;
#[doc(hidden)]
pub mod fuzzing;
pub mod mac;
pub mod ports;
pub mod privileges;
pub mod programs;
pub mod protocols;
pub mod services;
pub mod tamper;
pub mod updates;
pub mod upnp;
