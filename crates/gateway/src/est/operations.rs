//! What is asked, and what is answered. No socket here: a request's head and body, and who sent it.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use time::Duration;
use zeroize::Zeroizing;

use super::{Est, body, cms};
use crate::attest::{Attester, Roots};
use crate::link::grants::Grants;
use crate::name::{DeviceId, DeviceName};
use crate::pki::Request;
use crate::registry::{ChangeError, CodeRefused, EnrolError, Issued, Renewal};
use crate::tls::{PeerIdentity, Refused, Why};

const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";
/// The operation for the certificate of a device's page.
const PAGE: &str = "page/simpleenroll";
const REALM: &str = "Basic realm=\"stockade enrolment\", charset=\"UTF-8\"";
/// One sentence for every code that gets nobody in: which one it was stays in the gateway's log.
const NOT_ACCEPTED: &str = "the device id or its enrolment code was not accepted";

/// A request and who sent it.
pub(super) struct Asked {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    pub(super) peer: SocketAddr,
    pub(super) identity: Option<PeerIdentity>,
}

type Answer = Response<Full<Bytes>>;
/// An answer that ends the operation early.
type Ended = Box<Answer>;

/// Carries out one operation (RFC 7030 §3.2.2).
pub(super) fn answer(est: &Est, asked: &Asked) -> Answer {
    if let ("/.well-known/stockade/signer", Some(pem)) = (asked.head.uri.path(), &est.signer) {
        return if asked.head.method == Method::GET {
            plain(StatusCode::OK, pem.trim_end())
        } else {
            plain(StatusCode::METHOD_NOT_ALLOWED, "another method is needed")
        };
    }
    if let ("/.well-known/stockade/attest", Some((attester, roots))) =
        (asked.head.uri.path(), &est.attester)
    {
        return attest(est, attester, roots, asked).unwrap_or_else(|ended| *ended);
    }
    if let ("/.well-known/stockade/grants", Some(grants)) = (asked.head.uri.path(), &est.grants) {
        return granted(est, grants, asked).unwrap_or_else(|ended| *ended);
    }
    let Some(operation) = asked.head.uri.path().strip_prefix("/.well-known/est/") else {
        return plain(
            StatusCode::NOT_FOUND,
            "enrolment is under /.well-known/est/",
        );
    };
    let expected = match operation {
        "cacerts" | "csrattrs" => Method::GET,
        "simpleenroll" | "simplereenroll" | PAGE => Method::POST,
        // RFC 7030 §3.2.2: these may be left out, and so may labels for other CAs.
        _ => {
            return plain(
                StatusCode::NOT_FOUND,
                "there are cacerts, csrattrs, simpleenroll and simplereenroll",
            );
        }
    };
    if asked.head.method != expected {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "another method is needed");
        if let Ok(allow) = HeaderValue::from_str(expected.as_str()) {
            refused.headers_mut().insert(ALLOW, allow);
        }
        return refused;
    }
    let expired = asked
        .identity
        .as_ref()
        .is_some_and(|identity| identity.not_after < est.clock().now());
    if expired && operation != "simplereenroll" {
        return plain(
            StatusCode::FORBIDDEN,
            "an expired certificate is good for simplereenroll only",
        );
    }
    match operation {
        "cacerts" => base64_body(CERTS_ONLY, &cms::certs_only(&[est.pki.ca_der()])),
        "csrattrs" => base64_body("application/csrattrs", &cms::csr_attributes()),
        "simpleenroll" => enrol(est, asked).unwrap_or_else(|ended| *ended),
        PAGE => page(est, asked).unwrap_or_else(|ended| *ended),
        _ => reenrol(est, asked).unwrap_or_else(|ended| *ended),
    }
}

/// RFC 7030 §4.2.1, with HTTP authentication as in §3.2.3.
fn enrol(est: &Est, asked: &Asked) -> Result<Answer, Ended> {
    let now = est.clock().now();
    let Some(Basic { user, password }) = basic(&asked.head.headers) else {
        return Err(unauthorised(
            "enrol with the device id as user and its one-time code as password",
        )
        .into());
    };
    let proof = est
        .registry
        .check_code(&user, &password, asked.peer.ip(), now)
        .map_err(|refused| {
            let device = known(est, &user);
            tell(est, asked, device.as_ref(), refused.to_string());
            match refused {
                CodeRefused::TooMany { wait, own: true } => {
                    let mut later = plain(
                        StatusCode::TOO_MANY_REQUESTS,
                        "too many wrong enrolment codes: wait",
                    );
                    let seconds = wait.whole_seconds().saturating_add(1);
                    later
                        .headers_mut()
                        .insert(RETRY_AFTER, HeaderValue::from(seconds));
                    Box::new(later)
                }
                _ => unauthorised(NOT_ACCEPTED).into(),
            }
        })?;
    let request = request(asked)?;
    let id = proof.device().clone();
    let issued = est.registry.enrol(
        proof,
        request.key_hash(),
        now,
        Box::new(|name| issue(est, name, &request)),
    );
    match issued {
        Ok(issued) => {
            if let Some((attester, _)) = &est.attester
                && let Err(error) = attester.await_key(&id, now)
            {
                // The certificate stands: without a key the device is only held.
                tracing::error!(%error, device = %id, "its TPM can not be made known");
            }
            Ok(base64_body(CERTS_ONLY, &cms::certs_only(&[&issued.der])))
        }
        Err(
            EnrolError::CodeUsed
            | EnrolError::Change(ChangeError::Unknown(_) | ChangeError::Revoked { .. }),
        ) => {
            tell(est, asked, Some(&id), EnrolError::CodeUsed.to_string());
            Err(unauthorised(NOT_ACCEPTED).into())
        }
        Err(error) => Err(failed(est, asked, &id, &error).into()),
    }
}

/// RFC 7030 §4.2.2, authenticated by the certificate of §3.3.2.
fn reenrol(est: &Est, asked: &Asked) -> Result<Answer, Ended> {
    let now = est.clock().now();
    let Some(identity) = &asked.identity else {
        return Err(plain(
            StatusCode::FORBIDDEN,
            "simplereenroll needs the device's certificate in the TLS handshake",
        )
        .into());
    };
    let request = request(asked)?;
    let shown = Renewal {
        name: identity.name.clone(),
        fingerprint: identity.fingerprint,
        not_after: identity.not_after,
    };
    let issued = est.registry.reenrol(
        &shown,
        request.key_hash(),
        now,
        Box::new(|name| issue(est, name, &request)),
    );
    match issued {
        Ok(issued) => Ok(base64_body(CERTS_ONLY, &cms::certs_only(&[&issued.der]))),
        Err(
            error @ (EnrolError::Refused(_)
            | EnrolError::Return(_)
            | EnrolError::Change(ChangeError::Unknown(_))),
        ) => {
            tell(est, asked, Some(&identity.name.id), error.to_string());
            Err(plain(StatusCode::FORBIDDEN, "this certificate gets no new one").into())
        }
        Err(error) => Err(failed(est, asked, &identity.name.id, &error).into()),
    }
}

/// A certificate for the page of a device that is one of ours now (RFC 7030 §3.2.2, a label; §3.3.2, authenticated by certificate).
fn page(est: &Est, asked: &Asked) -> Result<Answer, Ended> {
    let now = est.clock().now();
    let request = request(asked)?;
    let name = admitted(est, asked, "this device gets no certificate")?;
    let life = life(est, name);
    let issued = est
        .pki
        .issue_page(name, asked.peer.ip(), &request, life, now);
    let issued = issued.map_err(|error| {
        let why = EnrolError::Issue(error.into());
        Box::new(failed(est, asked, &name.id, &why))
    })?;
    Ok(base64_body(CERTS_ONLY, &cms::certs_only(&[&issued.der])))
}

/// The device that shows its certificate, if it is one of ours now.
fn admitted<'a>(est: &Est, asked: &'a Asked, refused: &str) -> Result<&'a DeviceName, Ended> {
    let refused = || Box::new(plain(StatusCode::FORBIDDEN, refused));
    let (identity, now) = (asked.identity.as_ref(), est.clock().now());
    let identity = identity.filter(|it| now <= it.not_after);
    let identity = identity.ok_or_else(refused)?;
    let name = &identity.name;
    let admitted = est.registry.admit(name, &identity.fingerprint, now);
    admitted.map_err(|refusal| {
        tell(est, asked, Some(&name.id), refusal.to_string());
        refused()
    })?;
    Ok(name)
}

/// A device makes its TPM known (`docs/attestation.md`).
fn attest(est: &Est, attester: &Attester, roots: &Roots, asked: &Asked) -> Result<Answer, Ended> {
    if asked.head.method != Method::POST {
        let text = "another method is needed";
        return Err(plain(StatusCode::METHOD_NOT_ALLOWED, text).into());
    }
    let name = admitted(est, asked, "the TPM of this device is not taken")?;
    let said = serde_json::from_slice(&asked.body);
    let said = said.map_err(|error| {
        let why = format!("this is no introduction of a TPM: {error}");
        Box::new(plain(StatusCode::BAD_REQUEST, &why))
    })?;
    let now = est.clock().now();
    let welcome = attester.introduce(&name.id, said, roots, now);
    let welcome = welcome.map_err(|error| {
        let why = stockade_host::chain(&error);
        tell(est, asked, Some(&name.id), format!("its TPM: {why}"));
        Box::new(plain(StatusCode::FORBIDDEN, &why))
    })?;
    // Text and bytes: it can always be written.
    let body = serde_json::to_vec(&welcome).unwrap_or_default();
    let mut answer = Response::new(Full::from(body));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    Ok(answer)
}

/// What a device may ask of others (`docs/grants.md`).
fn granted(est: &Est, grants: &Grants, asked: &Asked) -> Result<Answer, Ended> {
    if asked.head.method != Method::GET {
        let text = "another method is needed";
        return Err(plain(StatusCode::METHOD_NOT_ALLOWED, text).into());
    }
    let name = admitted(est, asked, "this device gets no grants")?;
    let bundle = grants.bundle(&name.id, est.clock().now());
    let bundle = bundle.map_err(|error| {
        tracing::error!(%error, device = %name, "its grants cannot be told");
        Box::new(plain(StatusCode::SERVICE_UNAVAILABLE, "try again later"))
    })?;
    let mut answer = Response::new(Full::from(bundle));
    let cbor = HeaderValue::from_static("application/cbor");
    answer.headers_mut().insert(CONTENT_TYPE, cbor);
    Ok(answer)
}

fn issue(
    est: &Est,
    name: &DeviceName,
    request: &Request,
) -> Result<Issued, Box<dyn std::error::Error + Send + Sync>> {
    let life = life(est, name);
    Ok(est.pki.issue(name, request, life, est.clock().now())?)
}

/// How long the certificates of a device live.
fn life(est: &Est, name: &DeviceName) -> Duration {
    let most = est.pki.settings().device_life;
    est.registry
        .profile(&name.model)
        .and_then(|profile| Duration::try_from(profile.comms.certificate_life).ok())
        .map_or(most, |life| life.min(most))
}

/// Reads the PKCS#10 request of a body.
fn request(asked: &Asked) -> Result<Request, Ended> {
    let headers = &asked.head.headers;
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/pkcs10") {
        return Err(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type must be application/pkcs10",
        )
        .into());
    }
    // RFC 8951 §3.1: the header says nothing that is not known already, but it must not say otherwise.
    let encoding = headers
        .get("content-transfer-encoding")
        .map(HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"base64")) {
        return Err(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content transfer encoding must be base64",
        )
        .into());
    }
    let bad = |error: &dyn std::error::Error| {
        Box::new(plain(StatusCode::BAD_REQUEST, &error.to_string()))
    };
    let der = body::decode(&asked.body).map_err(|error| bad(&error))?;
    Request::read(&der).map_err(|error| bad(&error))
}

struct Basic {
    user: String,
    password: Zeroizing<String>,
}

/// RFC 7617 §2.
fn basic(headers: &HeaderMap) -> Option<Basic> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(credentials.trim()).ok()?);
    let text = std::str::from_utf8(&decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Basic {
        user: user.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    })
}

fn known(est: &Est, user: &str) -> Option<DeviceId> {
    let id = DeviceId::new(user).ok()?;
    est.registry
        .get(&id, est.clock().now())
        .map(|record| record.name.id)
}

fn tell(est: &Est, asked: &Asked, device: Option<&DeviceId>, reason: String) {
    let why = Why::NotAdmitted(reason);
    let refused = Refused { why, claims: None };
    let happening = refused.happening(Some(asked.peer), device.map(DeviceId::as_str));
    est.refusals.record(
        est.registry.events(),
        est.clock().now(),
        &refused.why,
        happening,
    );
}

fn failed(est: &Est, asked: &Asked, device: &DeviceId, error: &EnrolError) -> Answer {
    let why = stockade_host::chain(error);
    tracing::error!(error = %why, "a certificate could not be issued");
    tell(
        est,
        asked,
        Some(device),
        format!("got no certificate: {why}"),
    );
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "the gateway cannot issue certificates now",
    )
}

/// RFC 7030 §3.2.3: a client that may be able to authenticate is told how.
fn unauthorised(text: &str) -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, text);
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static(REALM));
    answer
}

/// An answer for people.
pub(super) fn plain(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::from(format!("{text}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

/// DER as base64, in lines that every decoder takes (RFC 7030 §4.1.3, RFC 8951 §3).
fn base64_body(kind: &'static str, der: &[u8]) -> Answer {
    let mut text = String::with_capacity(der.len().saturating_mul(3) / 2);
    for line in BASE64.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    let mut answer = Response::new(Full::from(text));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        "content-transfer-encoding",
        HeaderValue::from_static("base64"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
