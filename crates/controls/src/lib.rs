//! The controls: facts, rules and plans, without input or output.

pub mod firewall;
