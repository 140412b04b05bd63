//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_gateway::fuzzing;

targets! {
    ble: 10, 6000;
    link_gateway: 6, 2000;
}
