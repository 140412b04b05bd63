//! How datagrams cross serial lines, radios and cards: framing and fragments, with bounded reassembly.
//!
//! What arrives here is nobody's yet: a bearer tells damage from a message, and nothing else. Who speaks is for OSCORE to say.
//!
//! A device needs no trait for them: [`Endpoint`](crate::endpoint::Endpoint) takes datagrams with the place they came from and gives
//! datagrams with the place they go to, and a firmware's main loop knows its radios.

pub mod apdu;
pub mod fragment;
pub mod gatt;
pub mod slipmux;

/// Longest message a bearer carries, in bytes: what RFC 7252 §4.6 takes for a packet where nothing better is known.
pub const MESSAGE_MAX: usize = 1152;
