//! The MQTT listener alone, with devices for `stockade-load`: for profiling the broker without the rest.
//!
//! `mqtt_serve DIR DEVICES [interval]`: DIR gets the journal and the devices' bundles, laid out as the load generator
//! reads them; `interval` acknowledges what is written but not yet synced, as mosquitto does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use stockade_gateway::events::EventLog;
use stockade_gateway::mqtt::{Around, Mqtt, MqttSettings};
use stockade_gateway::name::{DeviceName, TrustDomain};
use stockade_gateway::pki::{Pki, PkiSettings, Request};
use stockade_gateway::registry::{Registry, RegistrySettings};
use stockade_gateway::tls::{Clock, TlsOptions};
use stockade_store::{Durability, Journal, JournalOptions, Sqlite};
use time::OffsetDateTime;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dir = PathBuf::from(arguments.first().context("DIR is missing")?);
    let devices: usize = arguments.get(1).context("DEVICES is missing")?.parse()?;
    let durability = match arguments.get(2) {
        Some(_) => Durability::Interval(Duration::from_secs(1)),
        None => JournalOptions::default().durability,
    };
    fs_err::create_dir_all(&dir)?;
    let store = Arc::new(Sqlite::open(&dir.join("state.db"))?);
    let registry = Arc::new(Registry::open(
        store,
        Arc::new(EventLog::default()),
        RegistrySettings::default(),
    )?);
    let profile = stockade_profile::parse(include_str!("../../../tests/profiles/bench.toml"));
    let profile = profile.ok().context("the profile has faults")?;
    registry.install_profile(profile, OffsetDateTime::now_utc())?;
    let settings = PkiSettings::new(TrustDomain::new("stockade.local")?);
    let pki = Pki::open(&dir.join("pki"), settings, Clock::system())?;
    for number in 0..devices {
        enrol(&dir, &registry, &pki, &format!("b{number:05}"))?;
    }
    let options = JournalOptions {
        durability,
        ..JournalOptions::default()
    };
    let bus = Arc::new(Journal::open(&dir.join("journal"), options)?);
    let around = Around {
        events: Arc::clone(registry.events()),
        registry,
        bus,
        clock: Clock::system(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let settings = MqttSettings::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mqtt = Mqtt::start(settings, around, pki.mqtt_tls(TlsOptions::default())?).await?;
        fs_err::write(dir.join("port"), mqtt.local_addr().port().to_string())?;
        tokio::signal::ctrl_c().await?;
        mqtt.shutdown().await;
        Ok(())
    })
}

fn enrol(dir: &Path, registry: &Registry, pki: &Pki, id: &str) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let csr = CertificateParams::default().serialize_request(&key)?;
    let request = Request::read(csr.der())?;
    let code = registry.add(&DeviceName::new("bench", id)?, now)?;
    let proof = registry.check_code(id, code.reveal(), [127, 0, 0, 1].into(), now)?;
    let issue = |name: &DeviceName| Ok(pki.issue(name, &request, time::Duration::days(1), now)?);
    let issued = registry.enrol(proof, request.key_hash(), now, Box::new(issue))?;
    let folder = dir.join(id);
    fs_err::create_dir_all(&folder)?;
    let certificate = pem(&issued.der);
    fs_err::write(
        folder.join("device.pem"),
        [key.serialize_pem(), certificate, pki.ca_pem().to_owned()].concat(),
    )?;
    Ok(())
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}
