//! The gateway: admits known devices and refuses everything else.

pub mod attest;
pub mod broker;
pub mod est;
pub mod events;
pub mod evidence;
#[doc(hidden)]
pub mod fuzzing;
pub mod guard;
pub mod link;
pub mod mqtt;
pub mod name;
pub mod pki;
pub mod policy;
pub mod registry;
pub mod rollout;
pub mod tls;
