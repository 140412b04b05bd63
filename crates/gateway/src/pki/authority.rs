//! The CA: its key, its certificate, and the checks before either is used.

use std::fmt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData as _,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::{BACKDATED, PkiError, files, moment, serial, whole};
use crate::registry::hex;
use crate::tls::sha256;

/// How long a CA made here lives.
const CA_LIFE: Duration = Duration::days(3_653);
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    root: bool,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads the CA, or makes one. The key is written before the certificate: a crash in between leaves a key that
    /// nobody trusts, and the next start goes on with it.
    pub(super) fn open(dir: &Path, now: OffsetDateTime) -> Result<Self, PkiError> {
        files::private_dir(dir)?;
        let (key_path, certificate_path) = (dir.join(KEY), dir.join(CERTIFICATE));
        let key = match files::read_private(&key_path)? {
            Some(key) => key,
            None if certificate_path.exists() => return Err(PkiError::Half(key_path)),
            None => {
                let key =
                    Zeroizing::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem());
                files::create(&key_path, key.as_bytes(), 0o600)?;
                key
            }
        };
        let pair = KeyPair::from_pem(&key).map_err(|error| PkiError::Unusable {
            path: key_path.clone(),
            reason: error.to_string(),
        })?;
        if !certificate_path.exists() {
            let pem = root(&pair, now)?;
            files::create(&certificate_path, pem.as_bytes(), 0o644)?;
        }
        let pem = fs_err::read_to_string(&certificate_path)?;
        let authority = Self::assemble(&certificate_path, &pem, pair)?;
        authority.check_clock(now)?;
        Ok(authority)
    }

    pub(super) fn import(
        dir: &Path,
        certificate: &str,
        key: &str,
        now: OffsetDateTime,
    ) -> Result<(), PkiError> {
        files::private_dir(dir)?;
        let (key_path, certificate_path) = (dir.join(KEY), dir.join(CERTIFICATE));
        if key_path.exists() || certificate_path.exists() {
            return Err(PkiError::Exists(dir.to_owned()));
        }
        if key.contains("ENCRYPTED") {
            let reason = "it is encrypted: decrypt it first (openssl pkey -in FILE)".to_owned();
            return Err(PkiError::Unusable {
                path: "the key".into(),
                reason,
            });
        }
        let unusable = |reason: String| PkiError::Unusable {
            path: "the key".into(),
            reason,
        };
        let der = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| unusable(error.to_string()))?;
        let algorithms = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384];
        let pair = algorithms
            .into_iter()
            .find_map(|algorithm| KeyPair::from_der_and_sign_algo(&der, algorithm).ok())
            .ok_or_else(|| unusable("it is no EC key on P-256 or P-384".to_owned()))?;
        let written = Zeroizing::new(pair.serialize_pem());
        let authority = Self::assemble(Path::new("the certificate"), certificate, pair)?;
        authority.check_clock(now)?;
        authority.try_out(now)?;
        // What is kept is one certificate and a PKCS#8 key, whatever came with them.
        files::create(&key_path, written.as_bytes(), 0o600)?;
        files::create(&certificate_path, authority.pem.as_bytes(), 0o644)?;
        Ok(())
    }

    fn assemble(path: &Path, text: &str, pair: KeyPair) -> Result<Self, PkiError> {
        let unusable = |reason: &str| PkiError::Unusable {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| unusable(&format!("it holds no certificate: {error}")))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| unusable("it holds no certificate that can be read"))?;
        // RFC 5280 §4.2.1.9 and §4.2.1.3: what a certificate that signs others has to say.
        let basic = parsed.basic_constraints().ok().flatten();
        if !basic.is_some_and(|constraints| constraints.value.ca) {
            return Err(unusable(
                "it is not a CA (basicConstraints CA:TRUE is missing)",
            ));
        }
        let usage = parsed.key_usage().ok().flatten();
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(unusable(
                "it may not sign certificates (keyUsage has no keyCertSign)",
            ));
        }
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err(unusable("its key is another than the one given"));
        }
        let root = parsed.subject() == parsed.issuer();
        let not_before = parsed.validity().not_before.to_datetime();
        let not_after = parsed.validity().not_after.to_datetime();
        let issuer = Issuer::from_ca_cert_der(&certificate, pair)?;
        let pem = files::pem("CERTIFICATE", &certificate);
        let certificate = certificate.into_owned();
        Ok(Self {
            issuer,
            certificate,
            pem,
            not_before,
            not_after,
            root,
        })
    }

    /// Makes a certificate and verifies it as a listener would: a CA whose name does not survive rewriting, or that is
    /// constrained to other names, shows here and not when the first device enrols.
    fn try_out(&self, now: OffsetDateTime) -> Result<(), PkiError> {
        let unusable = |reason: String| PkiError::Unusable {
            path: "the certificate".into(),
            reason,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = "spiffe://stockade.local/device/model/device".to_owned();
        params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into()?)];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = self.validity(now, Duration::hours(1));
        let leaf = params.signed_by(&key, &self.issuer)?;
        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.clone())
            .map_err(|error| unusable(error.to_string()))?;
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            roots.into(),
            std::sync::Arc::clone(crate::tls::provider()),
        )
        .build()
        .map_err(|error| unusable(error.to_string()))?;
        let at = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        let at = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
        verifier
            .verify_client_cert(leaf.der(), &[], at)
            .map_err(|error| {
                unusable(format!("certificates it issues are not accepted: {error}"))
            })?;
        Ok(())
    }

    /// Refuses to work with a clock that cannot be right.
    pub(super) fn check_clock(&self, now: OffsetDateTime) -> Result<(), PkiError> {
        if now < self.not_before {
            return Err(PkiError::ClockBehind {
                now: moment(now),
                from: moment(self.not_before),
            });
        }
        if now > self.not_after {
            return Err(PkiError::Expired {
                now: moment(now),
                until: moment(self.not_after),
            });
        }
        Ok(())
    }

    /// From when until when a certificate issued now is valid: never longer than the CA itself.
    pub(super) fn validity(
        &self,
        now: OffsetDateTime,
        life: Duration,
    ) -> (OffsetDateTime, OffsetDateTime) {
        let from = whole(now - BACKDATED).max(self.not_before);
        let until = whole(now + life).min(self.not_after);
        (from, until)
    }

    pub(super) const fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(super) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether peers have this CA as their root; otherwise they need to be shown it.
    pub(super) const fn is_root(&self) -> bool {
        self.root
    }
}

/// The certificate of a new CA.
fn root(pair: &KeyPair, now: OffsetDateTime) -> Result<String, PkiError> {
    let mut params = CertificateParams::default();
    // Its own name for each CA: a device that meets two gateways can tell them apart.
    let id: String = hex(&sha256(pair.public_key_raw()))
        .chars()
        .take(8)
        .collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Stockade");
    name.push(DnType::CommonName, format!("Stockade CA {id}"));
    params.distinguished_name = name;
    // It signs devices and servers, and no other CA.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial()?);
    // An hour, not minutes: at first start a clock may still be about to be set.
    params.not_before = whole(now - Duration::hours(1));
    params.not_after = whole(now + CA_LIFE);
    Ok(params.self_signed(pair)?.pem())
}
