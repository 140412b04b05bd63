//! Services known by what they do: what they say first, then small questions, whichever port they are on.

pub mod binary;
pub mod datagram;
pub(crate) mod inside;
mod kind;
pub mod spoken;
pub mod ssh;
pub(crate) mod udp;

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use stockade_wire::tls::{Version, client_hello};

use crate::http::{self, Head};
use crate::line::{Line, Stream};
use crate::text::{first_line, told};
use inside::Timed;
use ssh::Ssh;

pub use kind::Kind;

/// How long one who speaks first has to begin, and how long any has for the second and later questions.
const GREETING: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(2);
/// The most that is read of an answer whose end is not known.
const MOST: usize = 16 * 1024;
/// Ports on which whatever comes is printed: they are not asked anything.
pub(crate) const PRINTERS: std::ops::RangeInclusive<u16> = 9100..=9107;

/// A service, as far as it showed itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What it is.
    pub kind: Kind,
    /// What it says of itself.
    pub says: String,
    /// Whether it lets anybody in; none where that was not asked.
    pub open: Option<bool>,
    /// What a web server says.
    pub http: Option<Http>,
    /// What an SSH server offers.
    pub ssh: Option<Ssh>,
}

impl Service {
    pub(crate) fn of(kind: Kind, says: impl Into<String>) -> Self {
        Self {
            kind,
            says: says.into(),
            open: None,
            http: None,
            ssh: None,
        }
    }
}

/// What a web server says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Http {
    /// The status of its first page.
    pub status: u16,
    /// Its name and version.
    pub server: Option<String>,
    /// The title of its first page.
    pub title: Option<String>,
    /// How it wants people to log in: `Basic realm="x"`.
    pub login: Option<String>,
    /// Where its first page sends people.
    pub elsewhere: Option<String>,
}

impl Http {
    fn of(head: &Head, bytes: &[u8]) -> Self {
        let field = |name| head.field(name).map(|text| told(text.as_bytes()));
        Self {
            status: head.status,
            server: field("server"),
            title: http::title(&head.content(bytes)),
            login: field("www-authenticate"),
            elsewhere: field("location"),
        }
    }

    /// Whether it does nothing but send people to TLS.
    pub(crate) fn only_sends_to_tls(&self) -> bool {
        let to = self.elsewhere.as_deref().unwrap_or_default();
        (300..400).contains(&self.status) && to.starts_with("https://")
    }
}

/// A question that opens a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Http,
    Tls,
    Mqtt,
    Rtsp,
    Modbus,
    Adb,
    Rdp,
    Dns,
}

const ALL: [Ask; 8] = [
    Ask::Http,
    Ask::Tls,
    Ask::Mqtt,
    Ask::Rtsp,
    Ask::Modbus,
    Ask::Adb,
    Ask::Rdp,
    Ask::Dns,
];

/// What is most often on a port: only the order of the questions depends on it.
fn likely(port: u16) -> Option<Ask> {
    Some(match port {
        80 | 81 | 88 | 8000 | 8008 | 8080..=8090 | 8888 | 7547 | 49000 => Ask::Http,
        443 | 4443 | 5061 | 8443 | 8883 | 8884 | 9443 | 990 | 992 | 993 | 322 => Ask::Tls,
        1883 | 1884 => Ask::Mqtt,
        554 | 8554 => Ask::Rtsp,
        502 => Ask::Modbus,
        5555 => Ask::Adb,
        3389 => Ask::Rdp,
        53 => Ask::Dns,
        _ => return None,
    })
}

/// Whether TLS is what most often is on a port.
pub(crate) fn is_usually_tls(port: u16) -> bool {
    likely(port) == Some(Ask::Tls)
}

/// How a conversation went on.
pub(crate) struct Got {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Enough,
    Closed,
    Silent,
}

/// Reads until there is enough, the other side closes, its time is over, or it has said more than anybody needs.
pub(crate) fn listen(stream: &mut impl Timed, most: usize, enough: impl Fn(&[u8]) -> bool) -> Got {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 4096];
    let end = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break End::Closed,
            Ok(count) => {
                bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
                if bytes.len() >= most || enough(&bytes) {
                    break End::Enough;
                }
            }
            Err(why) if why.kind() == ErrorKind::TimedOut => break End::Silent,
            Err(_) => break End::Closed,
        }
    };
    bytes.truncate(most);
    Got { bytes, end }
}

/// Says something and hears what comes of it. That the other side has closed already is no error: it may have said why before.
pub(crate) fn say(
    stream: &mut impl Timed,
    bytes: &[u8],
    time: Duration,
    most: usize,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<Got> {
    stream.within(time);
    match stream.write_all(bytes) {
        Err(why) if why.kind() == ErrorKind::TimedOut => return Err(why),
        Ok(()) | Err(_) => (),
    }
    Ok(listen(stream, most, enough))
}

/// A request of HTTP's form.
pub(crate) fn request(
    method: &str,
    path: &str,
    to: SocketAddr,
    fields: &str,
    body: &str,
) -> String {
    // Without the interface of a link-local address (RFC 6874 §4).
    let to = SocketAddr::new(to.ip(), to.port());
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: stockade-audit\r\nConnection: close\r\n{fields}{length}\r\n{body}"
    )
}

/// An answer of HTTP over a connection of its own: the head, and the whole of it. It must come within the line's time.
pub(crate) fn exchange(line: &Line, to: SocketAddr, asked: &str) -> Result<(Head, Vec<u8>)> {
    exchange_on(&mut line.connect(to)?, line.timeout(), asked)
}

/// The same over a connection that is there.
pub(crate) fn exchange_on(
    stream: &mut impl Timed,
    time: Duration,
    asked: &str,
) -> Result<(Head, Vec<u8>)> {
    let most = http::MOST_HEAD.saturating_add(http::MOST_BODY);
    let got = say(stream, asked.as_bytes(), time, most, whole)?;
    match http::head(&got.bytes, "HTTP/") {
        Some(head) => Ok((head, got.bytes)),
        None => Err(Error::new(ErrorKind::InvalidData, "no answer of HTTP")),
    }
}

/// Finds out what listens on a port that is known to be open.
pub(crate) fn identify(line: &Line, to: SocketAddr) -> Result<Service> {
    if PRINTERS.contains(&to.port()) {
        return Ok(Service::of(Kind::Printer, "not asked: it would be printed"));
    }
    let hint = likely(to.port());
    let mut unknown = None;
    if let Some(first) = hint.filter(|it| *it != Ask::Http) {
        let mut stream = line.connect(to)?;
        if let Some(found) = ask(line, &mut stream, first, to, &mut unknown)? {
            return Ok(found);
        }
    }
    // Who speaks first is heard first, unless it is most likely one who does not.
    let mut stream = line.connect(to)?;
    if hint != Some(Ask::Http) {
        stream.within(GREETING);
        let got = listen(&mut stream, MOST, |bytes| {
            spoken::recognise(bytes).is_some()
        });
        if let Some(found) = spoken::recognise(&got.bytes) {
            return known(line, stream, &got.bytes, found);
        }
        if !got.bytes.is_empty() {
            let says = told(first_line(&got.bytes));
            unknown = Some(Service::of(Kind::Unknown, format!("says \"{says}\"")));
        } else if got.end == End::Closed {
            unknown = Some(Service::of(Kind::Unknown, "closes without a word"));
        }
    }
    if let Some(found) = ask(line, &mut stream, Ask::Http, to, &mut unknown)? {
        return Ok(found);
    }
    drop(stream);
    for question in ALL {
        if question == Ask::Http || Some(question) == hint {
            continue;
        }
        if line.is_over() {
            return Err(Error::new(
                ErrorKind::TimedOut,
                "the time for this host is over",
            ));
        }
        let mut stream = line.connect(to)?;
        if let Some(found) = ask(line, &mut stream, question, to, &mut unknown)? {
            return Ok(found);
        }
    }
    Ok(unknown.unwrap_or_else(|| Service::of(Kind::Unknown, "answers none of the questions")))
}

/// One question on a fresh connection; what is answered and not understood is kept as what is known of it.
fn ask<'a>(
    line: &'a Line,
    stream: &mut Stream<'a>,
    question: Ask,
    to: SocketAddr,
    unknown: &mut Option<Service>,
) -> Result<Option<Service>> {
    let asked = match question {
        Ask::Http => request("GET", "/", to, "Accept: */*\r\n", "").into_bytes(),
        Ask::Tls => client_hello(Version::Tls12, [0x5a; 32]),
        Ask::Mqtt => binary::mqtt_connect(false),
        Ask::Rtsp => b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n".to_vec(),
        Ask::Modbus => binary::MODBUS.to_vec(),
        Ask::Adb => binary::adb_connect(),
        Ask::Rdp => binary::RDP.to_vec(),
        Ask::Dns => datagram::dns_over_tcp(),
    };
    let time = line.timeout().min(PATIENCE);
    let enough =
        |bytes: &[u8]| understand(bytes).is_some_and(|it| it.kind != Kind::Http || whole(bytes));
    let got = say(stream, &asked, time, MOST, enough)?;
    let Some(mut found) = understand(&got.bytes) else {
        if !got.bytes.is_empty() {
            let says = told(first_line(&got.bytes));
            *unknown = Some(Service::of(Kind::Unknown, format!("says \"{says}\"")));
        } else if unknown.is_none() && got.end == End::Closed {
            *unknown = Some(Service::of(Kind::Unknown, "closes when it is asked"));
        }
        return Ok(None);
    };
    match found.kind {
        Kind::Mqtt => mqtt(time, stream, &got.bytes, &mut found, || line.connect(to))?,
        Kind::Rtsp => rtsp(line, stream, &mut found, to)?,
        _ => (),
    }
    Ok(Some(found))
}

fn whole(bytes: &[u8]) -> bool {
    http::head(bytes, "HTTP/").is_some_and(|it| it.is_whole(bytes))
}

/// What an answer to any of the questions is.
pub fn understand(bytes: &[u8]) -> Option<Service> {
    if let Some(head) = http::head(bytes, "HTTP/") {
        let http = Http::of(&head, bytes);
        // A web server that hears plain text on its port for TLS says so (nginx, Apache, Go).
        let body = head.content(bytes);
        let lower = body.to_ascii_lowercase();
        let says_tls = head.status == 400
            && [
                &b"https port"[..],
                b"to an https",
                b"ssl-enabled server port",
            ]
            .iter()
            .any(|it| lower.windows(it.len()).any(|its| its == *it));
        let kind = if says_tls { Kind::Tls } else { Kind::Http };
        let says = [
            http.server.as_deref(),
            http.title.as_deref(),
            http.login.as_deref(),
        ];
        let says: Vec<&str> = says.into_iter().flatten().collect();
        let mut service = Service::of(
            kind,
            format!("{} {}", head.status, says.join(", ")).trim_end(),
        );
        service.http = Some(http);
        return Some(service);
    }
    if let Some(head) = http::head(bytes, "RTSP/") {
        let server = head.field("server").unwrap_or_default();
        let says = format!("{} {server}", head.status);
        return Some(Service::of(Kind::Rtsp, says.trim_end()));
    }
    // RFC 8446 §5.1: an alert or a handshake, of any version.
    if let [0x15 | 0x16, 3, 0..=4, _, _, _, ..] = bytes {
        return Some(Service::of(Kind::Tls, ""));
    }
    if let Some(code) = binary::mqtt_connack(bytes) {
        return Some(Service::of(Kind::Mqtt, format!("CONNACK {code}")));
    }
    if let Some(says) = binary::modbus(bytes) {
        let mut found = Service::of(Kind::Modbus, says);
        // Modbus has no log-in (Modbus Messaging on TCP/IP 1.0b): who reaches it may write.
        found.open = Some(true);
        return Some(found);
    }
    if let Some((open, says)) = binary::adb(bytes) {
        let mut found = Service::of(Kind::Adb, says);
        found.open = Some(open);
        return Some(found);
    }
    if datagram::dns_from_tcp(bytes).is_some() {
        return Some(Service::of(Kind::Dns, ""));
    }
    if binary::is_rdp(bytes) {
        return Some(Service::of(Kind::Rdp, ""));
    }
    spoken::recognise(bytes)
}

/// Goes on with one who spoke first.
fn known(
    line: &Line,
    mut stream: Stream<'_>,
    greeting: &[u8],
    mut found: Service,
) -> Result<Service> {
    let time = line.timeout().min(PATIENCE);
    match found.kind {
        Kind::Ssh => {
            let offers = |bytes: &[u8]| ssh::packets(bytes).and_then(ssh::offers);
            let got = say(&mut stream, ssh::HELLO, time, MOST, |bytes| {
                let all = [greeting, bytes].concat();
                offers(&all).is_some()
            })?;
            let all = [greeting, &got.bytes].concat();
            let Some(mut offered) = offers(&all) else {
                return Ok(found);
            };
            if let Some(asked) = ssh::ask_key(&offered) {
                let got = say(&mut stream, &asked, time, MOST, |bytes| {
                    ssh::host_key(bytes).is_some()
                })?;
                offered.key = ssh::host_key(&got.bytes);
            }
            found.ssh = Some(offered);
        }
        Kind::Vnc => {
            // RFC 6143 §7.1.1: the same version back; then the security types.
            let version = first_line(greeting).to_vec();
            let got = say(
                &mut stream,
                &[&version, &b"\n"[..]].concat(),
                time,
                256,
                |bytes| spoken::vnc_types(bytes).is_some(),
            )?;
            found.open = spoken::vnc_types(&got.bytes).map(|types| types.contains(&1));
        }
        Kind::Shell => found.open = Some(true),
        Kind::Telnet => {
            // The words come behind the negotiation.
            stream.within(GREETING);
            let more = listen(&mut stream, MOST, |_| false);
            let all = [greeting, &more.bytes].concat();
            (found.says, found.open) = spoken::telnet(&all);
        }
        _ => (),
    }
    Ok(found)
}

/// MQTT: whether anybody is let in, by the version that the broker speaks.
fn mqtt<S: Timed>(
    time: Duration,
    stream: &mut S,
    answer: &[u8],
    found: &mut Service,
    connect: impl FnOnce() -> Result<S>,
) -> Result<()> {
    let mut code = binary::mqtt_connack(answer);
    let mut spoken = "3.1.1";
    // 1 and 0x84: another version of the protocol (MQTT 3.1.1 §3.2.2.3, MQTT 5.0 §3.2.2.2).
    if matches!(code, Some(1 | 0x84)) {
        let mut again = connect()?;
        let asked = binary::mqtt_connect(true);
        let got = say(&mut again, &asked, time, MOST, |bytes| {
            binary::mqtt_connack(bytes).is_some()
        })?;
        code = binary::mqtt_connack(&got.bytes);
        spoken = "5";
        if code == Some(0) {
            drop(again.write_all(&binary::MQTT_DISCONNECT));
        }
    } else if code == Some(0) {
        // It is no loss if it does not arrive.
        drop(stream.write_all(&binary::MQTT_DISCONNECT));
    }
    found.open = code.map(|it| it == 0);
    found.says = match code {
        Some(0) => format!("MQTT {spoken}, lets in a client without a name or password"),
        Some(code) => format!("MQTT {spoken}, refuses a client without a password ({code})"),
        None => format!("MQTT, no answer to version {spoken}"),
    };
    Ok(())
}

/// RTSP: whether anybody is told what there is to see (RFC 2326 §10.2).
fn rtsp(line: &Line, stream: &mut Stream<'_>, found: &mut Service, to: SocketAddr) -> Result<()> {
    let time = line.timeout().min(PATIENCE);
    let asked =
        format!("DESCRIBE rtsp://{to}/ RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\n\r\n");
    let got = say(stream, asked.as_bytes(), time, MOST, |bytes| {
        http::head(bytes, "RTSP/").is_some()
    })?;
    if let Some(head) = http::head(&got.bytes, "RTSP/") {
        found.open = match head.status {
            200 => Some(true),
            401 | 403 => Some(false),
            _ => None,
        };
        if let Some(login) = head.field("www-authenticate") {
            let login = told(login.as_bytes());
            found.says = format!("{}, {login}", found.says);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_what_a_service_is_whatever_was_asked() {
        let kind = |bytes: &[u8]| understand(bytes).map(|it| it.kind);
        assert_eq!(kind(b"HTTP/1.1 200 OK\r\n\r\n"), Some(Kind::Http));
        assert_eq!(kind(b"RTSP/1.0 400 Bad\r\n\r\n"), Some(Kind::Rtsp));
        assert_eq!(kind(&[0x15, 3, 1, 0, 2, 2, 70]), Some(Kind::Tls));
        assert_eq!(kind(&[0x20, 2, 0, 5]), Some(Kind::Mqtt));
        assert_eq!(kind(b"500 what?\r\n"), None);
        let plain =
            b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port";
        assert_eq!(kind(plain), Some(Kind::Tls));
    }

    #[test]
    fn a_page_that_only_leads_to_tls_is_told_apart() {
        let to = |location: &str| {
            let text = format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\n\r\n");
            understand(text.as_bytes())
                .and_then(|it| it.http)
                .expect("a page")
                .only_sends_to_tls()
        };
        assert!(to("https://cam/"));
        assert!(!to("http://cam/login"));
    }
}
