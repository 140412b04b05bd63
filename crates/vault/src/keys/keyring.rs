//! The keyring: the one small file that knows the epochs' keys. It is never in the database or its backups.
//!
//! ```text
//! header | installation 16 | root generation 4 | salt 32 | commitment 32 | AES-256-GCM of the content
//! ```
//!
//! Each writing has a salt, and so a key and a commitment, of its own: no nonce is used twice, and a wrong root key is told from
//! a damaged file (AES-GCM alone commits to no key).

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::root::{Installation, Root};
use super::subjects::{SubjectId, Wrapper};
use super::{KEY_BYTES, KeyError, Secret, constant_eq, expand, random};

const HEADER: &[u8] = b"stockade vault keyring 1\n";
const CLEAR: usize = HEADER.len() + 16 + 4 + 2 * KEY_BYTES;
/// Far more than a keyring with every epoch that can be alive.
const MOST: u64 = 16 * 1024;
const NAME: &str = "keyring";
const NEW: &str = "keyring.new";
const OLD: &str = "keyring.old";

/// An epoch whose keys are alive.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(super) struct Epoch {
    pub(super) number: u32,
    /// Wraps the subjects' keys.
    pub(super) kek: [u8; KEY_BYTES],
    /// Seals what is on the bus.
    pub(super) bus: [u8; KEY_BYTES],
}

impl Epoch {
    pub(super) fn new(number: u32) -> Result<Self, KeyError> {
        Ok(Self {
            number,
            kek: *random()?,
            bus: *random()?,
        })
    }
}

/// What is in the keyring.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    /// Grows with each writing.
    pub(super) writes: u64,
    /// What the keys without an epoch are made from.
    pub(super) master: [u8; KEY_BYTES],
    /// The oldest first; the last is the current one, the others are to be destroyed.
    pub(super) epochs: Vec<Epoch>,
    /// The size of the log when it was last seen, and its root.
    pub(super) log: Option<(u64, [u8; 32])>,
}

impl Content {
    fn copy(&self) -> Self {
        let epochs = self.epochs.iter().map(|epoch| Epoch {
            number: epoch.number,
            kek: epoch.kek,
            bus: epoch.bus,
        });
        Self {
            writes: self.writes,
            master: self.master,
            epochs: epochs.collect(),
            log: self.log,
        }
    }
}

/// The open keyring: as in the file.
pub(super) struct Keyring {
    dir: PathBuf,
    pub(super) installation: Installation,
    generation: u32,
    pub(super) content: Content,
}

impl Keyring {
    /// The keyring in `dir`, if there is one. What a crash left beside it goes first.
    pub(super) fn load(dir: &Path, root: &Root) -> Result<Option<Self>, KeyError> {
        let path = dir.join(NAME);
        let mut bytes = Zeroizing::new(Vec::with_capacity(2048));
        match fs_err::File::open(&path) {
            Ok(file) => file.take(MOST).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let keyring = Self::parse(dir, root, &bytes)?;
        for left in [NEW, OLD] {
            wipe(&dir.join(left))?;
        }
        keyring.destroy_neighbours(root)?;
        Ok(Some(keyring))
    }

    fn parse(dir: &Path, root: &Root, bytes: &[u8]) -> Result<Self, KeyError> {
        let damaged = |detail| KeyError::Unusable {
            file: dir.join(NAME),
            detail,
        };
        let no_keyring =
            || damaged("not a keyring of this version, or a damaged one: restore its newest copy");
        let rest = bytes.strip_prefix(HEADER).ok_or_else(no_keyring)?;
        let (clear, sealed) = bytes.split_at_checked(CLEAR).ok_or_else(no_keyring)?;
        let (installation, rest) = rest.split_first_chunk::<16>().ok_or_else(no_keyring)?;
        let (generation, rest) = rest.split_first_chunk::<4>().ok_or_else(no_keyring)?;
        let (salt, rest) = rest
            .split_first_chunk::<KEY_BYTES>()
            .ok_or_else(no_keyring)?;
        let commitment = rest.first_chunk::<KEY_BYTES>().ok_or_else(no_keyring)?;
        let generation = u32::from_be_bytes(*generation);
        let other = || KeyError::OtherRoot {
            root: root.place.to_string(),
            keyring: dir.join(NAME),
        };
        let secret = root.secret(installation, generation)?.ok_or_else(other)?;
        let (key, expected) = wrapping(&secret, salt)?;
        if !constant_eq(&*expected, commitment) {
            return Err(other());
        }
        let mut opened = Zeroizing::new(sealed.to_vec());
        let plain = key
            .open_in_place(zero(), Aad::from(clear), &mut opened)
            .map_err(|_| damaged("the keyring is damaged: restore its newest copy"))?;
        let content: Content = ciborium::from_reader(&*plain)
            .map_err(|_| damaged("a keyring of another version: start the one that wrote it"))?;
        if content.epochs.is_empty() {
            return Err(no_keyring());
        }
        Ok(Self {
            dir: dir.to_owned(),
            installation: *installation,
            generation,
            content,
        })
    }

    /// Makes the first keyring.
    pub(super) fn create(dir: &Path, root: &Root) -> Result<Self, KeyError> {
        let mut keyring = Self {
            dir: dir.to_owned(),
            installation: *random()?,
            generation: 0,
            content: Content {
                writes: 0,
                master: *random()?,
                epochs: vec![Epoch::new(1)?],
                log: None,
            },
        };
        keyring.change(root, true, |_| {})?;
        Ok(keyring)
    }

    fn write(&self, root: &Root, generation: u32, content: &Content) -> Result<(), KeyError> {
        let salt = random::<KEY_BYTES>()?;
        let secret = root.secret(&self.installation, generation)?;
        let secret = secret
            .ok_or_else(|| KeyError::Root("the key that was made is not there".to_owned()))?;
        let (key, commitment) = wrapping(&secret, &salt)?;
        let mut bytes = Vec::with_capacity(2048);
        bytes.extend_from_slice(HEADER);
        bytes.extend_from_slice(&self.installation);
        bytes.extend_from_slice(&generation.to_be_bytes());
        bytes.extend_from_slice(&*salt);
        bytes.extend_from_slice(&*commitment);
        // Room from the start: growing would leave copies behind.
        let mut sealed = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST).unwrap_or(0)));
        ciborium::into_writer(content, &mut *sealed)
            .map_err(|_| KeyError::Crypto("the keyring was not encoded"))?;
        key.seal_in_place_append_tag(zero(), Aad::from(&*bytes), &mut *sealed)
            .map_err(|_| KeyError::Crypto("the keyring was not sealed"))?;
        bytes.extend_from_slice(&sealed);
        // What is longer would not be read again.
        if u64::try_from(bytes.len()).is_ok_and(|length| length < MOST) {
            Ok(replace(&self.dir, &bytes)?)
        } else {
            Err(KeyError::Unusable {
                file: self.dir.join(NAME),
                detail: "it would have too many epochs",
            })
        }
    }

    /// Ends what a crash between making a root generation and destroying another left.
    fn destroy_neighbours(&self, root: &Root) -> Result<(), KeyError> {
        for other in [
            self.generation.wrapping_sub(1),
            self.generation.wrapping_add(1),
        ] {
            root.destroy(&self.installation, other)?;
        }
        Ok(())
    }

    /// Where the keyring in `dir` is.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// Changes the content, in the file and then here; `anew` under a new root generation.
    pub(super) fn change(
        &mut self,
        root: &Root,
        anew: bool,
        change: impl FnOnce(&mut Content),
    ) -> Result<(), KeyError> {
        let mut changed = self.content.copy();
        change(&mut changed);
        changed.writes = changed.writes.saturating_add(1);
        let generation = if anew {
            self.generation.wrapping_add(1)
        } else {
            self.generation
        };
        if anew {
            step()?;
            root.make(&self.installation, generation)?;
        }
        self.write(root, generation, &changed)?;
        self.content = changed;
        self.generation = generation;
        if anew {
            step()?;
            self.destroy_neighbours(root)?;
        }
        Ok(())
    }

    /// The epoch that everything new belongs to. There is always one.
    pub(super) fn current(&self) -> &Epoch {
        self.content
            .epochs
            .last()
            .expect("a keyring without an epoch is refused")
    }

    pub(super) fn wrappers(&self) -> Result<Vec<Wrapper>, KeyError> {
        let epochs = self.content.epochs.iter();
        epochs
            .map(|epoch| Wrapper::new(epoch, self.installation))
            .collect()
    }
}

/// The key of one writing, and what it is known by.
fn wrapping(root: &Secret, salt: &[u8; KEY_BYTES]) -> Result<(LessSafeKey, Secret), KeyError> {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&**root);
    let key = expand(&prk, &[b"keyring"])?;
    let key = UnboundKey::new(&AES_256_GCM, &*key)
        .map_err(|_| KeyError::Crypto("no key for the keyring"))?;
    Ok((LessSafeKey::new(key), expand(&prk, &[b"commitment"])?))
}

/// The only nonce of a key that seals once.
pub(super) fn zero() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Puts `bytes` in the place of the keyring; what was there is overwritten. After a power cut one of the two is there, whole.
fn replace(dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let [new, old, path] = [NEW, OLD, NAME].map(|name| dir.join(name));
    let sync = || fs_err::File::open(dir)?.sync_all();
    for left in [&new, &old] {
        wipe(left)?;
    }
    step()?;
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    step()?;
    // A second name keeps the old content in reach after the rename, so that it can be overwritten.
    match fs_err::hard_link(&path, &old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        linked => linked?,
    }
    sync()?;
    step()?;
    fs_err::rename(&new, &path)?;
    sync()?;
    step()?;
    wipe(&old)?;
    sync()?;
    step()
}

/// Overwrites a file and removes it; nothing if there is none. A disk's controller or a snapshot may keep a copy.
fn wipe(path: &Path) -> io::Result<()> {
    let mut file = match fs_err::OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    // What a crash before the rename left is another name of the keyring itself: that one must not be overwritten.
    let keyring = path.with_file_name(NAME);
    let same = same_file(&file, &keyring)?;
    if !same {
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        file.write_all(&vec![0; length])?;
        file.sync_all()?;
    }
    fs_err::remove_file(path)
}

fn same_file(file: &fs_err::File, other: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    let own = file.metadata()?;
    match fs_err::metadata(other) {
        Ok(other) => Ok((own.dev(), own.ino()) == (other.dev(), other.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A point at which the process may be killed. Tests do so.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
pub(super) const fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use super::tests::step;

/// See [`crate::fuzzing::vault_keys`].
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(keyring) = Keyring::parse(Path::new(""), &Root::known(), data) {
        assert!(!keyring.content.epochs.is_empty(), "an epoch is alive");
    }
    // Inside of a seal, the bytes are authentic.
    if let Ok(content) = ciborium::from_reader::<Content, _>(data) {
        assert!(content.epochs.len() <= data.len(), "more than there is");
    }
    let epoch = Epoch {
        number: 1,
        kek: [7; KEY_BYTES],
        bus: [7; KEY_BYTES],
    };
    let id = SubjectId::from_bytes([2; 16]);
    if let Some(keys) = Wrapper::new(&epoch, [1; 16])
        .ok()
        .and_then(|wrapper| wrapper.unwrap(id, data))
    {
        assert_eq!(keys.id, id, "one subject");
    }
    if let Ok(text) = str::from_utf8(data) {
        let _never_panics = text.parse::<super::RootPlace>();
    }
}
