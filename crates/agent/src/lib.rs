//! The device's side: enrolment and the connection to the gateway.
//!
//! A device needs nothing of this: `openssl`, `curl` and any MQTT client do the same (`docs/enrol.md`).

mod alarm;
pub mod certificate;
pub mod der;
pub mod door;
pub mod enrol;
pub mod front;
pub mod helper;
pub mod identity;
pub mod install;
pub mod link;
pub mod outbox;
pub mod page;
pub mod run;
pub mod session;
pub mod standing;
pub mod trust;
