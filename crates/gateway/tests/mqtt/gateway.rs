//! A gateway in this process, and devices with certificates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use stockade_gateway::events::{Event, EventLog};
use stockade_gateway::mqtt::{Around, Mqtt, MqttHandle, MqttSettings};
use stockade_gateway::name::{DeviceId, DeviceName, TrustDomain};
use stockade_gateway::pki::{Pki, PkiSettings, Request};
use stockade_gateway::registry::{Registry, RegistrySettings};
use stockade_gateway::tls::{Clock, TlsOptions};
use stockade_store::{Journal, JournalOptions, Sqlite};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::runtime::Runtime;

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam"
version = 1
class = "linux"
[[comms.publish]]
topic = "home/${device}/up"
max-bytes = 100000
[[comms.subscribe]]
topic = "home/#"
"#;

pub(crate) struct Gateway {
    pub(crate) registry: Arc<Registry>,
    pub(crate) pki: Arc<Pki>,
    pub(crate) address: SocketAddr,
    pub(crate) dir: TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) handle: MqttHandle,
    mqtt: Option<Mqtt>,
    journal: Arc<Journal>,
}

/// Whether the programs are there; says so if not.
pub(crate) fn programs() -> bool {
    let there = ["mosquitto_pub", "mosquitto_sub"]
        .iter()
        .all(|program| Command::new(program).arg("--help").output().is_ok());
    if !there {
        println!("skipped: mosquitto_pub or mosquitto_sub is missing");
    }
    there
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let runtime = Runtime::new().unwrap();
        let store = Arc::new(Sqlite::open(&dir.path().join("state.db")).unwrap());
        let events = Arc::new(EventLog::default());
        let registry =
            Arc::new(Registry::open(store, events, RegistrySettings::default()).unwrap());
        registry
            .install_profile(
                stockade_profile::parse(PROFILE).unwrap(),
                OffsetDateTime::now_utc(),
            )
            .unwrap();
        let domain = TrustDomain::new("stockade.local").unwrap();
        let pki = Pki::open(
            &dir.path().join("pki"),
            PkiSettings::new(domain),
            Clock::system(),
        );
        let pki = Arc::new(pki.unwrap());
        fs_err::write(dir.path().join("ca.pem"), pki.ca_pem()).unwrap();
        let journal = open_journal(&dir);
        let mqtt = runtime.block_on(listen(&registry, &journal, &pki));
        Self {
            address: mqtt.local_addr(),
            handle: mqtt.handle(),
            mqtt: Some(mqtt),
            registry,
            pki,
            dir,
            runtime,
            journal,
        }
    }

    /// Stops the listener in good order and starts another one on what it left.
    pub(crate) fn restart(&mut self) {
        let mqtt = self.mqtt.take().unwrap();
        self.runtime.block_on(mqtt.shutdown());
        let mqtt = self
            .runtime
            .block_on(listen(&self.registry, &self.journal, &self.pki));
        self.address = mqtt.local_addr();
        self.handle = mqtt.handle();
        self.mqtt = Some(mqtt);
    }

    /// Enrols a device: its key and certificate are left beside the CA's.
    pub(crate) fn device(&self, id: &str) {
        let now = OffsetDateTime::now_utc();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let csr = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let request = Request::read(csr.der()).unwrap();
        let code = self
            .registry
            .add(&DeviceName::new("cam", id).unwrap(), now)
            .unwrap();
        let source = self.address.ip();
        let proof = self
            .registry
            .check_code(id, code.reveal(), source, now)
            .unwrap();
        let issued = self
            .registry
            .enrol(
                proof,
                request.key_hash(),
                now,
                Box::new(|name| {
                    Ok(self
                        .pki
                        .issue(name, &request, time::Duration::days(1), now)?)
                }),
            )
            .unwrap();
        let pem = |label: &str, der: &[u8]| {
            use base64::Engine as _;
            let body = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        fs_err::write(
            self.file(&format!("{id}.pem")),
            pem("CERTIFICATE", &issued.der),
        )
        .unwrap();
        fs_err::write(self.file(&format!("{id}.key")), key.serialize_pem()).unwrap();
        fs_err::write(self.file(&format!("{id}.der")), &issued.der).unwrap();
        fs_err::write(self.file(&format!("{id}.key.der")), key.serialize_der()).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn id(&self, id: &str) -> DeviceId {
        assert!(self.file(&format!("{id}.pem")).exists());
        DeviceId::new(id).unwrap()
    }

    fn client(&self, program: &str, device: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args([
                "-h",
                "localhost",
                "-p",
                &self.address.port().to_string(),
                "--tls-version",
                "tlsv1.3",
            ])
            .arg("--cafile")
            .arg(self.file("ca.pem"))
            .arg("--cert")
            .arg(self.file(&format!("{device}.pem")))
            .arg("--key")
            .arg(self.file(&format!("{device}.key")))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Publishes with `mosquitto_pub`; true if it says all was well.
    pub(crate) fn publish(&self, device: &str, args: &[&str]) -> bool {
        let output = self.client("mosquitto_pub", device, args).output().unwrap();
        println!("{}", String::from_utf8_lossy(&output.stderr));
        output.status.success()
    }

    /// Starts `mosquitto_sub`, and waits until it is connected.
    pub(crate) fn subscribe(&self, device: &str, args: &[&str]) -> Child {
        let before = self.handle.counters().connected;
        let child = self.client("mosquitto_sub", device, args).spawn().unwrap();
        self.wait("the subscriber", || {
            self.handle.counters().connected > before
        });
        // Its SUBSCRIBE follows its CONNACK at once.
        std::thread::park_timeout(Duration::from_millis(200));
        child
    }

    pub(crate) fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !done() {
            let events = self.registry.events().latest(None, 20);
            assert!(Instant::now() < deadline, "waited for {what}: {events:#?}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Waits for an event whose reason holds `text`.
    pub(crate) fn event(&self, text: &str) -> Event {
        let find = || {
            let events = self.registry.events().latest(None, 1_000);
            events.into_iter().find(|event| event.reason.contains(text))
        };
        self.wait(text, || find().is_some());
        find().unwrap()
    }
}

fn open_journal(dir: &TempDir) -> Arc<Journal> {
    Arc::new(Journal::open(&dir.path().join("journal"), JournalOptions::default()).unwrap())
}

async fn listen(registry: &Arc<Registry>, journal: &Arc<Journal>, pki: &Pki) -> Mqtt {
    let around = Around {
        registry: Arc::clone(registry),
        events: Arc::clone(registry.events()),
        bus: Arc::<Journal>::clone(journal),
        clock: Clock::system(),
    };
    let tls = pki.mqtt_tls(TlsOptions::default()).unwrap();
    let settings = MqttSettings::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    Mqtt::start(settings, around, tls).await.unwrap()
}
