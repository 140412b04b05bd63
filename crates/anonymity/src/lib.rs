//! How exposed people are in a data set, and releases that expose them less.
//!
//! Classes are counted in distinct *subjects*, never in rows: one device that sends k rows is not anonymous among itself.

pub mod attack;
pub mod fold;
pub mod gate;
#[doc(hidden)]
pub mod sample;
pub mod stream;

mod classes;
pub mod csv;
#[doc(hidden)]
pub mod fuzzing;
mod goal;
mod hierarchy;
mod loss;
mod number;
mod partition;
mod report;
mod search;
mod sensitive;
mod table;

pub use self::classes::Classes;
pub use self::goal::{Diversity, Goal};
pub use self::hierarchy::{ANY, Hierarchy, HierarchyFault, Level, MOST_LEVELS};
pub use self::loss::Loss;
pub use self::report::{Given, Report, Risk, journalist, report};
pub use self::search::{Recoding, Release, SearchFault, search};
pub use self::sensitive::Ground;
pub use self::table::{Column, Role, Table, TableFault};
