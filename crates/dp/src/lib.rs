//! Answers about many that say little about each of them: differential privacy for one subject at a time, all of it.
//!
//! [`Question::parse`] reads what is asked, [`Plan::new`] says what it costs and how loud the noise must be, from the
//! data set's published bounds alone; [`Tally`] cuts each subject down to its bounds and adds up, and [`Plan::answer`]
//! adds the noise. An [`Account`] adds up what all answers together gave away.
//!
//! The mechanisms are discrete and their draws exact, the randomness is the caller's, and what an answer costs is known
//! before a record is read.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]

mod account;
mod answer;
mod fixed;
#[doc(hidden)]
pub mod fuzzing;
mod noise;
mod plan;
mod quantile;
mod question;
#[cfg(test)]
mod replay;
mod sample;
mod tally;
mod words;

pub use account::{Account, Cost, DELTA, Epsilon};
pub use answer::{Answer, Cell, Statement};
pub use fixed::Fixed;
pub use noise::Noise;
pub use plan::{Contribution, DataSet, Field, Plan, PlanError};
pub use question::{Question, QuestionError};
pub use sample::{Random, SampleError, gaussian, laplace};
pub use tally::{Given, Tally};
