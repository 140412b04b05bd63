//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_api::fuzzing;

targets! {
    api_frame: 1, 500;
    api_signed: 1, 500;
}
