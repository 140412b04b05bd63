//! The vault: treats each field of the telemetry as the profile says, and keeps the result.
//!
//! A [`SealedBus`] stands between the gateway and its bus: [`decode`] reads a payload, [`treat`] decides field by field what
//! may be stored, and only that is on the bus, sealed. [`Vault::ingest_available`] takes it from there into blocks, each of
//! one device and sealed under its keys; blocks and position are committed together, so that each message is stored exactly
//! once. [`Vault::query`] reads what was stored, for who may, and the log tells of it.

mod access;
mod backup;
mod block;
mod bus;
mod counters;
mod erase;
mod export;
mod fsck;
mod generalise;
mod keys;
mod log;
mod payload;
mod prepare;
mod readers;
mod record;
mod release;
mod seal;
mod stat;
mod treat;
mod value;
mod vault;

#[doc(hidden)]
pub mod fuzzing;

pub use access::{Access, Action, Refused, Role, RoleName};
pub use backup::{BackedUp, BackupError, Empty, Restored, restore};
pub use bus::SealedBus;
pub use counters::{Counters, Refusal};
pub use erase::{DEFER, Erased, Forgotten, Proof};
pub use export::{Cursor, Export};
pub use fsck::{Checked, Found};
pub use keys::{KeyError, Keys, RootPlace, Rotated, Secret, SubjectId, SubjectKeys};
pub use log::{AwsLc, Commitment, Digest, Entry, Head, Log, LogError, Outcome, Receipt, is_name};
pub use payload::{PayloadError, decode};
pub use readers::Replaced;
pub use record::StoredRecord;
pub use release::{
    Asked, ColumnRole, Count, Given, Input, InputRole, Linkage, Measured, Release, ReleaseAsk,
    ReleaseError, Risk, Roles, StreamError, StreamPage, StreamRow, StreamStatus, Streamed,
};
pub use stat::{Ask, Budget, SPENT, StatError, Told};
pub use stockade_anonymity::csv::{Formulas, line as csv_line};
pub use treat::{
    DataSetKeys, Dropped, ReaderKey, ReaderKeyError, Readers, StoredReaders, Treated, Treating,
    for_purpose, seal_info, treat,
};
pub use value::{Fields, Value};
pub use vault::{
    Damage, Ingested, MAX_PAGE, Page, Profiles, Query, Subject, Tidied, Vault, VaultError,
};
