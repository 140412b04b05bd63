//! What a stranger says, as text that can be shown.

/// The most of what a host says that is told.
pub(crate) const MOST_TOLD: usize = 120;

/// Bytes of a stranger as one line of text: what cannot be printed is a dot, and what is too long is cut.
pub(crate) fn told(bytes: &[u8]) -> String {
    let printed = |byte: &u8| {
        if byte.is_ascii_graphic() || *byte == b' ' {
            char::from(*byte)
        } else {
            '.'
        }
    };
    let end = bytes.len().min(MOST_TOLD);
    let text: String = bytes.iter().take(end).map(printed).collect();
    text.trim_matches(['.', ' ']).to_owned()
}

/// The first line of these bytes, without its end.
pub(crate) fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.split(|byte| *byte == b'\n').next();
    line.unwrap_or_default().trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_one_short_line_without_control_characters() {
        assert_eq!(told(b"220 (vsFTPd\x1b[2J 3.0)\r\n"), "220 (vsFTPd.[2J 3.0)");
        assert_eq!(told(&[b'a'; 4000]).len(), MOST_TOLD);
        assert_eq!(first_line(b"one\r\ntwo"), b"one");
        assert_eq!(first_line(b""), b"");
    }
}
