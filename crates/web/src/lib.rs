//! What the console and a device's page share: secrets, limits on attempts, places for connections, headers, looks.

pub mod gate;
pub mod limit;
pub mod secret;

/// The style sheet.
pub const STYLE: &[u8] = include_bytes!("../assets/style.css");
/// The icon.
pub const ICON: &[u8] = include_bytes!("../assets/icon.svg");

/// What a page of ours may do (CSP level 3): nothing, but for what is listed. Scripts and styles come
/// from this origin only, where nothing but `/assets/` is served with such a type.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers that every answer carries, apart from those that depend on the request.
pub const HEADERS: [(&str, &str); 8] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    (
        "permissions-policy",
        "camera=(), microphone=(), geolocation=(), usb=(), serial=(), payment=()",
    ),
];

/// Whether a request that changes something comes from a page of ours: first by what the browser says of the request
/// (Fetch Metadata), for older ones by the origin. Header by name, as it was sent.
pub fn from_own_page<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> bool {
    match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) => site == b"same-origin" || site == b"none",
        (None, Some(origin)) => {
            let host = header("host");
            host.is_some() && origin.strip_prefix(b"https://") == host
        }
        // Not a browser: it has no cookie that it did not put there itself.
        (None, None) => true,
    }
}
