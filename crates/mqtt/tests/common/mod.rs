//! Building packets byte by byte.

/// A length-prefixed string or binary field.
pub(crate) fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = u16::try_from(bytes.len())
        .expect("a field fits")
        .to_be_bytes()
        .to_vec();
    out.extend_from_slice(bytes);
    out
}

/// A whole packet of less than 16,384 bytes.
pub(crate) fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![first];
    if body.len() < 128 {
        out.push(u8::try_from(body.len()).expect("below 128"));
    } else {
        out.push(u8::try_from(body.len() & 0x7F | 0x80).expect("a byte"));
        out.push(u8::try_from(body.len() >> 7).expect("below 16384"));
    }
    out.extend(body);
    out
}

/// Bytes from their hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    let digit = |digit: &u8| {
        char::from(*digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
            .expect("a digit")
    };
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
        .collect()
}
