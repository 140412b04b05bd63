//! The directory that holds all of one installation, and the lock that keeps it to one process.

use std::fs::DirBuilder;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::FlockOperation;

const FORMAT_FILE: &str = "FORMAT";
const UNFINISHED_FORMAT_FILE: &str = "FORMAT.tmp";
const LOCK_FILE: &str = "LOCK";
/// What an operator may write before the first start.
const CONFIGURATION_FILE: &str = "stockade.toml";
/// The format written here.
const FORMAT: u32 = 1;

/// An open data directory. While it lives, no other process opens it.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Closing it releases the lock; so does the end of the process, however it comes.
    _lock: fs_err::File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refused.
    #[error("cannot use the data directory")]
    Io(#[from] io::Error),
    /// Another process has it open.
    #[error("{}: in use by process {pid}; stop it first, or choose another directory with --data", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, as far as it said.
        pid: String,
    },
    /// A newer version wrote it.
    #[error("{}: has format {found}, {by}; this version knows formats up to {FORMAT}: start that version, or a newer one", .path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Which version wrote it.
        by: String,
    },
    /// It is not a data directory.
    #[error("{}: {detail}", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        detail: String,
    },
    /// Others could have changed what is in it.
    #[error("{}: {detail}", .path.display())]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Who can, and what to do.
        detail: String,
    },
}

impl DataDir {
    /// Opens the directory at `path` and locks it; creates it, for this user only, if it is not there.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        if !path.try_exists()? {
            // The parents may be shared; this one is not.
            if let Some(parent) = path.parent() {
                fs_err::create_dir_all(parent)?;
            }
            make(path)?;
        }
        let path = fs_err::canonicalize(path)?;
        let fresh = check_contents(&path)?;
        check_permissions(&path, fresh)?;
        let lock = lock(&path)?;
        check_format(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory itself, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A directory in it, created for this user only if it is not there.
    pub fn subdir(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let path = self.path.join(name);
        make(&path)?;
        check_permissions(&path, false)?;
        Ok(path)
    }
}

/// Creates a directory for this user only, unless it is there.
fn make(path: &Path) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("failed to create {}: {error}", path.display()),
        )
    })
}

/// Whether nothing is in it yet. Something that is not ours is refused: a typo must not fill a home directory.
fn check_contents(path: &Path) -> Result<bool, DataDirError> {
    if !fs_err::metadata(path)?.is_dir() {
        let detail = "is not a directory; name one with --data".to_owned();
        return Err(DataDirError::Foreign {
            path: path.to_owned(),
            detail,
        });
    }
    if path.join(FORMAT_FILE).try_exists()? {
        return Ok(false);
    }
    let mut fresh = true;
    for entry in fs_err::read_dir(path)? {
        match entry?.file_name().to_str() {
            // What a crash at the first start leaves.
            Some(LOCK_FILE | UNFINISHED_FORMAT_FILE) => {}
            Some(CONFIGURATION_FILE) => fresh = false,
            _ => {
                let detail = format!(
                    "holds files, but no {FORMAT_FILE}: it is not a data directory of Stockade; name an empty or a new \
                     one with --data (a {CONFIGURATION_FILE} may be in it before)"
                );
                return Err(DataDirError::Foreign {
                    path: path.to_owned(),
                    detail,
                });
            }
        }
    }
    Ok(fresh)
}

/// Refuses a directory that others own or could change; takes away their right to look.
fn check_permissions(path: &Path, fresh: bool) -> Result<(), DataDirError> {
    let metadata = fs_err::metadata(path)?;
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    let exposed = |detail| {
        Err(DataDirError::Exposed {
            path: path.to_owned(),
            detail,
        })
    };
    if owner != own {
        return exposed(format!(
            "belongs to user {owner}, not to user {own} who runs this"
        ));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o022 != 0 && !fresh {
        return exposed(format!(
            "others may write to it (mode {mode:03o}), so what is in it cannot be trusted; if you do trust it: chmod 700"
        ));
    }
    if mode & 0o077 != 0 {
        if !fresh {
            tracing::warn!(path = %path.display(), mode = format!("{mode:03o}"), "others could read the data directory; now they cannot");
        }
        fs_err::set_permissions(path, PermissionsExt::from_mode(0o700))?;
    }
    Ok(())
}

fn lock(path: &Path) -> Result<fs_err::File, DataDirError> {
    let options = || {
        let mut options = fs_err::OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        options
    };
    let mut file = options().open(path.join(LOCK_FILE))?;
    match rustix::fs::flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            file.take(20).read_to_string(&mut pid)?;
            let pid = if pid.trim().is_empty() {
                "(unknown)".to_owned()
            } else {
                pid.trim().to_owned()
            };
            return Err(DataDirError::InUse {
                path: path.to_owned(),
                pid,
            });
        }
        Err(error) => return Err(io::Error::from(error).into()),
    }
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    file.flush()?;
    Ok(file)
}

/// Reads the format, or writes it into a fresh directory.
fn check_format(path: &Path) -> Result<(), DataDirError> {
    let file = path.join(FORMAT_FILE);
    if !file.try_exists()? {
        let text = format!(
            "stockade data directory\nformat {FORMAT}\nwritten by stockade {}\n",
            env!("CARGO_PKG_VERSION")
        );
        let unfinished = path.join(UNFINISHED_FORMAT_FILE);
        let mut out = fs_err::File::create(&unfinished)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs_err::rename(&unfinished, &file)?;
        fs_err::File::open(path)?.sync_all()?;
        return Ok(());
    }
    let text = fs_err::read_to_string(&file)?;
    let mut lines = text.lines();
    let format = match (
        lines.next(),
        lines.next().and_then(|line| line.strip_prefix("format ")),
    ) {
        (Some("stockade data directory"), Some(number)) => number.trim().parse::<u32>().ok(),
        _ => None,
    };
    match format {
        Some(found) if found > FORMAT => {
            let by = lines
                .next()
                .unwrap_or("written by an unknown version")
                .to_owned();
            Err(DataDirError::Newer {
                path: path.to_owned(),
                found,
                by,
            })
        }
        Some(_) => Ok(()),
        None => {
            let detail = format!("its {FORMAT_FILE} file is not one of Stockade's");
            Err(DataDirError::Foreign {
                path: path.to_owned(),
                detail,
            })
        }
    }
}
