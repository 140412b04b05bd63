//! A document of JSON taken apart at its top, so that one bad record does not take the others with it.

/// A member of an object, or an element of an array (whose key is empty).
pub(crate) struct Part<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The parts of the object or array that `bytes` is. What is not well-formed inside a part is left to whoever reads the part; where
/// the parts themselves cannot be told apart the rest is given as one last part with no value.
pub(crate) fn parts(bytes: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let bytes = bytes.trim_ascii();
    let object = bytes.first() == Some(&b'{');
    let mut rest = match bytes.split_first() {
        Some((b'{' | b'[', rest)) => Some(rest),
        _ => None,
    };
    std::iter::from_fn(move || {
        let mut text = rest?.trim_ascii_start();
        if let Some(more) = text.strip_prefix(b",") {
            text = more.trim_ascii_start();
        }
        if matches!(text.first(), Some(b'}' | b']')) {
            rest = None;
            return None;
        }
        let mut key = b"".as_slice();
        if object {
            let length = value(text).filter(|_| text.first() == Some(&b'"'));
            let behind = length.and_then(|it| text.get(it..)).unwrap_or_default();
            let Some(more) = behind.trim_ascii_start().strip_prefix(b":") else {
                rest = None;
                return Some(Part { key, value: b"" });
            };
            let inside = length.and_then(|it| text.get(1..it.saturating_sub(1)));
            key = inside.unwrap_or_default();
            text = more.trim_ascii_start();
        }
        let (value, more) = value(text).map_or((b"".as_slice(), None), |length| {
            let (value, more) = text.split_at(length);
            (value, Some(more))
        });
        rest = more;
        Some(Part { key, value })
    })
}

/// How many bytes the value at the front takes; none if it does not end.
fn value(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string(bytes, at)?,
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' | b',' if depth == 0 => return (at > 0).then_some(at),
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
            }
            _ => (),
        }
        at = at.saturating_add(1);
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            return Some(at);
        }
    }
    None
}

/// Where the string that begins here ends.
fn string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start.saturating_add(1);
    loop {
        let rest = bytes.get(at..)?;
        let found = rest.iter().position(|it| matches!(it, b'"' | b'\\'))?;
        at = at.saturating_add(found);
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        at = at.saturating_add(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(String, String)> {
        let text_of = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
        parts(text.as_bytes())
            .map(|it| (text_of(it.key), text_of(it.value)))
            .collect()
    }

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(split(text), expected, "{text}");
    }

    #[test]
    fn parts_of_objects_and_arrays_are_told_apart() {
        check(
            r#" { "a" : 1 , "b\"}" : {"x":"}]\\"} ,"c":[1,{}] } "#,
            &[("a", "1 "), (r#"b\"}"#, r#"{"x":"}]\\"}"#), ("c", "[1,{}]")],
        );
        check(
            r#"[{"a":1}, "x" ,[]]"#,
            &[("", r#"{"a":1}"#), ("", r#""x""#), ("", "[]")],
        );
        check("[]", &[]);
        check("7", &[]);
        // What breaks off is told by an empty part.
        check(r#"[{"a":1},{"b":"#, &[("", r#"{"a":1}"#), ("", "")]);
        check(r#"{"a"#, &[("", "")]);
    }
}
