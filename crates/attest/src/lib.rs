//! What a device started with, as its TPM tells it: TCG event logs, IMA lists, quotes, and the reference values they must match.
//!
//! All of it comes from the device that is judged. Nothing here panics, recurses or sets memory aside that the input has not paid
//! for. Nothing reads a file, a clock or a TPM: bytes go in.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]
#![forbid(unsafe_code)]

mod bytes;
mod component;
pub mod credential;
mod digest;
#[doc(hidden)]
pub mod fuzzing;
pub mod ima;
pub mod log;
pub mod quote;
pub mod reference;
pub mod uki;

pub use digest::{Algorithm, unhex};
