//! The LAN guard: the gateway's firewall for devices that can run nothing of ours.
//!
//! [`core`] decides: what is seen on the LAN, what an operator says and what the registry says go in, actions come out.
//! [`run`] is the process: one loop that tells the core what happens and does what it says.

mod answer;
mod blocked;
pub mod core;
mod decide;
pub mod device;
pub mod facts;
mod fetch;
mod flows;
#[doc(hidden)]
pub mod fuzz;
pub mod isolation;
pub mod kept;
pub mod kernel;
mod learn;
pub mod mud;
pub mod names;
mod plan;
pub mod request;
mod rights;
pub mod run;
mod seeing;
pub mod settings;
pub mod sighting;
pub mod socket;
pub mod text;
mod view;
pub mod watch;

#[cfg(test)]
mod tests;
