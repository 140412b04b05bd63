//! The files of a maker's folder.

use std::fs::Permissions;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde_json::json;
use stockade_host::files;
use time::OffsetDateTime;

use super::role::{Document, hex, version_of};
use super::{DRAFTS, Maker, MakerError, Role, life, role};
use crate::{METADATA, TARGETS};

impl Maker {
    /// The next version of what is published, unsigned.
    pub(super) fn next(&self, role: Role, now: OffsetDateTime) -> Result<Document, MakerError> {
        let mut next = self.latest(role)?;
        let version = next.version() + 1;
        next.change(|signed| {
            signed["version"] = json!(version);
            signed["expires"] = json!(role::date(now + life(role)));
        });
        Ok(next)
    }

    pub(super) fn draft_path(&self, role: Role) -> PathBuf {
        self.folder.join(DRAFTS).join(format!("{role}.json"))
    }

    pub(super) fn draft(&self, role: Role) -> Result<Option<Document>, MakerError> {
        let path = self.draft_path(role);
        let Some(bytes) = files::read(&path)? else {
            return Ok(None);
        };
        Document::read(role, &bytes)
            .map(Some)
            .map_err(|why| MakerError::Content { path, why })
    }

    pub(super) fn put_draft(&self, draft: &Document) -> Result<(), MakerError> {
        Ok(files::put(&self.draft_path(draft.role), &draft.bytes())?)
    }

    /// What is published of a role.
    pub(super) fn latest(&self, role: Role) -> Result<Document, MakerError> {
        let folder = self.repository().join(METADATA);
        let mut newest = None;
        for entry in fs_err::read_dir(&folder)? {
            let name = entry?.file_name();
            newest = newest.max(name.to_str().and_then(|name| version_of(role, name)));
        }
        let path = folder.join(role.file(newest.unwrap_or_default()));
        let missing = || MakerError::Content {
            path: path.clone(),
            why: "it is not there".to_owned(),
        };
        let bytes = files::read(&path)?.ok_or_else(missing)?;
        Document::read(role, &bytes).map_err(|why| MakerError::Content { path, why })
    }

    /// Puts a document into the repository, for everybody to read.
    pub(super) fn write(&self, document: &Document) -> Result<(), MakerError> {
        let name = document.role.file(document.version());
        let path = self.repository().join(METADATA).join(name);
        files::put(&path, &document.bytes())?;
        Ok(readable(&path)?)
    }

    /// Copies a system into the repository; its length and its SHA-256.
    pub(super) fn take(&self, file: &Path, name: &str) -> Result<(u64, String), MakerError> {
        let folder = self.repository().join(TARGETS);
        let new = folder.join("new");
        let (mut from, mut to) = (fs_err::File::open(file)?, fs_err::File::create(&new)?);
        let (mut digest, mut length) = (digest::Context::new(&digest::SHA256), 0_u64);
        let mut piece = vec![0; 1 << 20];
        loop {
            let got = from.read(&mut piece)?;
            let Some(got) = piece.get(..got).filter(|got| !got.is_empty()) else {
                break;
            };
            io::Write::write_all(&mut to, got)?;
            digest.update(got);
            length = length.saturating_add(got.len() as u64);
        }
        if length == 0 {
            let why = format!("{} is empty", file.display());
            return Err(MakerError::Asked(why));
        }
        to.sync_all()?;
        let hash = hex(digest.finish().as_ref());
        let path = folder.join(format!("{hash}.{name}"));
        fs_err::rename(&new, &path)?;
        readable(&path)?;
        fs_err::File::open(&folder)?.sync_all()?;
        Ok((length, hash))
    }
}

fn readable(path: &Path) -> io::Result<()> {
    fs_err::set_permissions(path, Permissions::from_mode(0o644))
}
