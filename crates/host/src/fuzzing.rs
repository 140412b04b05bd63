//! The bodies of the fuzz targets; the committed corpus runs through them in the tests too.

use crate::netlink::message::{Attributes, Messages};
use crate::netlink::{flows, packets};
use crate::view;

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

/// Takes the data as each of the texts of `/proc`.
pub fn proc_texts(data: &[u8]) {
    view::fuzz(data);
}

/// Takes the data as the journal of an applier.
pub fn apply_journal(data: &[u8]) {
    let Ok((records, good)) = crate::apply::read_journal(data) else {
        return;
    };
    assert!(good <= data.len(), "no more is good than there is");
    let head = data.get(..good).unwrap_or_default();
    let lines = head.split(|byte| *byte == b'\n').count();
    assert_eq!(lines, records + 1, "one line a record");
}

/// Takes the data as a TPM's answers.
pub fn tpm_answer(data: &[u8]) {
    crate::tpm::fuzz(data);
}

/// Takes the data as what the kernel tells of a device that comes or goes.
pub fn uevent(data: &[u8]) {
    if let Some(event) = crate::netlink::uevents::parse(data) {
        assert!(event.path.starts_with('/'), "a path of sysfs");
        assert!(!event.path.contains("/../"), "that leads nowhere else");
    }
}
