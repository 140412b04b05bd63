//! How a listener speaks TLS.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::Clock;
use super::verify::{Demand, DeviceVerifier, MayReturn};
use crate::name::TrustDomain;

/// The oldest version a listener speaks. There is no way to write an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Minimum {
    /// Only TLS 1.3.
    #[default]
    Tls13,
    /// TLS 1.2 as well, with ECDHE and AEAD suites only (RFC 9325 §4.2).
    Tls12,
}

impl Minimum {
    /// What is spoken, in words.
    pub const fn spoken(self) -> &'static str {
        match self {
            Self::Tls13 => "TLS 1.3",
            Self::Tls12 => "TLS 1.3 and 1.2",
        }
    }
}

/// What an operator may choose about TLS.
#[derive(Debug, Clone, Copy)]
pub struct TlsOptions {
    /// The oldest version spoken; TLS 1.3.
    pub minimum: Minimum,
    /// How long a peer may take for its whole handshake; 5 seconds.
    pub deadline: Duration,
    /// How many bytes may wait for a slow reader within TLS; 16 KiB.
    pub buffer_limit: usize,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            minimum: Minimum::default(),
            deadline: Duration::from_secs(5),
            buffer_limit: 16 * 1024,
        }
    }
}

/// A listener's TLS: shared by all its connections.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    config: Arc<ServerConfig>,
    devices: Arc<DeviceVerifier>,
    domain: TrustDomain,
    options: TlsOptions,
    protocol: &'static str,
}

/// What a listener's TLS rests on.
#[derive(Debug, Clone)]
pub(crate) struct Foundation {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) domain: TrustDomain,
    pub(crate) server: Arc<dyn ResolvesServerCert>,
    pub(crate) clock: Clock,
}

impl TlsSettings {
    /// TLS for devices that speak MQTT: a device certificate is demanded.
    pub(crate) fn mqtt(on: &Foundation, options: TlsOptions) -> Result<Self, rustls::Error> {
        Self::build(on, options, "mqtt", Demand::Required, None)
    }

    /// TLS for devices that enrol: a certificate is verified if there is one, and `may_return` says whether an
    /// expired one may be used to get the next.
    pub(crate) fn est(
        on: &Foundation,
        options: TlsOptions,
        may_return: Box<MayReturn>,
    ) -> Result<Self, rustls::Error> {
        Self::build(on, options, "http/1.1", Demand::Optional, Some(may_return))
    }

    fn build(
        on: &Foundation,
        options: TlsOptions,
        protocol: &'static str,
        demand: Demand,
        may_return: Option<Box<MayReturn>>,
    ) -> Result<Self, rustls::Error> {
        let devices =
            DeviceVerifier::new(Arc::clone(&on.roots), on.domain.clone(), demand, may_return)
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        let devices = Arc::new(devices);
        let mut config =
            ServerConfig::builder_with_details(Arc::clone(provider()), Arc::new(on.clock.clone()))
                .with_protocol_versions(protocol_versions(options.minimum))?
                .with_client_cert_verifier(Arc::clone(&devices) as _)
                .with_cert_resolver(Arc::clone(&on.server));
        harden(&mut config);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Self {
            config: Arc::new(config),
            devices,
            domain: on.domain.clone(),
            options,
            protocol,
        })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Who judges the certificates of devices.
    pub(crate) const fn devices(&self) -> &Arc<DeviceVerifier> {
        &self.devices
    }

    pub(super) const fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    pub(super) const fn deadline(&self) -> Duration {
        self.options.deadline
    }

    pub(super) const fn buffer_limit(&self) -> usize {
        self.options.buffer_limit
    }

    pub(super) const fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// The oldest version spoken.
    pub const fn minimum(&self) -> Minimum {
        self.options.minimum
    }
}

/// No way around the certificate: a resumed session would not show it again, and early data can be replayed.
pub(crate) fn harden(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
}

/// The versions for a minimum.
pub(crate) fn protocol_versions(minimum: Minimum) -> &'static [&'static SupportedProtocolVersion] {
    static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    static TLS12: [&SupportedProtocolVersion; 2] =
        [&rustls::version::TLS13, &rustls::version::TLS12];
    match minimum {
        Minimum::Tls13 => &TLS13,
        Minimum::Tls12 => &TLS12,
    }
}

/// The one cryptography provider of this process, never taken from a process-wide default.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        Arc::new(CryptoProvider {
            // The client's order decides among these: a device knows best what it has in hardware.
            cipher_suites: vec![
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            ],
            // Post-quantum first; then what small devices have.
            kx_groups: vec![
                kx_group::X25519MLKEM768,
                kx_group::X25519,
                kx_group::SECP256R1,
            ],
            ..aws_lc_rs::default_provider()
        })
    })
}
