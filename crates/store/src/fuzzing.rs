//! Bodies of the fuzz targets: ordinary functions, so that the corpus also replays without a fuzzer.

use crate::journal::fuzz_open;

/// Recovery reads whatever file a crash or a hostile disk left: it never panics, and what it accepts, it accepts again.
pub fn journal_open(data: &[u8]) {
    fuzz_open(data);
}
