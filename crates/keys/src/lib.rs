//! The process that holds a device's private keys: it signs what it understands, and gives no key away.
//!
//! It listens on a Unix socket; the kernel tells who asks. What it signs: TLS 1.3 handshakes as this device, certificate requests
//! that it writes itself, and evidence for root.

mod ask;
mod serve;
mod store;

pub use serve::{Settings, serve};
pub use store::StoreError;
