//! The fuzz target of EST's answers holds on its committed corpus, and on every prefix of it.

use std::path::Path;

use stockade_agent::der::{certificates, fuzzing::est_answer};

#[test]
fn the_corpus_of_est_answer_replays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/est_answer");
    let (mut files, mut taken) = (0, 0);
    for entry in fs_err::read_dir(folder).expect("the corpus is committed") {
        let file = fs_err::read(entry.expect("an entry").path()).expect("a readable file");
        for end in 0..=file.len() {
            est_answer(&file[..end]);
        }
        files += 1;
        taken += usize::from(certificates(&file).is_ok());
    }
    assert!(files >= 12, "only {files} files");
    assert!(taken >= 4, "only {taken} of them are answers of openssl");
}
