//! Starts the real `stockade`, enrols devices with openssl and curl, and meets it with clients of other makers.

pub mod device;
pub mod gateway;
pub mod netlab;
pub mod real;
pub mod session;
pub mod tools;
pub mod vmlab;

pub use device::{Device, Listening};
pub use gateway::Gateway;
