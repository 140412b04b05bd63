//! A device with no agent: openssl makes its key, curl enrols it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::gateway::Gateway;
use crate::tools::{finish, succeed, text};

/// An enrolled device: its files, and where it connects.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its id, which is its client id.
    pub id: String,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Its certificate, PEM.
    pub certificate: PathBuf,
    /// The gateway's CA, PEM.
    pub ca: PathBuf,
    /// Where the gateway listens for MQTT.
    pub port: u16,
}

/// What an operator hands to whoever sets the device up.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// The one-time code.
    pub code: String,
    /// SHA-256 of the CA's certificate, hexadecimal.
    pub fingerprint: String,
}

impl Device {
    /// Adds the device and enrols it.
    pub fn enrol(gateway: &Gateway, model: &str, id: &str) -> Result<Self> {
        let invitation = Self::invite(gateway, model, id)?;
        let device = Self::prepare(gateway, id, &invitation)?;
        device.request(
            gateway,
            "simpleenroll",
            &["-u", &format!("{id}:{}", invitation.code)],
        )?;
        Ok(device)
    }

    /// The operator's half: `stockade device add`.
    pub fn invite(gateway: &Gateway, model: &str, id: &str) -> Result<Invitation> {
        let told = gateway.json(&["device", "add", "--model", model, id])?;
        let field = |name: &str| {
            let text = told[name].as_str().map(str::to_owned);
            text.with_context(|| format!("`device add --json` printed no {name}: {told}"))
        };
        Ok(Invitation {
            code: field("code")?,
            fingerprint: field("ca_fingerprint")?,
        })
    }

    /// The device's half up to the request: a key, and a CA that is believed only for its fingerprint.
    pub fn prepare(gateway: &Gateway, id: &str, invitation: &Invitation) -> Result<Self> {
        let folder = gateway.folder().join("devices").join(id);
        fs_err::create_dir_all(&folder)?;
        let device = Self {
            id: id.to_owned(),
            key: folder.join("key.pem"),
            certificate: folder.join("certificate.pem"),
            ca: folder.join("ca.pem"),
            port: gateway.address("mqtt")?.port(),
        };
        let url = format!(
            "https://{}/.well-known/est/cacerts",
            gateway.address("est")?
        );
        let answer = succeed(Command::new("curl").args([
            "--silent",
            "--show-error",
            "--fail",
            "--insecure",
            &url,
        ]))?;
        fs_err::write(&device.ca, certificates(&folder, &answer)?)?;
        let print = succeed(
            Command::new("openssl")
                .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
                .arg(&device.ca),
        )?;
        let plain = |text: &str| {
            text.rsplit('=')
                .next()
                .unwrap_or("")
                .trim()
                .replace(':', "")
                .to_lowercase()
        };
        let (got, told) = (plain(&print), plain(&invitation.fingerprint));
        ensure!(
            got == told,
            "the CA has the fingerprint {got}, the operator was told {told}"
        );
        succeed(
            Command::new("openssl")
                .args([
                    "genpkey",
                    "-algorithm",
                    "EC",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-out",
                ])
                .arg(&device.key),
        )?;
        Ok(device)
    }

    /// The certificate request, in the base64 that EST wants (RFC 8951 §3).
    fn csr(&self) -> Result<PathBuf> {
        let (der, request) = (
            self.key.with_extension("der"),
            self.key.with_extension("csr"),
        );
        let subject = format!("/CN={}", self.id);
        succeed(
            Command::new("openssl")
                .args(["req", "-new", "-subj", &subject, "-outform", "DER", "-key"])
                .arg(&self.key)
                .arg("-out")
                .arg(&der),
        )?;
        succeed(
            Command::new("openssl")
                .args(["base64", "-in"])
                .arg(&der)
                .arg("-out")
                .arg(&request),
        )?;
        Ok(request)
    }

    /// Posts the request; the HTTP status and the answer, whatever they are.
    pub fn post(
        &self,
        gateway: &Gateway,
        operation: &str,
        identity: &[&str],
    ) -> Result<(u16, String)> {
        let request = self.csr()?;
        let url = format!(
            "https://{}/.well-known/est/{operation}",
            gateway.address("est")?
        );
        let output = finish(
            Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--write-out",
                    "\n%{http_code}",
                    "--cacert",
                ])
                .arg(&self.ca)
                .args(identity)
                .args([
                    "-H",
                    "Content-Type: application/pkcs10",
                    "-H",
                    "Content-Transfer-Encoding: base64",
                ])
                .arg("--data-binary")
                .arg(format!("@{}", request.display()))
                .arg(&url),
            Duration::from_secs(20),
        )?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = said.rsplit_once('\n').unwrap_or(("", &said));
        let status = status
            .parse()
            .with_context(|| format!("curl said {}", text(&output)))?;
        Ok((status, body.to_owned()))
    }

    /// Asks for a certificate and keeps it.
    pub fn request(&self, gateway: &Gateway, operation: &str, identity: &[&str]) -> Result<()> {
        let (status, answer) = self.post(gateway, operation, identity)?;
        ensure!(
            status == 200,
            "{operation} was answered with {status}: {answer}"
        );
        let folder = self.key.parent().unwrap_or(&self.key).to_path_buf();
        fs_err::write(&self.certificate, certificates(&folder, &answer)?)?;
        Ok(())
    }

    /// The arguments by which curl is this device.
    pub fn as_curl(&self) -> Vec<String> {
        vec![
            "--cert".to_owned(),
            self.certificate.display().to_string(),
            "--key".to_owned(),
            self.key.display().to_string(),
        ]
    }

    /// `mosquitto_pub` or `mosquitto_sub` as this device.
    pub fn mosquitto(&self, program: &str, version: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-i",
            &self.id,
            "-V",
            version,
        ]);
        command
            .arg("--cafile")
            .arg(&self.ca)
            .arg("--cert")
            .arg(&self.certificate)
            .arg("--key")
            .arg(&self.key);
        command.args(arguments);
        command
    }

    /// `mosquitto_sub` as this device, once its subscription was answered. Its messages are told by [`Listening::got`].
    pub fn listens(&self, version: &str, arguments: &[&str]) -> Result<Listening> {
        let plain = self.mosquitto("mosquitto_sub", version, arguments);
        // By itself it keeps what it prints into a pipe until there is much of it.
        let mut command = Command::new("stdbuf");
        command
            .arg("-oL")
            .arg(plain.get_program())
            .args(plain.get_args())
            .args(["-d", "-F", &format!("{GOT}%p")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().context("cannot run mosquitto_sub")?;
        let mut said = BufReader::new(child.stdout.take().context("no output")?);
        let mut all = String::new();
        while !all.contains("Subscribed (") {
            ensure!(said.read_line(&mut all)? > 0, "it never listened: {all}");
        }
        Ok(Listening { child, said })
    }

    /// Publishes with mosquitto; what came of it.
    pub fn publish(&self, version: &str, qos: &str, topic: &str, message: &str) -> Result<Output> {
        let arguments = ["-d", "-q", qos, "-t", topic, "-m", message];
        finish(
            &mut self.mosquitto("mosquitto_pub", version, &arguments),
            Duration::from_secs(15),
        )
    }
}

/// Before each message that [`Device::listens`] prints.
const GOT: &str = "got: ";

/// A client that listens.
#[derive(Debug)]
pub struct Listening {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Listening {
    /// The messages that came until it ended by itself.
    pub fn got(mut self) -> Result<Vec<String>> {
        let mut said = String::new();
        self.said.read_to_string(&mut said)?;
        self.child.wait()?;
        let messages = said.lines().filter_map(|line| line.strip_prefix(GOT));
        Ok(messages.map(str::to_owned).collect())
    }
}

/// PEM of the certificates in a base64 PKCS#7 answer (RFC 7030 §4.1.3).
fn certificates(folder: &std::path::Path, answer: &str) -> Result<String> {
    let (encoded, der) = (folder.join("answer.b64"), folder.join("answer.p7"));
    // Servers may or may not break the lines; openssl wants them broken.
    let dense: String = answer.split_whitespace().collect();
    let lines: Vec<&str> = dense
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    fs_err::write(&encoded, lines.join("\n") + "\n")?;
    succeed(
        Command::new("openssl")
            .args(["base64", "-d", "-in"])
            .arg(&encoded)
            .arg("-out")
            .arg(&der),
    )?;
    succeed(
        Command::new("openssl")
            .args(["pkcs7", "-inform", "DER", "-print_certs", "-in"])
            .arg(&der),
    )
}
