//! The fuzz targets hold on their committed corpus.

use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in folder
        .read_dir()
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("an entry").path();
        let data = fs_err::read(&path).expect("a readable file");
        body(&data);
        files += 1;
    }
    assert!(files >= 20, "only {files} files in {}", folder.display());
}

#[test]
fn corpus_of_mqtt_frame_v5_replays() {
    replay("mqtt_frame_v5", stockade_mqtt::fuzzing::mqtt_frame_v5);
}

#[test]
fn corpus_of_mqtt_frame_v311_replays() {
    replay("mqtt_frame_v311", stockade_mqtt::fuzzing::mqtt_frame_v311);
}

#[test]
fn corpus_of_mqtt_topic_replays() {
    replay("mqtt_topic", stockade_mqtt::fuzzing::mqtt_topic);
}
