//! L2CAP over LE (Bluetooth Core 5.4, volume 3, part A): packets put together, and one credit-based channel a connection.

use std::collections::VecDeque;

use stockade_link::bearer::MESSAGE_MAX;

use super::hci::Bytes;

/// The fixed channels (section 2.1).
pub(super) const ATTRIBUTES: u16 = 4;
/// The signalling channel.
pub(super) const SIGNALS: u16 = 5;
/// The security manager's.
pub(super) const SECURITY: u16 = 6;
/// The channel of ours: the first that is dynamic.
pub(super) const OURS: u16 = 0x40;

/// The longest packet we take: an attribute's value whole. Channels say with their MPS that less is enough.
pub(super) const MAX_PACKET: usize = 517;
/// What we take of a channel in one packet: with the two headers, one packet of the radio.
const MPS: u16 = 247;
/// How many packets a peer may send before it hears from us.
const CREDITS: u16 = 16;
/// Messages that wait for credits. More are dropped, as a full radio would.
const QUEUE: usize = 8;

/// Signalling codes (section 4).
const REJECT: u8 = 0x01;
const DISCONNECT_REQUEST: u8 = 0x06;
const DISCONNECT_RESPONSE: u8 = 0x07;
const UPDATE_REQUEST: u8 = 0x12;
const UPDATE_RESPONSE: u8 = 0x13;
const CONNECT_REQUEST: u8 = 0x14;
const CONNECT_RESPONSE: u8 = 0x15;
const CREDIT: u8 = 0x16;
const RECONFIGURE_RESPONSE: u8 = 0x1a;
const ENHANCED_RESPONSE: u8 = 0x18;

/// What the peer did that ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// A packet that is no packet.
    #[error("a malformed packet")]
    Malformed,
    /// Longer than what was agreed.
    #[error("a message longer than what was agreed")]
    TooLong,
    /// More packets than it had credits for, or more credits than there can be.
    #[error("credits that do not add up")]
    Credits,
    /// It refused the channel.
    #[error("the channel was refused")]
    Refused,
    /// It closed the channel.
    #[error("the channel was closed")]
    Closed,
    /// It has no service of CoAP over GATT, or none that is whole.
    #[error("no CoAP over GATT")]
    NoService,
    /// It took too long.
    #[error("no answer in time")]
    Late,
    /// It does not take what it makes us answer.
    #[error("too much to answer")]
    Flood,
}

/// L2CAP packets that are ready to be sent: (channel, payload).
pub(super) type Out = Vec<(u16, Vec<u8>)>;

/// A whole packet.
pub(super) fn packet(channel: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    [&length.to_le_bytes(), &channel.to_le_bytes(), payload].concat()
}

/// Pieces of a connection's packets, put together (section 7.2.2).
#[derive(Debug, Default)]
pub(super) struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Adds a piece: (channel, payload) when that makes a packet whole.
    pub(super) fn add(
        &mut self,
        first: bool,
        piece: &[u8],
    ) -> Result<Option<(u16, Vec<u8>)>, Fault> {
        if first != self.bytes.is_empty() {
            return Err(Fault::Malformed);
        }
        self.bytes.extend_from_slice(piece);
        let mut bytes = Bytes(&self.bytes);
        let (Some(length), Some(channel)) = (bytes.u16(), bytes.u16()) else {
            return if piece.is_empty() {
                Err(Fault::Malformed)
            } else {
                Ok(None)
            };
        };
        let length = usize::from(length);
        if length > MAX_PACKET {
            return Err(Fault::TooLong);
        }
        match bytes.0.len() {
            there if there < length && !piece.is_empty() => Ok(None),
            there if there == length => {
                let payload = bytes.0.to_vec();
                self.bytes.clear();
                Ok(Some((channel, payload)))
            }
            _ => Err(Fault::Malformed),
        }
    }
}

/// What a signal asks of the connection itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing.
    Nothing,
    /// Other parameters: interval from, to, latency, timeout, as the command to the controller has them.
    Parameters([u16; 4]),
}

/// A credit-based channel that we opened (section 10.1).
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Where theirs ends, once it is open.
    theirs: Option<u16>,
    their_mtu: usize,
    their_mps: usize,
    /// Packets that we may send.
    credits: u16,
    /// Packets that they may send.
    granted: u16,
    /// The message that is coming in, and how long it is to be.
    coming: Option<(usize, Vec<u8>)>,
    /// Packets that wait for credits, and messages that are not packets yet.
    packets: VecDeque<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
}

impl Channel {
    /// Asks the peer to open a channel (section 4.22).
    pub(super) fn open(spsm: u16, out: &mut Out) -> Self {
        let mtu = u16::try_from(MESSAGE_MAX).unwrap_or(u16::MAX);
        signal(CONNECT_REQUEST, 1, &[spsm, OURS, mtu, MPS, CREDITS], out);
        Self {
            granted: CREDITS,
            ..Self::default()
        }
    }

    /// Whether messages go both ways.
    pub(super) fn is_open(&self) -> bool {
        self.theirs.is_some()
    }

    /// What came for it on the signalling channel.
    fn handle_signal(&mut self, code: u8, mut data: Bytes<'_>) -> Option<Result<(), Fault>> {
        match code {
            CONNECT_RESPONSE if self.theirs.is_none() => {
                let [theirs, mtu, mps, credits, result] = words(&mut data)?;
                // Section 4.23: what these may be at all.
                let sound = theirs >= 0x40 && mtu >= 23 && (23..=65533).contains(&mps);
                if result != 0 {
                    return Some(Err(Fault::Refused));
                }
                if !sound {
                    return Some(Err(Fault::Malformed));
                }
                (self.their_mtu, self.their_mps) = (mtu.into(), mps.into());
                self.theirs = Some(theirs);
                self.credits = credits;
            }
            CREDIT => {
                let [channel, credits] = words(&mut data)?;
                // One that is closed already may still have credits under way.
                if Some(channel) == self.theirs {
                    match self.credits.checked_add(credits) {
                        Some(sum) if credits > 0 => self.credits = sum,
                        _ => return Some(Err(Fault::Credits)),
                    }
                }
            }
            REJECT if self.theirs.is_none() => return Some(Err(Fault::Refused)),
            _ => {}
        }
        Some(Ok(()))
    }

    /// A packet of the channel: a message, when it is the last of one.
    pub(super) fn handle_packet(
        &mut self,
        packet: &[u8],
        out: &mut Out,
    ) -> Result<Option<Vec<u8>>, Fault> {
        if !self.is_open() {
            return Err(Fault::Malformed);
        }
        self.granted = self.granted.checked_sub(1).ok_or(Fault::Credits)?;
        if packet.len() > MPS.into() {
            return Err(Fault::TooLong);
        }
        let (length, mut message, piece) = if let Some((length, message)) = self.coming.take() {
            (length, message, packet)
        } else {
            // Section 3.4.3: the first says how long the message is.
            let mut bytes = Bytes(packet);
            let length = usize::from(bytes.u16().ok_or(Fault::Malformed)?);
            if length > MESSAGE_MAX {
                return Err(Fault::TooLong);
            }
            (length, Vec::with_capacity(length), bytes.0)
        };
        message.extend_from_slice(piece);
        if message.len() > length {
            return Err(Fault::TooLong);
        }
        if self.granted < CREDITS / 2 {
            signal(CREDIT, 2, &[OURS, CREDITS - self.granted], out);
            self.granted = CREDITS;
        }
        if message.len() == length {
            return Ok(Some(message));
        }
        self.coming = Some((length, message));
        Ok(None)
    }

    /// A message for the peer; whether it is on its way. What is longer than the peer takes, or too much at once, is not.
    pub(super) fn send(&mut self, message: Vec<u8>) -> bool {
        let fits = self.theirs.is_some() && message.len() <= self.their_mtu;
        if fits && self.waiting.len() < QUEUE {
            self.waiting.push_back(message);
            return true;
        }
        false
    }

    /// The rest of a message, or the next one, as far as the credits go.
    pub(super) fn pump(&mut self, out: &mut Out) {
        let Some(theirs) = self.theirs else { return };
        if self.packets.is_empty()
            && let Some(message) = self.waiting.pop_front()
        {
            let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
            let whole = [&length.to_le_bytes(), message.as_slice()].concat();
            let packets = whole.chunks(self.their_mps).map(<[u8]>::to_vec);
            self.packets.extend(packets);
        }
        while self.credits > 0
            && let Some(packet) = self.packets.pop_front()
        {
            self.credits -= 1;
            out.push((theirs, packet));
        }
    }
}

/// A packet of the signalling channel: what it is for a channel of ours goes there, requests are answered.
pub(super) fn handle_signal(
    payload: &[u8],
    mut channel: Option<&mut Channel>,
    out: &mut Out,
) -> Result<Asked, Fault> {
    let mut bytes = Bytes(payload);
    let read = |bytes: &mut Bytes<'_>| Some((bytes.u8()?, bytes.u8()?, bytes.u16()?));
    let (code, id, length) = read(&mut bytes).ok_or(Fault::Malformed)?;
    // Section 4: over LE a packet has one command.
    if usize::from(length) != bytes.0.len() || id == 0 {
        return Err(Fault::Malformed);
    }
    match code {
        CONNECT_RESPONSE | CREDIT | REJECT => {
            let told = channel.map_or(Some(Ok(())), |channel| channel.handle_signal(code, bytes));
            told.ok_or(Fault::Malformed)??;
        }
        DISCONNECT_REQUEST => {
            let [ours, theirs] = words(&mut bytes).ok_or(Fault::Malformed)?;
            let open = channel.as_mut().and_then(|channel| channel.theirs);
            if ours == OURS && open == Some(theirs) {
                signal(DISCONNECT_RESPONSE, id, &[ours, theirs], out);
                return Err(Fault::Closed);
            }
            // Invalid CID in request.
            signal(REJECT, id, &[2, ours, theirs], out);
        }
        UPDATE_REQUEST => {
            let wish = words(&mut bytes).ok_or(Fault::Malformed)?;
            let [from, to, latency, timeout] = wish;
            // Section 4.20, and volume 4, part E, section 7.8.18: a peer that can not be told from one that is gone is no use.
            let slowest = u32::from(to) * (u32::from(latency) + 1);
            let fine = (6..=3200).contains(&from)
                && (from..=3200).contains(&to)
                && latency < 500
                && (10..=3200).contains(&timeout)
                && u32::from(timeout) * 4 > slowest;
            signal(UPDATE_RESPONSE, id, &[u16::from(!fine)], out);
            if fine {
                return Ok(Asked::Parameters(wish));
            }
        }
        // There is nothing here to connect to: SPSM not supported.
        CONNECT_REQUEST => signal(CONNECT_RESPONSE, id, &[0, 0, 0, 0, 2], out),
        DISCONNECT_RESPONSE | UPDATE_RESPONSE | ENHANCED_RESPONSE | RECONFIGURE_RESPONSE => {}
        // Command not understood.
        _ => signal(REJECT, id, &[0], out),
    }
    Ok(Asked::Nothing)
}

/// The words that are all there is.
fn words<const N: usize>(bytes: &mut Bytes<'_>) -> Option<[u16; N]> {
    let mut words = [0; N];
    for word in &mut words {
        *word = bytes.u16()?;
    }
    bytes.0.is_empty().then_some(words)
}

fn signal(code: u8, id: u8, words: &[u16], out: &mut Out) {
    let length = u16::try_from(words.len() * 2).unwrap_or(u16::MAX);
    let mut payload = vec![code, id];
    for word in [&length].into_iter().chain(words) {
        payload.extend_from_slice(&word.to_le_bytes());
    }
    out.push((SIGNALS, payload));
}
