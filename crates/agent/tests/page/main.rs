//! The device's page over real TLS, met by curl and openssl; behind it something that speaks the helper's protocol.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that meets the unexpected should stop there, and says what it leaves out"
)]

mod browser;
mod helper;
mod looks;
mod refusals;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use rustls::version::TLS13;
use stockade_agent::certificate::Certificate;
use stockade_agent::helper::Helper;
use stockade_agent::page::Page;
use stockade_agent::standing::Standing;
use stockade_agent::{door, front};
use tempfile::TempDir;
use tokio::net::TcpListener;

use self::helper::{FIRST, Told};

/// A device whose page is served until this is dropped.
struct Device {
    folder: TempDir,
    port: u16,
    told: Arc<Told>,
    standing: Arc<Standing>,
    _end: tokio::sync::oneshot::Sender<()>,
}

/// An answer to curl.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Device {
    fn start() -> Self {
        Self::with_front(None).0
    }

    /// With a front that leads there; its port.
    fn with_front(to: Option<std::net::SocketAddr>) -> (Self, u16) {
        let folder = tempfile::tempdir().unwrap();
        let told = helper::serve(&folder.path().join("helper.sock"));
        let standing = Arc::new(Standing::default());
        let helper = Helper::at(folder.path().join("helper.sock"));
        let names = vec!["porch".to_owned()];
        let certificate = Arc::new(Certificate::open(folder.path(), &names).unwrap());
        let page_tls = door::tls(&[&TLS13], &[b"http/1.1"], Arc::clone(&certificate) as _).unwrap();
        let front_tls = door::tls(&[&TLS13], &[], certificate).unwrap();
        let (end, ended) = tokio::sync::oneshot::channel();
        let (ports, port) = sync_channel(1);
        let shared = Arc::clone(&standing);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
                let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let both = [&listener, &door].map(|it| it.local_addr().unwrap().port());
                ports.send(both).unwrap();
                let page = Arc::new(Page::new(helper, shared, names));
                if let Some(to) = to {
                    tokio::spawn(front::serve(door, front_tls, to));
                }
                tokio::select! {
                    () = page.serve(listener, page_tls) => {}
                    _ = ended => {}
                }
            });
        });
        let [port, front] = port.recv().unwrap();
        let device = Self {
            folder,
            port,
            told,
            standing,
            _end: end,
        };
        (device, front)
    }

    /// What curl is answered; cookies are kept in `jar`.
    fn curl_as(&self, jar: &str, path: &str, arguments: &[&str]) -> Answer {
        let jar = self.folder.path().join(jar);
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--include"])
            .args(["--max-time", "60", "--cookie", "none", "--cookie-jar"])
            .arg(&jar)
            .arg("--cookie")
            .arg(&jar)
            .args(arguments)
            .arg(format!("https://127.0.0.1:{}{path}", self.port))
            .stdin(Stdio::null())
            .output()
            .expect("curl is there");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        Answer {
            status: status.unwrap_or(0),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> Answer {
        self.curl_as("jar", path, arguments)
    }

    fn get(&self, path: &str) -> Answer {
        self.curl(path, &[])
    }

    /// Sends a form with the secret that the pages of this session carry.
    fn post(&self, path: &str, fields: &str) -> Answer {
        let page = self.get("/password").body;
        let csrf = csrf(&page).expect("a page with forms");
        self.curl(path, &["--data", &format!("csrf={csrf}&{fields}")])
    }

    /// Logs in, first with the password of the label, and chooses another one.
    fn owner(&self) {
        assert_eq!(self.log_in(FIRST).location(), Some("/password"));
        let fields = format!("current={FIRST}&new={CHOSEN}&again={CHOSEN}");
        assert_eq!(self.post("/password", &fields).location(), Some("/"));
    }

    fn log_in(&self, password: &str) -> Answer {
        self.curl("/login", &["--data", &format!("password={password}")])
    }
}

impl Answer {
    fn location(&self) -> Option<&str> {
        let line = self
            .head
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        line.map(str::trim)
    }
}

/// What the owner chooses.
const CHOSEN: &str = "brass-lantern-over-quiet-water";

/// The secret of the forms of a page.
fn csrf(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"")?;
    rest.split_once('"').map(|(secret, _)| secret)
}
