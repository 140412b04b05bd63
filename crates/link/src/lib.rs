//! The link: strong security for constrained devices, over any bearer of datagrams.
//!
//! EDHOC (RFC 9528) agrees on keys, OSCORE (RFC 8613) protects messages with them, CoAP (RFC 7252) is what they say.
//! Nothing here allocates, waits, or knows a clock, a radio or an operating system: bytes and the time come in, bytes go out.
//!
//! | Module | What |
//! |---|---|
//! | [`endpoint`] | all of it put together: what a device's firmware uses |
//! | [`edhoc`] | the handshake |
//! | [`oscore`] | protected messages |
//! | [`coap`] | messages, their repetition, large ones in blocks |
//! | [`grant`] | what a device may ask of another, signed by the gateway |
//! | [`label`] | what is printed on a device, and what is built into it |
//! | [`bearer`] | how datagrams cross serial lines, radios and cards |
//! | [`credential`] | who somebody is: public keys and how they are named |
//! | [`crypto`] | the cryptography all of it rests on, exchangeable |
#![no_std]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::std_instead_of_core
)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod bearer;
pub mod cbor;
pub mod coap;
pub mod credential;
pub mod crypto;
pub mod edhoc;
pub mod endpoint;
#[doc(hidden)]
pub mod fuzzing;
pub mod grant;
pub mod label;
pub mod oscore;

/// What the guide for firmware developers shows, compiles.
#[cfg(all(doctest, feature = "rustcrypto"))]
#[doc = include_str!("../../../docs/firmware.md")]
mod guide {}
