//! The device's side: enrolment and the connection to the gateway.
//!
//! A device needs nothing of this: `openssl`, `curl` and any MQTT client do the same (`docs/enrol.md`).

pub mod der;
pub mod enrol;
pub mod session;
pub mod trust;
