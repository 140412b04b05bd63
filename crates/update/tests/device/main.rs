//! What a device does with updates, from the source to a system that stays or goes.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod fetching;
mod killed;
mod refused;
mod staying;
mod world;
