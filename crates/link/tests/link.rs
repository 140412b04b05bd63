//! The link's parts against the vectors of their RFCs, against each other, and against damage.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

#[path = "link/backend.rs"]
mod backend;
#[path = "link/bearer.rs"]
mod bearer;
#[path = "link/ccm.rs"]
mod ccm;
#[path = "link/coap.rs"]
mod coap;
#[path = "link/coap_block.rs"]
mod coap_block;
#[path = "link/coap_live.rs"]
mod coap_live;
#[path = "link/coap_net.rs"]
mod coap_net;
#[path = "link/edhoc.rs"]
mod edhoc;
#[path = "link/edhoc_attacks.rs"]
mod edhoc_attacks;
#[path = "link/edhoc_live.rs"]
mod edhoc_live;
#[path = "link/endpoint.rs"]
mod endpoint;
#[path = "link/grant.rs"]
mod grant;
#[path = "link/interop.rs"]
mod interop;
#[path = "link/oscore.rs"]
mod oscore;
#[path = "link/oscore_live.rs"]
mod oscore_live;
#[path = "link/python.rs"]
mod python;
#[path = "../../../fuzz/random.rs"]
mod random;
#[path = "link/recorder.rs"]
mod recorder;
