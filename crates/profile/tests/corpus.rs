//! Every input that a fuzzer ever found worth keeping still holds.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::path::Path;

use stockade_profile::fuzzing;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for file in fs_err::read_dir(folder).unwrap() {
        body(&fs_err::read(file.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "the corpus is there");
}

#[test]
fn the_corpus_of_profile_parse_holds() {
    replay("profile_parse", fuzzing::profile_parse);
}

#[test]
fn the_corpus_of_profile_cose_holds() {
    replay("profile_cose", fuzzing::profile_cose);
}

#[test]
fn the_corpus_of_mud_signature_holds() {
    replay("mud_signature", fuzzing::mud_signature);
}

#[test]
fn the_corpus_of_mud_read_holds() {
    replay("mud_read", fuzzing::mud_read);
}
