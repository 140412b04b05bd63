//! The gateway: admits known devices and refuses everything else.

pub mod events;
pub mod name;
