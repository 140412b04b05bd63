//! A device asked over the network what it speaks: facts by few, small and harmless questions, and what the rules make of them.
#![forbid(unsafe_code)]

mod credentials;
mod discovery;
pub mod dtls;
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
mod http;
mod judge;
pub mod line;
mod ports;
pub mod services;
pub mod target;
mod text;
pub mod tls;
pub mod upnp;
mod xml;

use stockade_controls::engine::Rule;

pub use host::{HostFacts, Options, present, probe};
pub use judge::judge;
pub use target::Target;

/// The rules about what only others see of a device, in the order of a report.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    judge::rules().chain(tls::rules())
}
