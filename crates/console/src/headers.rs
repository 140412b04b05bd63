//! The headers that every answer carries.

use axum::extract::Request;
use axum::http::header::{self, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// Adds the security headers; `Cache-Control: no-store` too, unless the answer says otherwise.
pub(crate) async fn secure(request: Request, next: Next) -> Response {
    // `localhost` is shared by every program of a developer's machine: HSTS there would break others.
    // (For addresses browsers ignore the header by themselves: RFC 6797 section 8.1.1.)
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    let shared = host == "localhost" || host.starts_with("localhost:");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in stockade_web::HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !shared {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=63072000"),
        );
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
