//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_wire::fuzzing;

targets! {
    capture_read: 1, 500;
    packet_parse: 1, 500;
    dns_message: 1, 500;
    dhcp_message: 1, 500;
    lldp_frame: 1, 500;
    tls_answer: 1, 4800;
    dtls_answer: 1, 1200;
}
