//! Signed notes, and the checkpoint that one carries (C2SP signed-note, tlog-checkpoint, tlog-cosignature v1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::hash::Hash;

/// Longest note that is read.
pub const MAX_NOTE: usize = 64 * 1024;
/// Signatures under one note.
const MAX_SIGNATURES: usize = 100;
/// Bytes of a key's id.
const ID: usize = 4;
/// What stands before the name of whoever signed: an em dash and a blank.
const MARK: &str = "\u{2014} ";

/// Checks signatures, with whatever library there is.
pub trait Ed25519 {
    /// Whether `signature` is one of `key` over `message` (RFC 8032 §5.1.7).
    fn good(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;
}

/// Why a note, a checkpoint or a key could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is too long, or no text.
    #[error("is no text of at most 64 KiB")]
    Text,
    /// It is not laid out as a note is.
    #[error("is no signed note: {0}")]
    Layout(&'static str),
    /// The text of the note is no checkpoint.
    #[error("is no checkpoint: {0}")]
    Checkpoint(&'static str),
    /// It is not laid out as a verifier's key is.
    #[error("is no verifier key, NAME+ID+KEY: {0}")]
    Key(&'static str),
    /// The note has no signature of this key.
    #[error("is not signed by {0}")]
    Unsigned(String),
    /// The note has a signature that is not good.
    #[error("the signature of {0} is not good")]
    Forged(String),
    /// The checkpoint is of another log.
    #[error("is of the log {found}, not of {expected}")]
    OtherLog {
        /// What it says.
        found: String,
        /// Whose key was given.
        expected: String,
    },
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A log's: the note.
    Log,
    /// A witness's: that it saw the checkpoint, and when.
    Witness,
}

impl Kind {
    /// As a signature type of signed notes.
    const fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
        }
    }
}

/// A public key with the name of whoever has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: Kind,
    key: [u8; 32],
}

impl VerifierKey {
    /// The key of `name`, who signs as `kind`.
    pub fn new(name: &str, kind: Kind, key: [u8; 32]) -> Result<Self, NoteError> {
        let plain = |letter: char| !letter.is_whitespace() && letter != '+' && !letter.is_control();
        if name.is_empty() || !name.chars().all(plain) {
            return Err(NoteError::Key("the name is empty or has blanks or `+`"));
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            key,
        })
    }

    /// Reads `NAME+ID+KEY`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim_ascii().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("three parts, with `+` between them"));
        };
        let key = STANDARD
            .decode(key)
            .map_err(|_| NoteError::Key("the key is not base64"))?;
        let (kind, key) = match key.split_first() {
            Some((0x01, key)) => (Kind::Log, key),
            Some((0x04, key)) => (Kind::Witness, key),
            _ => {
                return Err(NoteError::Key(
                    "only Ed25519 (1) and cosignature/v1 (4) are known",
                ));
            }
        };
        let key = key
            .try_into()
            .map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
        let key = Self::new(name, kind, key)?;
        if id != hex(key.id()) {
            return Err(NoteError::Key(
                "the id does not belong to the name and the key",
            ));
        }
        Ok(key)
    }

    /// As it is handed to whoever verifies.
    pub fn text(&self) -> String {
        let mut key = vec![self.kind.byte()];
        key.extend_from_slice(&self.key);
        let (name, id) = (&self.name, hex(self.id()));
        format!("{name}+{id}+{}", STANDARD.encode(key))
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The first bytes of the hash of name, type and key.
    fn id(&self) -> [u8; ID] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.kind.byte()])
            .chain_update(self.key)
            .finalize()
            .into();
        let [a, b, c, d, ..] = hash;
        [a, b, c, d]
    }
}

/// Text with signatures under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text, with the end of its last line.
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; ID],
    bytes: Vec<u8>,
}

impl Note {
    /// Text without a signature yet.
    pub fn new(text: String) -> Self {
        Self {
            text,
            signatures: Vec::new(),
        }
    }

    /// Puts a signature under it: for a log's key over the text, for a witness's over [`cosigned_text`], behind the time.
    #[must_use]
    pub fn signed(mut self, key: &VerifierKey, signature: &[u8]) -> Self {
        self.signatures.push(Signature {
            name: key.name.clone(),
            id: key.id(),
            bytes: signature.to_vec(),
        });
        self
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::Text);
        }
        let whole = str::from_utf8(bytes).map_err(|_| NoteError::Text)?;
        if whole.chars().any(|it| it < ' ' && it != '\n') {
            return Err(NoteError::Layout("control characters"));
        }
        let (text, rest) = whole
            .rsplit_once("\n\n")
            .ok_or(NoteError::Layout("no empty line before the signatures"))?;
        let rest = rest
            .strip_suffix('\n')
            .ok_or(NoteError::Layout("the last line has no end"))?;
        let signatures: Vec<_> = rest
            .split('\n')
            .take(MAX_SIGNATURES.saturating_add(1))
            .map(Signature::parse)
            .collect::<Option<_>>()
            .ok_or(NoteError::Layout("a line is no signature"))?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Layout("more than 100 signatures"));
        }
        Ok(Self {
            text: format!("{text}\n"),
            signatures,
        })
    }

    /// The note as it is written.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\n", self.text);
        for signature in &self.signatures {
            let id = [&signature.id[..], &signature.bytes].concat();
            out.push_str(MARK);
            out.push_str(&signature.name);
            out.push(' ');
            out.push_str(&STANDARD.encode(id));
            out.push('\n');
        }
        out.into_bytes()
    }

    /// The checkpoint in it, once the log's key signed it, with what witnesses said. Signatures of keys that were not given
    /// say nothing; one of a key that was given must be good.
    pub fn open(
        &self,
        log: &VerifierKey,
        witnesses: &[VerifierKey],
        with: &impl Ed25519,
    ) -> Result<Opened, NoteError> {
        if log.kind != Kind::Log {
            return Err(NoteError::Key(
                "this is a witness's key, and the log's is needed",
            ));
        }
        self.of(log, |signature| {
            let signature = signature.try_into().ok()?;
            with.good(&log.key, self.text.as_bytes(), signature)
                .then_some(0)
        })?;
        let mut cosigned = Vec::new();
        for witness in witnesses {
            if witness.kind != Kind::Witness {
                return Err(NoteError::Key(
                    "this is a log's key, and a witness's is needed",
                ));
            }
            let at = self.of(witness, |signature| {
                let (time, signature) = signature.split_first_chunk()?;
                let time = u64::from_be_bytes(*time);
                let text = cosigned_text(time, &self.text);
                with.good(&witness.key, text.as_bytes(), signature.try_into().ok()?)
                    .then_some(time)
            })?;
            cosigned.push(Cosigned {
                witness: witness.name.clone(),
                at_unix: at,
            });
        }
        let checkpoint = Checkpoint::parse(&self.text)?;
        if checkpoint.origin != log.name {
            return Err(NoteError::OtherLog {
                found: checkpoint.origin,
                expected: log.name.clone(),
            });
        }
        Ok(Opened {
            checkpoint,
            cosigned,
        })
    }

    /// The signature of a key, once it is good; `good` hands over the time it was made, where it says one.
    fn of(&self, key: &VerifierKey, good: impl Fn(&[u8]) -> Option<u64>) -> Result<u64, NoteError> {
        let mut found = None;
        for signature in &self.signatures {
            if signature.name == key.name && signature.id == key.id() {
                let at = good(&signature.bytes);
                found = Some(at.ok_or_else(|| NoteError::Forged(key.name.clone()))?);
            }
        }
        found.ok_or_else(|| NoteError::Unsigned(key.name.clone()))
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, bytes) = line.strip_prefix(MARK)?.split_once(' ')?;
        let bytes = STANDARD.decode(bytes).ok()?;
        let (id, bytes) = bytes.split_first_chunk()?;
        (!name.is_empty() && !bytes.is_empty()).then(|| Self {
            name: name.to_owned(),
            id: *id,
            bytes: bytes.to_vec(),
        })
    }
}

/// What a witness signs: when it saw the note, and its text (tlog-cosignature v1).
pub fn cosigned_text(at_unix: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {at_unix}\n{text}")
}

/// How a log stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many entries it had.
    pub size: u64,
    /// The root of its tree.
    pub root: Hash,
}

impl Checkpoint {
    /// As the text of a note.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.base64())
    }

    /// Reads the text of a note. Lines after the third are others' business, and allowed.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.split_terminator('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Checkpoint("fewer than three lines"));
        };
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(NoteError::Checkpoint("an empty line"));
        }
        let number: u64 = size
            .parse()
            .map_err(|_| NoteError::Checkpoint("the size is no number"))?;
        if number.to_string() != size {
            return Err(NoteError::Checkpoint("the size is not written plainly"));
        }
        let root = Hash::from_base64(root)
            .ok_or(NoteError::Checkpoint("the root is not 32 bytes in base64"))?;
        Ok(Self {
            origin: origin.to_owned(),
            size: number,
            root,
        })
    }
}

/// A checkpoint whose signatures were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Opened {
    /// What the log signed.
    pub checkpoint: Checkpoint,
    /// Who saw it.
    pub cosigned: Vec<Cosigned>,
}

/// That a witness saw a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Whose key.
    pub witness: String,
    /// When, in seconds since 1970.
    pub at_unix: u64,
}

fn hex(id: [u8; ID]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}
