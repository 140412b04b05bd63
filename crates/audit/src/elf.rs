//! How programs were built: what an intruder finds in the way, once a hole is found.
//!
//! The format is written from the System V ABI (chapters 4 and 5) and from glibc's `elf.h`. Our own reader of some fields, because
//! it must do with any bytes and needs few of them.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic
)]

mod judge;
mod read;
mod rules;

pub(crate) use judge::{Built, judge};

use stockade_controls::engine::{Rule, Unseen};

/// The rules, in the order of a report.
pub(crate) fn rules() -> &'static [&'static Rule] {
    rules::ALL
}

/// What it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A program, which the dynamic linker starts or which has all in it.
    Program {
        /// It has all libraries in it.
        whole: bool,
        /// It may lie anywhere in memory.
        anywhere: bool,
    },
    /// A library, or what is loaded like one.
    Library,
    /// A module of the kernel.
    Module {
        /// A signature is behind it.
        signed: bool,
        /// For which kernel.
        version: String,
    },
    /// An object, a core dump, firmware of another processor: nothing that runs here.
    Other,
}

/// Whether the tables of addresses are read-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relro {
    /// They are not.
    None,
    /// Some are.
    Partial,
    /// All are, because all addresses are looked up at the start.
    Full,
}

/// How one file was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elf {
    /// The processor (`e_machine`).
    pub(crate) machine: u16,
    pub(crate) what: What,
    pub(crate) relro: Relro,
    /// The stack can be run; also if nothing is said, because Linux then lets it.
    pub(crate) stack_runs: bool,
    /// Functions check whether their stack was overwritten; not known without symbols.
    pub(crate) canary: Option<bool>,
    /// How many functions of the C library that check their lengths are used, and how many that could.
    pub(crate) fortified: (usize, usize),
    /// Where it looks for libraries before all others.
    pub(crate) search: Vec<String>,
    /// Its code is changed when it is loaded, and so can be written.
    pub(crate) code_changes: bool,
    /// Jumps may go only where the compiler meant them to: CFI, BTI and PAC, or CET. Not known for processors without.
    pub(crate) guarded: Option<bool>,
    /// It uses a C library that has no functions that check lengths.
    pub(crate) plain_libc: bool,
}

/// How a file was built, if it is ELF at all.
pub(crate) fn facts(bytes: &[u8]) -> Option<Result<Elf, Unseen>> {
    bytes.starts_with(b"\x7fELF").then(|| {
        let why = || Unseen::Damaged("an ELF file that is cut off or broken".to_owned());
        read::Reader::of(bytes)
            .and_then(|it| it.elf())
            .ok_or_else(why)
    })
}

#[cfg(test)]
mod tests;
