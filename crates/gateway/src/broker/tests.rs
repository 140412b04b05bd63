//! The core under virtual time, on a real journal.

mod crash;
mod delivery;
mod forget;
mod lifecycle;
mod refusals;
mod world;
