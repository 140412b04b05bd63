//! What a repository offers this device, once The Update Framework's client workflow (TUF §5) has passed over it.
//!
//! `tough` does the workflow, but for the clock: it asks the system's, and a device's may be wrong. Here each role's date of expiry
//! is compared with the latest time that is known to be over. A wrong clock is never a reason to pass over a date.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stockade_controls::engine::UnixSeconds;
use stockade_host::files;
use tough::error::Error as Tough;
use tough::schema::{Role as _, RoleType};
use tough::{ExpirationEnforcement, Limits, Repository, RepositoryLoader, TargetName, Transport};

use crate::shelf::{self, METADATA, MOST_METADATA, TARGETS};
use crate::target::{self, System};

/// The most new roots in one go.
const MOST_ROOTS: u64 = 256;

/// Why a repository is not believed.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is nothing to begin with.
    #[error(
        "no root of trust: {0} is not there (it comes with the device; `stockade update status` of its maker has it)"
    )]
    NoRoot(PathBuf),
    /// A file of it is not there.
    #[error("the repository is not whole: {0} is missing")]
    Missing(String),
    /// A role's signatures.
    #[error("{role} is not signed by enough of its keys: {why}")]
    Signatures {
        /// The role.
        role: String,
        /// What is wrong.
        why: String,
    },
    /// An older one than was seen before.
    #[error(
        "{role} is older than what was seen before: version {new}, after {seen} (a repository rolled back)"
    )]
    RolledBack {
        /// The role.
        role: String,
        /// The version that came.
        new: u64,
        /// The version that was seen.
        seen: u64,
    },
    /// Its date is over.
    #[error(
        "{role} held good until {until}, and it is {now}: nobody renewed it, or somebody keeps newer ones back (is this device's clock right?)"
    )]
    Expired {
        /// The role.
        role: RoleType,
        /// Until when it held good.
        until: String,
        /// The time as it is believed.
        now: String,
    },
    /// It is damaged, or not what it has to be.
    #[error("the repository makes no sense: {0}")]
    Content(String),
    /// What is kept here could not be read or written.
    #[error("cannot keep what was seen of the repository")]
    Kept(#[from] io::Error),
}

/// A repository that passed.
#[derive(Debug)]
pub struct Checked {
    /// For reading targets.
    pub(crate) repository: Repository,
    /// What is there for the model, the highest version last.
    pub(crate) offers: Vec<Offered>,
}

/// A system that is there.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) target: TargetName,
    pub(crate) system: System,
    pub(crate) size: u64,
}

/// The metadata that was believed last; none of it goes back.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Trusted {
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<String>,
}

/// Reads a repository. `folder` keeps what was believed before, `root` is what the device came with.
pub async fn check(
    transport: impl Transport + 'static,
    folder: &Path,
    root: &Path,
    model: &str,
    now: UnixSeconds,
) -> Result<Checked, RepositoryError> {
    let kept = folder.join("trusted.json");
    let mut trusted: Trusted = files::read_json(&kept)?.unwrap_or_default();
    let shipped = files::read(root)?.ok_or_else(|| RepositoryError::NoRoot(root.to_owned()))?;
    let first = newest(trusted.root.as_deref(), shipped)?;
    let work = Work::begin(folder, &trusted)?;
    let base =
        |folder| shelf::base(folder).ok_or_else(|| RepositoryError::Content("no base".into()));
    let loaded = RepositoryLoader::new(&first, base(METADATA)?, base(TARGETS)?)
        .transport(transport)
        .limits(Limits {
            max_root_size: MOST_METADATA,
            max_targets_size: MOST_METADATA,
            max_timestamp_size: MOST_METADATA,
            max_snapshot_size: MOST_METADATA,
            max_root_updates: MOST_ROOTS,
        })
        .datastore(&work.0)
        // By our own clock, below.
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .load()
        .await;
    // §5.3.8: a new root counts whatever comes after it.
    trusted.root = work.read("root.json")?.or(trusted.root);
    let loaded = match loaded.map_err(told).and_then(|repository| {
        in_time(&repository, now)?;
        Ok(repository)
    }) {
        Ok(loaded) => loaded,
        Err(why) => {
            files::put_json(&kept, &trusted)?;
            return Err(why);
        }
    };
    if loaded
        .targets()
        .signed
        .delegations
        .as_ref()
        .is_some_and(|it| !it.roles.is_empty())
    {
        let why = "it delegates, which is not supported here";
        return Err(RepositoryError::Content(why.to_owned()));
    }
    trusted.timestamp = work.read("timestamp.json")?;
    trusted.snapshot = work.read("snapshot.json")?;
    trusted.targets = work.read("targets.json")?;
    files::put_json(&kept, &trusted)?;
    let offers = offers(&loaded, model)?;
    Ok(Checked {
        repository: loaded,
        offers,
    })
}

/// §5.3.10, §5.4.4, §5.5.6, §5.6.5: none of the four is over.
fn in_time(repository: &Repository, now: UnixSeconds) -> Result<(), RepositoryError> {
    let dates = [
        (RoleType::Root, repository.root().signed.expires()),
        (RoleType::Timestamp, repository.timestamp().signed.expires()),
        (RoleType::Snapshot, repository.snapshot().signed.expires()),
        (RoleType::Targets, repository.targets().signed.expires()),
    ];
    for (role, until) in dates {
        if u64::try_from(until.as_second()).unwrap_or(0) <= now {
            return Err(RepositoryError::Expired {
                role,
                until: until.to_string(),
                now: spoken(now),
            });
        }
    }
    Ok(())
}

fn spoken(now: UnixSeconds) -> String {
    let seconds = i64::try_from(now).unwrap_or(i64::MAX);
    let format = &time::format_description::well_known::Rfc3339;
    let spoken = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    spoken
        .and_then(|it| it.format(format).ok())
        .unwrap_or_else(|| now.to_string())
}

/// The systems for a model. What its maker wrote for others, or in a later form, is passed over.
fn offers(repository: &Repository, model: &str) -> Result<Vec<Offered>, RepositoryError> {
    let mut found: Vec<Offered> = Vec::new();
    for (name, about) in &repository.targets().signed.targets {
        let Some(custom) = about.custom.get(target::CUSTOM) else {
            continue;
        };
        let Ok(system) = serde_json::from_value::<System>(custom.clone()) else {
            continue;
        };
        if system.form != target::FORM || system.model != model {
            continue;
        }
        if found.iter().any(|it| it.system.version == system.version) {
            let why = format!("two targets are version {} of {model}", system.version);
            return Err(RepositoryError::Content(why));
        }
        found.push(Offered {
            target: name.clone(),
            system,
            size: about.length,
        });
    }
    found.sort_by_key(|it| it.system.version);
    Ok(found)
}

/// The root with the higher version: what the device came with, or what was seen since.
fn newest(seen: Option<&str>, shipped: Vec<u8>) -> Result<Vec<u8>, RepositoryError> {
    #[derive(Deserialize)]
    struct Root {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        version: u64,
    }
    let version = |text: &[u8]| {
        let read: Result<Root, _> = serde_json::from_slice(text);
        read.map(|it| it.signed.version)
            .map_err(|why| RepositoryError::Content(format!("a root of trust: {why}")))
    };
    let shipped_version = version(&shipped)?;
    match seen.map(str::as_bytes) {
        Some(seen) if version(seen)? > shipped_version => Ok(seen.to_owned()),
        _ => Ok(shipped),
    }
}

/// Where `tough` keeps what it believes while it works. It writes files in place, which a power cut leaves empty, and takes an
/// empty one for none: so what lasts is kept elsewhere, in one file.
struct Work(PathBuf);

impl Work {
    fn begin(folder: &Path, trusted: &Trusted) -> io::Result<Self> {
        let work = Self(folder.join("work"));
        work.clear()?;
        files::private_directory(&work.0)?;
        for (name, content) in [
            ("timestamp.json", &trusted.timestamp),
            ("snapshot.json", &trusted.snapshot),
            ("targets.json", &trusted.targets),
        ] {
            if let Some(content) = content {
                fs_err::write(work.0.join(name), content)?;
            }
        }
        Ok(work)
    }

    fn read(&self, name: &str) -> io::Result<Option<String>> {
        match fs_err::read_to_string(self.0.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why),
        }
    }

    fn clear(&self) -> io::Result<()> {
        match fs_err::remove_dir_all(&self.0) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        drop(self.clear());
    }
}

/// What `tough` refuses, in our words.
pub(crate) fn told(why: Tough) -> RepositoryError {
    match why {
        Tough::VerifyMetadata { role, source, .. } => RepositoryError::Signatures {
            role: role.to_string(),
            why: source.to_string(),
        },
        Tough::VerifyTrustedMetadata { source, .. } => RepositoryError::Signatures {
            role: "the root of trust".to_owned(),
            why: source.to_string(),
        },
        Tough::OlderMetadata {
            role,
            current_version,
            new_version,
            ..
        } => RepositoryError::RolledBack {
            role: role.to_string(),
            new: new_version,
            seen: current_version,
        },
        Tough::Transport { url, source, .. } => match source.kind() {
            tough::TransportErrorKind::FileNotFound => {
                RepositoryError::Missing(url.path().trim_start_matches('/').to_owned())
            }
            _ => RepositoryError::Content(source.to_string()),
        },
        why => RepositoryError::Content(why.to_string()),
    }
}
