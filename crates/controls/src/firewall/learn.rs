//! Learning: from packets that were seen to the smallest profile that allows them, without a wildcard.
//!
//! [`Observer`] turns the frames of one capture into an [`Observation`]: who is who, which names were asked for, and flows
//! with the side that opened them. [`learn`] makes rules of observations; [`judge`] says how much of an observation a profile
//! allows. `docs/learn.md` says how it generalises, and what it never does.

mod flow;
mod judge;
mod names;
mod observe;
mod place;
mod rules;
mod text;

pub use flow::{Class, Flow};
pub use judge::{Count, Judged, Refused, judge};
pub use observe::{Observation, Observer};
pub use rules::{Learned, Rule, Seen, Station, learn};
pub use text::{Header, LearnError};
