//! The fuzz targets of enrolment and admission hold on their committed corpus.

use std::path::Path;

use proptest::prelude::*;

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

/// Every file of a target's corpus.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let entries = fs_err::read_dir(&folder).expect("the corpus is committed");
    entries
        .map(|entry| fs_err::read(entry.expect("an entry").path()).expect("a readable file"))
        .collect()
}

/// A seed with some of its bytes changed, and cut somewhere.
fn mutated(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (
        prop::sample::select(seeds(target)),
        changes,
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut bytes, changes, end, cut)| {
            if !bytes.is_empty() {
                for (place, value) in changes {
                    let place = place.index(bytes.len());
                    bytes[place] = value;
                }
                if cut {
                    bytes.truncate(end.index(bytes.len()));
                }
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_client_hello_is_read_or_refused(bytes in mutated("client_hello")) {
        stockade_gateway::fuzzing::client_hello(&bytes);
    }

    #[test]
    fn a_changed_request_is_read_or_refused(bytes in mutated("est_body")) {
        stockade_gateway::fuzzing::est_body(&bytes);
    }
}
