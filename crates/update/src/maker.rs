//! What the maker of a device does with a repository: begin it, put systems into it, have them signed, keep it fresh.
//!
//! Roots of trust and targets are signed by several people, each with a key of their own that is kept away from networks; a snapshot
//! and a time stamp by two keys that stay beside the repository. What is not signed by enough is a draft, and never in `repository/`.

mod bundle;
mod folder;
mod keys;
mod role;
mod status;
#[cfg(test)]
#[expect(
    clippy::unwrap_in_result,
    reason = "a helper of a test fails as the test does"
)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stockade_host::files;
use time::{Duration, OffsetDateTime};

pub use self::keys::Key;
pub use self::role::Role;
use self::role::{Document, hex};
pub use self::status::{Expiry, RoleStatus, Signer, Status, SystemStatus};
use crate::target::{self, System};
use crate::{METADATA, TARGETS};

const FORM: u32 = 1;
const ABOUT: &str = "maker.json";
const KEYS: &str = "keys";
const DRAFTS: &str = "drafts";
const REPOSITORY: &str = "repository";
/// The most keys of a role.
const MOST_KEYS: usize = 16;

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum MakerError {
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is something already.
    #[error("{0} is there already, and nothing in it is touched")]
    Exists(PathBuf),
    /// There is no repository.
    #[error("{0} is no folder of a maker (`stockade update init` begins one)")]
    NotHere(PathBuf),
    /// What was read makes no sense.
    #[error("{path}: {why}")]
    Content {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What is asked for makes no sense.
    #[error("{0}")]
    Asked(String),
    /// Too few signatures.
    #[error("{role} {version} is signed by {has} of the {needs} keys that it needs")]
    TooFew {
        /// The role.
        role: Role,
        /// Its version.
        version: u64,
        /// How many signatures are right.
        has: usize,
        /// How many it needs.
        needs: usize,
    },
    /// A key that signs nothing here.
    #[error("this key (id {0}) signs nothing that waits for signatures")]
    Stranger(String),
    /// The keys that stay beside the repository.
    #[error("the key `{0}` is not in {1}: publish where it is, with `stockade update timestamp`")]
    NoOnlineKey(&'static str, PathBuf),
    /// No random numbers.
    #[error("the system gives no randomness")]
    Randomness,
}

/// What is said in `maker.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    form: u32,
    model: String,
    /// What people call keys, by id.
    names: BTreeMap<String, String>,
}

/// A maker's folder: `repository/` is what devices fetch, `drafts/` what waits for signatures, `keys/` the keys that are here.
#[derive(Debug)]
pub struct Maker {
    folder: PathBuf,
    about: About,
}

/// How far a draft is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The role.
    pub role: Role,
    /// The version that it will have.
    pub version: u64,
    /// Who signed.
    pub signed: Vec<String>,
    /// How many signatures are still missing.
    pub missing: usize,
    /// Whether it is in the repository now.
    pub published: bool,
}

/// How long roles hold good.
fn life(role: Role) -> Duration {
    match role {
        Role::Root => Duration::days(365),
        Role::Targets => Duration::days(180),
        Role::Snapshot => Duration::days(30),
        Role::Timestamp => Duration::days(7),
    }
}

impl Maker {
    /// Begins a repository: keys for four roles, and a first root of trust.
    pub fn init(
        folder: &Path,
        model: &str,
        keys: usize,
        threshold: usize,
        now: OffsetDateTime,
    ) -> Result<Self, MakerError> {
        if keys > MOST_KEYS || threshold == 0 || threshold > keys {
            let why = format!(
                "{threshold} of {keys} keys make no sense: at most {MOST_KEYS} keys, and not more signatures than keys"
            );
            return Err(MakerError::Asked(why));
        }
        plain(model)
            .ok_or_else(|| MakerError::Asked(format!("`{}` is no model", model.escape_debug())))?;
        if folder
            .read_dir()
            .is_ok_and(|mut inside| inside.next().is_some())
        {
            return Err(MakerError::Exists(folder.to_owned()));
        }
        files::private_directory(&folder.join(KEYS))?;
        for inside in [METADATA, TARGETS] {
            fs_err::create_dir_all(folder.join(REPOSITORY).join(inside))?;
        }
        fs_err::create_dir_all(folder.join(DRAFTS))?;
        let mut maker = Self {
            folder: folder.to_owned(),
            about: About {
                form: FORM,
                model: model.to_owned(),
                names: BTreeMap::new(),
            },
        };
        let mut root = json!({
            "_type": "root", "spec_version": role::SPECIFICATION, "consistent_snapshot": true, "version": 1,
            "expires": role::date(now + life(Role::Root)), "keys": {}, "roles": {},
        });
        let mut secret = BTreeMap::new();
        for role in Role::ALL {
            let (count, needs) = if role.is_online() {
                (1, 1)
            } else {
                (keys, threshold)
            };
            let made = maker.make_keys(role, count)?;
            root["roles"][role.as_str()] = json!({ "keyids": [], "threshold": needs });
            for key in &made {
                role::admit(&mut root, role, key);
            }
            secret.insert(role, made);
        }
        let of = |role: Role| secret.get(&role).map_or(&[][..], Vec::as_slice);
        let mut first = Document::new(Role::Root, root);
        let mut targets = Document::new(
            Role::Targets,
            json!({
                "_type": "targets", "spec_version": role::SPECIFICATION, "version": 1,
                "expires": role::date(now + life(Role::Targets)), "targets": {},
            }),
        );
        for (document, role) in [(&mut first, Role::Root), (&mut targets, Role::Targets)] {
            for key in of(role) {
                document.sign(key)?;
            }
        }
        maker.write(&first)?;
        maker.write(&targets)?;
        maker.refresh(now)?;
        maker.keep()?;
        Ok(maker)
    }

    /// Opens a maker's folder.
    pub fn open(folder: &Path) -> Result<Self, MakerError> {
        let path = folder.join(ABOUT);
        let about = files::read_json::<About>(&path)?;
        let about = about.ok_or_else(|| MakerError::NotHere(folder.to_owned()))?;
        if about.form != FORM {
            let why = format!("form {} is not known here", about.form);
            return Err(MakerError::Content { path, why });
        }
        Ok(Self {
            folder: folder.to_owned(),
            about,
        })
    }

    /// The model that it is for.
    pub fn model(&self) -> &str {
        &self.about.model
    }

    /// Where what devices fetch is.
    pub fn repository(&self) -> PathBuf {
        self.folder.join(REPOSITORY)
    }

    /// Where keys are that were made here.
    pub fn keys(&self) -> PathBuf {
        self.folder.join(KEYS)
    }

    /// Drafts a system for signing; those keys sign at once.
    pub fn publish(
        &mut self,
        file: &Path,
        system: &System,
        keys: &[Key],
        now: OffsetDateTime,
    ) -> Result<Progress, MakerError> {
        plain(&system.model).ok_or_else(|| MakerError::Asked("this is no model".to_owned()))?;
        if NonZeroU64::new(system.version).is_none() {
            return Err(MakerError::Asked("versions begin with 1".to_owned()));
        }
        let mut targets = match self.draft(Role::Targets)? {
            Some(draft) => draft,
            None => self.next(Role::Targets, now)?,
        };
        let newest = targets.systems().map(|(_, it)| it);
        let newest = newest
            .filter(|it| it.model == system.model)
            .map(|it| it.version)
            .max();
        if let Some(newest) = newest.filter(|newest| *newest >= system.version) {
            let why = format!(
                "version {newest} of {} is there: devices go to higher versions only",
                system.model
            );
            return Err(MakerError::Asked(why));
        }
        let end = match system.kind {
            target::Kind::Image => "img",
            target::Kind::Rauc => "raucb",
        };
        // A bundle has room for a hundred characters, and most of them are the digest.
        let short = match system.model.as_str() {
            model if model.len() <= 16 => model.to_owned(),
            model => hex(digest::digest(&digest::SHA256, model.as_bytes())
                .as_ref()
                .get(..8)
                .unwrap_or_default()),
        };
        let name = format!("{short}-{}.{end}", system.version);
        let (length, hash) = self.take(file, &name)?;
        // What signed the draft before did not sign this.
        targets.change(|signed| {
            signed["targets"][&name] = json!({
                "length": length, "hashes": { "sha256": hash }, "custom": { target::CUSTOM: system },
            });
        });
        for key in keys {
            targets.sign(key)?;
        }
        self.settle(&targets, now)
    }

    /// Signs what waits for this key.
    pub fn sign(&mut self, key: &Key, now: OffsetDateTime) -> Result<Vec<Progress>, MakerError> {
        let mut all = Vec::new();
        // A new root of trust comes first: it says who may sign the rest.
        for role in [Role::Root, Role::Targets] {
            let Some(mut draft) = self.draft(role)? else {
                continue;
            };
            if self
                .authorities(&draft)?
                .iter()
                .any(|(ids, _)| ids.contains(&key.id))
            {
                draft.sign(key)?;
                all.push(self.settle(&draft, now)?);
            }
        }
        if all.is_empty() {
            return Err(MakerError::Stranger(key.id.clone()));
        }
        Ok(all)
    }

    /// Drafts a new root of trust: keys of a role go, by name or id, and new ones come.
    pub fn rotate(
        &mut self,
        role: Role,
        out: &[String],
        new: usize,
        now: OffsetDateTime,
    ) -> Result<Progress, MakerError> {
        let mut root = match self.draft(Role::Root)? {
            Some(draft) => draft,
            None => self.next(Role::Root, now)?,
        };
        let mut gone = Vec::new();
        for named in out {
            let by_name = self.about.names.iter().find(|(_, name)| *name == named);
            let id = by_name.map_or(named, |(id, _)| id);
            if !root.authority(role).0.contains(id) {
                return Err(MakerError::Asked(format!(
                    "`{}` is no key of {role}",
                    named.escape_debug()
                )));
            }
            gone.push(id.clone());
        }
        let made = self.make_keys(role, new)?;
        root.change(|signed| {
            role::expel(signed, role, &gone);
            for key in &made {
                role::admit(signed, role, key);
            }
        });
        let (ids, needs) = root.authority(role);
        if ids.len() < needs || ids.len() > MOST_KEYS {
            let why = format!(
                "{role} would have {} keys, and needs {needs} signatures",
                ids.len()
            );
            return Err(MakerError::Asked(why));
        }
        self.keep()?;
        let told = self.settle(&root, now)?;
        // What the keys that go have signed does not count any more: targets are signed anew.
        if role == Role::Targets && self.draft(Role::Targets)?.is_none() {
            let again = self.next(Role::Targets, now)?;
            self.put_draft(&again)?;
        }
        Ok(told)
    }

    /// Drafts what expires soon anew, the same as it is.
    pub fn renew(&mut self, role: Role, now: OffsetDateTime) -> Result<Progress, MakerError> {
        if role.is_online() {
            return Err(MakerError::Asked(format!(
                "{role} is renewed by `stockade update timestamp`"
            )));
        }
        let draft = match self.draft(role)? {
            Some(draft) => draft,
            None => self.next(role, now)?,
        };
        self.settle(&draft, now)
    }

    /// Publishes drafts that are signed by enough, a new snapshot and a new time stamp. A root of trust by which the systems that are
    /// published would not count waits until they are signed anew.
    pub fn refresh(&mut self, now: OffsetDateTime) -> Result<(), MakerError> {
        let complete = |role| -> Result<Option<Document>, MakerError> {
            let draft = self.draft(role)?;
            let missing = draft
                .as_ref()
                .map_or(Ok(1), |it| self.count(it).map(|it| it.1))?;
            Ok(draft.filter(|_| missing == 0))
        };
        let (new_root, new_targets) = (complete(Role::Root)?, complete(Role::Targets)?);
        let (old_root, old_targets) = (self.latest(Role::Root)?, self.latest(Role::Targets)?);
        let pairs = [
            (new_root.as_ref(), new_targets.as_ref()),
            (new_root.as_ref(), Some(&old_targets)),
            (Some(&old_root), new_targets.as_ref()),
        ];
        let pairs = pairs
            .into_iter()
            .filter_map(|(root, targets)| Some((root?, targets?)));
        let good = |(root, targets): &(&Document, &Document)| enough(root, targets).is_ok();
        let (root, targets) = pairs
            .into_iter()
            .find(good)
            .unwrap_or((&old_root, &old_targets));
        enough(root, targets)?;
        let meta = |document: &Document| json!({ "version": document.version() });
        let snapshot = self.online(
            Role::Snapshot,
            &json!({ "targets.json": meta(targets) }),
            root,
            now,
        )?;
        let bytes = snapshot.bytes();
        let about = json!({
            "version": snapshot.version(), "length": bytes.len(), "hashes": { "sha256": hex(digest::digest(&digest::SHA256, &bytes).as_ref()) },
        });
        let timestamp = self.online(
            Role::Timestamp,
            &json!({ "snapshot.json": about }),
            root,
            now,
        )?;
        for (new, old) in [(root, &old_root), (targets, &old_targets)] {
            if new.version() > old.version() {
                self.write(new)?;
            }
        }
        self.write(&snapshot)?;
        // The last one: until it is there, devices see what was there before.
        self.write(&timestamp)?;
        for published in [root, targets] {
            let draft = self.draft(published.role)?;
            if draft.is_some_and(|it| it.version() == published.version()) {
                fs_err::remove_file(self.draft_path(published.role))?;
            }
        }
        Ok(())
    }

    /// A role whose key stays beside the repository, with the next version.
    fn online(
        &self,
        role: Role,
        meta: &Value,
        root: &Document,
        now: OffsetDateTime,
    ) -> Result<Document, MakerError> {
        let before = match self.latest(role) {
            Ok(before) => before.version(),
            Err(MakerError::Content { .. }) => 0,
            Err(why) => return Err(why),
        };
        let mut document = Document::new(
            role,
            json!({
                "_type": role.as_str(), "spec_version": role::SPECIFICATION, "version": before + 1,
                "expires": role::date(now + life(role)), "meta": meta,
            }),
        );
        let (ids, _) = root.authority(role);
        for key in keys::all(&self.keys())?
            .into_iter()
            .filter(|key| ids.contains(&key.id))
        {
            document.sign(&key)?;
        }
        enough(root, &document).map_err(|_| MakerError::NoOnlineKey(role.as_str(), self.keys()))?;
        Ok(document)
    }

    /// Keeps a draft, or publishes it if enough have signed and the keys beside the repository are here.
    fn settle(&mut self, draft: &Document, now: OffsetDateTime) -> Result<Progress, MakerError> {
        self.put_draft(draft)?;
        let (signed, missing) = self.count(draft)?;
        if missing == 0 {
            match self.refresh(now) {
                Ok(()) | Err(MakerError::NoOnlineKey(..) | MakerError::TooFew { .. }) => (),
                Err(why) => return Err(why),
            }
        }
        let published = self.draft(draft.role)?.is_none();
        Ok(self.progress(draft, &signed, missing, published))
    }

    fn progress(
        &self,
        draft: &Document,
        signed: &[String],
        missing: usize,
        published: bool,
    ) -> Progress {
        let mut signed: Vec<String> = signed.iter().map(|id| self.name(id)).collect();
        signed.sort();
        Progress {
            role: draft.role,
            version: draft.version(),
            signed,
            missing,
            published,
        }
    }

    /// Whose signatures a draft needs: each group, and how many of it. A new root of trust needs those of the one before, too (TUF §6.1).
    fn authorities(&self, draft: &Document) -> Result<Vec<(Vec<String>, usize)>, MakerError> {
        let now = self.latest(Role::Root)?;
        if draft.role == Role::Root {
            return Ok(vec![now.authority(Role::Root), draft.authority(Role::Root)]);
        }
        // A root of trust that is drafted says already who will sign.
        let root = self.draft(Role::Root)?.unwrap_or(now);
        Ok(vec![root.authority(draft.role)])
    }

    /// Who signed a draft rightly, and how many are missing.
    fn count(&self, draft: &Document) -> Result<(Vec<String>, usize), MakerError> {
        let mut keys = self.latest(Role::Root)?.keys();
        keys.extend(self.draft(Role::Root)?.iter().flat_map(Document::keys));
        keys.extend(
            Some(draft)
                .filter(|it| it.role == Role::Root)
                .into_iter()
                .flat_map(Document::keys),
        );
        let signed = draft.signers(&keys)?;
        let missing = self.authorities(draft)?.into_iter().map(|(ids, needs)| {
            needs.saturating_sub(signed.iter().filter(|id| ids.contains(id)).count())
        });
        Ok((signed.clone(), missing.max().unwrap_or_default()))
    }

    /// What people call a key.
    fn name(&self, id: &str) -> String {
        self.about
            .names
            .get(id)
            .cloned()
            .unwrap_or_else(|| id.to_owned())
    }

    fn make_keys(&mut self, role: Role, count: usize) -> Result<Vec<Key>, MakerError> {
        let mut made = Vec::new();
        for _ in 0..count {
            let taken = |name: &String| self.about.names.values().any(|it| it == name);
            let name = (1..u32::MAX)
                .map(|number| format!("{role}-{number}"))
                .find(|name| !taken(name));
            let name = name.unwrap_or_default();
            let key = Key::make(&self.keys().join(format!("{name}.pem")))?;
            self.about.names.insert(key.id.clone(), name);
            made.push(key);
        }
        Ok(made)
    }

    fn keep(&self) -> Result<(), MakerError> {
        Ok(files::put_json(&self.folder.join(ABOUT), &self.about)?)
    }
}

/// Refuses what is signed by too few.
fn enough(root: &Document, document: &Document) -> Result<(), MakerError> {
    let (ids, needs) = root.authority(document.role);
    let signed = document.signers(&root.keys())?;
    let has = signed.iter().filter(|id| ids.contains(id)).count();
    if has >= needs {
        return Ok(());
    }
    Err(MakerError::TooFew {
        role: document.role,
        version: document.version(),
        has,
        needs,
    })
}

/// A name that can be part of a file's: as models are named.
fn plain(name: &str) -> Option<()> {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    (first && name.len() <= 64 && name.bytes().all(fits)).then_some(())
}
