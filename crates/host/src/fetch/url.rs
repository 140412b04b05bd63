//! The parts of an https address, and references relative to one (RFC 3986 §5).

use std::net::IpAddr;

use stockade_profile::HttpsUrl;

/// The port of https (RFC 9110 §4.2.2).
const PORT: u16 = 443;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The authority as it was written: the `Host` of the request.
    pub(super) authority: String,
    /// The host: a name, or an address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path, at least `/`.
    pub(super) path: String,
}

impl Target {
    /// Of an address, which is sound by its type.
    pub(super) fn of(url: &HttpsUrl) -> Self {
        let (authority, path) = split(url.as_str());
        let (host, port) = match authority.strip_prefix('[') {
            Some(inside) => inside.split_once(']').unwrap_or((inside, "")),
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = port
            .strip_prefix(':')
            .and_then(|digits| digits.parse().ok());
        Self {
            authority: authority.to_owned(),
            host: host.to_owned(),
            port: port.unwrap_or(PORT),
            path: path.to_owned(),
        }
    }

    /// The address, if the host is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Authority and path.
fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    match rest.split_at(rest.find('/').unwrap_or(rest.len())) {
        (authority, "") => (authority, "/"),
        parts => parts,
    }
}

/// What `reference` means in a document that came from `base` (RFC 3986 §5.2.2): https, or nothing.
pub(super) fn resolve(base: &HttpsUrl, reference: &str) -> Option<HttpsUrl> {
    // A fragment is not sent (RFC 9110 §4.2.5).
    let reference = reference.split('#').next().unwrap_or_default();
    let (authority, path) = split(base.as_str());
    let text = if has_scheme(reference) {
        reference.to_owned()
    } else if reference.starts_with("//") {
        format!("https:{reference}")
    } else if reference.starts_with('/') {
        format!("https://{authority}{}", without_dots(reference))
    } else if reference.is_empty() {
        base.as_str().to_owned()
    } else {
        // §5.2.3: in place of all after the last slash.
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let merged = without_dots(&format!("{folder}/{reference}"));
        format!("https://{authority}{merged}")
    };
    text.parse().ok()
}

/// RFC 3986 §3.1.
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => {
                kept.push(other);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let parts = |url: &str| {
            let target = Target::of(&url.parse().unwrap());
            (target.authority, target.host, target.port, target.path)
        };
        let four = |a: &str, h: &str, p, path: &str| (a.into(), h.into(), p, path.into());
        assert_eq!(
            parts("https://x.example"),
            four("x.example", "x.example", 443, "/")
        );
        assert_eq!(
            parts("https://x.example:8443/a/b"),
            four("x.example:8443", "x.example", 8443, "/a/b")
        );
        assert_eq!(
            parts("https://[2001:db8::1]:444/a"),
            four("[2001:db8::1]:444", "2001:db8::1", 444, "/a")
        );
        assert_eq!(
            parts("https://192.0.2.1/"),
            four("192.0.2.1", "192.0.2.1", 443, "/")
        );
    }

    #[test]
    fn references_mean_what_rfc_3986_says() {
        let base = "https://a.example:444/b/c/d".parse().unwrap();
        for (reference, means) in [
            ("g", "https://a.example:444/b/c/g"),
            ("./g", "https://a.example:444/b/c/g"),
            ("g/", "https://a.example:444/b/c/g/"),
            ("/g", "https://a.example:444/g"),
            ("//g.example", "https://g.example"),
            ("..", "https://a.example:444/b/"),
            ("../g", "https://a.example:444/b/g"),
            ("../../../../g", "https://a.example:444/g"),
            (".", "https://a.example:444/b/c/"),
            ("", "https://a.example:444/b/c/d"),
            ("g#s", "https://a.example:444/b/c/g"),
            ("https://g.example/h", "https://g.example/h"),
            ("/a/./b/../c", "https://a.example:444/a/c"),
        ] {
            let resolved = resolve(&base, reference).unwrap();
            assert_eq!(resolved.as_str(), means, "{reference}");
        }
        let bare = "https://a.example".parse().unwrap();
        assert_eq!(resolve(&bare, "g").unwrap().as_str(), "https://a.example/g");
    }

    #[test]
    fn whatever_is_not_https_is_nothing() {
        let base = "https://a.example/b".parse().unwrap();
        for bad in [
            "http://a.example/b",
            "HTTP://a.example",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "ftp:x",
            "//user@a.example/",
            "https://",
            "g h",
            "g\r\nHost: b",
            "g?q",
        ] {
            assert_eq!(resolve(&base, bad), None, "{bad}");
        }
    }
}
