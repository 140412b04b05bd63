//! Bytes seen on a wire, parsed once and with bounds: captures, packets, DHCP, LLDP, DNS, TLS hellos.
//!
//! All of it was written by strangers. Nothing here panics, recurses or sets memory aside that the input has not paid for;
//! text comes out as bytes or escaped, never as part of anything that is run.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]

pub mod bytes;
pub mod capture;
pub mod dhcp;
pub mod dns;
#[doc(hidden)]
pub mod fuzzing;
pub mod lldp;
pub mod neighbour;
pub mod packet;
pub mod tls;
