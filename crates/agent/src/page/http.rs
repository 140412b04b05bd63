//! Requests and answers: whose page is asked, forms that only a check opens, headers that every answer has.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use askama::Template;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use stockade_api::helper::Tried;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::session::{COOKIE, Session};

/// The longest form, in bytes: two passwords of 200 characters, each byte as three.
const LONGEST_FORM: usize = 4 * 1024;
/// The most fields of a form.
const MOST_FIELDS: usize = 8;
/// How long a form may take to come.
const FORM: Duration = Duration::from_secs(10);

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer with this text.
pub(super) fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// A page.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Answer {
    match page.render() {
        Ok(body) => text(status, "text/html; charset=utf-8", body),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            "the page cannot be drawn",
        ),
    }
}

/// Go there now (RFC 9110 §15.4.4), with what the browser is to remember.
pub(super) fn go(place: &'static str, cookie: Option<String>) -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "text/plain", "");
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static(place));
    if let Some(cookie) = cookie.and_then(|it| HeaderValue::try_from(it).ok()) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    answer
}

/// Adds the headers that every answer has; `no-store` too, unless it says otherwise.
pub(super) fn secured(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    for (name, value) in stockade_web::HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    answer
}

/// Whether the request is for this device: its `Host` is the address that the connection came to, or a name of ours. A page of
/// somebody else, whose name was made to point here (DNS rebinding), says its own.
pub(super) fn for_us(headers: &HeaderMap, here: SocketAddr, names: &[String]) -> bool {
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    // RFC 9110 §7.2: uri-host, and the port unless it is the scheme's own.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
        _ => (host, Some(443)),
    };
    let Some(_port): Option<u16> = port else {
        return false;
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(name).parse::<IpAddr>() {
        return address.to_canonical() == here.ip().to_canonical();
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    names.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

/// The value of our cookie.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Why a form is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadForm {
    /// It is no form, too long, too slow, or has fields that do not belong there.
    Malformed,
    /// It does not come from a page of this session.
    Forged,
}

/// The fields of a form; wiped when it is dropped, as passwords are among them.
pub(super) struct Form(BTreeMap<String, Zeroizing<String>>);

impl Form {
    /// The form of somebody who has no session yet: to log in.
    pub(super) async fn of_stranger(request: Request<Incoming>) -> Result<Self, BadForm> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(BadForm::Malformed);
        }
        let body = Limited::new(request.into_body(), LONGEST_FORM).collect();
        let body = timeout(FORM, body).await.map_err(|_| BadForm::Malformed)?;
        let body = body.map_err(|_| BadForm::Malformed)?.to_bytes();
        Self::parse(&body)
    }

    /// The form of a session, if it carries its secret.
    pub(super) async fn of(request: Request<Incoming>, session: &Session) -> Result<Self, BadForm> {
        let mut form = Self::of_stranger(request).await?;
        let sent = form.take("csrf").map_err(|_| BadForm::Forged)?;
        let _genuine = session.check(&sent).ok_or(BadForm::Forged)?;
        Ok(form)
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, BadForm> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            let value = Zeroizing::new(value.into_owned());
            if fields.len() >= MOST_FIELDS || fields.insert(name.into_owned(), value).is_some() {
                return Err(BadForm::Malformed);
            }
        }
        Ok(Self(fields))
    }

    /// A field, which must be there.
    pub(super) fn take(&mut self, name: &str) -> Result<Zeroizing<String>, BadForm> {
        self.0.remove(name).ok_or(BadForm::Malformed)
    }

    /// A password, which must be there.
    pub(super) fn password(&mut self, name: &str) -> Result<stockade_api::Secret, BadForm> {
        let mut text = self.take(name)?;
        Ok(std::mem::take(&mut *text).into())
    }

    /// A password that opens something, with the place where it is tried.
    pub(super) fn tried(&mut self, name: &str, peer: IpAddr) -> Result<Tried, BadForm> {
        Ok(Tried {
            secret: self.password(name)?,
            from: Some(peer),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_ours_or_the_request_is_refused() {
        let names = ["porch".to_owned(), "porch.local".to_owned()];
        let here = "192.0.2.7:443".parse().unwrap();
        let ours = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            for_us(&headers, here, &names)
        };
        for host in ["192.0.2.7", "192.0.2.7:4443", "porch", "PORCH.local.:443"] {
            assert!(ours(host), "{host}");
        }
        for host in [
            "",
            "192.0.2.8",
            "evil.example",
            "porch.evil.example",
            "porch:x",
            "porch:99999",
            "192.0.2.7.evil.example",
            "[::1]",
            "user@porch",
        ] {
            assert!(!ours(host), "{host}");
        }
        assert!(
            !for_us(&HeaderMap::new(), here, &names),
            "no Host is no Host of ours"
        );
        let mapped = "[::ffff:192.0.2.7]:443".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("192.0.2.7"));
        assert!(for_us(&headers, mapped, &names));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!for_us(&headers, mapped, &names), "two of them");
    }

    #[test]
    fn a_form_with_a_field_twice_or_too_many_is_refused() {
        let parsed = |text: &str| Form::parse(text.as_bytes()).map(|form| form.0.len());
        assert_eq!(parsed("a=1&b=%C3%A9+x"), Ok(2));
        assert_eq!(parsed("a=1&a=2"), Err(BadForm::Malformed));
        let many = "a=&b=&c=&d=&e=&f=&g=&h=&i=";
        assert_eq!(parsed(many), Err(BadForm::Malformed));
    }
}
