//! A gateway with an EST listener, and a listener that admits devices and says what it decided.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration as StdDuration, Instant};

use stockade_gateway::est::{Est, EstSettings};
use stockade_gateway::events::{Event, EventLog};
use stockade_gateway::name::{DeviceId, DeviceName, TrustDomain};
use stockade_gateway::pki::{Pki, PkiSettings};
use stockade_gateway::registry::{Registry, RegistrySettings};
use stockade_gateway::tls::{self, Clock, Gate, GateSettings, Refusals, TlsOptions};
use stockade_store::Sqlite;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 1
class = "linux"
[comms]
certificate-life = "2d"
[[comms.publish]]
topic = "cam-2/${device}/motion"
max-bytes = 512
[protocols]
tls = ["1.3"]
"#;

pub(crate) struct Gateway {
    pub(crate) registry: Arc<Registry>,
    pub(crate) pki: Arc<Pki>,
    pub(crate) est: SocketAddr,
    pub(crate) mqtt: SocketAddr,
    pub(crate) dir: TempDir,
    ahead: Arc<AtomicI64>,
    _runtime: Runtime,
}

/// Whether the programs are there; says so if not.
pub(crate) fn programs() -> bool {
    let there = ["openssl", "curl", "base64"]
        .iter()
        .all(|program| Command::new(program).arg("--help").output().is_ok());
    if !there {
        println!("skipped: openssl, curl or base64 is missing");
    }
    there
}

impl Gateway {
    pub(crate) fn start(settings: RegistrySettings, options: TlsOptions) -> Self {
        let runtime = Runtime::new().unwrap();
        let dir = TempDir::new().unwrap();
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = {
            let ahead = Arc::clone(&ahead);
            Clock::new(move || {
                OffsetDateTime::now_utc() + Duration::seconds(ahead.load(Ordering::SeqCst))
            })
        };
        let store = Arc::new(Sqlite::open(&dir.path().join("state.db")).unwrap());
        let events = Arc::new(EventLog::default());
        let registry = Arc::new(Registry::open(store, events, settings).unwrap());
        registry
            .install_profile(stockade_profile::parse(PROFILE).unwrap(), clock.now())
            .unwrap();
        let domain = TrustDomain::new("stockade.local").unwrap();
        let pki = Pki::open(
            &dir.path().join("pki"),
            PkiSettings::new(domain),
            clock.clone(),
        )
        .unwrap();
        let pki = Arc::new(pki);
        let refusals = Arc::new(Refusals::default());
        let est_settings = EstSettings {
            tls: options,
            ..EstSettings::default()
        };
        let est = Est::new(
            Arc::clone(&pki),
            Arc::clone(&registry),
            Arc::clone(&refusals),
            est_settings,
        )
        .unwrap();
        let (est_listener, mqtt_listener) = runtime.block_on(async {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            (
                TcpListener::bind(any).await.unwrap(),
                TcpListener::bind(any).await.unwrap(),
            )
        });
        let (est_address, mqtt) = (
            est_listener.local_addr().unwrap(),
            mqtt_listener.local_addr().unwrap(),
        );
        runtime.spawn(Arc::new(est).serve(est_listener, std::future::pending()));
        let tls = pki.mqtt_tls(options).unwrap();
        let door = Door {
            registry: Arc::clone(&registry),
            refusals,
            tls,
            clock,
        };
        runtime.spawn(door.serve(mqtt_listener));
        Self {
            registry,
            pki,
            est: est_address,
            mqtt,
            dir,
            ahead,
            _runtime: runtime,
        }
    }

    /// Lets time pass, as this gateway's clock has it.
    pub(crate) fn jump(&self, by: Duration) {
        self.ahead.fetch_add(by.whole_seconds(), Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.pki.clock().now()
    }

    /// Adds a device and gives its code.
    pub(crate) fn add(&self, id: &str) -> String {
        let name = DeviceName::new("cam-2", id).unwrap();
        self.registry
            .add(&name, self.now())
            .unwrap()
            .reveal()
            .to_owned()
    }

    pub(crate) fn state(&self, id: &str) -> String {
        let record = self
            .registry
            .get(&DeviceId::new(id).unwrap(), self.now())
            .unwrap();
        record.state.as_str().to_owned()
    }

    /// Waits for an event whose reason holds `text`.
    pub(crate) fn event(&self, text: &str) -> Event {
        let deadline = Instant::now() + StdDuration::from_secs(10);
        loop {
            let events = self.registry.events().latest(None, 1_000);
            if let Some(event) = events.iter().find(|event| event.reason.contains(text)) {
                return event.clone();
            }
            assert!(
                Instant::now() < deadline,
                "no event with {text:?} among {events:#?}"
            );
            std::thread::park_timeout(StdDuration::from_millis(10));
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.file(name)).unwrap()
    }

    /// Runs a shell script in the gateway's directory, with `$EST` and `$MQTT` set.
    pub(crate) fn run(&self, script: &str) -> Output {
        Command::new("sh")
            .args(["-euc", script])
            .current_dir(self.dir.path())
            .env(
                "EST",
                format!("https://localhost:{}/.well-known/est", self.est.port()),
            )
            .env("MQTT", format!("localhost:{}", self.mqtt.port()))
            .output()
            .unwrap()
    }

    /// Runs a script that has to succeed, and gives what it printed.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.run(script);
        let errors = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}\n{text}\n{errors}");
        text
    }

    /// Fetches the CA, makes a key and a request for `who`, and enrols it with `code`.
    pub(crate) fn enrol(&self, who: &str, code: &str) {
        self.ca();
        self.key(who);
        self.sh(&format!(
            "{}\n[ $(cat status) = 200 ]\n{}",
            enrol_script(who, code),
            unpack_script(who)
        ));
    }

    pub(crate) fn ca(&self) {
        fs_err::write(self.file("ca.pem"), self.pki.ca_pem()).unwrap();
    }

    pub(crate) fn key(&self, who: &str) {
        self.sh(&format!(
            "openssl ecparam -name prime256v1 -genkey -noout -out {who}.key
             openssl req -new -key {who}.key -subj '/CN=not believed' -outform DER | base64 > {who}.b64"
        ));
    }

    /// What the door says to a device that shows `who`'s certificate.
    pub(crate) fn knock(&self, who: &str) -> String {
        let output = self.run(&format!(
            "timeout 10 openssl s_client -connect $MQTT -CAfile ca.pem -verify_return_error -quiet \
             -cert {who}.pem -key {who}.key < /dev/null 2>&1 || true"
        ));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Leaves the status in `status` and the body in `body`.
pub(crate) fn enrol_script(who: &str, code: &str) -> String {
    format!(
        "curl -sS --cacert ca.pem --user porch:{code} -H 'Content-Type: application/pkcs10' \
         --data-binary @{who}.b64 -o body -w '%{{http_code}}' $EST/simpleenroll > status"
    )
}

pub(crate) fn unpack_script(who: &str) -> String {
    format!("base64 -d body | openssl pkcs7 -inform DER -print_certs | openssl x509 -out {who}.pem")
}

struct Door {
    registry: Arc<Registry>,
    refusals: Arc<Refusals>,
    tls: tls::TlsSettings,
    clock: Clock,
}

impl Door {
    async fn serve(self, listener: TcpListener) {
        let this = Arc::new(self);
        let gate = Gate::new(GateSettings::default());
        loop {
            let (tcp, peer) = listener.accept().await.unwrap();
            let permit = gate.enter(peer.ip()).unwrap();
            let this = Arc::clone(&this);
            tokio::spawn(async move {
                match tls::handshake(tcp, permit, &this.tls).await {
                    Ok((mut stream, identity)) => {
                        let now = this.clock.now();
                        let said =
                            match this
                                .registry
                                .admit(&identity.name, &identity.fingerprint, now)
                            {
                                Ok(admission) => {
                                    this.registry.seen(&identity.name.id, now, peer);
                                    format!(
                                        "admitted {} quarantined={}\n",
                                        admission.name, admission.quarantined
                                    )
                                }
                                Err(refusal) => format!("refused: {refusal}\n"),
                            };
                        let _gone = stream.write_all(said.as_bytes()).await;
                        let _gone = stream.shutdown().await;
                    }
                    Err(refused) => {
                        let at = this.registry.at_address(peer.ip());
                        let happening =
                            refused.happening(Some(peer), at.as_ref().map(DeviceId::as_str));
                        this.refusals.record(
                            this.registry.events(),
                            this.clock.now(),
                            &refused.why,
                            happening,
                        );
                    }
                }
            });
        }
    }
}

/// The path of a file beside the gateway's, for tests that look at permissions.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::metadata(path).unwrap().permissions().mode() & 0o777
}
