//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_advisories::fuzzing;

targets! {
    advisory_data: 1, 3600;
    advisory_versions: 1, 2100;
    advisory_bill: 1, 900;
    inventory_file: 1, 1200;
}
