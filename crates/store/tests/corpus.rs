//! The fuzz target holds on its committed corpus.

use std::path::Path;

#[test]
fn the_corpus_of_journal_open_replays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/journal_open");
    let mut files = 0;
    for entry in fs_err::read_dir(folder).unwrap() {
        stockade_store::fuzzing::journal_open(&fs_err::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 20, "only {files} files");
}
