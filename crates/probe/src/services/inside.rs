//! What is spoken inside TLS: web pages and MQTT, by at most two connections.

use std::io::{Read, Result, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Kind, MOST, PATIENCE, Service, binary, mqtt, request, say, understand, whole};
use crate::line::{Line, Stream};
use crate::text::{first_line, told};
use crate::tls::certificate::{Inside, connect};

/// A connection that gives the other side its time.
pub(crate) trait Timed: Read + Write {
    /// Gives the host this time for an answer.
    fn within(&mut self, time: Duration);
}

impl Timed for Stream<'_> {
    fn within(&mut self, time: Duration) {
        Stream::within(self, time);
    }
}

impl Timed for Inside<'_> {
    fn within(&mut self, time: Duration) {
        self.sock.within(time);
    }
}

/// Whether brokers are on this port, and next to nothing else.
pub(crate) fn is_usually_mqtt(port: u16) -> bool {
    matches!(port, 8883 | 8884)
}

/// Asks what is inside the TLS of a port.
pub(crate) fn inside(line: &Line, to: SocketAddr) -> Result<Service> {
    let time = line.timeout().min(PATIENCE);
    let enough =
        |bytes: &[u8]| understand(bytes).is_some_and(|it| it.kind != Kind::Http || whole(bytes));
    let mut unknown = Service::of(Kind::Unknown, "answers none of the questions");
    let broker = is_usually_mqtt(to.port());
    for ask_mqtt in [broker, !broker] {
        let mut stream = connect(line, to)?;
        let asked = if ask_mqtt {
            binary::mqtt_connect(false)
        } else {
            request("GET", "/", to, "Accept: */*\r\n", "").into_bytes()
        };
        let got = say(&mut stream, &asked, time, MOST, enough)?;
        match understand(&got.bytes) {
            Some(mut found) => {
                if found.kind == Kind::Mqtt {
                    mqtt(time, &mut stream, &got.bytes, &mut found, || {
                        connect(line, to)
                    })?;
                }
                return Ok(found);
            }
            None if !got.bytes.is_empty() => {
                unknown.says = format!("says \"{}\"", told(first_line(&got.bytes)));
            }
            None => (),
        }
    }
    Ok(unknown)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::line::Options;

    /// What is found inside the TLS of a server that answers so, and how many connections that took.
    fn found(answers: &'static [&'static [u8]]) -> (Service, u64) {
        let made =
            rcgen::generate_simple_self_signed(vec!["cam".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key);
        let config = Arc::new(config.expect("a server"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let to = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().expect("a client");
                let inside = ServerConnection::new(Arc::clone(&config)).expect("a server");
                let mut stream = StreamOwned::new(inside, stream);
                let _asked = stream.read(&mut [0; 4096]);
                let _gone = stream.write_all(answer);
                stream.conn.send_close_notify();
                let _gone = stream.flush();
            }
        });
        let line = Line::new(Options::default());
        let service = inside(&line, to).expect("an answer");
        server.join().expect("the server");
        (service, line.spent().connections)
    }

    #[test]
    fn what_is_inside_tls_is_known_by_two_connections_at_most() {
        let page: &[u8] = b"HTTP/1.1 401 No\r\nServer: cam\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";
        let (web, spent) = found(Box::leak(Box::new([page])));
        assert_eq!((web.kind, spent), (Kind::Http, 1));
        let login = web.http.and_then(|it| it.login);
        assert_eq!(login.as_deref(), Some("Basic realm=\"x\""));
        let (broker, spent) = found(&[b"", &[0x20, 2, 0, 0]]);
        assert_eq!(
            (broker.kind, broker.open, spent),
            (Kind::Mqtt, Some(true), 2)
        );
        let (closed, spent) = found(&[b"", &[0x20, 2, 0, 5]]);
        assert_eq!(
            (closed.kind, closed.open, spent),
            (Kind::Mqtt, Some(false), 2)
        );
        let (other, spent) = found(&[b"", b"what?"]);
        assert_eq!(
            (other.kind, other.says.as_str(), spent),
            (Kind::Unknown, "says \"what?\"", 2)
        );
    }
}
