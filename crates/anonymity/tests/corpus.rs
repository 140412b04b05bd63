//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_anonymity::fuzzing;

targets! {
    csv_table: 3, 6000;
}
