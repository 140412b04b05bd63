//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_probe::fuzzing;

targets! {
    server_certificate: 1, 8000;
    probe_stream: 1, 9000;
    probe_datagram: 1, 6500;
    upnp_description: 1, 2500;
}
