//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_attest::fuzzing;

targets! {
    event_log: 1, 500;
    ima_log: 1, 500;
    quote: 1, 500;
    uki: 1, 500;
}
