//! The gateway's own certificate: made when it starts, kept in memory, and made anew before it expires.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::authority::Authority;
use super::{BACKDATED, PkiError, PkiSettings, serial};
use crate::tls::{Clock, provider};

/// Longest name that fits a common name (RFC 5280 appendix A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;

#[derive(Debug)]
pub(super) struct ServerCertificate {
    authority: Arc<Authority>,
    names: Vec<SanType>,
    life: Duration,
    clock: Clock,
    now: ArcSwap<Valid>,
    renewing: Mutex<()>,
    /// The last try to renew failed: told once, and not at every handshake from then on.
    failing: AtomicBool,
}

#[derive(Debug)]
struct Valid {
    key: Arc<CertifiedKey>,
    from: OffsetDateTime,
    renew: OffsetDateTime,
}

impl ServerCertificate {
    pub(super) fn new(
        authority: Arc<Authority>,
        settings: &PkiSettings,
        clock: Clock,
    ) -> Result<Self, PkiError> {
        let names = names(&settings.server_names)?;
        let first = make(&authority, &names, settings.server_life, clock.now())?;
        let now = ArcSwap::from_pointee(first);
        Ok(Self {
            authority,
            names,
            life: settings.server_life,
            clock,
            now,
            renewing: Mutex::new(()),
            failing: AtomicBool::new(false),
        })
    }

    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        let now = self.clock.now();
        let valid = self.now.load();
        // A clock that jumped back would make a certificate from the future.
        if (now >= valid.renew || now < valid.from)
            && let Ok(_one) = self.renewing.try_lock()
        {
            match make(&self.authority, &self.names, self.life, now) {
                Ok(fresh) => {
                    let key = Arc::clone(&fresh.key);
                    self.now.store(Arc::new(fresh));
                    self.failing.store(false, Ordering::Relaxed);
                    tracing::info!("the gateway renewed its own certificate");
                    return key;
                }
                Err(error) => {
                    if !self.failing.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "the gateway could not renew its own certificate");
                    }
                }
            }
        }
        Arc::clone(&valid.key)
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn make(
    authority: &Authority,
    names: &[SanType],
    life: Duration,
    now: OffsetDateTime,
) -> Result<Valid, PkiError> {
    authority.check_clock(now)?;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "Stockade gateway");
    params.distinguished_name = name;
    params.subject_alt_names = names.to_vec();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    let (from, until) = authority.validity(now, life);
    params.not_before = from;
    params.not_after = until;
    let certificate = params.signed_by(&pair, authority.issuer())?;
    let mut chain = vec![certificate.der().clone()];
    if !authority.is_root() {
        chain.push(authority.certificate().clone());
    }
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let key = Arc::new(CertifiedKey::from_der(chain, key, provider())?);
    let renew = now + (until - now) * 2 / 3;
    Ok(Valid {
        key,
        from: from.max(now - BACKDATED),
        renew,
    })
}

/// The names devices may reach the gateway by.
pub(super) fn names(chosen: &[String]) -> Result<Vec<SanType>, PkiError> {
    let mut texts: Vec<String> = chosen.to_vec();
    texts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    // The machine's own name is a convenience; a name that no certificate can hold is left out.
    if let Ok(host) = fs_err::read_to_string("/proc/sys/kernel/hostname") {
        let host = host.trim();
        if host.len() <= MAX_COMMON_NAME && ServerName::try_from(host).is_ok() {
            texts.push(host.to_owned());
        }
    }
    let mut names = Vec::with_capacity(texts.len());
    for text in texts {
        let name = match text.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if ServerName::try_from(text.as_str()).is_ok() => {
                SanType::DnsName(text.clone().try_into().map_err(|_| PkiError::Name(text))?)
            }
            Err(_) => return Err(PkiError::Name(text)),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}
