//! Enrolment and TLS admission with the programs that people have: `openssl` and `curl`, over real sockets.
//!
//! Where one of them is missing the tests say so and pass: `cargo xtask test` installs them first.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on says where and why"
)]

mod admission;
mod enrolment;
mod gateway;
mod requests;
