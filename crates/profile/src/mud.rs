//! Manufacturer Usage Descriptions (RFC 8520).

pub mod signature;
