//! A server's certificate: how it is got where it does not come in clear text, and what is read of it. Nothing is verified against
//! any root: which roots a device's clients have is not known here.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use crate::line::{Line, Stream};

/// The longest certificate that is read.
const MOST: usize = 64 * 1024;

/// What is told of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject.
    pub subject: String,
    /// From when on it is good, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
    /// The names and addresses of its subjectAltName; without any, its common name.
    pub names: Vec<String>,
    /// Whether its issuer is its subject.
    pub self_signed: bool,
    /// The algorithm it is signed with, by its name or its number.
    pub signature: String,
    /// The kind of its key and the key's bits; none for a kind that is not known.
    pub key: Option<(&'static str, usize)>,
    /// Its `SubjectPublicKeyInfo` in DER.
    pub spki: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate in DER; or why it cannot be read.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        if der.len() > MOST {
            return Err("it is longer than any certificate".to_owned());
        }
        let (_rest, read) = X509Certificate::from_der(der).map_err(|why| why.to_string())?;
        let common = read.subject().iter_common_name().next();
        let common = common.and_then(|name| name.as_str().ok());
        let alternatives = read.subject_alternative_name().ok().flatten();
        let mut names: Vec<String> = Vec::new();
        for name in alternatives.iter().flat_map(|it| &it.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => {
                    names.extend(address(bytes).map(|it| it.to_string()));
                }
                _ => (),
            }
        }
        if alternatives.is_none() {
            names.extend(common.map(str::to_owned));
        }
        let signature = read.signature_algorithm.algorithm.to_id_string();
        let known = SIGNATURES.iter().find(|(oid, _)| *oid == signature);
        let spki = read.public_key();
        Ok(Self {
            subject: read.subject().to_string(),
            not_before: read.validity().not_before.timestamp(),
            not_after: read.validity().not_after.timestamp(),
            names,
            self_signed: read.subject().as_raw() == read.issuer().as_raw(),
            signature: known.map_or_else(|| signature.clone(), |(_, it)| (*it).to_owned()),
            key: match spki.parsed() {
                Ok(PublicKey::RSA(key)) => Some(("RSA", bits(key.modulus))),
                Ok(PublicKey::DSA(bytes)) => Some(("DSA", bits(bytes))),
                Ok(PublicKey::EC(point)) => Some(("EC", point.key_size())),
                // RFC 8410: Ed25519, Ed448.
                _ => match spki.algorithm.algorithm.to_id_string().as_str() {
                    "1.3.101.112" => Some(("Ed25519", 256)),
                    "1.3.101.113" => Some(("Ed448", 448)),
                    _ => None,
                },
            },
            spki: spki.raw.to_vec(),
        })
    }

    /// Whether it is for this name or address (RFC 9525 §6.3: a star stands for one label, the first).
    pub fn is_for(&self, wanted: &str) -> bool {
        let wanted = wanted.to_ascii_lowercase();
        self.names.iter().any(|name| {
            let name = name.to_ascii_lowercase();
            let starred = || {
                let (_, domain) = wanted.split_once('.')?;
                (name.strip_prefix("*.")? == domain).then_some(())
            };
            name == wanted || starred().is_some()
        })
    }

    /// Whether it is signed with a hash for which collisions are made.
    pub fn is_weakly_signed(&self) -> bool {
        let weak = ["MD2", "MD5", "SHA-1"];
        weak.iter().any(|hash| self.signature.contains(hash))
    }

    /// Whether its key is too short (NIST SP 800-57 part 1, table 2: less than 112 bits of security).
    pub fn is_weak_key(&self) -> bool {
        matches!(self.key, Some(("RSA" | "DSA", bits)) if bits < 2048)
            || matches!(self.key, Some(("EC", bits)) if bits < 224)
    }

    /// By what it is known that it comes with the software and is in many devices, if so.
    pub fn default_of(&self) -> Option<&'static str> {
        let found = DEFAULTS.iter().find(|part| self.subject.contains(**part));
        found.copied()
    }
}

/// Signatures that are told by name (RFC 3279 §2.2, RFC 4055, RFC 5758, RFC 8410).
const SIGNATURES: [(&str, &str); 16] = [
    ("1.2.840.113549.1.1.2", "MD2 with RSA"),
    ("1.2.840.113549.1.1.4", "MD5 with RSA"),
    ("1.2.840.113549.1.1.5", "SHA-1 with RSA"),
    ("1.3.14.3.2.29", "SHA-1 with RSA"),
    ("1.3.14.3.2.27", "SHA-1 with DSA"),
    ("1.2.840.10040.4.3", "SHA-1 with DSA"),
    ("1.2.840.10045.4.1", "SHA-1 with ECDSA"),
    ("1.2.840.113549.1.1.11", "SHA-256 with RSA"),
    ("1.2.840.113549.1.1.12", "SHA-384 with RSA"),
    ("1.2.840.113549.1.1.13", "SHA-512 with RSA"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.10045.4.3.2", "SHA-256 with ECDSA"),
    ("1.2.840.10045.4.3.3", "SHA-384 with ECDSA"),
    ("1.2.840.10045.4.3.4", "SHA-512 with ECDSA"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
];

/// Subjects of certificates that come with software: OpenSSL's samples, Debian's and Red Hat's, web servers' and routers'.
const DEFAULTS: [&str; 12] = [
    "Internet Widgits Pty Ltd",
    "CN=snakeoil",
    "O=SomeOrganization",
    "O=Dummy Company",
    "O=Default Company Ltd",
    "O=Snake Oil",
    "CN=Test Server",
    "CN=example.com",
    "CN=router.asus.com",
    "CN=www.routerlogin.net",
    "CN=tplinkwifi.net",
    "CN=General Root CA",
];

fn bits(integer: &[u8]) -> usize {
    let significant = integer.iter().skip_while(|byte| **byte == 0).count();
    significant.saturating_mul(8)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// The chain of a server that only speaks TLS 1.3, where it is encrypted: one real handshake, which trusts nobody and sends nothing.
pub(super) fn by_handshake(
    line: &Line,
    to: SocketAddr,
    name: Option<&str>,
) -> Result<Vec<Vec<u8>>, String> {
    let (mut client, seen) = client(to, name)?;
    let mut stream = line.connect(to).map_err(|why| why.to_string())?;
    // A server that wants a certificate of the client says so after its own.
    let came = client.complete_io(&mut stream);
    let chain = seen.chain.lock().unwrap_or_else(PoisonError::into_inner);
    match came {
        _ if !chain.is_empty() => Ok(chain.clone()),
        Ok(_) => Err("the server has none".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

/// A connection inside TLS, to ask what anybody may ask: it is with whoever answers, whatever his certificate.
pub(crate) fn connect(line: &Line, to: SocketAddr) -> std::io::Result<Inside<'_>> {
    let (mut client, _) = client(to, line.name()).map_err(std::io::Error::other)?;
    let mut stream = line.connect(to)?;
    client.complete_io(&mut stream)?;
    Ok(StreamOwned::new(client, stream))
}

/// A connection inside TLS.
pub(crate) type Inside<'a> = StreamOwned<ClientConnection, Stream<'a>>;

fn client(to: SocketAddr, name: Option<&str>) -> Result<(ClientConnection, Arc<Recorder>), String> {
    let seen = Arc::new(Recorder {
        chain: Mutex::default(),
        schemes: rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes(),
    });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Recorder>::clone(&seen))
        .with_no_client_auth();
    let wanted = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    let wanted = wanted.unwrap_or_else(|| to.ip().into());
    let client = ClientConnection::new(Arc::new(config), wanted).map_err(|why| why.to_string())?;
    Ok((client, seen))
}

/// Takes every certificate for good, and notes it: nothing that is secret is sent over a connection that was made with it.
#[derive(Debug)]
struct Recorder {
    chain: Mutex<Vec<Vec<u8>>>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        *chain = all.map(|it| it.to_vec()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
