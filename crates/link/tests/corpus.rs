//! The fuzz targets hold on their corpus, and on damaged copies of it.

#[path = "../../../fuzz/replay.rs"]
#[macro_use]
mod replay;

use stockade_link::fuzzing;

targets! {
    link_label: 4, 10000;
    link_endpoint: 5, 300;
    link_grant: 1, 10000;
    bearer_slipmux: 3, 10000;
    bearer_fragment: 3, 10000;
    bearer_apdu: 4, 10000;
    bearer_gatt: 2, 10000;
    link_cbor: 3, 10000;
    link_credential: 4, 10000;
    oscore_option: 7, 10000;
    oscore_request: 6, 5000;
    oscore_response: 4, 5000;
    oscore_server: 2, 1000;
    coap_message: 6, 10000;
    coap_exchange: 4, 10000;
    coap_block: 3, 10000;
    edhoc_error: 6, 20000;
    edhoc_initiator: 9, 700;
    edhoc_message_1: 7, 3000;
    edhoc_message_2: 9, 1500;
    edhoc_message_3: 5, 1500;
    edhoc_message_4: 4, 10000;
    edhoc_responder: 9, 700;
}
