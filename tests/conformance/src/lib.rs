//! MQTT conformance, black box: every normative statement of MQTT 5.0 and 3.1.1 that binds a
//! server has a test whose name carries its id, run over a byte stream against the server that
//! `STOCKADE_MQTT_UNDER_TEST` names: `ours` (the default) or `mosquitto`, the reference.
//!
//! The bytes are made and read here, by code that shares nothing with the gateway's codec, so
//! that the codec cannot agree with itself. `statements-v5.toml` and `statements-v311.toml` hold
//! the statements; `docs/conformance.md` is rendered from them and from the tests' names.

#[cfg(test)]
mod answer;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod client;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod server;
#[cfg(test)]
mod statements;
#[cfg(test)]
mod v311;
#[cfg(test)]
mod v5;
#[cfg(test)]
mod wire;
