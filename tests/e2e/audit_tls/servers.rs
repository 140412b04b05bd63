//! TLS servers of many makers on the device of the lab, with the versions that each really has.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use stockade_e2e::tools::{root, say, succeed};
use stockade_wire::tls::Version;

use crate::lab::Lab;

pub(crate) const PROGRAMS: [&str; 10] = [
    "openssl",
    "nginx",
    "stunnel4",
    "gnutls-serv",
    "selfserv",
    "java",
    "lighttpd",
    "mosquitto",
    "sslscan",
    "ss",
];
/// The port of a server with nearly every cipher suite.
pub(crate) const ALL_SUITES: u16 = 4401;

/// The port of Java's.
pub(crate) const JAVA: u16 = 4409;

/// A server, and what is true of it.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// SSL 2.0, SSL 3.0, TLS 1.0 to 1.3, in the letters of the table.
    pub(crate) truth: &'static str,
    /// Whether its versions are known by six connections.
    pub(crate) few: bool,
    /// Whether it accepts weak ciphers, where it is set up with them or without.
    pub(crate) weak: Option<bool>,
    pub(crate) certificate: bool,
}

const fn row(name: &'static str, port: u16, truth: &'static str) -> Row {
    Row {
        name,
        port,
        truth,
        few: true,
        weak: None,
        certificate: true,
    }
}

/// The servers of packages.
const ROWS: [Row; 12] = [
    Row {
        weak: Some(true),
        ..row("OpenSSL 3, all", ALL_SUITES, "--yyyy")
    },
    row("OpenSSL 3, TLS 1.3 only", 4402, "-----y"),
    Row {
        weak: Some(false),
        ..row("nginx, hardened", 4403, "----yy")
    },
    Row {
        weak: Some(true),
        ..row("nginx, legacy", 4404, "--yyyy")
    },
    Row {
        certificate: false,
        ..row("plain HTTP", 4405, "pppppp")
    },
    Row {
        weak: Some(true),
        ..row("stunnel", 4406, "--yyyy")
    },
    row("GnuTLS", 4407, "--yyyy"),
    Row {
        weak: Some(true),
        ..row("NSS", 4408, "-yyyy-")
    },
    Row {
        weak: Some(true),
        ..row("Java", JAVA, "-yyyyy")
    },
    row("lighttpd", 4410, "--yyyy"),
    // It has TLS 1.3 for who has the key, which cannot be told from outside.
    Row {
        certificate: false,
        ..row("mosquitto, shared keys only", 4414, "----y?")
    },
    Row {
        weak: Some(false),
        ..row("OpenSSL 3, TLS 1.2 only", 4415, "----y-")
    },
];
/// Those of node 0.10.
const OLD_ROWS: [Row; 3] = [
    Row {
        weak: Some(true),
        ..row("node 0.10, all", 4411, "yyyyy-")
    },
    // It closes on everything else, which takes more questions to be sure of.
    Row {
        few: false,
        ..row("node 0.10, SSL 2.0 only", 4412, "y-----")
    },
    Row {
        weak: Some(true),
        ..row("node 0.10, SSL 3.0 only", 4413, "-y----")
    },
];

/// A key and a certificate for all of them: `key`, `cert`, both in `both`, and as PKCS#12.
fn certificate(lab: &Lab) -> Result<[String; 4]> {
    let [key, cert, both, pkcs12] = ["key.pem", "cert.pem", "both.pem", "both.p12"]
        .map(|name| lab.path(name).to_string_lossy().into_owned());
    let mut make = Command::new("openssl");
    make.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
    ]);
    make.args([
        "-subj",
        "/CN=device.example",
        "-keyout",
        &key,
        "-out",
        &cert,
    ]);
    succeed(&mut make)?;
    let joined = fs_err::read_to_string(&key)? + &fs_err::read_to_string(&cert)?;
    fs_err::write(&both, joined)?;
    let mut export = Command::new("openssl");
    export.args([
        "pkcs12",
        "-export",
        "-name",
        "server",
        "-passout",
        "pass:test",
    ]);
    succeed(export.args(["-inkey", &key, "-in", &cert, "-out", &pkcs12]))?;
    Ok([key, cert, both, pkcs12])
}

/// An `openssl s_server`, which ends when there is nothing to read.
fn openssl(lab: &mut Lab, arguments: &str) -> Result<()> {
    let script = format!("exec openssl s_server -quiet {arguments} </dev/zero");
    lab.start("sh", &["-c", &script])
}

/// Node 0.10.32 with OpenSSL 1.0.1i, the last that speaks SSL 2.0 and can be had: out of npm, fetched once.
pub(crate) fn old_node() -> Option<PathBuf> {
    match stockade_e2e::real::old_node() {
        Ok(node) => Some(node),
        Err(why) => {
            say(&format!("skipped: node 0.10.32 can not be had: {why:#}"));
            None
        }
    }
}

/// Starts all servers over TCP.
pub(crate) fn start(lab: &mut Lab, old_node: Option<PathBuf>) -> Result<Vec<Row>> {
    let [key, cert, both, pkcs12] = certificate(lab)?;
    let with = format!("-key {key} -cert {cert}");
    openssl(
        lab,
        &format!(
            "{with} -accept {ALL_SUITES} -min_protocol TLSv1 -cipher ALL:COMPLEMENTOFALL:@SECLEVEL=0"
        ),
    )?;
    openssl(lab, &format!("{with} -accept 4402 -tls1_3"))?;
    web_servers(lab, [&key, &cert, &both])?;
    let priority = "LEGACY:+VERS-TLS1.0:+VERS-TLS1.1";
    let gnutls = [
        "--quiet",
        "-p",
        "4407",
        "--x509keyfile",
        &key,
        "--x509certfile",
        &cert,
        "--priority",
        priority,
    ];
    lab.start("gnutls-serv", &gnutls)?;
    nss(lab, &pkcs12)?;
    let jsse = root().join("tests/clients/Jsse.java");
    lab.start(
        "java",
        &[jsse.to_str().context("a path")?, &pkcs12, &JAVA.to_string()],
    )?;
    mosquitto(lab)?;
    openssl(
        lab,
        &format!("{with} -accept 4415 -tls1_2 -cipher ECDHE+AESGCM"),
    )?;
    let mut rows = ROWS.to_vec();
    if let Some(node) = old_node {
        let script = root().join("tests/clients/old_tls.js");
        let (node, script) = (
            node.to_string_lossy().into_owned(),
            script.to_string_lossy().into_owned(),
        );
        lab.start(&node, &[&script, &key, &cert])?;
        rows.extend(OLD_ROWS);
    }
    let ports: Vec<String> = rows.iter().map(|row| format!("tcp:{}", row.port)).collect();
    lab.wait(&ports.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(rows)
}

/// nginx, stunnel and lighttpd.
fn web_servers(lab: &mut Lab, [key, cert, both]: [&str; 3]) -> Result<()> {
    let nginx = lab.file(
        "nginx.conf",
        &format!(
            "daemon off; worker_processes 1; pid {cert}.pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n\
             ssl_certificate {cert}; ssl_certificate_key {key};\n\
             server {{ listen 4403 ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20; }}\n\
             server {{ listen 4404 ssl; ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; ssl_ciphers ALL:@SECLEVEL=0; }}\n\
             server {{ listen 4405; }} }}\n"
        ),
    )?;
    lab.start("nginx", &["-e", "stderr", "-c", &nginx])?;
    let stunnel = lab.file(
        "stunnel.conf",
        &format!(
            "foreground = yes\npid =\n[s]\naccept = 4406\nconnect = 127.0.0.1:4405\ncert = {both}\n\
             sslVersionMin = TLSv1\nsecurityLevel = 0\nciphers = ALL:@SECLEVEL=0\n"
        ),
    )?;
    lab.start("stunnel4", &[&stunnel])?;
    let lighttpd = lab.file(
        "lighttpd.conf",
        &format!(
            "server.modules = (\"mod_openssl\")\nserver.document-root = \"/\"\nserver.port = 4410\nssl.engine = \"enable\"\n\
             ssl.pemfile = \"{both}\"\n\
             ssl.openssl.ssl-conf-cmd = (\"MinProtocol\" => \"TLSv1\", \"CipherString\" => \"ALL:@SECLEVEL=0\")\n"
        ),
    )?;
    lab.start("lighttpd", &["-D", "-f", &lighttpd])
}

fn nss(lab: &mut Lab, pkcs12: &str) -> Result<()> {
    let folder = lab.path("nss");
    fs_err::create_dir_all(&folder)?;
    let database = format!("sql:{}", folder.display());
    succeed(Command::new("certutil").args(["-N", "-d", &database, "--empty-password"]))?;
    succeed(Command::new("pk12util").args(["-i", pkcs12, "-d", &database, "-W", "test"]))?;
    lab.start(
        "selfserv",
        &[
            "-d",
            &database,
            "-n",
            "server",
            "-p",
            "4408",
            "-V",
            "ssl3:tls1.2",
        ],
    )
}

fn mosquitto(lab: &mut Lab) -> Result<()> {
    let keys = lab.file("keys", "camera:00112233445566778899aabbccddeeff\n")?;
    let configuration = lab.file(
        "mosquitto.conf",
        // As root: its own user cannot read here.
        &format!(
            "user root\nlistener 4414\npsk_hint camera\npsk_file {keys}\ntls_version tlsv1.2\n"
        ),
    )?;
    lab.start("mosquitto", &["-c", &configuration])
}

/// The name of a server over UDP, its port, what it offers, and whether it has a certificate.
type Datagrams = (&'static str, u16, Vec<Version>, bool);

/// Starts servers over UDP.
pub(crate) fn start_datagrams(lab: &mut Lab) -> Result<Vec<Datagrams>> {
    let [key, cert, ..] = certificate(lab)?;
    let with = format!("-key {key} -cert {cert}");
    openssl(
        lab,
        &format!("{with} -accept 4421 -dtls -cipher ALL:@SECLEVEL=0"),
    )?;
    openssl(lab, &format!("{with} -accept 4422 -dtls1_2 -listen"))?;
    openssl(
        lab,
        "-accept 4423 -dtls1_2 -nocert -psk 00112233445566778899aabbccddeeff",
    )?;
    let priority = "LEGACY:+VERS-DTLS1.0";
    let gnutls = [
        "--quiet",
        "--udp",
        "-p",
        "5684",
        "--x509keyfile",
        &key,
        "--x509certfile",
        &cert,
        "--priority",
        priority,
    ];
    lab.start("gnutls-serv", &gnutls)?;
    lab.wait(&["udp:4421", "udp:4422", "udp:4423", "udp:5684"])?;
    let both = vec![Version::Dtls10, Version::Dtls12];
    Ok(vec![
        ("OpenSSL 3, all", 4421, both.clone(), true),
        (
            "OpenSSL 3, DTLS 1.2 with cookies",
            4422,
            vec![Version::Dtls12],
            true,
        ),
        (
            "OpenSSL 3, a shared key only",
            4423,
            vec![Version::Dtls12],
            false,
        ),
        ("GnuTLS", 5684, both, true),
    ])
}
