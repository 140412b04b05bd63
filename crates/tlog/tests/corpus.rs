//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_tlog::fuzzing;

targets! {
    tlog_note: 6, 3_000;
    tlog_tile: 6, 3_000;
}
