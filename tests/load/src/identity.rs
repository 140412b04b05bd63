//! Devices to connect as: made here for the peers, enrolled at the gateway for ours.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use stockade_agent::enrol::{Invitation, enrol as enrol_one};
use stockade_agent::trust::Fingerprint;
use zeroize::Zeroizing;

use crate::settings::Settings;

/// The model every device of the load is of.
const MODEL: &str = "bench";

/// A device of the load: its id, which is its client id, and how it does TLS.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) number: usize,
    pub(crate) id: String,
    pub(crate) tls: Arc<ClientConfig>,
}

fn name(number: usize) -> String {
    format!("b{number:05}")
}

/// A CA, a certificate for a server on 127.0.0.1, and devices, all in `dir`; the bundles are laid out as the agent's.
pub(crate) fn make(settings: &Settings) -> Result<Value> {
    let dir = PathBuf::from(settings.text("dir")?);
    let count = settings.get("n", 200_usize)?;
    fs_err::create_dir_all(&dir)?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "stockade bench CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs_err::write(dir.join("ca.pem"), ca.pem())?;
    let server_key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
    server
        .subject_alt_names
        .push(SanType::IpAddress([127, 0, 0, 1].into()));
    server
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    fs_err::write(
        dir.join("server.pem"),
        server.signed_by(&server_key, &ca)?.pem(),
    )?;
    fs_err::write(dir.join("server.key"), server_key.serialize_pem())?;
    for number in 0..count {
        let id = name(number);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // The peers take the user's name from here.
        params
            .distinguished_name
            .push(DnType::CommonName, id.clone());
        let uri = format!("spiffe://bench.invalid/device/{MODEL}/{id}");
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        let certificate = params.signed_by(&key, &ca)?;
        let folder = dir.join(&id);
        fs_err::create_dir_all(&folder)?;
        let bundle = [key.serialize_pem(), certificate.pem(), ca.pem()].concat();
        fs_err::write(folder.join("device.pem"), bundle)?;
    }
    Ok(json!({ "devices": count }))
}

/// Adds devices at a running gateway and enrols them through its public face.
pub(crate) async fn enrol(settings: &Settings) -> Result<Value> {
    let dir = PathBuf::from(settings.text("dir")?);
    let (data, stockade) = (settings.text("data")?, settings.text("stockade")?);
    let count = settings.get("n", 200_usize)?;
    let est: SocketAddr = settings
        .text("est")?
        .parse()
        .context("`est=` is to be an address")?;
    let started = std::time::Instant::now();
    for number in 0..count {
        let id = name(number);
        let folder = dir.join(&id);
        fs_err::create_dir_all(&folder)?;
        let output = tokio::process::Command::new(stockade)
            .args([
                "--data", data, "--json", "device", "add", "--model", MODEL, &id,
            ])
            .output()
            .await
            .with_context(|| format!("cannot run {stockade}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`device add {id}` failed: {said}");
        let told: Value = serde_json::from_slice(&output.stdout)
            .context("`device add --json` printed no JSON")?;
        let field = |name: &str| {
            told[name]
                .as_str()
                .with_context(|| format!("`device add --json` printed no {name}"))
        };
        let invitation = Invitation {
            est,
            ca: Fingerprint::parse(field("ca_fingerprint")?).context("an odd fingerprint")?,
            id,
            code: Zeroizing::new(field("code")?.to_owned()),
        };
        enrol_one(&invitation, &folder)
            .await
            .with_context(|| format!("cannot enrol {}", invitation.id))?;
    }
    Ok(json!({ "devices": count, "seconds": started.elapsed().as_secs_f64() }))
}

/// The devices of `dir`, at most `limit`, in order.
pub(crate) fn load(dir: &Path, limit: usize) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    while devices.len() < limit {
        let number = devices.len();
        let id = name(number);
        let file = dir.join(&id).join("device.pem");
        if !file.exists() {
            break;
        }
        let tls = Arc::new(config(&file)?);
        devices.push(Device { number, id, tls });
    }
    ensure!(!devices.is_empty(), "no devices in {}", dir.display());
    Ok(devices)
}

/// TLS 1.3 only, no session kept: each connection pays for its handshake.
fn config(file: &Path) -> Result<ClientConfig> {
    let pem = Zeroizing::new(fs_err::read(file)?);
    let key = PrivateKeyDer::from_pem_slice(&pem).context("no key in the bundle")?;
    let mut chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>()?;
    let ca = chain.pop().context("no CA in the bundle")?;
    let mut roots = RootCertStore::empty();
    roots.add(ca)?;
    let mut config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
