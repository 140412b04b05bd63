//! Answers in the form of HTTP/1.1 (RFC 9112), which RTSP and SSDP share.

use crate::text::{first_line, told};

/// The most fields that are kept of a head, and its most bytes.
const MOST_FIELDS: usize = 64;
pub(crate) const MOST_HEAD: usize = 16 * 1024;
/// The most bytes of a body that are asked for.
pub(crate) const MOST_BODY: usize = 256 * 1024;

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    /// The status code.
    pub status: u16,
    /// Its fields, with names in lower case.
    pub fields: Vec<(String, String)>,
    /// Where what follows it begins.
    pub body: usize,
}

impl Head {
    /// The first field of this name, in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(its, _)| its == name)
            .map(|(_, value)| value.as_str())
    }

    /// How long the body is said to be.
    fn length(&self) -> Option<usize> {
        self.field("content-length")?.parse().ok()
    }

    fn is_chunked(&self) -> bool {
        let coding = self.field("transfer-encoding");
        coding.is_some_and(|it| it.eq_ignore_ascii_case("chunked"))
    }

    /// Whether these bytes, which begin with this head, are the whole answer.
    pub(crate) fn is_whole(&self, bytes: &[u8]) -> bool {
        let got = bytes.get(self.body..).unwrap_or_default();
        if self.is_chunked() {
            return got.ends_with(b"\r\n0\r\n\r\n") || got.starts_with(b"0\r\n");
        }
        self.length().is_some_and(|length| got.len() >= length)
    }

    /// The body in these bytes, which begin with this head, as far as it is there.
    pub(crate) fn content(&self, bytes: &[u8]) -> Vec<u8> {
        let got = bytes.get(self.body..).unwrap_or_default();
        if self.is_chunked() {
            return chunks(got);
        }
        let length = self.length().unwrap_or(got.len()).min(got.len());
        got.get(..length).unwrap_or_default().to_vec()
    }
}

/// Reads the head of an answer of a protocol, `HTTP/` or `RTSP/`; none while it is not all there, or is no such answer.
pub(crate) fn head(bytes: &[u8], protocol: &str) -> Option<Head> {
    if !bytes.starts_with(protocol.as_bytes()) {
        return None;
    }
    let searched = bytes.get(..bytes.len().min(MOST_HEAD))?;
    // RFC 9112 §2.2: a lone line feed ends a line, too.
    let ends = [&b"\r\n\r\n"[..], b"\n\n"];
    let body = ends.iter().filter_map(|end| {
        let at = searched.windows(end.len()).position(|it| it == *end)?;
        at.checked_add(end.len())
    });
    let body = body.min()?;
    let mut lines = bytes.get(..body)?.split(|byte| *byte == b'\n');
    let status = lines.next()?.split(|byte| *byte == b' ').nth(1)?;
    let status = std::str::from_utf8(status.trim_ascii())
        .ok()?
        .parse()
        .ok()?;
    let fields = lines.filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(at)?;
        let value = value.get(1..)?.trim_ascii();
        let value: String = value
            .iter()
            .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
            .map(|byte| char::from(*byte))
            .collect();
        Some((told(name).to_ascii_lowercase(), value))
    });
    Some(Head {
        status,
        fields: fields.take(MOST_FIELDS).collect(),
        body,
    })
}

/// RFC 9112 §7.1: the content of chunks, as far as they are there.
fn chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let line = first_line(rest);
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size.trim_ascii()).ok();
        let size = size.and_then(|it| usize::from_str_radix(it, 16).ok());
        let Some(size) = size.filter(|it| *it > 0) else {
            return all;
        };
        let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
            return all;
        };
        let data = rest.get(at.saturating_add(1)..).unwrap_or_default();
        let taken = data.len().min(size);
        all.extend_from_slice(data.get(..taken).unwrap_or_default());
        rest = data.get(taken..).unwrap_or_default().trim_ascii_start();
        if rest.is_empty() {
            return all;
        }
    }
}

/// The title of a page.
pub(crate) fn title(page: &[u8]) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let find = |what: &[u8], from: usize| {
        let at = lower
            .get(from..)?
            .windows(what.len())
            .position(|it| it == what)?;
        at.checked_add(from)
    };
    let start = find(b">", find(b"<title", 0)?)?.checked_add(1)?;
    let end = find(b"</title", start)?;
    let title = told(page.get(start..end)?);
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_all_there_and_never_before() {
        let text = b"HTTP/1.1 401 Unauthorized\r\nServer: lighttpd/1.4.69\r\nWWW-Authenticate:Basic realm=\"x\"\r\n\r\nbody";
        for cut in 0..text.len() - 4 {
            assert_eq!(head(&text[..cut], "HTTP/"), None, "{cut}");
        }
        let read = head(text, "HTTP/").expect("a head");
        assert_eq!(read.status, 401);
        assert_eq!(read.field("server"), Some("lighttpd/1.4.69"));
        assert_eq!(read.field("www-authenticate"), Some("Basic realm=\"x\""));
        assert_eq!(read.content(text), b"body");
        assert_eq!(head(b"SSH-2.0-x\r\n\r\n", "HTTP/"), None);
    }

    #[test]
    fn chunks_of_any_length_give_no_more_than_what_came() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n5;x=1\r\npedia\r\n0\r\n\r\n";
        let read = head(text, "HTTP/").expect("a head");
        assert!(read.is_whole(text));
        assert_eq!(read.content(text), b"Wikipedia");
        assert_eq!(chunks(b"ffffffffffffffff\r\nab"), b"ab");
        assert_eq!(chunks(b"zz\r\nab"), b"");
    }

    #[test]
    fn a_title_is_found_and_cleaned() {
        assert_eq!(
            title(b"<HTML><Title lang=en>Cam\n 2</TITLE>").as_deref(),
            Some("Cam. 2")
        );
        assert_eq!(title(b"<title>never ends"), None);
    }
}
