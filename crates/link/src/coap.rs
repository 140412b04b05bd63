//! CoAP (RFC 7252): messages, reliability, block-wise transfer (RFC 7959), Echo and Request-Tag (RFC 9175).
//!
//! [`message`] and [`option`] read and write; the others are state machines that take messages and the time.

pub mod block;
pub mod echo;
pub mod exchange;
pub mod link_format;
pub mod message;
pub mod option;
