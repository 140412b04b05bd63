//! The few MQTT packets a load or a crash test needs, by code that shares nothing with the product's codec.

pub mod wire;
