//! The seams of the server roles: [`Bus`] carries ordered, durable streams of records; [`Store`] keeps state.
//!
//! The embedded implementations are [`Journal`] (one segmented log, group commit) and [`Sqlite`]; [`DataDir`] is the
//! directory they live in. [`Postgres`] keeps state on a server. Whatever else implements the traits must pass [`suite`].

pub mod telemetry;

mod bus;
mod data_dir;
mod journal;
mod postgres;
mod sqlite;
mod store;

#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod suite;

pub use bus::{Bus, BusError, BusStatus, Seq, Stream};
pub use data_dir::{DataDir, DataDirError};
pub use journal::{Durability, Journal, JournalError, JournalOptions};
pub use postgres::{Postgres, PostgresSettings};
pub use sqlite::Sqlite;
pub use store::{Batch, EachEntry, Entry, Need, Op, Scan, Scrub, Store, StoreError, Table};
