//! The fuzz target holds on its committed corpus, and on what a few changed bytes make of it.

use std::path::Path;

use proptest::prelude::*;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/journal_open");
    let entries = fs_err::read_dir(folder).expect("the corpus");
    entries
        .map(|entry| fs_err::read(entry.expect("an entry").path()).expect("a file"))
        .collect()
}

#[test]
fn the_corpus_of_journal_open_replays() {
    let files = corpus();
    assert!(files.len() >= 20, "only {} files", files.len());
    for file in files {
        stockade_store::fuzzing::journal_open(&file);
    }
}

proptest! {
    #[test]
    fn changed_files_of_the_corpus_hold_too(
        file in prop::sample::select(corpus()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = file;
        for (at, byte) in changes {
            if !file.is_empty() {
                let at = at.index(file.len());
                file[at] = byte;
            }
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len() + 1));
        }
        stockade_store::fuzzing::journal_open(&file);
    }
}
