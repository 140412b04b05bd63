//! The vault: treats each field of the telemetry as the profile says, and keeps the result.
//!
//! [`Vault::ingest_available`] takes telemetry from the bus; [`decode`] reads a payload, [`treat`] decides field by
//! field what may be stored, and records and position are committed together, so that each message is stored exactly
//! once. [`Vault::query`] reads what was stored.

mod counters;
mod generalise;
mod keys;
mod payload;
mod record;
mod treat;
mod value;
mod vault;

#[doc(hidden)]
pub mod fuzzing;

pub use counters::{Counters, Refusal};
pub use keys::{KeyError, Pseudonyms, VaultKey};
pub use payload::{PayloadError, decode};
pub use record::StoredRecord;
pub use treat::{Dropped, Treated, treat};
pub use value::{Fields, Value};
pub use vault::{Ingested, MAX_PAGE, Page, Profiles, Query, Subject, Vault, VaultError};
