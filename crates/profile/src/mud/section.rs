//! `[mud]`: what a MUD file says of itself, kept so that it can be written again.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::json::Json;
use crate::fault::{Faulted, Faults, Malformed, quote};
use crate::net::{Endpoint, HttpsUrl, PortRange};
use crate::read::{Form, Keys, Node, Text, Value, Writer};
use crate::text::{label, name, uri};
use crate::{Direction, Protocol};

name! {
    /// A line that a MUD file says about the device, for people.
    Label: "a line about the device", label
}

name! {
    /// The name of an extension of MUD (RFC 8520 §3.9).
    ExtensionName: "an extension", label
}

name! {
    /// Where documentation is.
    Documentation: "the address of documentation", uri
}

/// When a MUD file was last changed: a date and time of RFC 3339, in its own time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUpdate(Box<str>);

impl LastUpdate {
    /// The time as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LastUpdate {
    type Err = Malformed;

    /// RFC 3339 §5.6; YANG's `date-and-time` (RFC 6991 §3) is the same.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            Malformed::new(format!("`{}` is not a date and time", quote(text)))
                .help("for example \"2026-11-22T12:00:00Z\" or \"2026-11-22T12:00:00+02:00\"")
        };
        let digits = |at: usize, length: usize, bounds: RangeInclusive<u32>| {
            let part = text.get(at..at.saturating_add(length))?;
            let plain = part.bytes().all(|byte| byte.is_ascii_digit());
            let number: u32 = part.parse().ok().filter(|_| plain)?;
            bounds.contains(&number).then_some(())
        };
        let mark =
            |at: usize, mark: &str| text.get(at..at.saturating_add(1)).filter(|it| *it == mark);
        let date = || {
            digits(0, 4, 0..=9999)?;
            mark(4, "-")?;
            digits(5, 2, 1..=12)?;
            mark(7, "-")?;
            digits(8, 2, 1..=31)?;
            mark(10, "T")?;
            digits(11, 2, 0..=23)?;
            mark(13, ":")?;
            digits(14, 2, 0..=59)?;
            mark(16, ":")?;
            digits(17, 2, 0..=60)?;
            let mut rest = text.get(19..)?;
            if let Some(fraction) = rest.strip_prefix('.') {
                let end = fraction.find(|c: char| !c.is_ascii_digit())?;
                rest = fraction.get(end..).filter(|_| (1..=9).contains(&end))?;
            }
            zone(rest)
        };
        date().ok_or_else(wrong)?;
        Ok(Self(text.into()))
    }
}

fn zone(text: &str) -> Option<()> {
    if text == "Z" {
        return Some(());
    }
    let (hours, minutes) = text.strip_prefix(['+', '-'])?.split_once(':')?;
    let within = |part: &str, most: u32| {
        let plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        plain && part.parse::<u32>().is_ok_and(|number| number <= most)
    };
    (within(hours, 23) && within(minutes, 59)).then_some(())
}

impl fmt::Display for LastUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for LastUpdate {}

/// The profiles of TLS sessions of one rule (RFC 9761 §5), as compact JSON; kept, not enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProfiles(Json, Box<str>);

impl TlsProfiles {
    pub(crate) const MAX: usize = 8 * 1024;

    pub(crate) fn new(json: &Json) -> Result<Self, Malformed> {
        let text = json.compact();
        if text.len() > Self::MAX {
            let most = format!(
                "the TLS profiles of a rule have at most {} bytes",
                Self::MAX
            );
            return Err(Malformed::new(most));
        }
        if json.entries().is_empty() {
            return Err(Malformed::new("TLS profiles are a JSON object")
                .help("'{\"client-profiles\":{...}}'"));
        }
        Ok(Self(json.clone(), text.into()))
    }

    pub(crate) fn json(&self) -> &Json {
        &self.0
    }
}

impl FromStr for TlsProfiles {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let json = Json::read(text)
            .map_err(|wrong| Malformed::new(format!("this is not JSON: {wrong}")))?;
        Self::new(&json)
    }
}

impl fmt::Display for TlsProfiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl Text for TlsProfiles {}

/// The TLS profiles of the rules with this peer, protocol and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsRule {
    /// Whether the rule is one of `[[firewall.in]]` or of `[[firewall.out]]`.
    pub direction: Direction,
    /// The rule's other end.
    pub peer: Endpoint,
    /// The rule's protocol.
    pub protocol: Protocol,
    /// The rule's port; any if absent.
    pub port: Option<PortRange>,
    /// The profiles.
    pub profiles: TlsProfiles,
}

impl TlsRule {
    /// Whether it speaks of a rule with this peer, protocol and port.
    pub fn speaks_of(
        &self,
        direction: Direction,
        peer: &Endpoint,
        protocol: Protocol,
        port: Option<PortRange>,
    ) -> bool {
        (self.direction, &self.peer, self.protocol) == (direction, peer, protocol)
            && self.port == port
    }
}

/// What a MUD file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mud {
    /// Where the file is.
    pub url: Option<HttpsUrl>,
    /// When it was last changed.
    pub last_update: Option<LastUpdate>,
    /// For how many hours it may be kept before one looks again.
    pub cache_validity: u8,
    /// Whether its maker still supports the device.
    pub is_supported: bool,
    /// What the device is, for people.
    pub systeminfo: Option<Label>,
    /// Who makes it.
    pub mfg_name: Option<Label>,
    /// What its maker calls it.
    pub model_name: Option<Label>,
    /// Its firmware's revision.
    pub firmware_rev: Option<Label>,
    /// Its software's revision.
    pub software_rev: Option<Label>,
    /// Where its documentation is.
    pub documentation: Option<Documentation>,
    /// The extensions that the file uses.
    pub extensions: Vec<ExtensionName>,
    /// Whether the file says that the device keeps to TLS profiles (RFC 9761 §6).
    pub tls_profiles: bool,
    /// The TLS profiles, rule by rule.
    pub tls: Vec<TlsRule>,
}

/// RFC 8520 §3.5: in hours, 48 if absent.
pub(crate) const CACHE_VALIDITY: u8 = 48;
/// RFC 8520 §3.5.
pub(crate) const CACHE_VALIDITIES: RangeInclusive<u8> = 1..=168;

impl Default for Mud {
    fn default() -> Self {
        Self {
            url: None,
            last_update: None,
            cache_validity: CACHE_VALIDITY,
            is_supported: true,
            systeminfo: None,
            mfg_name: None,
            model_name: None,
            firmware_rev: None,
            software_rev: None,
            documentation: None,
            extensions: Vec::new(),
            tls_profiles: false,
            tls: Vec::new(),
        }
    }
}

impl Form for Mud {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let url = keys.optional("url");
        let last_update = keys.optional("last-update");
        let validity = keys.or("cache-validity", CACHE_VALIDITY);
        let cache_validity = keys.within("cache-validity", validity, &CACHE_VALIDITIES);
        let is_supported = keys.or("is-supported", true);
        let systeminfo = keys.optional("systeminfo");
        let mfg_name = keys.optional("mfg-name");
        let model_name = keys.optional("model-name");
        let firmware_rev = keys.optional("firmware-rev");
        let software_rev = keys.optional("software-rev");
        let documentation = keys.optional("documentation");
        let extensions = keys.or_default("extensions");
        let tls_profiles = keys.or("tls-profiles", false);
        let tls = keys.or_default("tls");
        let tls = keys.distinct("tls", tls, |a: &TlsRule, b| {
            a.speaks_of(b.direction, &b.peer, b.protocol, b.port)
        });
        keys.finish()?;
        Ok(Self {
            url: url?,
            last_update: last_update?,
            cache_validity: cache_validity?,
            is_supported: is_supported?,
            systeminfo: systeminfo?,
            mfg_name: mfg_name?,
            model_name: model_name?,
            firmware_rev: firmware_rev?,
            software_rev: software_rev?,
            documentation: documentation?,
            extensions: extensions?,
            tls_profiles: tls_profiles?,
            tls: tls?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .some("url", self.url.as_ref())
            .some("last-update", self.last_update.as_ref())
            .unless("cache-validity", &self.cache_validity, &CACHE_VALIDITY)
            .unless("is-supported", &self.is_supported, &true)
            .some("systeminfo", self.systeminfo.as_ref())
            .some("mfg-name", self.mfg_name.as_ref())
            .some("model-name", self.model_name.as_ref())
            .some("firmware-rev", self.firmware_rev.as_ref())
            .some("software-rev", self.software_rev.as_ref())
            .some("documentation", self.documentation.as_ref())
            .unless_default("extensions", &self.extensions)
            .unless_default("tls-profiles", &self.tls_profiles)
            .unless_default("tls", &self.tls)
            .done()
    }
}

impl Form for TlsRule {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let direction = keys.required("direction", "\"out\"");
        let peer = keys.required("peer", "\"cloud.acme.example\"");
        let protocol = keys.required("protocol", "\"tcp\"");
        let port = keys.optional("port");
        let profiles = keys.required("profiles", "'{\"client-profiles\":{}}'");
        keys.finish()?;
        Ok(Self {
            direction: direction?,
            peer: peer?,
            protocol: protocol?,
            port: port?,
            profiles: profiles?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("direction", &self.direction)
            .put("peer", &self.peer)
            .put("protocol", &self.protocol)
            .some("port", self.port.as_ref())
            .put("profiles", &self.profiles)
            .done()
    }
}
