//! Who the device is: its certificates, whose keys another process holds, and how they are kept in date.

pub mod clock;
mod introduce;
mod keep;
pub mod remote;
pub mod renewal;

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use stockade_api::keys::Slot;
use stockade_api::{Places, Settings};
use stockade_controls::comms::{Certificate, from_pem};

use self::clock::Clock;
pub use self::keep::Around;
use self::remote::Keys;
use crate::enrol::{Server, pem_of};

/// The device's certificates and the way to their keys.
#[derive(Debug)]
pub struct Identity {
    places: Places,
    settings: Settings,
    keys: Keys,
    clock: Arc<Clock>,
}

impl Identity {
    /// The identity of the device that has these settings.
    pub fn new(places: &Places, settings: &Settings) -> Self {
        Self {
            keys: Keys::at(places.keys_socket()),
            clock: Arc::new(Clock::open(places.agent_state().join("last-seen"))),
            places: places.clone(),
            settings: settings.clone(),
        }
    }

    /// Whether there is a certificate for the key in `device`.
    pub fn is_enrolled(&self) -> anyhow::Result<bool> {
        let held = self.certificate(Slot::Device)?;
        let key = self.keys.public(Slot::Device)?;
        Ok(held.is_some_and(|held| Some(held.spki) == key))
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The gateway's server for enrolment.
    pub fn est(&self) -> Server {
        Server {
            host: self.settings.gateway.clone(),
            port: self.settings.est_port,
        }
    }

    /// TLS 1.3 to the gateway as the device that it is now.
    pub fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        self.client_as(Some(Slot::Device))
    }

    /// TLS 1.3 to the gateway with the certificate of a slot, or as nobody.
    pub fn client_as(&self, slot: Option<Slot>) -> anyhow::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for ca in chain(&self.places.ca())?.context("there is no CA: the device is not enrolled")? {
            roots.add(ca)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_details(provider, Arc::clone(&self.clock) as _)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots);
        Ok(Arc::new(match slot {
            None => builder.with_no_client_auth(),
            Some(slot) => {
                let shown = self.certified(slot)?;
                let shown = shown.context("the device has no certificate: it is not enrolled")?;
                builder.with_client_cert_resolver(Arc::new(Shown(Arc::new(shown))))
            }
        }))
    }

    /// The certificate of the page and the fronts, if the gateway has given one.
    pub fn page(&self) -> anyhow::Result<Option<CertifiedKey>> {
        self.certified(Slot::Page)
    }

    fn certified(&self, slot: Slot) -> anyhow::Result<Option<CertifiedKey>> {
        let chain = chain(&self.file(slot))?;
        Ok(chain.map(|chain| CertifiedKey::new(chain, self.keys.for_tls(slot))))
    }

    fn file(&self, slot: Slot) -> PathBuf {
        self.places.agent_state().join(format!("{slot}.pem"))
    }

    /// The first certificate of a slot; a damaged one is none, and is made anew.
    fn certificate(&self, slot: Slot) -> anyhow::Result<Option<Certificate>> {
        let chain = chain(&self.file(slot))?;
        Ok(chain.and_then(|chain| Certificate::read(chain.first()?)))
    }

    /// Keeps a chain for a slot.
    pub(crate) fn keep_chain(
        &self,
        slot: Slot,
        chain: &[CertificateDer<'static>],
    ) -> anyhow::Result<()> {
        let pem: String = chain.iter().map(pem_of).collect();
        Ok(replace(&self.file(slot), pem.as_bytes())?)
    }
}

/// Always the same certificate.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The certificates of a PEM file, if it is there.
fn chain(path: &Path) -> anyhow::Result<Option<Vec<CertificateDer<'static>>>> {
    let text = match fs_err::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let found = from_pem(&text).filter(|found| !found.is_empty());
    Ok(found.map(|found| found.into_iter().map(CertificateDer::from).collect()))
}

/// Replaces a file in one step; only its owner can read it.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let fresh = path.with_extension("new");
    // What is left of an earlier time; at installation it is root who writes into the agent's folder, and follows no link there.
    match fs_err::remove_file(&fresh) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => (),
    }
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs_err::rename(&fresh, path)?;
    fs_err::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_a_link_beside_it_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        fs_err::write(at("other"), "theirs").unwrap();
        fs_err::os::unix::fs::symlink(at("other"), at("device.new")).unwrap();
        replace(&at("device.pem"), b"ours").unwrap();
        assert_eq!(fs_err::read(at("device.pem")).unwrap(), b"ours");
        assert_eq!(fs_err::read(at("other")).unwrap(), b"theirs");
    }
}
