//! What is read: settings, certificates, and the metadata of keys. The keys themselves are not.

use stockade_profile::KeyStore;

use super::certificate::{Certificate, from_pem};
use crate::engine::{Entry, Host, HostPath, Kind, Unseen};

/// Larger is none of our files.
const MOST: usize = 64 * 1024;

pub(super) const SETTINGS: &str = "/etc/stockade/agent.toml";
pub(super) const CA: &str = "/etc/stockade/ca.pem";
pub(super) const TRUST: &str = "/etc/stockade/trust";
pub(super) const KEYS: &str = "/var/lib/stockade/keys";
pub(super) const CERTIFICATE: &str = "/var/lib/stockade/agent/device.pem";

/// Where the settings say that the key is; a file unless they say so.
pub(super) fn key_place(host: &dyn Host) -> Result<KeyStore, Unseen> {
    let text = text(host, SETTINGS)?;
    let said = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "key").then(|| value.trim().trim_matches(['"', '\'']))
    });
    let said = said.unwrap_or("file");
    match said.split(':').next() {
        Some("file") => Ok(KeyStore::File),
        Some("pkcs11") => Ok(KeyStore::Pkcs11),
        Some("tpm") => Ok(KeyStore::Tpm),
        _ => Err(Unseen::Damaged("an unknown place for the key".to_owned())),
    }
}

/// The key process's files: the directory and what is in it.
pub(super) fn key_files(host: &dyn Host) -> Result<(Entry, Vec<(HostPath, Entry)>), Unseen> {
    let directory = HostPath::of(KEYS);
    let entry = host.entry(&directory)?;
    let files = host
        .list(&directory)?
        .into_iter()
        .filter_map(|(name, entry)| {
            (entry.kind != Kind::Directory).then_some((directory.join(&name).ok()?, entry))
        });
    Ok((entry, files.collect()))
}

/// The first certificate of a PEM file.
pub(super) fn certificate(host: &dyn Host, path: &'static str) -> Result<Certificate, Unseen> {
    let text = text(host, path)?;
    let first = from_pem(&text).and_then(|all| Certificate::read(all.first()?));
    first.ok_or_else(|| Unseen::Damaged("no certificate in PEM".to_owned()))
}

fn text(host: &dyn Host, path: &'static str) -> Result<String, Unseen> {
    let bytes = host.read(&HostPath::of(path), MOST)?;
    String::from_utf8(bytes).map_err(|_| Unseen::Damaged("no text".to_owned()))
}
