//! The vault: treats each field of the telemetry as the profile says, and keeps the result
