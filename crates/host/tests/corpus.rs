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
fn corpus_of_nfnetlink_flow_replays() {
    replay("nfnetlink_flow", stockade_host::fuzzing::nfnetlink_flow);
}

#[test]
fn corpus_of_nflog_packet_replays() {
    replay("nflog_packet", stockade_host::fuzzing::nflog_packet);
}
