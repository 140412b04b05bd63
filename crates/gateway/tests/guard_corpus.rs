//! The fuzz targets of the LAN guard hold on their committed corpora, and on changes of them.

use std::path::Path;

use proptest::prelude::*;
use stockade_gateway::fuzzing::{guard_frame, guard_request};

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let entries = fs_err::read_dir(&folder).expect("the corpus is committed");
    entries
        .map(|entry| fs_err::read(entry.expect("an entry").path()).expect("a readable file"))
        .collect()
}

#[test]
fn corpus_of_guard_frame_replays() {
    let seeds = seeds("guard_frame");
    assert!(seeds.len() >= 8, "only {} files", seeds.len());
    for seed in &seeds {
        guard_frame(seed);
    }
}

#[test]
fn corpus_of_guard_request_replays() {
    let seeds = seeds("guard_request");
    assert!(seeds.len() >= 8, "only {} files", seeds.len());
    for seed in &seeds {
        guard_request(seed);
    }
}

proptest! {
    #[test]
    fn damaged_frames_and_requests_leave_a_sound_state(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        for (target, run) in [("guard_frame", guard_frame as fn(&[u8])), ("guard_request", guard_request)] {
            let seeds = seeds(target);
            let mut data: Vec<u8> = picks.iter().flat_map(|which| which.get(&seeds).clone()).collect();
            for (at, value) in &flips {
                let at = at.index(data.len());
                data[at] = *value;
            }
            run(&data);
        }
    }
}
