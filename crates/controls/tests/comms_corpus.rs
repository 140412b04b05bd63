//! The fuzz target of certificates holds on its committed corpus: whole, cut anywhere, and with each octet changed.

use std::path::Path;

use stockade_controls::fuzzing::certificate_read;

#[test]
fn the_corpus_of_certificate_read_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/certificate_read");
    let mut count = 0;
    for file in fs_err::read_dir(folder).unwrap() {
        let bytes = fs_err::read(file.unwrap().path()).unwrap();
        for place in 0..bytes.len() {
            certificate_read(&bytes[..place]);
            let mut changed = bytes.clone();
            changed[place] ^= 0x81;
            certificate_read(&changed);
        }
        certificate_read(&bytes);
        count += 1;
    }
    assert!(count > 0, "the corpus is there");
}
