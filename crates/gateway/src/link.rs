//! The link at the gateway: constrained devices by CoAP, protected by OSCORE, over UDP and short-range bearers.

mod active;
mod answers;
pub mod bearer;
pub mod ble;
mod blocks;
mod budget;
mod certified;
pub mod core;
pub mod crypto;
mod deliver;
pub(crate) mod fuzz;
pub mod grants;
mod guest;
mod handshake;
pub mod keys;
pub mod nfc;
mod peers;
mod resources;
mod run;
pub mod serial;
mod status;
#[cfg(test)]
mod tests;

pub use self::budget::Rates;
pub use self::handshake::Own;
pub use self::run::{Bearer, Link, LinkError, LinkSettings, start};
pub use self::status::{BearerStatus, LinkStatus, Standing};
