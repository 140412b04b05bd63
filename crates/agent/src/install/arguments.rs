//! What can be said on the command line.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use stockade_api::Settings;
use stockade_api::keys::Place;
use stockade_controls::engine::InitSystem;
use zeroize::Zeroizing;

use crate::trust::Fingerprint;

/// How it is called.
pub const USAGE: &str = "usage: stockade-agent install --gateway HOST[:PORT] --id ID --code CODE [--ca-fingerprint SHA256]
                              [--key file|tpm[:PATH]|pkcs11:…] [--root DIR] [--init systemd|openrc|procd|busybox]
                              [--updates ROOT.JSON]
       stockade-agent uninstall [--root DIR] [--init …]";

/// What was said.
pub struct Arguments {
    /// The gateway and its port for enrolment.
    pub gateway: Option<(String, u16)>,
    /// The device's id.
    pub id: Option<String>,
    /// The one-time code.
    pub code: Option<Zeroizing<String>>,
    /// The fingerprint of the gateway's CA.
    pub ca: Option<Fingerprint>,
    /// Where the key is to be.
    pub key: Option<String>,
    /// The directory that paths begin at.
    pub root: PathBuf,
    /// Who starts services.
    pub init: Option<InitSystem>,
    /// The root of trust for updates: `root.json` of their maker.
    pub updates: Option<PathBuf>,
}

impl std::fmt::Debug for Arguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arguments").finish_non_exhaustive()
    }
}

impl Arguments {
    /// Reads what comes after `install` or `uninstall`.
    pub fn read(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut read = Self {
            gateway: None,
            id: None,
            code: None,
            ca: None,
            key: None,
            root: "/".into(),
            init: None,
            updates: None,
        };
        while let Some(name) = words.next() {
            let value = words
                .next()
                .with_context(|| format!("{name} what?\n{USAGE}"))?;
            match name.as_str() {
                "--gateway" => read.gateway = Some(gateway(&value)?),
                "--id" => read.id = Some(value),
                "--code" => read.code = Some(value.into()),
                "--ca-fingerprint" => {
                    let parsed = Fingerprint::parse(&value);
                    read.ca = Some(parsed.context("--ca-fingerprint takes 64 hexadecimal digits")?);
                }
                "--key" => {
                    value.parse::<Place>()?;
                    read.key = Some(value);
                }
                "--root" => read.root = value.into(),
                "--updates" => read.updates = Some(value.into()),
                "--init" => {
                    read.init = Some(match value.as_str() {
                        "systemd" => InitSystem::Systemd,
                        "openrc" => InitSystem::OpenRc,
                        "procd" => InitSystem::Procd,
                        "busybox" => InitSystem::Busybox,
                        _ => bail!("--init takes systemd, openrc, procd or busybox"),
                    });
                }
                _ => bail!("`{name}` is not known\n{USAGE}"),
            }
        }
        Ok(read)
    }

    /// The settings of a device that is not enrolled yet; its certificate will say the rest.
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let (gateway, est_port) = self.gateway.clone().context("--gateway is missing")?;
        let id = self.id.as_deref().context("--id is missing")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        anyhow::ensure!(
            id.chars().chain(gateway.chars()).all(plain),
            "`{id}` or `{gateway}` is no name"
        );
        let text = format!(
            "gateway = \"{gateway}\"\nest-port = {est_port}\ndevice = \"{id}\"\nmodel = \"\"\ntrust-domain = \"\"\n"
        );
        Ok(Settings::parse(&text)?)
    }
}

/// `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`; the port is that of enrolment.
fn gateway(text: &str) -> anyhow::Result<(String, u16)> {
    let wrong = || format!("`{text}` is no HOST[:PORT]");
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().with_context(wrong)?)
        }
        _ => (text, 8444),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    anyhow::ensure!(!host.is_empty(), wrong());
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_named_with_a_port_or_without() {
        for (text, host, port) in [
            ("gw.example", "gw.example", 8444),
            ("gw.example:9444", "gw.example", 9444),
            ("192.0.2.1:9444", "192.0.2.1", 9444),
            ("[2001:db8::1]:9444", "2001:db8::1", 9444),
            ("2001:db8::1", "2001:db8::1", 8444),
        ] {
            assert_eq!(gateway(text).unwrap(), (host.to_owned(), port), "{text}");
        }
        assert!(gateway(":1").is_err() && gateway("gw:x").is_err());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for words in [
            &["--gate", "x"][..],
            &["--key", "usb"],
            &["--code"],
            &["--init", "upstart"],
        ] {
            assert!(
                Arguments::read(words.iter().map(|word| (*word).to_owned())).is_err(),
                "{words:?}"
            );
        }
    }
}
