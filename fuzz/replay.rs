//! What fuzzing found worth keeping, replayed by the tests `corpus.rs` of the crates, which include this file.

use std::path::Path;

#[path = "random.rs"]
mod random;

/// A test for each target of the crate's `fuzzing`: its corpus has so many files at least, and it holds on each and on so many damaged copies of
/// all together.
macro_rules! targets {
    ($($target:ident: $least:literal, $damaged:literal;)+) => {$(
        mod $target {
            #[test]
            fn holds_on_its_corpus() {
                crate::replay::replay(stringify!($target), $least, $damaged, crate::fuzzing::$target);
            }
        }
    )+};
}

pub(crate) fn replay(target: &str, least: usize, damaged: usize, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let entries = fs_err::read_dir(&folder).expect("the corpus is committed");
    let mut files: Vec<_> = entries.map(|it| it.expect("an entry").path()).collect();
    files.sort();
    let count = files.len();
    assert!(count >= least, "only {count} files in {}", folder.display());
    let mut random = random::Random(1);
    for file in files {
        let input = fs_err::read(file).expect("a readable file");
        body(&input);
        for _ in 0..damaged / count {
            body(&random.mutated(&input));
        }
    }
}
