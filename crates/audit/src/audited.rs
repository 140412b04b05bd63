//! What an audit gives, whatever it looked at: one form for images, hosts and live systems, before it is rendered.

use std::time::Duration;

use stockade_advisories::{Checked, Inventory};
use stockade_controls::engine::{Outcome, Standing};

/// Everything an audit found out.
#[derive(Debug)]
pub struct Audited {
    /// What was looked at.
    pub target: Target,
    /// Whether it runs.
    pub standing: Standing,
    /// The profile it was judged by, if one was given.
    pub profile: Option<ByProfile>,
    /// What became of the rules. A rule may come more than once (several systems in one image): the report makes one of them.
    pub outcomes: Vec<Outcome>,
    /// What an image is made of, in the order in which it was found.
    pub parts: Vec<PartRow>,
    /// What should have been looked at and could not be: where, and why.
    pub not_audited: Vec<(String, String)>,
    /// What software is there, if that was looked for.
    pub inventory: Option<Inventory>,
    /// Which advisories its software was compared with.
    pub data: Data,
    /// What came of that.
    pub checked: Option<Checked>,
    /// What a host answered, port by port.
    pub ports: Vec<PortRow>,
    /// What it cost a host to be asked.
    pub spent: Option<Spent>,
    /// How long it took; told beside the report, never in it.
    pub took: Duration,
}

impl Audited {
    /// An audit that has found nothing yet.
    pub fn of(target: Target, standing: Standing) -> Self {
        Self {
            target,
            standing,
            profile: None,
            outcomes: Vec::new(),
            parts: Vec::new(),
            not_audited: Vec::new(),
            inventory: None,
            data: Data::default(),
            checked: None,
            ports: Vec::new(),
            spent: None,
            took: Duration::ZERO,
        }
    }
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What kind of thing it is.
    pub kind: TargetKind,
    /// The file, the directory, the address: as it was given.
    pub name: String,
    /// SHA-256 of a file.
    pub sha256: Option<[u8; 32]>,
}

/// What kind of thing was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// A file: an image or an archive.
    Image,
    /// A root directory.
    Directory,
    /// A device over the network, or several.
    Host,
    /// This system.
    Live,
    /// A list of software (`CycloneDX`).
    Inventory,
}

/// The profile that was judged by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ByProfile {
    /// The model.
    pub model: String,
    /// The version of the profile.
    pub version: u64,
}

impl From<&stockade_profile::Profile> for ByProfile {
    fn from(profile: &stockade_profile::Profile) -> Self {
        Self {
            model: profile.device.model.to_string(),
            version: profile.device.version,
        }
    }
}

/// One part of an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PartRow {
    /// Where it is: `firmware.bin, squashfs at 0x120200`.
    pub place: String,
    /// What it is.
    pub format: String,
    /// Where it begins in what holds it.
    pub at: u64,
    /// How long it is, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// How many files and directories were looked at, of a tree of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// What is worth telling of it: a volume's name, who signed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<(String, String)>,
}

/// One port of a host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PortRow {
    /// The host's address.
    pub address: String,
    /// `tcp` or `udp`.
    pub transport: String,
    /// Its number.
    pub port: u16,
    /// `open`, `closed`, `no answer`.
    pub state: String,
    /// What answers there, by what it says: `http`, `mqtt`, `telnet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What it says of itself, and which versions of TLS it accepts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub says: String,
}

/// What it cost a host to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spent {
    /// TCP connections that were opened.
    pub connections: u64,
    /// TCP segments, both ways, as the kernel counted them.
    pub segments: u64,
    /// UDP datagrams, both ways.
    pub datagrams: u64,
    /// Bytes of content, both ways.
    pub bytes: u64,
}

/// Which advisories the software was compared with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "state", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Data {
    /// It was not compared: why. Never an all-clear.
    NotRun {
        /// Why not.
        why: String,
    },
    /// It was compared with these.
    Used {
        /// What was imported.
        sources: Vec<DataSource>,
    },
}

impl Default for Data {
    fn default() -> Self {
        Self::NotRun {
            why: "this kind of audit does not compare software with advisories".to_owned(),
        }
    }
}

/// Advisories of one source.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataSource {
    /// The file that was imported.
    pub name: String,
    /// `osv`, `nvd`, `cve-5`, `kev`, `epss`.
    pub kind: String,
    /// The newest change in it, as it says itself: `2026-08-21`.
    pub date: String,
    /// SHA-256 of it.
    pub sha256: String,
    /// How many records it holds.
    pub records: u64,
    /// How many of its records could not be read.
    pub bad: u64,
}

impl From<stockade_advisories::Source> for DataSource {
    fn from(source: stockade_advisories::Source) -> Self {
        Self {
            name: source.name,
            kind: source.form,
            date: source.newest,
            sha256: source.digest,
            records: source.records,
            bad: source.bad,
        }
    }
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// What was asked for cannot be: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Nothing could be looked at: exit code 3.
    #[error("{0}")]
    Incomplete(String),
}
