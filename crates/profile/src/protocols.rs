//! `[protocols]`: the versions of TLS, and the TLS front of local services that speak plain text.

use std::num::NonZeroU16;

use crate::Control;
use crate::fault::{Faulted, Faults, Malformed, quote};
use crate::net::LocalSocket;
use crate::read::{Form, Keys, Node, Text, Value, Writer};
use crate::words::{Words, listed};

/// A version of TLS that a device may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), for peers that know no better.
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    /// `1.2` or `1.3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

impl std::fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for TlsVersion {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let plain = text.to_ascii_lowercase();
        let wrong = |what: &str| Malformed::new(format!("`{}` {what}", quote(text)));
        let broken = "can not be allowed by any profile";
        if plain.starts_with("ssl") {
            // RFC 6176 forbids SSL 2.0, RFC 7568 SSL 3.0.
            return Err(wrong(broken).help("it is broken (RFC 7568); write \"1.3\""));
        }
        match plain.trim_start_matches(['t', 'l', 's', 'v', ' ', '-', '_']) {
            "1.3" if plain == "1.3" => Ok(Self::V1_3),
            "1.2" if plain == "1.2" => Ok(Self::V1_2),
            near @ ("1.2" | "1.3") => {
                Err(wrong("is not a version").help(format!("did you mean \"{near}\"?")))
            }
            "1" | "1.0" | "1.1" => {
                Err(wrong(broken).help("it is broken (RFC 8996); write \"1.3\""))
            }
            _ => Err(wrong("is not a version of TLS")
                .help("\"1.3\", and \"1.2\" beside it if there must be")),
        }
    }
}

impl Text for TlsVersion {}

/// Which protocols protect connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocols {
    /// The allowed versions of TLS; 1.3 is always among them.
    pub tls: Vec<TlsVersion>,
    /// TLS in front of local services.
    pub fronts: Vec<Front>,
}

/// TLS in front of a local service that speaks plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Front {
    /// The port that others connect to.
    pub listen: NonZeroU16,
    /// The service behind it.
    pub to: LocalSocket,
}

impl Default for Protocols {
    fn default() -> Self {
        Self {
            tls: vec![TlsVersion::V1_3],
            fronts: Vec::new(),
        }
    }
}

impl Form for Protocols {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let tls = keys
            .or("tls", vec![TlsVersion::V1_3])
            .and_then(|tls: Vec<TlsVersion>| {
                if tls.contains(&TlsVersion::V1_3) {
                    return Ok(tls);
                }
                let wrong = Malformed::new("`tls` must have \"1.3\"");
                Err(keys.error("tls", wrong.help("\"1.2\" may only be added to it")))
            });
        let fronts = keys.or_default("front");
        let fronts = keys.distinct("front", fronts, |a: &Front, b| a.listen == b.listen);
        keys.finish()?;
        Ok(Self {
            tls: tls?,
            fronts: fronts?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless("tls", &self.tls, &vec![TlsVersion::V1_3])
            .unless_default("front", &self.fronts)
            .done()
    }
}

impl Form for Front {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let listen = keys.required("listen", "443");
        let to = keys.required("to", "\"127.0.0.1:8080\"");
        keys.finish()?;
        Ok(Self {
            listen: listen?,
            to: to?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("listen", &self.listen)
            .put("to", &self.to)
            .done()
    }
}

impl Protocols {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        let versions = listed(&self.tls, |version| format!("TLS {version}"));
        let link = if words.constrained {
            "EDHOC and OSCORE over the link, or "
        } else {
            ""
        };
        words.say(
            Control::Protocols,
            format!("speaks {link}{versions} and nothing older"),
        );
        for Front { listen, to } in &self.fronts {
            let text = format!("protects its local service at {to} by TLS on port {listen}");
            words.say(Control::Protocols, text);
        }
    }
}
