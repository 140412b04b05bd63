//! What crosses between processes of a device, and between it and the gateway: requests, signed statements.
//!
//! Types, and how they are written; no socket, file or clock. `stockade_host::local` carries frames between processes.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]
#![forbid(unsafe_code)]

pub mod attest;
mod blob;
pub mod events;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod helper;
pub mod keys;
mod places;
mod secret;
mod settings;
pub mod signed;
pub mod update;

pub use blob::Blob;
pub use places::Places;
pub use secret::Secret;
pub use settings::{Settings, SettingsError};
