//! A log that can be checked from outside: an RFC 6962 tree in tiles, signed checkpoints, proofs, and their verification.
//!
//! What is in it cannot be changed or taken out without whoever holds an older checkpoint seeing it. [`Edge`] is all that
//! whoever appends must remember; [`audit`] is what whoever doubts runs over the files. The files are those of C2SP's
//! tlog-tiles, so that any reader of such logs can read them.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::panic,
        clippy::wildcard_enum_match_arm
    )
)]

mod audit;
mod edge;
mod hash;
mod note;
mod proof;
mod tile;

#[doc(hidden)]
pub mod fuzzing;

pub use audit::{Audit, Audited, Difference, Files, audit};
pub use edge::Edge;
pub use hash::Hash;
pub use note::{
    Checkpoint, Cosigned, Ed25519, Kind, MAX_NOTE, Note, NoteError, Opened, VerifierKey,
    cosigned_text,
};
pub use proof::{
    Nodes, Unproven, consistency, inclusion, root_at, verify_consistency, verify_inclusion,
};
pub use tile::{BundleError, HEIGHT, MAX_BUNDLE, Tile, WIDTH, bundle, unbundle};
