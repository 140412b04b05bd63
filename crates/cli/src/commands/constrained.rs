//! `stockade device add --constrained`: a label, and what a firmware is built with.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use qrcode::render::{svg, unicode};
use qrcode::{EcLevel, QrCode};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use stockade_gateway::link::crypto::{AwsKey, AwsLc};
use stockade_link::credential::{Credential, ccs, read_key_info, thumbprint};
use stockade_link::crypto::{Crypto as _, Curve, PublicKey, Secret};
use stockade_link::label::{LABEL_MAX, Label, Provisioning};
use stockade_web::secret::hex;
use zeroize::Zeroizing;

use super::field;
use crate::admin::Admin;
use crate::args::constrained::Constrained;

/// What is known of a device's key.
struct Known {
    thumbprint: [u8; 32],
    public: Option<PublicKey>,
    private: Option<Secret<32>>,
}

/// Adds the device as `body` has it, writes what was asked for, and answers with its label.
pub(crate) async fn add(
    admin: &Admin,
    (model, id): (&str, &str),
    mut body: Value,
    asked: &Constrained,
) -> anyhow::Result<Value> {
    let known = key(asked)?;
    let file = asked.new_key.as_deref().or(asked.provision.as_deref());
    // Before the device is there: it would be left without its key.
    let mut file = file.map(private_file).transpose()?;
    set(&mut body, "key", json!(hex(&known.thumbprint)));
    let added = admin.post("/api/v1/constrained", &body).await;
    let mut answer = match added {
        Ok(answer) => answer,
        Err(error) => {
            if let Some((path, _)) = &file {
                fs_err::remove_file(path)?;
            }
            return Err(error);
        }
    };
    let label = Label {
        model,
        device: id,
        key: known.thumbprint,
    };
    let mut buffer = [0; LABEL_MAX];
    let uri = label.write(&mut buffer).context("the label is too long")?;
    let mut record = [0; 256];
    let record = label
        .write_ndef(&mut record)
        .context("the label is too long")?;
    let code = QrCode::with_error_correction_level(uri, EcLevel::M)?;
    if let Some(path) = &asked.qr {
        let drawn = code
            .render::<svg::Color<'_>>()
            .min_dimensions(200, 200)
            .build();
        fs_err::write(path, drawn)?;
    }
    if let Some((path, file)) = &mut file {
        file.write_all(&provisioning(&answer, &known)?)?;
        file.sync_all()?;
        set(&mut answer, "file", json!(path.display().to_string()));
    }
    set(&mut answer, "label", json!(uri));
    set(&mut answer, "ndef", json!(hex(record)));
    // Terminals are dark: what is filled is light.
    let drawn = code
        .render::<unicode::Dense1x2>()
        .dark_color(unicode::Dense1x2::Light)
        .light_color(unicode::Dense1x2::Dark)
        .build();
    set(&mut answer, "qr", json!(drawn));
    Ok(answer)
}

pub(crate) fn text(answer: &Value) -> String {
    let mut lines = vec![
        format!(
            "{} may enrol over the link, by its key",
            field(answer, "name")
        ),
        format!("short name  {}", field(answer, "kid")),
        format!("label       {}", field(answer, "label")),
        format!("NFC tag     {}", field(answer, "ndef")),
    ];
    if answer.get("file").is_some() {
        lines.push(format!(
            "firmware    is built with {}",
            field(answer, "file")
        ));
    }
    lines.push(field(answer, "qr"));
    lines.join("\n")
}

fn key(asked: &Constrained) -> anyhow::Result<Known> {
    let mut crypto = AwsLc::default();
    let Some(text) = &asked.key else {
        anyhow::ensure!(
            asked.new_key.is_some(),
            "a constrained device has a key: name it by --key, or have one made by --new-key FILE"
        );
        let mut private = Secret::new([0; 32]);
        crypto.random(private.expose_mut())?;
        let public = AwsKey::new(Curve::P256, &private)?.public()?;
        return Ok(Known {
            thumbprint: thumbprint(&mut crypto, &public)?,
            public: Some(public),
            private: Some(private),
        });
    };
    let digits = if text.contains(':') {
        hex(&Label::read(text)?.key)
    } else {
        text.clone()
    };
    if digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        // As long as a label's: the same reading.
        let uri = format!("stockade:1/any/any/{}", digits.to_ascii_lowercase());
        return Ok(Known {
            thumbprint: Label::read(&uri)?.key,
            public: None,
            private: None,
        });
    }
    let pem = fs_err::read(text)?;
    let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem)
        .with_context(|| format!("{text} is no public key in PEM"))?;
    let public = read_key_info(&der)?;
    anyhow::ensure!(
        matches!(public, PublicKey::P256 { .. }),
        "{text} is not a key of P-256, which is what the link's suites 2 and 3 are for"
    );
    let thumbprint = thumbprint(&mut crypto, &public)
        .with_context(|| format!("{text} does not say all of its key: write it uncompressed"))?;
    Ok(Known {
        thumbprint,
        public: Some(public),
        private: None,
    })
}

fn provisioning(answer: &Value, known: &Known) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let bytes = |name: &str| {
        base16ct::mixed::decode_vec(field(answer, name)).context("the gateway's answer is damaged")
    };
    let (name, kid, gateway) = (field(answer, "name"), bytes("kid")?, bytes("gateway")?);
    let authority = SubjectPublicKeyInfoDer::from_pem_slice(field(answer, "authority").as_bytes())?;
    let mut buffer = [0; 256];
    let credential = match &known.public {
        Some(public) => Some(ccs(&mut buffer, Some(&name), Some(&kid), public)?),
        None => None,
    };
    let provisioning = Provisioning {
        name: &name,
        kid: &kid,
        credential: credential.map(Credential::read).transpose()?,
        gateway: Credential::read(&gateway)?,
        authority: read_key_info(&authority)?,
        key: known.private.clone(),
    };
    let mut buffer = Zeroizing::new([0; 1024]);
    Ok(Zeroizing::new(provisioning.write(&mut *buffer)?.to_vec()))
}

/// A file that was not there, for its owner only.
fn private_file(path: &Path) -> anyhow::Result<(&Path, fs_err::File)> {
    let mut options = fs_err::OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok((path, file))
}

fn set(answer: &mut Value, name: &str, value: Value) {
    if let Some(fields) = answer.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_could_never_enrol_is_not_added() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ed25519.pem");
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        fs_err::write(&file, pem).unwrap();
        let asked = Constrained {
            constrained: true,
            key: Some(file.display().to_string()),
            new_key: None,
            provision: None,
            qr: None,
        };
        let error = key(&asked).err().unwrap().to_string();
        assert!(error.contains("is not a key of P-256"), "{error}");
    }
}
