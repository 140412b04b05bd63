//! What an attacker finds out from a release. A gate runs these on what is about to leave; each gives a *lower* bound of the
//! risk, for others may be cleverer.

pub mod intersection;
pub mod linkage;
pub mod unicity;
mod xorshift;

pub use xorshift::Xorshift;
