//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_update::fuzzing;

targets! {
    update_bundle: 4, 500;
}
