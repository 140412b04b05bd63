//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_mqtt::fuzzing;

targets! {
    mqtt_frame_v5: 20, 500;
    mqtt_frame_v311: 20, 500;
    mqtt_topic: 20, 500;
}
