//! Devices, made of the other half of the crate `link`, against the core, the real broker and a journal.

mod abuse;
mod certified;
mod commands;
mod entry;
mod near;
mod world;
