//! Every input that a fuzzer ever found worth keeping still holds.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::path::Path;

use stockade_wire::fuzzing;

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
fn the_corpus_of_capture_read_holds() {
    replay("capture_read", fuzzing::capture_read);
}

#[test]
fn the_corpus_of_packet_parse_holds() {
    replay("packet_parse", fuzzing::packet_parse);
}

#[test]
fn the_corpus_of_dns_message_holds() {
    replay("dns_message", fuzzing::dns_message);
}

#[test]
fn the_corpus_of_dhcp_message_holds() {
    replay("dhcp_message", fuzzing::dhcp_message);
}

#[test]
fn the_corpus_of_lldp_frame_holds() {
    replay("lldp_frame", fuzzing::lldp_frame);
}
