//! Talks to a running gateway: through its administration socket, `<data>/admin.sock`, or over https with a token.

mod absent;
mod https;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use self::https::Https;
use crate::args::token::Remote;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A way to ask the gateway.
pub(crate) struct Admin {
    way: Way,
    data: PathBuf,
    remote: Remote,
}

enum Way {
    Socket(PathBuf),
    Https(Https),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The gateway said no, in its own words.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
    help: Option<String>,
    /// Of a profile.
    #[serde(default)]
    faults: Vec<RefusedFor>,
}

#[derive(Debug, Deserialize)]
struct RefusedFor {
    place: Option<String>,
    message: String,
    help: Option<String>,
}

impl Refusal {
    fn told(self) -> String {
        let mut told = self.error;
        // One without a place is the error itself.
        for fault in self.faults {
            if let Some(place) = fault.place {
                told.push_str("\n  ");
                told.push_str(&place);
                told.push_str(": ");
                told.push_str(&fault.message);
                if let Some(help) = fault.help {
                    told.push_str("\n    help: ");
                    told.push_str(&help);
                }
            }
        }
        if let Some(help) = self.help {
            told.push_str("\n  help: ");
            told.push_str(&help);
        }
        told
    }
}

impl Admin {
    /// The gateway that was named, or the one that runs on this data directory.
    pub(crate) fn new(data: &Path, remote: &Remote) -> anyhow::Result<Self> {
        let way = match &remote.remote {
            Some(url) => Way::Https(Https::new(url, remote, data)?),
            None => Way::Socket(data.join("admin.sock")),
        };
        Ok(Self {
            way,
            data: data.to_owned(),
            remote: remote.clone(),
        })
    }

    /// Whether a gateway elsewhere was named.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(&self.way, Way::Https(_))
    }

    /// The same for the gateway at `url`.
    pub(crate) fn at(&self, url: &str) -> anyhow::Result<Self> {
        let remote = Remote {
            remote: Some(url.to_owned()),
            ..self.remote.clone()
        };
        Self::new(&self.data, &remote)
    }

    /// Asks for something.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, "application/json", Bytes::new())
            .await
    }

    /// Has something done.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(
            Method::POST,
            path,
            "application/json",
            Bytes::from(body.to_string()),
        )
        .await
    }

    /// Has something removed.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::DELETE, path, "application/json", Bytes::new())
            .await
    }

    /// Hands something over.
    pub(crate) async fn put(&self, path: &str, kind: &str, body: Vec<u8>) -> anyhow::Result<Value> {
        self.ask(Method::PUT, path, kind, Bytes::from(body)).await
    }

    /// A file as it is.
    pub(crate) async fn file(&self, path: &str) -> anyhow::Result<Bytes> {
        let (status, body) = self
            .send(Method::GET, path, "application/json", Bytes::new())
            .await?;
        if status.is_success() {
            return Ok(body);
        }
        answer(status, &body)?;
        bail!("the gateway answered {status}")
    }

    /// A long answer, into a file; how long it was.
    pub(crate) async fn download(&self, path: &str, to: &mut fs_err::File) -> anyhow::Result<u64> {
        let response = self
            .respond(Method::GET, path, "application/json", Bytes::new())
            .await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|e| anyhow::anyhow!("the gateway's answer broke off: {e}"))?;
            answer(status, &body.to_bytes())?;
            bail!("the gateway answered {status}");
        }
        let mut bytes = 0_u64;
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the gateway's answer broke off; its log says why")?;
            if let Ok(piece) = frame.into_data() {
                bytes = bytes.saturating_add(u64::try_from(piece.len())?);
                tokio::task::block_in_place(|| std::io::Write::write_all(to, &piece))?;
            }
        }
        Ok(bytes)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> anyhow::Result<Value> {
        let (status, body) = self.send(method, path, kind, body).await?;
        answer(status, &body)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.respond(method, path, kind, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| anyhow::anyhow!("the gateway's answer broke off: {e}"))?
            .to_bytes();
        Ok((status, body))
    }

    async fn respond(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, kind);
        request = match &self.way {
            Way::Socket(_) => request.header(header::HOST, "localhost"),
            Way::Https(https) => request
                .header(header::HOST, https.authority())
                .header(header::AUTHORIZATION, https.bearer()?.as_str()),
        };
        let request = request.body(Full::new(body))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await?)).await?;
        tokio::spawn(connection);
        sender
            .send_request(request)
            .await
            .context("the gateway went away")
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        match &self.way {
            Way::Socket(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|why| anyhow::anyhow!(absent::told(&self.data, socket, &why)))?;
                Ok(Box::new(stream))
            }
            Way::Https(https) => Ok(Box::new(https.connect().await?)),
        }
    }
}

fn answer(status: StatusCode, body: &[u8]) -> anyhow::Result<Value> {
    if status.is_success() {
        if body.is_empty() {
            return Ok(Value::Null);
        }
        return serde_json::from_slice(body).context("the gateway's answer is no JSON");
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => bail!(refusal.told()),
        Err(_) => bail!("the gateway answered {status}"),
    }
}

/// One segment of a path, so that a name cannot reach beside it (RFC 3986 §2.1).
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~')
            || (byte == b'.' && text.len() > 2)
        {
            out.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_the_path() {
        assert_eq!(segment("../x?y"), "..%2Fx%3Fy");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("porch.1"), "porch.1");
    }

    #[test]
    fn a_refusal_is_told_with_its_help() {
        let told = answer(
            StatusCode::CONFLICT,
            br#"{"error":"taken","help":"choose another"}"#,
        );
        assert_eq!(
            format!("{:#}", told.unwrap_err()),
            "taken\n  help: choose another"
        );
    }

    #[test]
    fn the_faults_of_a_profile_are_told_with_their_places() {
        let told = answer(
            StatusCode::UNPROCESSABLE_ENTITY,
            br#"{"error":"1 fault","help":"h","faults":[{"place":"3:7","message":"no","help":"yes"}]}"#,
        );
        assert_eq!(
            format!("{:#}", told.unwrap_err()),
            "1 fault\n  3:7: no\n    help: yes\n  help: h"
        );
        let told = answer(
            StatusCode::UNPROCESSABLE_ENTITY,
            br#"{"error":"older","help":"h","faults":[{"place":null,"message":"older","help":"h"}]}"#,
        );
        assert_eq!(format!("{:#}", told.unwrap_err()), "older\n  help: h");
    }
}
