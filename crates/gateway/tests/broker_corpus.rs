//! The fuzz target of the broker's core holds on its committed corpus, and on changes of it.

use std::path::Path;

use proptest::prelude::*;
use stockade_gateway::fuzzing::broker;

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/broker");
    let entries = fs_err::read_dir(&folder).expect("the corpus is committed");
    entries
        .map(|entry| fs_err::read(entry.expect("an entry").path()).expect("a readable file"))
        .collect()
}

#[test]
fn corpus_of_broker_replays() {
    let seeds = seeds();
    assert!(seeds.len() >= 10, "only {} files", seeds.len());
    for seed in seeds {
        broker(&seed);
    }
}

proptest! {
    #[test]
    fn mixed_and_damaged_seeds_do_no_harm(
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..200usize, 0..200usize), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let seeds = seeds();
        let mut data = Vec::new();
        for (which, from, len) in picks {
            let seed = which.get(&seeds);
            let from = from.min(seed.len());
            data.extend_from_slice(&seed[from..seed.len().min(from + len)]);
            data.extend_from_slice(seed);
        }
        for (at, value) in flips {
            let at = at.index(data.len());
            data[at] = value;
        }
        broker(&data);
    }
}
