//! Messages between a reader and a card by ISO-DEP (ISO/IEC 14443-4): short commands and responses as of ISO/IEC 7816-4.
//!
//! A card only ever answers. So that either side may begin a CoAP exchange, the reader asks again and again: an exchange carries the
//! reader's next message, or none, and brings the card's next message, or none. What does not fit in one command is chained
//! (ISO/IEC 7816-4 §5.3.3), what does not fit in one response is fetched with GET RESPONSE (§11.7.1). Extended lengths are not used:
//! many readers and phones stop at 261 bytes.

/// The application's name: a proprietary one (ISO/IEC 7816-4 §12.2.3.4), "STOCKADE", version 1.
pub const AID: [u8; 10] = *b"\xf0STOCKADE\x01";
/// Longest command, in bytes.
pub const COMMAND_MAX: usize = 261;
/// Longest response, in bytes.
pub const RESPONSE_MAX: usize = 258;

/// Class of [`EXCHANGE`]: proprietary.
const PROPRIETARY: u8 = 0x80;
/// Bit of a class: more of the command follows.
const CHAINED: u8 = 0x10;
const SELECT: u8 = 0xa4;
const GET_RESPONSE: u8 = 0xc0;
/// The one instruction of our own: a message each way.
const EXCHANGE: u8 = 0x5c;

/// Most data in a command.
const DATA_MAX: usize = 255;

/// How an exchange ended, or goes on: the last two bytes of a response (ISO/IEC 7816-4 §5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8, pub u8);

impl Status {
    const FINE: Self = Self(0x90, 0x00);
    const WRONG_LENGTH: Self = Self(0x67, 0x00);
    const NOT_NOW: Self = Self(0x69, 0x85);
    const NOT_FOUND: Self = Self(0x6a, 0x82);
    const NO_ROOM: Self = Self(0x6a, 0x84);
    const WRONG_PARAMETERS: Self = Self(0x6a, 0x86);
    const UNKNOWN: Self = Self(0x6d, 0x00);
    const WRONG_CLASS: Self = Self(0x6e, 0x00);
}

/// What the firmware does next with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send so many bytes of the response.
    Respond(usize),
    /// A message is there, of so many bytes, or the reader only asked, with none: call [`Card::reply`].
    Message(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No one has selected us.
    Idle,
    /// So much of a message is in the buffer.
    Receiving(usize),
    /// The buffer's bytes between these are still to be fetched.
    Sending(usize, usize),
}

/// The card's side: a device's. Its one buffer serves both directions, for only one has its turn.
#[derive(Debug)]
pub struct Card<'b> {
    buffer: &'b mut [u8],
    phase: Phase,
}

impl<'b> Card<'b> {
    /// As it enters a reader's field.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            phase: Phase::Idle,
        }
    }

    /// Takes a command.
    pub fn command(&mut self, command: &[u8], response: &mut [u8; RESPONSE_MAX]) -> Step {
        match self.step(command, response) {
            Ok(step) => step,
            Err(status) => {
                if self.phase != Phase::Idle {
                    self.phase = Phase::Receiving(0);
                }
                Step::Respond(respond(response, &[], status))
            }
        }
    }

    fn step(&mut self, command: &[u8], response: &mut [u8; RESPONSE_MAX]) -> Result<Step, Status> {
        let ([class, instruction, p1, p2], body) =
            command.split_first_chunk().ok_or(Status::WRONG_LENGTH)?;
        let (data, expected) = body_of(body).ok_or(Status::WRONG_LENGTH)?;
        match (*class, *instruction) {
            (0, SELECT) => {
                let ours = (*p1, data) == (4, &AID);
                self.phase = if ours {
                    Phase::Receiving(0)
                } else {
                    Phase::Idle
                };
                let status = if ours {
                    Status::FINE
                } else {
                    Status::NOT_FOUND
                };
                Ok(Step::Respond(respond(response, &[], status)))
            }
            (0, GET_RESPONSE) => match self.phase {
                Phase::Sending(from, to) => {
                    Ok(Step::Respond(self.send(from, to, expected, response)))
                }
                Phase::Idle | Phase::Receiving(_) => Err(Status::NOT_NOW),
            },
            (class, EXCHANGE) if class & !CHAINED == PROPRIETARY => {
                if (*p1, *p2) != (0, 0) {
                    return Err(Status::WRONG_PARAMETERS);
                }
                let received = match self.phase {
                    Phase::Idle => return Err(Status::NOT_NOW),
                    Phase::Receiving(length) => length,
                    Phase::Sending(..) => 0,
                };
                let end = received.saturating_add(data.len());
                let room = self.buffer.get_mut(received..end);
                room.ok_or(Status::NO_ROOM)?.copy_from_slice(data);
                if class & CHAINED == CHAINED {
                    self.phase = Phase::Receiving(end);
                    return Ok(Step::Respond(respond(response, &[], Status::FINE)));
                }
                self.phase = Phase::Receiving(0);
                Ok(Step::Message(end))
            }
            (0 | PROPRIETARY, _) => Err(Status::UNKNOWN),
            _ => Err(Status::WRONG_CLASS),
        }
    }

    /// The message that came, to be read or decrypted where it lies.
    pub fn message(&mut self, length: usize) -> &mut [u8] {
        self.buffer.get_mut(..length).unwrap_or_default()
    }

    /// Answers the exchange that brought a message: with the device's next message, or with nothing. How much of the response to send.
    ///
    /// One that is longer than the buffer is not sent at all.
    pub fn reply(&mut self, message: &[u8], response: &mut [u8; RESPONSE_MAX]) -> usize {
        match self.buffer.get_mut(..message.len()) {
            Some(room) => {
                room.copy_from_slice(message);
                self.send(0, message.len(), RESPONSE_MAX, response)
            }
            None => respond(response, &[], Status::NO_ROOM),
        }
    }

    fn send(
        &mut self,
        from: usize,
        to: usize,
        expected: usize,
        response: &mut [u8; RESPONSE_MAX],
    ) -> usize {
        let cut = from
            .saturating_add(expected.min(DATA_MAX.saturating_add(1)))
            .min(to);
        let status = match u8::try_from(to.saturating_sub(cut)) {
            Ok(0) => Status::FINE,
            Ok(rest) => Status(0x61, rest),
            Err(_) => Status(0x61, 0),
        };
        self.phase = if cut == to {
            Phase::Receiving(0)
        } else {
            Phase::Sending(cut, to)
        };
        respond(
            response,
            self.buffer.get(from..cut).unwrap_or_default(),
            status,
        )
    }
}

/// Data and the most that may come back, of a short command's body (ISO/IEC 7816-4 §5.1).
fn body_of(body: &[u8]) -> Option<(&[u8], usize)> {
    let (data, expected) = match body {
        [] => (body, None),
        [expected] => (body.get(..0)?, Some(*expected)),
        [length, rest @ ..] => {
            let (data, after) = rest.split_at_checked(usize::from(*length))?;
            match after {
                _ if data.is_empty() => return None,
                [] => (data, None),
                [expected] => (data, Some(*expected)),
                _ => return None,
            }
        }
    };
    let expected = expected
        .filter(|it| *it > 0)
        .map_or(RESPONSE_MAX, usize::from);
    Some((data, expected))
}

fn respond(response: &mut [u8; RESPONSE_MAX], data: &[u8], status: Status) -> usize {
    let tail = [status.0, status.1];
    let bytes = data.iter().chain(&tail);
    response
        .iter_mut()
        .zip(bytes)
        .fold(0, |count, (place, byte)| {
            *place = *byte;
            count.saturating_add(1)
        })
}

/// The command that selects us.
pub fn select() -> [u8; 16] {
    let mut command = [0, SELECT, 4, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if let Some(place) = command.get_mut(5..15) {
        place.copy_from_slice(&AID);
    }
    command
}

/// Whether a card took the command of [`select`], and so speaks as we do.
pub fn selected(response: &[u8]) -> bool {
    matches!(response, [.., 0x90, 0x00])
}

/// Why a card's response is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApduError {
    /// Not a response, or one that brings the exchange no further.
    Malformed,
    /// The card refused.
    Refused(Status),
    /// More than the buffer holds.
    TooLong,
}

impl core::fmt::Display for ApduError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed => f.write_str("the card's response is not one"),
            Self::Refused(Status(high, low)) => {
                write!(f, "the card refused, with status {high:02x}{low:02x}")
            }
            Self::TooLong => f.write_str("the card's message is too long"),
        }
    }
}

impl core::error::Error for ApduError {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// A command with the next of the message, and whether it is the last.
    Message,
    /// More of the response, so many bytes of it at once.
    Fetch(u8),
}

/// The reader's side: one message, or none, for one message, or none.
#[derive(Debug)]
pub struct Exchange<'m, 'b> {
    message: &'m [u8],
    buffer: &'b mut [u8],
    length: usize,
    turn: Turn,
}

impl<'m, 'b> Exchange<'m, 'b> {
    /// Sends a message, which may be empty, and puts the card's into the buffer.
    pub const fn new(message: &'m [u8], buffer: &'b mut [u8]) -> Self {
        Self {
            message,
            buffer,
            length: 0,
            turn: Turn::Message,
        }
    }

    /// The next command: its length.
    pub fn command(&self, command: &mut [u8; COMMAND_MAX]) -> usize {
        let (header, data, expected) = match self.turn {
            Turn::Fetch(expected) => ([0, GET_RESPONSE, 0, 0], [].as_slice(), expected),
            Turn::Message => {
                let (data, rest) = self.cut();
                let chained = if rest.is_empty() { 0 } else { CHAINED };
                ([PROPRIETARY | chained, EXCHANGE, 0, 0], data, 0)
            }
        };
        let length = u8::try_from(data.len()).ok().filter(|it| *it > 0);
        let bytes = header
            .iter()
            .chain(&length)
            .chain(data)
            .chain(core::iter::once(&expected));
        command
            .iter_mut()
            .zip(bytes)
            .fold(0, |count, (place, byte)| {
                *place = *byte;
                count.saturating_add(1)
            })
    }

    fn cut(&self) -> (&'m [u8], &'m [u8]) {
        self.message
            .split_at_checked(DATA_MAX)
            .unwrap_or((self.message, &[]))
    }

    /// Takes the response to the last command: when the exchange is over, the length of the card's message in the buffer.
    pub fn response(&mut self, response: &[u8]) -> Result<Option<usize>, ApduError> {
        let (data, [high, low]) = response.split_last_chunk().ok_or(ApduError::Malformed)?;
        let status = Status(*high, *low);
        if self.turn == Turn::Message {
            let (_, rest) = self.cut();
            self.message = rest;
            if !rest.is_empty() {
                return match (status, data) {
                    (Status::FINE, []) => Ok(None),
                    (Status::FINE, _) => Err(ApduError::Malformed),
                    (refused, _) => Err(ApduError::Refused(refused)),
                };
            }
        } else if data.is_empty() {
            // Asked for more and given none: it would never end.
            return Err(ApduError::Malformed);
        }
        let end = self.length.saturating_add(data.len());
        let room = self
            .buffer
            .get_mut(self.length..end)
            .ok_or(ApduError::TooLong)?;
        room.copy_from_slice(data);
        self.length = end;
        match status {
            Status::FINE => Ok(Some(end)),
            Status(0x61, more) => {
                self.turn = Turn::Fetch(more);
                Ok(None)
            }
            refused => Err(ApduError::Refused(refused)),
        }
    }
}
