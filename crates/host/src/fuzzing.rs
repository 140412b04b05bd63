//! The bodies of the fuzz targets; the committed corpus runs through them in the tests too.

use crate::netlink::message::{Attributes, Messages};
use crate::netlink::{flows, packets};

/// Takes the data as a datagram of connections.
pub fn nfnetlink_flow(data: &[u8]) {
    for message in Messages(data) {
        let Ok(message) = message else { return };
        if let Ok(flow) = flows::read(&message) {
            assert_eq!(
                flow.original.source.is_ipv4(),
                flow.original.destination.is_ipv4(),
                "a flow is of one family"
            );
        }
        if let Ok((_, attributes)) = message.generic() {
            walk(&attributes);
        }
    }
}

/// Takes the data as a datagram of logged packets.
pub fn nflog_packet(data: &[u8]) {
    for message in Messages(data) {
        let Ok(message) = message else { return };
        if let Ok(logged) = packets::read(&message) {
            assert!(
                logged.payload.len() <= data.len(),
                "no more came out than went in"
            );
            assert!(
                !logged.prefix.contains('\0'),
                "a prefix ends before its zero"
            );
        }
    }
}

/// The attributes cover no more than there is, in order.
fn walk(attributes: &Attributes<'_>) {
    let most = attributes.0.len();
    let read: usize = attributes
        .clone()
        .map_while(Result::ok)
        .map(|(_, value)| value.len() + 4)
        .sum();
    assert!(read <= most, "attributes do not overlap");
}
