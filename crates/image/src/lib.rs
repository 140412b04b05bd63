//! Images of devices as trees of files, read where they lie: nothing is extracted, mounted or run.
//!
//! [`open`] takes a file or a directory and gives its [`Part`]s: file systems and archives as [`Tree`]s, containers with what is
//! in them, and what could not be read with the reason; [`visit`] gives them one by one. A tree is a
//! [`Host`](stockade_controls::engine::Host): the controls' rules read it as they read a device.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]
#![forbid(unsafe_code)]

mod ar;
mod boot;
mod bytes;
mod compress;
mod cpio;
mod cramfs;
mod directory;
mod disk;
mod ext;
mod fat;
mod fields;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod inodes;
mod iso;
mod jffs2;
mod meter;
mod open;
mod other;
mod romfs;
mod squashfs;
mod streams;
mod tar;
mod tree;
mod ubi;
mod ubifs;
mod zip;

pub use bytes::Bytes;
pub use compress::decompressed;
pub use meter::{Limits, Meter};
pub use open::{DIRECTORY, Image, Part, PartContent, open, visit};
pub use tree::{Content, Contents, Node, Tree};
