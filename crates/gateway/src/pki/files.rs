//! Files that must be whole, lasting and private.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use zeroize::Zeroizing;

use super::PkiError;

/// Larger is no key.
const MAX_KEY: u64 = 64 * 1024;

/// Makes a directory that only its owner can enter, if it is not there.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder
        .create(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))
}

/// Writes a file that was not there: whole and on disk when this returns, or not at all.
pub(crate) fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let invalid = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path has no parent directory",
        )
    };
    let parent = path.parent().ok_or_else(invalid)?;
    let mut name = std::ffi::OsString::from(".new-");
    name.push(path.file_name().ok_or_else(invalid)?);
    let fresh = parent.join(name);
    // Left over by a crash; the data directory is this process' alone.
    match fs_err::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs_err::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    // A hard link, unlike a renaming, never replaces a file that is there.
    let linked = fs_err::hard_link(&fresh, path);
    fs_err::remove_file(&fresh)?;
    linked?;
    fs_err::File::open(parent)?.sync_all()
}

/// Reads a key, if it is there, and refuses one that others can read too.
pub(crate) fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, PkiError> {
    let meta = match fs_err::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PkiError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    if meta.len() > MAX_KEY {
        return Err(PkiError::Unusable {
            path: path.to_owned(),
            reason: "it is too large for a key".to_owned(),
        });
    }
    Ok(Some(Zeroizing::new(fs_err::read_to_string(path)?)))
}

/// Textual encoding (RFC 7468 §2).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in BASE64.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
