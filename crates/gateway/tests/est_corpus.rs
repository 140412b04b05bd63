//! The fuzz targets of enrolment and admission hold on their committed corpus.

use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in fs_err::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("an entry").path();
        body(&fs_err::read(&path).expect("a readable file"));
        files += 1;
    }
    assert!(files >= 10, "only {files} files in {}", folder.display());
}

#[test]
fn corpus_of_client_hello_replays() {
    replay("client_hello", stockade_gateway::fuzzing::client_hello);
}

#[test]
fn corpus_of_est_body_replays() {
    replay("est_body", stockade_gateway::fuzzing::est_body);
}
