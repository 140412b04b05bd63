//! The fuzz target holds on its committed corpus.

use std::path::Path;

#[test]
fn the_corpus_of_vault_decode_replays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/vault_decode");
    let mut files = 0;
    for entry in fs_err::read_dir(folder).unwrap() {
        stockade_vault::fuzzing::vault_decode(&fs_err::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 20, "only {files} files");
}
