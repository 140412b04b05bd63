//! Every message that a fuzzer ever found worth keeping still holds.

use std::path::Path;

use stockade_controls::firewall::names::fuzzing::names_message;

#[test]
fn the_corpus_of_names_message_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/names_message");
    let mut count = 0;
    for file in fs_err::read_dir(folder).unwrap() {
        let bytes = fs_err::read(file.unwrap().path()).unwrap();
        // Whole, cut anywhere, and with each octet changed.
        for length in 0..=bytes.len() {
            names_message(&bytes[..length]);
        }
        for place in 0..bytes.len().min(512) {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[place] ^= change;
                names_message(&bytes);
            }
        }
        count += 1;
    }
    assert!(count > 0, "the corpus is there");
}
