//! What the statements ask for, as checks that any server can be put to.

pub(crate) mod auth;
pub(crate) mod connect;
pub(crate) mod data;
pub(crate) mod disconnect;
pub(crate) mod flow;
pub(crate) mod header;
pub(crate) mod identity;
pub(crate) mod limits;
pub(crate) mod properties;
pub(crate) mod publish;
pub(crate) mod qos;
pub(crate) mod retain;
pub(crate) mod session;
pub(crate) mod shared;
pub(crate) mod subscribe;
pub(crate) mod topics;
pub(crate) mod unsubscribe;
pub(crate) mod will;

use std::time::Duration;

use crate::client::pass;

/// Reasons of MQTT 5 that say a packet was not well-formed or not in its place.
pub(crate) const MALFORMED: &[u8] = &[0x81, 0x82];
/// The same, where the fault is in a topic name or a topic filter.
pub(crate) const BAD_TOPIC: &[u8] = &[0x81, 0x82, 0x8F, 0x90];

/// Longer than the one second that tests give to expiries, for servers that count whole ones.
pub(crate) fn pass_expiry() {
    pass(Duration::from_millis(2100));
}
