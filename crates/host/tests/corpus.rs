//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_host::fuzzing;

targets! {
    nfnetlink_flow: 20, 500;
    apply_journal: 20, 500;
    nflog_packet: 20, 500;
    proc_texts: 20, 500;
    uevent: 20, 500;
}

#[test]
fn tpm_answer_holds_on_every_prefix_of_its_corpus() {
    replay::replay("tpm_answer", 20, 0, |data| {
        for end in 0..=data.len() {
            fuzzing::tpm_answer(data.get(..end).unwrap_or_default());
        }
    });
}
