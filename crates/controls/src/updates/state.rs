//! What the helper remembers of updates. It writes these, and this control reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::{Host, HostPath, UnixSeconds, Unseen};

/// The version of these forms.
const FORM: u32 = 1;
/// The longest of these files.
const MOST: usize = 1 << 20;

/// Where [`State`] is.
pub const STATE: &str = "/var/lib/stockade/helper/updates.json";
/// Where [`Pending`] is.
pub const PENDING: &str = "/var/lib/stockade/helper/pending.json";

/// How the updates of the system stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct State {
    /// The version of this form.
    pub form: u32,
    /// Where the last look was, and when: one that verified everything that came, and found it in time.
    pub looked: Option<Looked>,
    /// Why the looks after that failed, if they did.
    pub failing: Option<String>,
    /// The version that runs; none if the system does not say.
    pub running: Option<u64>,
    /// The newest version that was offered and verified, if it is above the one that runs.
    pub offered: Option<Offered>,
    /// The slots; empty where there are none.
    pub slots: Vec<Slot>,
    /// A version that runs on trial, until it proves healthy.
    pub trial: Option<Trial>,
    /// The version that the device came back from last, until a newer one is kept.
    pub returned: Option<Returned>,
}

/// A look at the source of updates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Looked {
    /// When.
    pub at: UnixSeconds,
    /// Where: the source's address, or the bundle's file.
    pub source: String,
}

/// A version that could be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Offered {
    /// The version.
    pub version: u64,
    /// Its maker's name for it, if there is one.
    pub name: Option<String>,
    /// Whether it, or one between the running one and it, mends a vulnerability.
    pub security: bool,
    /// Since when a version above the running one is offered; of security, if it is of security.
    pub since: UnixSeconds,
}

/// A place for a whole system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Slot {
    /// Its name: `a`, `rootfs.0`.
    pub name: String,
    /// The version in it, if that is known.
    pub version: Option<u64>,
    /// Whether the running system is in it.
    pub running: bool,
    /// Whether the boot loader would take it.
    pub good: bool,
}

/// A version on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trial {
    /// The version.
    pub version: u64,
    /// When the device goes back unless it proved healthy; none before it was booted.
    pub until: Option<UnixSeconds>,
}

/// A version that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Returned {
    /// The version.
    pub version: u64,
    /// When the device came back.
    pub at: UnixSeconds,
    /// Why, as half a sentence.
    pub why: String,
}

/// Since when security updates of packages wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pending {
    /// The version of this form.
    pub form: u32,
    /// By package: since when a version above the installed one was known.
    pub since: BTreeMap<String, UnixSeconds>,
}

impl State {
    /// Nothing is known yet.
    pub const fn new() -> Self {
        Self {
            form: FORM,
            looked: None,
            failing: None,
            running: None,
            offered: None,
            slots: Vec::new(),
            trial: None,
            returned: None,
        }
    }

    /// Reads it from a host.
    pub fn read(host: &dyn Host) -> Result<Self, Unseen> {
        let state: Self = read(host, STATE)?;
        form(state.form).map(|()| state)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl Pending {
    /// Reads it from a host.
    pub fn read(host: &dyn Host) -> Result<Self, Unseen> {
        let pending: Self = read(host, PENDING)?;
        form(pending.form).map(|()| pending)
    }

    /// What waits now: what waited before keeps its time.
    #[must_use]
    pub fn now<'a>(&self, waits: impl Iterator<Item = &'a str>, now: UnixSeconds) -> Self {
        let since = |name: &str| self.since.get(name).map_or(now, |since| now.min(*since));
        Self {
            form: FORM,
            since: waits.map(|name| (name.to_owned(), since(name))).collect(),
        }
    }
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            form: FORM,
            since: BTreeMap::new(),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(host: &dyn Host, path: &'static str) -> Result<T, Unseen> {
    let bytes = host.read(&HostPath::of(path), MOST)?;
    serde_json::from_slice(&bytes).map_err(|why| Unseen::Damaged(why.to_string()))
}

fn form(form: u32) -> Result<(), Unseen> {
    if form == FORM {
        return Ok(());
    }
    Err(Unseen::Damaged(format!("form {form} is not known here")))
}
