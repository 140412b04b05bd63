//! The profile: what one model of device is for; parse, check, canonical bytes, signature
