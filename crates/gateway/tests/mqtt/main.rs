//! The MQTT listener with real clients: `mosquitto_pub` and `mosquitto_sub` over mutual TLS, and a raw client
//! where the timing or the bytes matter.
//!
//! Where the programs are missing the tests say so and pass: `cargo xtask test` installs them first.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on says where and why"
)]

mod clients;
mod gateway;
mod raw;
