//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_dp::fuzzing;

targets! {
    vault_question: 12, 4_000;
}
