//! A gateway elsewhere: https with a token, and no certificate believed but those of its own CA.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use hyper::Uri;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::args::token::Remote;

/// Longest file of a token.
const MAX_TOKEN: usize = 4_096;

/// Where it is, and what is needed there.
pub(super) struct Https {
    host: String,
    port: u16,
    token_file: PathBuf,
    ca: PathBuf,
}

impl Https {
    pub(super) fn new(url: &str, remote: &Remote, data: &Path) -> anyhow::Result<Self> {
        let uri: Uri = url
            .parse()
            .with_context(|| format!("`{url}` is no address"))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.with_context(|| format!("`{url}`: write it as https://HOST:8443"))?;
        let token_file = remote.token_file.clone();
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(8443),
            token_file: token_file
                .context("a gateway elsewhere wants a token: --token-file FILE")?,
            ca: remote.ca.clone().unwrap_or_else(|| data.join("ca.pem")),
        })
    }

    /// As the header `host` has it.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// As the header `authorization` has it (RFC 6750 section 2.1).
    pub(super) fn bearer(&self) -> anyhow::Result<Zeroizing<String>> {
        let text = Zeroizing::new(fs_err::read_to_string(&self.token_file)?);
        ensure!(
            text.len() <= MAX_TOKEN,
            "{} is no token",
            self.token_file.display()
        );
        Ok(Zeroizing::new(format!("Bearer {}", text.trim())))
    }

    pub(super) async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let no = || format!("no gateway answers at {}", self.authority());
        let tls = TlsConnector::from(Arc::new(self.tls()?));
        let name = ServerName::try_from(self.host.clone())?;
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .with_context(no)?;
        tls.connect(name, tcp).await.with_context(no)
    }

    fn tls(&self) -> anyhow::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let pem = fs_err::read(&self.ca).context("the gateway's CA is needed: --ca FILE")?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.with_context(|| format!("{} is no PEM", self.ca.display()))?)?;
        }
        ensure!(
            !roots.is_empty(),
            "{} holds no certificate",
            self.ca.display()
        );
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }
}
