//! Updates of a device, by The Update Framework (TUF 1.0).
//!
//! `stockade-update` runs as two parts: one fetches a repository and may do nothing else; the other has no network, trusts nothing
//! that was fetched, and installs what threshold signatures, versions and times allow.
//!
//! A repository is a folder with `metadata/` (consistent snapshots: `1.root.json`, `timestamp.json`, `7.snapshot.json`,
//! `3.targets.json`) and `targets/` (`SHA256.NAME`); a bundle is a tar of the same. Targets say what they are in
//! `custom.stockade` ([`target::System`]).

mod counter;
mod environment;
mod fetch;
mod install;
mod journal;
pub mod maker;
mod repository;
mod shelf;
mod slots;
mod tar;
pub mod target;

/// Bodies of fuzz targets.
#[doc(hidden)]
pub mod fuzzing {
    /// Any bytes as a bundle: what is found in it lies in it.
    pub fn update_bundle(data: &[u8]) {
        let length = data.len() as u64;
        let read = |at: u64| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let block = data.get(at..).and_then(<[u8]>::first_chunk);
            block
                .copied()
                .ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
        };
        for member in crate::tar::walk(read, length).into_iter().flatten() {
            assert!(
                member.1.at.saturating_add(member.1.length) <= length,
                "{}",
                member.0
            );
        }
    }
}

pub use counter::CounterError;
pub use fetch::{FetchError, Version, Wanted, fetch};
pub use install::{InstallError, carry_out, reset};
pub use repository::{Checked, RepositoryError, check};
pub use shelf::{METADATA, Shelf, TARGETS};
pub use slots::SlotError;
