//! The console as a browser and a program see it, without a network in between.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::too_many_lines,
    reason = "a test that meets the unexpected should stop there; a story is told in one piece"
)]

mod api;
mod bench;
mod data;
mod gate;
mod login;
mod network;
mod pages;
mod rollouts;
