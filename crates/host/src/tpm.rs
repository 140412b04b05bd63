//! A TPM 2.0: keys that exist nowhere else, registers that tell how the machine started, counters that never go back.
//!
//! A dozen commands are all that is needed, so they are written by hand. No hierarchy has a password, and none is given.

mod wire;

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

pub use self::wire::{Command, Fields, ReadWrite, TpmError, Wire, reach};

// Part 2 §6.5.2: command codes.
const NV_UNDEFINE_SPACE: u32 = 0x122;
const NV_DEFINE_SPACE: u32 = 0x12a;
const CREATE_PRIMARY: u32 = 0x131;
const NV_INCREMENT: u32 = 0x134;
const NV_WRITE: u32 = 0x137;
const STARTUP: u32 = 0x144;
const ACTIVATE_CREDENTIAL: u32 = 0x147;
const NV_READ: u32 = 0x14e;
const POLICY_SECRET: u32 = 0x151;
const QUOTE: u32 = 0x158;
const SIGN: u32 = 0x15d;
const FLUSH_CONTEXT: u32 = 0x165;
const NV_READ_PUBLIC: u32 = 0x169;
const START_AUTH_SESSION: u32 = 0x176;
const PCR_READ: u32 = 0x17e;

// Part 2 §7.4: permanent handles.
const OWNER: u32 = 0x4000_0001;
const NULL: u32 = 0x4000_0007;
const EMPTY_PASSWORD: u32 = 0x4000_0009;
const ENDORSEMENT: u32 = 0x4000_000b;

// Part 2 §6.3: algorithms.
const SHA256: u16 = 0x000b;
const ALG_NULL: u16 = 0x0010;
const ECDSA: u16 = 0x0018;

/// Part 2 §6.9: the tag of a ticket that is none.
const HASHCHECK: u16 = 0x8024;
/// Part 2 §6.6.3, `TPM_RC_INITIALIZE`: the TPM was started already.
const STARTED: u32 = 0x100;
/// Part 2 §6.6.3, `TPM_RC_HANDLE` of the first handle: there is no such thing.
const NO_SUCH: u32 = 0x18b;
/// Part 2 §6.6.3, `TPM_RC_NV_UNINITIALIZED`: a counter that never counted, an index that nothing was written to.
pub const NEVER_WRITTEN: u32 = 0x14a;
/// Part 2 §13.4: a counter, changed and read by its owner and by whoever knows its (empty) password, without lock-out.
const COUNTER: u32 = 0x0206_0016;
/// Part 2 §13.4: bytes that their owner alone writes and reads, without lock-out.
const BYTES: u32 = 0x0202_0002;
/// Registers of the PC (part 2 §10.6.2: as bytes of a selection).
const REGISTERS: u8 = 24;

/// Something in the TPM's memory, until it is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle(u32);

/// Whose seed a primary key is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// The device's owner's.
    Owner,
    /// The TPM's maker's.
    Endorsement,
}

/// A signature by ECDSA on P-256: r and s.
pub type Signature = [u8; 64];

/// A TPM that is talked to.
pub struct Tpm(Wire);

impl std::fmt::Debug for Tpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tpm").finish_non_exhaustive()
    }
}

impl Tpm {
    /// The TPM behind a device or a Unix socket.
    pub fn open(device: &Path) -> Result<Self, TpmError> {
        Self::start(reach(device)?)
    }

    /// Starts to talk to a TPM that was reached.
    pub fn start(wire: Wire) -> Result<Self, TpmError> {
        let mut tpm = Self(wire);
        // Part 3 §9.3: TPM_SU_CLEAR. The firmware or the kernel has done it already unless this is a bare TPM.
        let mut startup = Command::plain(STARTUP, &[]);
        startup.u16(0);
        match tpm.ask(startup) {
            Ok(_) | Err(TpmError::Code(STARTED)) => Ok(tpm),
            Err(wrong) => Err(wrong),
        }
    }

    fn ask(&mut self, command: Command) -> Result<Vec<u8>, TpmError> {
        wire::ask(&mut self.0, command)
    }

    /// Makes a primary key (part 3 §24.1) from a template, a `TPMT_PUBLIC`: its handle and its own `TPMT_PUBLIC`.
    pub fn create_primary(
        &mut self,
        hierarchy: Hierarchy,
        template: &[u8],
    ) -> Result<(Handle, Vec<u8>), TpmError> {
        let hierarchy = match hierarchy {
            Hierarchy::Owner => OWNER,
            Hierarchy::Endorsement => ENDORSEMENT,
        };
        let mut command = Command::authorised(CREATE_PRIMARY, &[hierarchy]);
        // TPM2B_SENSITIVE_CREATE: no password, no data (part 2 §11.1.15).
        command.sized(&[0, 0, 0, 0]);
        command.sized(template);
        // No data from outside, no PCRs.
        command.sized(&[]);
        command.u32(0);
        created(&self.ask(command)?).ok_or(TpmError::Answer)
    }

    /// Frees the TPM's memory of something (part 3 §28.4).
    pub fn flush(&mut self, handle: Handle) -> Result<(), TpmError> {
        self.ask(Command::plain(FLUSH_CONTEXT, &[handle.0]))
            .map(|_| ())
    }

    /// Signs a digest by a key that is not restricted (part 3 §20.2).
    pub fn sign(&mut self, key: Handle, digest: &[u8]) -> Result<Signature, TpmError> {
        let mut command = Command::authorised(SIGN, &[key.0]);
        command.sized(digest);
        command.u16(ALG_NULL);
        // No ticket is needed.
        command.u16(HASHCHECK);
        command.u32(NULL);
        command.sized(&[]);
        let answer = self.ask(command)?;
        let mut fields = Fields(&answer);
        let _parameters = fields.u32();
        signature(&mut fields).ok_or(TpmError::Answer)
    }

    /// Has registers of the SHA-256 bank signed by a restricted key (part 3 §18.4): a `TPMS_ATTEST` and its signature.
    pub fn quote(
        &mut self,
        key: Handle,
        challenge: &[u8],
        registers: &[u8],
    ) -> Result<(Vec<u8>, Signature), TpmError> {
        let mut command = Command::authorised(QUOTE, &[key.0]);
        command.sized(challenge);
        command.u16(ALG_NULL);
        command.bytes(&selection(registers));
        let answer = self.ask(command)?;
        quoted(&answer).ok_or(TpmError::Answer)
    }

    /// The registers of the SHA-256 bank, as far as there are these (part 3 §22.4).
    pub fn registers(&mut self, wanted: &[u8]) -> Result<BTreeMap<u8, [u8; 32]>, TpmError> {
        let mut all = BTreeMap::new();
        // As many as an answer has room for (part 2 §10.9.7).
        for some in wanted.chunks(8) {
            let mut command = Command::plain(PCR_READ, &[]);
            command.bytes(&selection(some));
            let answer = self.ask(command)?;
            all.append(&mut read_registers(&answer).ok_or(TpmError::Answer)?);
        }
        Ok(all)
    }

    /// What is in a credential for `key` that was made for the endorsement key (part 3 §12.5). That key's policy asks for the
    /// password of the endorsement hierarchy (TCG EK Credential Profile 2.5 §B.3.3), which is empty.
    pub fn activate(
        &mut self,
        key: Handle,
        endorsement: Handle,
        object: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let mut start = Command::plain(START_AUTH_SESSION, &[NULL, NULL]);
        // The nonce guards nothing in a session without secrets.
        start.sized(&[0; 16]);
        start.sized(&[]);
        // TPM_SE_POLICY.
        start.bytes(&[1]);
        start.u16(ALG_NULL);
        start.u16(SHA256);
        let answer = self.ask(start)?;
        let session = Fields(&answer).u32().ok_or(TpmError::Answer)?;
        let mut policy = Command::authorised(POLICY_SECRET, &[ENDORSEMENT, session]);
        for _nonce_command_reference in 0..3 {
            policy.sized(&[]);
        }
        policy.u32(0);
        let mut activate = Command::with_sessions(
            ACTIVATE_CREDENTIAL,
            &[key.0, endorsement.0],
            &[EMPTY_PASSWORD, session],
        );
        activate.sized(object);
        activate.sized(secret);
        let done = self.ask(policy).and_then(|_| self.ask(activate));
        if done.is_err() {
            // It ends by itself only if it was good for something.
            self.flush(Handle(session))?;
        }
        let done = Zeroizing::new(done?);
        let mut fields = Fields(&done);
        let _parameters = fields.u32();
        let secret = fields.sized().ok_or(TpmError::Answer)?;
        Ok(Zeroizing::new(secret.to_vec()))
    }

    /// What is kept under an index of the TPM's lasting memory; none if there is no such index.
    pub fn nv_read(&mut self, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
        let answer = match self.ask(Command::plain(NV_READ_PUBLIC, &[index])) {
            Err(TpmError::Code(NO_SUCH)) => return Ok(None),
            answer => answer?,
        };
        let size = nv_size(&answer).ok_or(TpmError::Answer)?;
        let mut content = Vec::with_capacity(size.into());
        while content.len() < usize::from(size) {
            let offset = u16::try_from(content.len()).map_err(|_| TpmError::Answer)?;
            let mut command = Command::authorised(NV_READ, &[OWNER, index]);
            // Part 2 §A.3: `MAX_NV_BUFFER_SIZE` is 512 at least.
            command.u16(512.min(size - offset));
            command.u16(offset);
            let answer = self.ask(command)?;
            let mut fields = Fields(&answer);
            let _parameters = fields.u32();
            let piece = fields.sized().filter(|it| !it.is_empty());
            content.extend(piece.ok_or(TpmError::Answer)?);
        }
        Ok(Some(content))
    }

    /// What a counter says; none if there is no such counter, or it never counted.
    pub fn counter(&mut self, index: u32) -> Result<Option<u64>, TpmError> {
        match self.nv_read(index) {
            Err(TpmError::Code(NEVER_WRITTEN)) => Ok(None),
            read => read?
                .map(|bytes| bytes.try_into().map(u64::from_be_bytes))
                .transpose()
                .map_err(|_| TpmError::Answer),
        }
    }

    /// Makes a counter, which begins above every counter that the TPM ever had (part 3 §31.3).
    pub fn make_counter(&mut self, index: u32) -> Result<(), TpmError> {
        self.nv_define(index, COUNTER, 8)
    }

    /// Keeps up to 512 bytes under an index that is free (part 3 §31.3, §31.7): after a power cut in between there is an index and
    /// nothing under it.
    pub fn nv_keep(&mut self, index: u32, bytes: &[u8]) -> Result<(), TpmError> {
        let size = u16::try_from(bytes.len()).map_err(|_| TpmError::Answer)?;
        self.nv_define(index, BYTES, size)?;
        let mut command = Command::authorised(NV_WRITE, &[OWNER, index]);
        command.sized(bytes);
        command.u16(0);
        self.ask(command).map(|_| ())
    }

    fn nv_define(&mut self, index: u32, attributes: u32, size: u16) -> Result<(), TpmError> {
        let mut public = Command::default();
        public.u32(index);
        public.u16(SHA256);
        public.u32(attributes);
        public.sized(&[]);
        public.u16(size);
        let mut command = Command::authorised(NV_DEFINE_SPACE, &[OWNER]);
        command.sized(&[]);
        command.sized(&public.into_bytes());
        self.ask(command).map(|_| ())
    }

    /// Counts one up (part 3 §31.8).
    pub fn count(&mut self, index: u32) -> Result<(), TpmError> {
        self.ask(Command::authorised(NV_INCREMENT, &[OWNER, index]))
            .map(|_| ())
    }

    /// Removes what is kept under an index, a counter too (part 3 §31.4).
    pub fn nv_remove(&mut self, index: u32) -> Result<(), TpmError> {
        self.ask(Command::authorised(NV_UNDEFINE_SPACE, &[OWNER, index]))
            .map(|_| ())
    }
}

/// `TPML_PCR_SELECTION` of the SHA-256 bank (part 2 §10.9.7).
fn selection(registers: &[u8]) -> Vec<u8> {
    let mut bits = [0_u8; 3];
    for register in registers {
        if let Some(byte) = bits.get_mut(usize::from(register / 8)) {
            *byte |= 1 << (register % 8);
        }
    }
    let mut out = Command::default();
    out.u32(1);
    out.u16(SHA256);
    out.bytes(&[3]);
    out.bytes(&bits);
    out.into_bytes()
}

/// Handle and `TPMT_PUBLIC` of a new primary key.
fn created(body: &[u8]) -> Option<(Handle, Vec<u8>)> {
    let mut fields = Fields(body);
    let handle = Handle(fields.u32()?);
    let _parameters = fields.u32()?;
    Some((handle, fields.sized()?.to_vec()))
}

/// A `TPMT_SIGNATURE` by ECDSA (part 2 §11.3.4).
fn signature(fields: &mut Fields<'_>) -> Option<Signature> {
    if (fields.u16()?, fields.u16()?) != (ECDSA, SHA256) {
        return None;
    }
    let mut signature = [0; 64];
    let (r, s) = (fields.number()?, fields.number()?);
    signature.get_mut(..32)?.copy_from_slice(&r);
    signature.get_mut(32..)?.copy_from_slice(&s);
    Some(signature)
}

fn quoted(body: &[u8]) -> Option<(Vec<u8>, Signature)> {
    let mut fields = Fields(body);
    let _parameters = fields.u32()?;
    let attest = fields.sized()?.to_vec();
    Some((attest, signature(&mut fields)?))
}

/// The answer to `PCR_Read`: which registers, then their values in order.
fn read_registers(body: &[u8]) -> Option<BTreeMap<u8, [u8; 32]>> {
    let mut fields = Fields(body);
    let _updates = fields.u32()?;
    let mut which = Vec::new();
    for _bank in 0..fields.u32()?.min(1) {
        if fields.u16()? != SHA256 {
            return None;
        }
        let length = fields.u8()?;
        let bits = fields.take(length.into())?;
        which = (0..REGISTERS)
            .filter(|it| {
                bits.get(usize::from(it / 8))
                    .is_some_and(|byte| byte & (1 << (it % 8)) != 0)
            })
            .collect();
    }
    let count = usize::try_from(fields.u32()?).ok()?;
    let mut all = BTreeMap::new();
    for register in which.into_iter().take(count) {
        all.insert(register, fields.sized()?.try_into().ok()?);
    }
    Some(all)
}

/// The size in a `TPM2B_NV_PUBLIC` (part 2 §13.5).
fn nv_size(body: &[u8]) -> Option<u16> {
    let mut fields = Fields(Fields(body).sized()?);
    let _index_algorithm_attributes = fields.take(4 + 2 + 4)?;
    let _policy = fields.sized()?;
    fields.u16()
}

/// Any bytes as a TPM's answers.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(Some(body)) = wire::parse(data) {
        assert!(body.len() < data.len(), "an answer is taken whole");
        created(body);
        quoted(body);
        nv_size(body);
        if let Some(all) = read_registers(body) {
            assert!(all.keys().all(|it| *it < REGISTERS), "registers of a PC");
        }
    }
}
