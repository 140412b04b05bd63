//! The gateway: admits known devices and refuses everything else.

pub mod est;
pub mod events;
pub mod name;
pub mod pki;
pub mod registry;
pub mod tls;
