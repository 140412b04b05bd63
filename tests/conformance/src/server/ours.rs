//! The gateway, started in this process, reached over TLS 1.3 with mutual authentication.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::{collections::BTreeMap, iter};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use stockade_gateway::events::EventLog;
use stockade_gateway::mqtt::{Around, Mqtt, MqttSettings};
use stockade_gateway::name::{DeviceName, TrustDomain};
use stockade_gateway::pki::{Pki, PkiSettings, Request};
use stockade_gateway::registry::{Registry, RegistrySettings};
use stockade_gateway::tls::{Clock, TlsOptions};
use stockade_store::{Bus, Journal, JournalOptions, Sqlite, Store};
use time::{Duration, OffsetDateTime};
use tokio::runtime::Runtime;

use crate::client::Connection;

const MODEL: &str = "tester";

/// What the tests publish to: a profile names every topic.
const TOPICS: &[&str] = &[
    "t/",
    "t/a",
    "t/ab",
    "t/a/",
    "t/a/b",
    "t/a/b/c",
    "t/a/c",
    "t/a/c/d",
    "t/a/d",
    "t/a/a/b",
    "t/b",
    "t/b/c",
    "t/c",
    "t/d",
    "t/x",
    "t/\u{feff}x",
    "t//a",
    "t//b",
    "t//c",
    "t/ a",
    "t/./a",
    "t/%61",
    "t/Case",
    "t/case",
    "t/\u{e9}",
    "t/e\u{301}",
    "t/p",
    "t/r",
    "t/new",
    "t/one",
    "t/other",
    "t/will",
    "t/kept",
    "t/nobody",
];

/// A running gateway and the devices that it knows.
pub(crate) struct Ours {
    runtime: Option<Runtime>,
    address: SocketAddr,
    registry: Arc<Registry>,
    pki: Pki,
    devices: Mutex<BTreeMap<String, Arc<ClientConfig>>>,
    _mqtt: Mqtt,
    _files: tempfile::TempDir,
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ours")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The profile of all devices: `t/#` may be received, each of [`TOPICS`] be sent, at any rate.
fn profile() -> String {
    let mut text = format!(
        "schema = 1\n[device]\nmanufacturer = \"Stockade\"\nmodel = \"{MODEL}\"\nversion = 1\nclass = \"linux\"\n\
         [comms]\nkey = \"file\"\n[[comms.subscribe]]\ntopic = \"t/#\"\n"
    );
    let numbered = (1..=20).map(|number| format!("t/{number}"));
    let long = [100, 500].map(|length| format!("t/{}", "x".repeat(length - 2)));
    for topic in TOPICS
        .iter()
        .map(|topic| (*topic).to_owned())
        .chain(numbered)
        .chain(long)
    {
        write!(
            text,
            "[[comms.publish]]\ntopic = \"{topic}\"\nmax-bytes = 65536\n"
        )
        .expect("a string");
    }
    text
}

impl Ours {
    pub(crate) fn start() -> Self {
        // In memory where there is such a place: what the disk does is not what is tested here.
        let memory = Path::new("/dev/shm");
        let files = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let files = files.expect("a directory for the data");
        let path = |name: &str| files.path().join(name);
        let now = OffsetDateTime::now_utc();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path("store.sqlite")).expect("a store"));
        let bus: Arc<dyn Bus> = Arc::new(
            Journal::open(&path("journal"), JournalOptions::default()).expect("a journal"),
        );
        let events = Arc::new(EventLog::default());
        let registry = Registry::open(store, Arc::clone(&events), RegistrySettings::default());
        let registry = Arc::new(registry.expect("a registry"));
        let profile = stockade_profile::parse(&profile())
            .unwrap_or_else(|faults| panic!("the tests' profile has faults: {faults:?}"));
        registry
            .install_profile(profile, now)
            .expect("a new profile");
        let domain = TrustDomain::new("conformance.test").expect("a trust domain");
        let settings = PkiSettings::new(domain);
        let pki = Pki::open(&path("ca"), settings, Clock::system()).expect("a CA");
        let tls = pki.mqtt_tls(TlsOptions::default()).expect("TLS settings");
        let around = Around {
            registry: Arc::clone(&registry),
            events,
            bus,
            clock: Clock::system(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listen = MqttSettings::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mqtt = runtime
            .block_on(Mqtt::start(listen, around, tls))
            .expect("the gateway starts");
        Self {
            runtime: Some(runtime),
            address: mqtt.local_addr(),
            registry,
            pki,
            devices: Mutex::default(),
            _mqtt: mqtt,
            _files: files,
        }
    }

    /// A TLS connection with the certificate of `device`, which is enrolled at its first.
    pub(crate) fn open(&self, device: &str) -> Connection {
        let config = {
            let mut devices = self.devices.lock().expect("no test panics in here");
            let config = devices
                .entry(device.to_owned())
                .or_insert_with(|| self.enrol(device));
            Arc::clone(config)
        };
        let name = ServerName::try_from("localhost").expect("a host name");
        let tls = ClientConnection::new(config, name).expect("a client configuration");
        let socket = TcpStream::connect(self.address).expect("the gateway accepts");
        let below = socket.try_clone().expect("a socket can be cloned");
        Connection {
            stream: Box::new(StreamOwned::new(tls, below)),
            socket,
        }
    }

    /// What a device does over EST: a key of its own, a request, and the code for a certificate.
    fn enrol(&self, device: &str) -> Arc<ClientConfig> {
        let now = OffsetDateTime::now_utc();
        let name = DeviceName::new(MODEL, device).expect("a device's name");
        let code = self.registry.add(&name, now).expect("a new device");
        let source = IpAddr::from(Ipv4Addr::LOCALHOST);
        let proof = self
            .registry
            .check_code(device, code.reveal(), source, now)
            .expect("its code");
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let request = rcgen::CertificateParams::default()
            .serialize_request(&key)
            .expect("a request");
        let request = Request::read(request.der()).expect("a good request");
        let issue =
            |name: &DeviceName| Ok(self.pki.issue(name, &request, Duration::hours(1), now)?);
        let issued = self
            .registry
            .enrol(proof, request.key_hash(), now, Box::new(issue))
            .expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots
            .add(self.pki.ca_der().clone())
            .expect("a CA certificate");
        let chain = iter::once(CertificateDer::from(issued.der)).collect();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a private key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| {
                builder
                    .with_root_certificates(roots)
                    .with_client_auth_cert(chain, key)
            })
            .expect("a client configuration");
        Arc::new(config)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Its tasks hold the journal, which must be closed before its files are removed.
            runtime.shutdown_timeout(Duration::seconds(2).unsigned_abs());
        }
    }
}
