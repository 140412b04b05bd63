//! The gateway: admits known devices and refuses everything else.

pub mod broker;
pub mod est;
pub mod events;
#[doc(hidden)]
pub mod fuzzing;
pub mod guard;
pub mod mqtt;
pub mod name;
pub mod pki;
pub mod policy;
pub mod registry;
pub mod tls;
