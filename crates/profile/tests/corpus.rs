//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_profile::fuzzing;

targets! {
    profile_parse: 1, 500;
    profile_cose: 1, 500;
    mud_signature: 1, 500;
    mud_read: 1, 500;
}
