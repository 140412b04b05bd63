//! What software is there (inventory), and what is known to be wrong with it (advisories that were imported).
//!
//! [`inventory`] reads a host. [`Db`] keeps advisories; nothing here ever downloads any. [`check`] holds one against the other,
//! and [`judge`] makes verdicts of it: what could not be checked is never taken as fine.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]
#![forbid(unsafe_code)]

mod advisory;
mod archive;
mod component;
pub mod cyclonedx;
mod db;
mod ecosystem;
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod inventory;
mod json;
mod judge;
mod matching;
mod read;
mod rules;
mod score;
mod upstream;
mod version;
mod vex;

pub use component::{Component, Distribution, Kind, NotAPurl, Purl};
pub use db::{Db, DbError, FILE, Source};
pub use import::{Imported, import};
pub use inventory::{Inventory, detect, inventory};
pub use judge::{DAYS, RULES, judge, not_run};
pub use matching::{Checked, Known, Vulnerable, check};
pub use read::Form;
pub use score::Score;
pub use version::Scheme;
pub use vex::{Claim, NotVex, Standing, claims};
