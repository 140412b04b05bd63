//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_image::fuzzing;

targets! {
    image_flash: 1, 2000;
    image_open: 1, 6000;
    image_disc: 1, 5000;
    image_squashfs: 1, 2000;
    image_ext: 1, 3000;
}
