//! The certificate of the page and of the fronts: the gateway's, and until there is one, one of the device's own.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// Where the device's own is kept, key and certificate, in the agent's folder.
const FILE: &str = "page-own.pem";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read or written.
    #[error("cannot keep the page's own certificate")]
    Keep(#[from] io::Error),
    /// It cannot be made.
    #[error("cannot make a certificate for the page")]
    Make(#[from] rcgen::Error),
    /// What is kept cannot be used.
    #[error("the page's own certificate is damaged: remove {FILE} and start again")]
    Damaged,
}

/// The certificate that is shown; another one takes its place while connections go on.
#[derive(Debug)]
pub struct Certificate {
    own: Mutex<Arc<CertifiedKey>>,
    given: Mutex<Option<Arc<CertifiedKey>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Certificate {
    /// With the device's own certificate from this folder; it is made for these names if it is not there.
    pub fn open(folder: &Path, names: &[String]) -> Result<Self, CertificateError> {
        Ok(Self {
            own: Mutex::new(Self::own(folder, names)?),
            given: Mutex::default(),
        })
    }

    /// If the device's own key was erased, all keys were: another one takes its place, and what the gateway gave is forgotten.
    pub fn anew(&self, folder: &Path, names: &[String]) -> Result<(), CertificateError> {
        if folder.join(FILE).try_exists()? {
            return Ok(());
        }
        *lock(&self.own) = Self::own(folder, names)?;
        *lock(&self.given) = None;
        Ok(())
    }

    fn own(folder: &Path, names: &[String]) -> Result<Arc<CertifiedKey>, CertificateError> {
        let path = folder.join(FILE);
        let pem = match fs_err::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path, names)?,
            read => Zeroizing::new(read?),
        };
        let damaged = |_| CertificateError::Damaged;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(damaged)?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(damaged)?;
        let key = any_ecdsa_type(&key).map_err(|_| CertificateError::Damaged)?;
        Ok(Arc::new(CertifiedKey::new(vec![certificate], key)))
    }

    /// From now on the one of the gateway's CA is shown.
    pub fn give(&self, certified: CertifiedKey) {
        *lock(&self.given) = Some(Arc::new(certified));
    }

    /// The SHA-256 of the device's own certificate, as browsers show it.
    pub fn fingerprint(&self) -> String {
        let own = Arc::clone(&lock(&self.own));
        let bytes = own.cert.first().map_or(&[][..], AsRef::as_ref);
        let digest = digest::digest(&digest::SHA256, bytes);
        let pairs: Vec<_> = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        pairs.join(":")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let given = lock(&self.given).clone();
        Some(given.unwrap_or_else(|| Arc::clone(&lock(&self.own))))
    }
}

/// A key and a certificate by itself, in one file that only the agent can read.
fn make(path: &Path, names: &[String]) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    use std::io::Write as _;

    use fs_err::os::unix::fs::OpenOptionsExt as _;

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    let name = names.first().map_or("device", String::as_str);
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key)?;
    let pem = Zeroizing::new(
        format!(
            "{}{}",
            *Zeroizing::new(key.serialize_pem()),
            certificate.pem()
        )
        .into_bytes(),
    );
    let fresh = path.with_extension("new");
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(&pem)?;
    file.sync_all()?;
    fs_err::rename(&fresh, path)?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_erased_is_followed_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["porch".to_owned()];
        let page = Certificate::open(folder.path(), &names).unwrap();
        let first = page.fingerprint();
        page.anew(folder.path(), &names).unwrap();
        assert_eq!(page.fingerprint(), first, "it is there");
        fs_err::remove_file(folder.path().join(FILE)).unwrap();
        page.anew(folder.path(), &names).unwrap();
        assert_ne!(page.fingerprint(), first);
    }

    #[test]
    fn the_own_certificate_stays_the_same_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let open = || Certificate::open(folder.path(), &["porch".to_owned()]);
        let first = open().unwrap().fingerprint();
        assert_eq!(open().unwrap().fingerprint(), first);
        assert_eq!(first.len(), 95);
        let path = folder.path().join(FILE);
        let mode = fs_err::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs_err::write(&path, "-----BEGIN").unwrap();
        assert!(matches!(open(), Err(CertificateError::Damaged)));
    }
}
