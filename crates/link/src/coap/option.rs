//! Options (RFC 7252, section 5.10): their numbers, what a number says of itself, and how values are coded.

/// If-Match (RFC 7252, section 5.10.8.1).
pub const IF_MATCH: u16 = 1;
/// Uri-Host (RFC 7252, section 5.10.1).
pub const URI_HOST: u16 = 3;
/// `ETag` (RFC 7252, section 5.10.6).
pub const ETAG: u16 = 4;
/// If-None-Match (RFC 7252, section 5.10.8.2).
pub const IF_NONE_MATCH: u16 = 5;
/// Observe (RFC 7641, section 2).
pub const OBSERVE: u16 = 6;
/// Uri-Port (RFC 7252, section 5.10.1).
pub const URI_PORT: u16 = 7;
/// Location-Path (RFC 7252, section 5.10.7).
pub const LOCATION_PATH: u16 = 8;
/// OSCORE (RFC 8613, section 2).
pub const OSCORE: u16 = 9;
/// Uri-Path (RFC 7252, section 5.10.1).
pub const URI_PATH: u16 = 11;
/// Content-Format (RFC 7252, section 5.10.3).
pub const CONTENT_FORMAT: u16 = 12;
/// Max-Age, in seconds (RFC 7252, section 5.10.5).
pub const MAX_AGE: u16 = 14;
/// Uri-Query (RFC 7252, section 5.10.1).
pub const URI_QUERY: u16 = 15;
/// Hop-Limit (RFC 8768).
pub const HOP_LIMIT: u16 = 16;
/// Accept (RFC 7252, section 5.10.4).
pub const ACCEPT: u16 = 17;
/// Location-Query (RFC 7252, section 5.10.7).
pub const LOCATION_QUERY: u16 = 20;
/// EDHOC: message 3 is before the OSCORE payload (RFC 9668, section 3.1).
pub const EDHOC: u16 = 21;
/// Block2: a block of a response (RFC 7959, section 2.1).
pub const BLOCK2: u16 = 23;
/// Block1: a block of a request (RFC 7959, section 2.1).
pub const BLOCK1: u16 = 27;
/// Size2: how long the response is (RFC 7959, section 4).
pub const SIZE2: u16 = 28;
/// Proxy-Uri (RFC 7252, section 5.10.2).
pub const PROXY_URI: u16 = 35;
/// Proxy-Scheme (RFC 7252, section 5.10.2).
pub const PROXY_SCHEME: u16 = 39;
/// Size1: how long the request is (RFC 7252, section 5.10.9).
pub const SIZE1: u16 = 60;
/// Echo (RFC 9175, section 2.2).
pub const ECHO: u16 = 252;
/// No-Response (RFC 7967).
pub const NO_RESPONSE: u16 = 258;
/// Request-Tag (RFC 9175, section 3.2).
pub const REQUEST_TAG: u16 = 292;

/// What Observe says in a request (RFC 7641, section 2).
pub mod observe {
    /// To be told of changes.
    pub const REGISTER: u32 = 0;
    /// To be told no more.
    pub const DEREGISTER: u32 = 1;
}

/// Content formats (RFC 7252, section 12.3, and the registry it made).
pub mod format {
    /// `text/plain;charset=utf-8`
    pub const TEXT: u16 = 0;
    /// `application/link-format` (RFC 6690)
    pub const LINK: u16 = 40;
    /// `application/octet-stream`
    pub const OCTETS: u16 = 42;
    /// `application/json`
    pub const JSON: u16 = 50;
    /// `application/cbor` (RFC 8949)
    pub const CBOR: u16 = 60;
    /// `application/edhoc+cbor-seq` (RFC 9528, section 10.11)
    pub const EDHOC: u16 = 64;
    /// `application/cid-edhoc+cbor-seq` (RFC 9528, section 10.11)
    pub const CID_EDHOC: u16 = 65;
}

/// Whether who does not know the option must refuse the message (RFC 7252, section 5.4.6).
pub const fn critical(number: u16) -> bool {
    number & 1 != 0
}

/// Whether an option's value has a length its definition allows; an option nobody here knows may have any.
/// What has not is treated like an option that is not known (RFC 7252, section 5.4.3).
pub const fn length_allowed(number: u16, length: usize) -> bool {
    let (least, most) = match number {
        IF_MATCH | REQUEST_TAG => (0, 8),
        URI_HOST | PROXY_SCHEME => (1, 255),
        ETAG => (1, 8),
        IF_NONE_MATCH | EDHOC => (0, 0),
        OBSERVE | BLOCK1 | BLOCK2 => (0, 3),
        URI_PORT | CONTENT_FORMAT | ACCEPT => (0, 2),
        LOCATION_PATH | URI_PATH | URI_QUERY | LOCATION_QUERY | OSCORE => (0, 255),
        MAX_AGE | SIZE1 | SIZE2 => (0, 4),
        HOP_LIMIT => (1, 1),
        PROXY_URI => (1, 1034),
        ECHO => (1, 40),
        NO_RESPONSE => (0, 1),
        _ => (0, usize::MAX),
    };
    least <= length && length <= most
}

/// Whether the option may be there more than once; of the ones nobody here knows, each may.
pub const fn repeatable(number: u16) -> bool {
    !matches!(
        number,
        URI_HOST
            | IF_NONE_MATCH
            | OBSERVE
            | URI_PORT
            | OSCORE
            | CONTENT_FORMAT
            | MAX_AGE
            | HOP_LIMIT
            | ACCEPT
            | EDHOC
            | BLOCK2
            | BLOCK1
            | SIZE2
            | PROXY_URI
            | PROXY_SCHEME
            | SIZE1
            | ECHO
            | NO_RESPONSE
    )
}

/// The number in an option of format uint (RFC 7252, section 3.2): zeros may lead, more than four bytes are none.
pub fn uint(value: &[u8]) -> Option<u32> {
    (value.len() <= 4).then(|| {
        value
            .iter()
            .fold(0, |number, byte| (number << 8) | u32::from(*byte))
    })
}

/// Where the fewest bytes of a uint begin in its four.
pub(super) const fn uint_start(value: u32) -> usize {
    match value {
        0 => 4,
        1..=0xff => 3,
        0x100..=0xffff => 2,
        0x1_0000..=0xff_ffff => 1,
        _ => 0,
    }
}
