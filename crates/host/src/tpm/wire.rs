//! How commands and answers of a TPM are written (TPM 2.0 part 1 §18).

use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The longest answer that is taken (part 2 §A.3: `MAX_RESPONSE_SIZE` of most TPMs).
const MOST: usize = 4096;
const HEADER: usize = 10;
/// Key generation by a slow TPM takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

// Part 2 §6.9, §7.4: tags and handles.
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const EMPTY_PASSWORD: u32 = 0x4000_0009;

/// A conversation with a TPM.
pub type Wire = Box<dyn ReadWrite>;

/// What a TPM is read from and written to.
pub trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}

/// The TPM behind a device (`/dev/tpmrm0`) or a Unix socket.
pub fn reach(device: &Path) -> io::Result<Wire> {
    if fs_err::metadata(device)?.file_type().is_socket() {
        let stream = UnixStream::connect(device)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        return Ok(Box::new(stream));
    }
    let mut options = fs_err::OpenOptions::new();
    Ok(Box::new(options.read(true).write(true).open(device)?))
}

/// What went wrong with a TPM.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It can not be reached.
    #[error("the TPM can not be reached")]
    Io(#[from] io::Error),
    /// It answers something else than was asked.
    #[error("the TPM's answer can not be read")]
    Answer,
    /// It refuses (part 2 §6.6).
    #[error("the TPM refused with the code {0:#x}")]
    Code(u32),
}

/// Sends a command, and takes its answer's body.
pub(super) fn ask(wire: &mut Wire, command: Command) -> Result<Vec<u8>, TpmError> {
    let bytes = command.finish();
    // The kernel takes a command as one write, and gives the answer as one read.
    wire.write_all(&bytes)?;
    let mut answer = vec![0; MOST];
    let mut have = 0;
    loop {
        let space = answer.get_mut(have..).ok_or(TpmError::Answer)?;
        let count = wire.read(space)?;
        have += count;
        let got = answer.get(..have).ok_or(TpmError::Answer)?;
        match parse(got)? {
            None if count > 0 => (),
            None => return Err(TpmError::Answer),
            Some(body) => return Ok(body.to_vec()),
        }
    }
}

/// The body of a whole answer (part 1 §18.4); nothing yet if it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<&[u8]>, TpmError> {
    let mut fields = Fields(bytes);
    let (Some(_tag), Some(length), Some(code)) = (fields.u16(), fields.u32(), fields.u32()) else {
        return Ok(None);
    };
    let length = usize::try_from(length).map_err(|_| TpmError::Answer)?;
    if !(HEADER..=MOST).contains(&length) || bytes.len() > length {
        return Err(TpmError::Answer);
    }
    match (bytes.len() == length, code) {
        (false, _) => Ok(None),
        (true, 0) => Ok(Some(fields.0)),
        (true, code) => Err(TpmError::Code(code)),
    }
}

/// A command, or a structure of one, under construction (part 1 §18.2).
#[derive(Debug, Default)]
pub struct Command(Vec<u8>);

impl Command {
    /// A command without authorisation.
    pub(super) fn plain(code: u32, handles: &[u32]) -> Self {
        Self::new(NO_SESSIONS, code, handles)
    }

    /// A command whose first handle is authorised by the empty password.
    pub(super) fn authorised(code: u32, handles: &[u32]) -> Self {
        Self::with_sessions(code, handles, &[EMPTY_PASSWORD])
    }

    /// A command whose handles are authorised by these sessions, none of which has a secret (part 1 §19.4, §19.6.5).
    pub(super) fn with_sessions(code: u32, handles: &[u32], sessions: &[u32]) -> Self {
        let mut command = Self::new(SESSIONS, code, handles);
        let mut area = Self::default();
        for session in sessions {
            area.u32(*session);
            area.u16(0);
            area.0.push(0);
            area.u16(0);
        }
        command.u32(u32::try_from(area.0.len()).unwrap_or(u32::MAX));
        command.bytes(&area.0);
        command
    }

    fn new(tag: u16, code: u32, handles: &[u32]) -> Self {
        let mut command = Self(Vec::with_capacity(256));
        command.u16(tag);
        command.u32(0);
        command.u32(code);
        for handle in handles {
            command.u32(*handle);
        }
        command
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Appends a number.
    pub fn u16(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }

    /// Appends a number.
    pub fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    /// Appends a structure with its length before it (`TPM2B`).
    pub fn sized(&mut self, content: &[u8]) {
        self.u16(u16::try_from(content.len()).unwrap_or(u16::MAX));
        self.bytes(content);
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(place) = self.0.get_mut(2..6) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        self.0
    }
}

/// Reads big-endian structures.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// So many bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A number.
    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A number.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A structure with its length before it.
    pub fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A number of a point or signature on P-256, with the zeros in front that a TPM may leave out.
    pub fn number(&mut self) -> Option<[u8; 32]> {
        let bytes = self.sized()?;
        let mut out = [0; 32];
        out.get_mut(32_usize.checked_sub(bytes.len())?..)?
            .copy_from_slice(bytes);
        Some(out)
    }
}
