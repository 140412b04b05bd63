//! The gateway's own certificate authority: it names devices, and the gateway itself.
//!
//! The CA's key is a file that only its owner can read. Device certificates are short-lived and hold nothing but the
//! device's SPIFFE ID and its public key: what a request says about itself is not believed.

mod authority;
pub(crate) mod files;
mod request;
mod server;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{RootCertStore, ServerConfig};
use time::{Duration, OffsetDateTime};

use self::authority::Authority;
pub use self::request::{Request, RequestError};
use self::server::ServerCertificate;
use crate::name::{DeviceName, TrustDomain};
use crate::registry::{Issued, Registry, hex};
use crate::tls::{
    Clock, Fingerprint, Foundation, Minimum, TlsOptions, TlsSettings, harden, moment,
    protocol_versions, provider, sha256,
};

/// How far a certificate's beginning lies in the past, for devices whose clocks are slow.
const BACKDATED: Duration = Duration::minutes(5);

/// What an operator may choose about certificates.
#[derive(Debug, Clone)]
pub struct PkiSettings {
    /// The SPIFFE trust domain that devices are named in; `stockade.local`.
    pub trust_domain: TrustDomain,
    /// How long a device certificate lives; 7 days. A profile may ask for less.
    pub device_life: Duration,
    /// How long the gateway's own certificate lives; 7 days. It renews itself at two thirds.
    pub server_life: Duration,
    /// Host names and addresses that devices reach this gateway by, besides this machine's name and `localhost`.
    pub server_names: Vec<String>,
}

impl PkiSettings {
    /// The defaults, in a trust domain.
    pub const fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            device_life: Duration::days(7),
            server_life: Duration::days(7),
            server_names: Vec::new(),
        }
    }
}

/// The CA could not be made, read or taken over.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written; the error names it.
    #[error("cannot keep the CA")]
    File(#[from] std::io::Error),
    /// The key can be read by others.
    #[error(
        "{path} can be read by others (mode {mode:o}): make it private (chmod 600), and if anybody else was on this machine, a new CA"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// One half is missing.
    #[error("{0} is missing, although its other half is there: restore it from a backup")]
    Half(PathBuf),
    /// Not a certificate, or not a key.
    #[error("{path} cannot be used: {reason}")]
    Unusable {
        /// The file, or what it was given as.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A CA is there already.
    #[error(
        "there is a CA in {0} already, and devices trust it: use another data directory, or remove it first"
    )]
    Exists(PathBuf),
    /// The clock is wrong, or the CA is from the future.
    #[error("this machine's clock says {now}, but the CA is valid only from {from}: set the clock")]
    ClockBehind {
        /// What the clock says.
        now: String,
        /// When the CA begins.
        from: String,
    },
    /// The CA's time is over.
    #[error(
        "the CA expired on {until}, and this machine's clock says {now}: set the clock, or make a new CA"
    )]
    Expired {
        /// What the clock says.
        now: String,
        /// When it expired.
        until: String,
    },
    /// A name for the gateway that no certificate can hold.
    #[error("`{0}` is neither a host name nor an address")]
    Name(String),
    /// Something did not work that has no business failing.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error.to_string())
    }
}

impl From<rustls::Error> for PkiError {
    fn from(error: rustls::Error) -> Self {
        Self::Make(error.to_string())
    }
}

/// The gateway's certificate authority and its own certificate.
pub struct Pki {
    authority: Arc<Authority>,
    settings: PkiSettings,
    foundation: Foundation,
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Pki {
    /// Reads the CA in `dir`, or makes one on first start.
    pub fn open(dir: &Path, settings: PkiSettings, clock: Clock) -> Result<Self, PkiError> {
        let now = clock.now();
        let authority = Arc::new(Authority::open(dir, now)?);
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone())?;
        let server = ServerCertificate::new(Arc::clone(&authority), &settings, clock.clone())?;
        let foundation = Foundation {
            roots: Arc::new(roots),
            domain: settings.trust_domain.clone(),
            server: Arc::new(server),
            clock,
        };
        Ok(Self {
            authority,
            settings,
            foundation,
        })
    }

    /// Puts an existing CA into `dir`: a certificate and its key, both PEM. It must be a CA, its key must be the
    /// certificate's, on P-256 or P-384, and it must be allowed to sign certificates of devices.
    pub fn import(
        dir: &Path,
        certificate: &str,
        key: &str,
        now: OffsetDateTime,
    ) -> Result<(), PkiError> {
        Authority::import(dir, certificate, key, now)
    }

    /// The CA's certificate.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        self.authority.certificate()
    }

    /// The CA's certificate, for those who want a file.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// SHA-256 of the CA's certificate, as `openssl x509 -fingerprint -sha256` prints it.
    pub fn ca_fingerprint(&self) -> String {
        let digits = hex(&sha256(self.ca_der())).to_ascii_uppercase();
        let pairs: Vec<String> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| pair.escape_ascii().to_string())
            .collect();
        pairs.join(":")
    }

    /// What was chosen about certificates.
    pub const fn settings(&self) -> &PkiSettings {
        &self.settings
    }

    /// The clock that certificates are judged by.
    pub const fn clock(&self) -> &Clock {
        &self.foundation.clock
    }

    /// Makes a certificate for the device `name` and the public key of `request`, for `life` at most.
    pub fn issue(
        &self,
        name: &DeviceName,
        request: &Request,
        life: Duration,
        now: OffsetDateTime,
    ) -> Result<Issued, PkiError> {
        let uri = name.spiffe(&self.settings.trust_domain);
        let names = vec![SanType::URI(uri.try_into()?)];
        self.certify(
            names,
            ExtendedKeyUsagePurpose::ClientAuth,
            request,
            life,
            now,
        )
    }

    /// Makes a certificate for the device's own web page, which the device is no device by: it names no SPIFFE ID and is for servers
    /// only. The names are ours to choose, so that none is another machine's: `<id>.local` (RFC 6762 §3) and the address that the
    /// device asks from. A name of the gateway is never given away.
    pub fn issue_page(
        &self,
        name: &DeviceName,
        address: IpAddr,
        request: &Request,
        life: Duration,
        now: OffsetDateTime,
    ) -> Result<Issued, PkiError> {
        let own = server::names(&self.settings.server_names)?;
        let local = format!("{}.local", name.id);
        let mut names = vec![SanType::IpAddress(address.to_canonical())];
        if ServerName::try_from(local.as_str()).is_ok() {
            names.push(SanType::DnsName(local.try_into()?));
        }
        names.retain(|name| !own.contains(name));
        if names.is_empty() {
            return Err(PkiError::Name(name.id.to_string()));
        }
        self.certify(
            names,
            ExtendedKeyUsagePurpose::ServerAuth,
            request,
            life,
            now,
        )
    }

    fn certify(
        &self,
        names: Vec<SanType>,
        purpose: ExtendedKeyUsagePurpose,
        request: &Request,
        life: Duration,
        now: OffsetDateTime,
    ) -> Result<Issued, PkiError> {
        self.authority.check_clock(now)?;
        let mut params = CertificateParams::default();
        // RFC 5280 §4.1.2.6 with X509-SVID §4: an empty subject; the alternative name says it all.
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        let life = life.min(self.settings.device_life).max(Duration::ZERO);
        let (from, until) = self.authority.validity(now, life);
        params.not_before = from;
        params.not_after = until;
        let certificate = params.signed_by(request.public_key(), self.authority.issuer())?;
        let der = certificate.der().to_vec();
        let fingerprint: Fingerprint = sha256(&der);
        Ok(Issued {
            der,
            fingerprint,
            not_after: until,
        })
    }

    /// TLS for devices that speak MQTT.
    pub fn mqtt_tls(&self, options: TlsOptions) -> Result<TlsSettings, PkiError> {
        Ok(TlsSettings::mqtt(&self.foundation, options)?)
    }

    /// TLS for devices that enrol.
    pub fn est_tls(
        &self,
        options: TlsOptions,
        registry: Arc<Registry>,
    ) -> Result<TlsSettings, PkiError> {
        let may_return: Box<crate::tls::MayReturn> = Box::new(move |leaf, now| {
            registry
                .may_return(leaf, now)
                .map_err(|error| error.to_string())
        });
        Ok(TlsSettings::est(&self.foundation, options, may_return)?)
    }

    /// TLS for browsers: nobody shows a certificate.
    pub fn web_tls(&self, minimum: Minimum) -> Result<Arc<ServerConfig>, PkiError> {
        let clock = Arc::new(self.foundation.clock.clone());
        let mut config = ServerConfig::builder_with_details(Arc::clone(provider()), clock)
            .with_protocol_versions(protocol_versions(minimum))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.foundation.server));
        harden(&mut config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A serial number of 128 random bits, positive and never shorter than that (RFC 5280 §4.1.2.2 allows 20 bytes).
fn serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0_u8; 17];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| PkiError::Make("the operating system gives no random numbers".to_owned()))?;
    // A leading 1 keeps it positive and of one length; the 16 bytes after it are random.
    if let Some(first) = bytes.first_mut() {
        *first = 1;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

/// A certificate's times have no fractions of seconds.
fn whole(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}

#[cfg(test)]
mod tests;
