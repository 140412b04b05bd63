//! CoAP over GATT (draft-ietf-core-coap-over-gatt-00): what a Bluetooth characteristic's value holds, to and from datagrams.
//!
//! A value has no message type and no 16-bit message ID; two bits stand for them (§3.2.1). Here each side of a connection is a
//! [`Peer`] that turns the datagrams of an ordinary CoAP stack into values and back: confirmable becomes the C bit, an
//! acknowledgement becomes the A bit of whatever goes next, and IDs for the stack are made up. It is the same for central and
//! peripheral.

/// The service's UUID (§3.2).
pub const SERVICE: u128 = 0x8df8_04b7_3300_496d_9dfa_f8fb_40a2_36bc;
/// The characteristic the GATT client writes to.
pub const DOWNSTREAM: u128 = 0x8bf5_2767_5625_43ca_a678_7088_3a36_6866;
/// The characteristic the GATT server indicates or notifies.
pub const UPSTREAM: u128 = 0xab37_20c8_7fc0_41f8_aa2a_9a45_c2c0_1a4b;
/// Longest value of a characteristic, in bytes (§3.2.6).
pub const VALUE_MAX: usize = 512;

const RESERVED: u8 = 0x80;
const MESSAGE: u8 = 0x40;
const CONFIRM: u8 = 0x20;
const ACKNOWLEDGE: u8 = 0x10;
const TOKEN_LENGTH: u8 = 0x0f;

/// Why a datagram can not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GattError {
    /// Not a CoAP message of RFC 7252.
    Malformed,
    /// Longer than a value, or than the buffer.
    TooLong,
    /// The message before has not been acknowledged: only one is under way.
    Busy,
}

/// A value to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Its length in the buffer.
    pub length: usize,
    /// Whether it must go with radio reliability: as a write with response, or an indication. Otherwise it may.
    pub reliable: bool,
}

/// What a value brought, for the stack, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Incoming {
    /// An empty acknowledgement.
    pub acknowledgement: Option<[u8; 4]>,
    /// Length of the datagram in the buffer; nought when there is none.
    pub length: usize,
}

/// One side of a connection, for one pair of characteristics.
#[derive(Debug)]
pub struct Peer {
    /// Our message ID bit, in its place.
    ours: u8,
    /// The peer's last message ID bit with C, in the place of A.
    theirs: u8,
    /// The message ID of our stack's confirmable message that is under way.
    pending: Option<u16>,
    /// Whether the one before was acknowledged: the next message that is not empty has the other ID.
    acknowledged: bool,
    /// Digest of the last value.
    last: Option<u32>,
    /// Message ID for the next datagram to our stack.
    next: u16,
}

impl Default for Peer {
    fn default() -> Self {
        Self::new()
    }
}

impl Peer {
    /// As a connection is created (§3.2.1): our message ID is 1, the peer's was 0. §3.2.2 has 0 for our first; figure 2 has 1.
    pub const fn new() -> Self {
        Self {
            ours: MESSAGE,
            theirs: 0,
            pending: None,
            acknowledged: false,
            last: None,
            next: 0,
        }
    }

    /// Makes a value of a datagram.
    pub fn send(&mut self, datagram: &[u8], value: &mut [u8]) -> Result<Outgoing, GattError> {
        let ([first, code, id @ ..], rest) = datagram
            .split_first_chunk::<4>()
            .ok_or(GattError::Malformed)?;
        let (token, id) = (first & TOKEN_LENGTH, u16::from_be_bytes(*id));
        let empty = *code == 0;
        if first >> 6 != 1
            || usize::from(token) > rest.len().min(8)
            || empty && (token, rest) != (0, &[])
        {
            return Err(GattError::Malformed);
        }
        // RFC 7252 §3: confirmable, non-confirmable, acknowledgement, reset. The last has no counterpart; it ends a repetition all the same.
        let kind = (first >> 4) & 3;
        let confirm = if kind == 0 && !empty { CONFIRM } else { 0 };
        if kind < 2 && self.pending.is_some_and(|it| kind == 1 || it != id) {
            return Err(GattError::Busy);
        }
        let code = (!empty).then_some(code);
        let length = rest.len().saturating_add(if empty { 1 } else { 2 });
        let value = value.get_mut(..length).ok_or(GattError::TooLong)?;
        if length > VALUE_MAX {
            return Err(GattError::TooLong);
        }
        if self.acknowledged && !empty {
            self.acknowledged = false;
            self.ours ^= MESSAGE;
        }
        if confirm == CONFIRM {
            self.pending = Some(id);
        }
        let header = self.ours | confirm | self.theirs | token;
        let bytes = core::iter::once(&header).chain(code).chain(rest);
        value
            .iter_mut()
            .zip(bytes)
            .for_each(|(place, byte)| *place = *byte);
        Ok(Outgoing {
            length,
            reliable: kind != 1,
        })
    }

    /// Takes a value that was written or indicated. What the draft tells to ignore, and what is no message, brings nothing.
    pub fn receive(&mut self, value: &[u8], datagram: &mut [u8]) -> Incoming {
        let mut incoming = Incoming::default();
        let Some((header, rest)) = value.split_first() else {
            return incoming;
        };
        let token = header & TOKEN_LENGTH;
        let digest = digest(value);
        // §3.2.1, R; §3.2.4, a value once more.
        if header & RESERVED != 0 || value.len() > VALUE_MAX || self.last == Some(digest) {
            return incoming;
        }
        let sound = match rest.split_first() {
            None => token == 0,
            Some((code, rest)) => *code != 0 && usize::from(token) <= rest.len().min(8),
        };
        if !sound {
            return incoming;
        }
        self.last = Some(digest);
        if (header & ACKNOWLEDGE == ACKNOWLEDGE) == (self.ours == MESSAGE)
            && let Some(id) = self.pending.take()
        {
            let [high, low] = id.to_be_bytes();
            incoming.acknowledgement = Some([0x60, 0, high, low]);
            self.acknowledged = true;
        }
        let Some((code, rest)) = rest.split_first() else {
            return incoming;
        };
        let length = rest.len().saturating_add(4);
        let Some(datagram) = datagram.get_mut(..length) else {
            return incoming;
        };
        let confirm = header & CONFIRM == CONFIRM;
        if confirm {
            self.theirs = if header & MESSAGE == MESSAGE {
                ACKNOWLEDGE
            } else {
                0
            };
        }
        let [high, low] = self.next.to_be_bytes();
        self.next = self.next.wrapping_add(1);
        let first = if confirm { 0x40 } else { 0x50 } | token;
        let bytes = [first, *code, high, low];
        let bytes = bytes.iter().chain(rest);
        datagram
            .iter_mut()
            .zip(bytes)
            .for_each(|(place, byte)| *place = *byte);
        incoming.length = length;
        incoming
    }
}

/// FNV-1a: enough to tell a repeated value from another, and a value of 512 bytes need not be kept for that.
fn digest(value: &[u8]) -> u32 {
    value.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
