//! The LAN guard: the gateway's firewall for devices that can run nothing of ours.
//!
//! [`core`] decides: what is seen on the LAN, what an operator says and what the registry says go in, actions come out.

pub mod core;
mod decide;
pub mod device;
pub mod facts;
#[doc(hidden)]
pub mod fuzz;
pub mod isolation;
pub mod kept;
mod learn;
pub mod mud;
pub mod request;
pub mod settings;
pub mod sighting;
pub mod socket;
pub mod text;
pub mod watch;

#[cfg(test)]
mod tests;
