//! The bodies of the fuzz targets, as functions: the committed corpus replays on every change.

pub use crate::broker::fuzz::broker;
pub use crate::guard::fuzz::{guard_frame, guard_request};
pub use crate::link::ble::fuzz::ble;
pub use crate::link::fuzz::link_gateway;
use crate::tls::hello::{self, Hello};

/// Whatever comes first on a TLS connection: read without a panic, and the same however it is cut.
pub fn client_hello(data: &[u8]) {
    let whole = hello::message(data);
    if let Ok(Some(message)) = &whole {
        assert!(
            message.len() <= hello::MAX_HELLO.saturating_add(4),
            "longer than the limit"
        );
        if let Ok(hello) = Hello::parse(message) {
            let _ = (hello.highest(), hello.server_name(), hello.groups().count());
            assert!(
                hello.alpn().into_iter().flatten().count() <= message.len(),
                "more names than bytes"
            );
            assert!(
                !hello
                    .versions()
                    .any(|version| version.to_be_bytes().first() != Some(&3)),
                "a reserved version"
            );
        }
        // More bytes behind a whole message change nothing.
        let longer = [data, &[0xff; 3]].concat();
        assert_eq!(
            hello::message(&longer),
            whole,
            "bytes behind the message were read"
        );
    }
    if matches!(whole, Ok(None)) {
        // What waits for more must not have been decided by less.
        let half = data.split_at(data.len() / 2).0;
        assert_eq!(hello::message(half), Ok(None), "a verdict was taken back");
    }
}

/// The body of an enrolment request: refused, or a key whose possession was proven.
pub fn est_body(data: &[u8]) {
    if let Ok(der) = crate::est::decode_body(data) {
        // Twice the same, and never a panic.
        let first = crate::pki::Request::read(&der).map(|request| request.key_hash());
        let second = crate::pki::Request::read(&der).map(|request| request.key_hash());
        assert_eq!(first, second, "reading a request depends on something else");
    }
}
