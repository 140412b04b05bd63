//! What the broker writes to its journal: one record a change that must survive a crash.
//!
//! A record is the format's version, a tag, then the fields: numbers as LEB128, texts and bytes with
//! their length before them. Sessions are named by a number that is never used twice.

use stockade_mqtt::SubscriptionId;

/// The version of the record format written here.
const FORMAT: u8 = 1;

/// Who gets a message that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recipient {
    /// The session.
    pub(crate) sid: u64,
    /// Quality of service in bits 0-1, the retain flag in bit 2.
    pub(crate) flags: u8,
    /// The packet identifier it was sent with at once; 0 if it was queued.
    pub(crate) packet_id: u16,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A client connected to a session, new or resumed.
    Opened {
        sid: u64,
        client: &'a str,
        v5: bool,
        expiry: u32,
    },
    /// The connection of a session ended at a time (milliseconds since 1970).
    Closed { sid: u64, at: i64, expiry: u32 },
    /// A session ended.
    Ended { sid: u64 },
    /// A subscription was made or replaced. The filter has its `$share` part.
    Subscribed {
        sid: u64,
        filter: &'a str,
        options: u8,
        id: u32,
    },
    /// A subscription was removed.
    Unsubscribed { sid: u64, filter: &'a str },
    /// A message was accepted; the recipients follow in `rest`, see [`recipients`].
    Published(Published<'a>),
    /// A queued message was sent for the first time.
    Sent { sid: u64, mid: u64, packet_id: u16 },
    /// The client has received a QoS 2 message; what is left is to release it.
    Received { sid: u64, packet_id: u16 },
    /// An outgoing exchange is complete.
    Acked { sid: u64, packet_id: u16 },
    /// The client released an incoming QoS 2 packet identifier.
    Released { sid: u64, packet_id: u16 },
    /// A queued message was dropped: expired, too many, or no longer allowed.
    Dropped { sid: u64, mid: u64 },
    /// A session has a will; an empty message means it has none any more.
    Willed {
        sid: u64,
        delay: u32,
        flags: u8,
        wire: &'a [u8],
    },
    /// A retained message; one with no payload removes what was retained on its topic.
    Retained {
        mid: u64,
        qos: u8,
        expires: i64,
        wire: &'a [u8],
    },
    /// The whole of one session, see `snapshot.rs`; replaces what was known of it.
    Session(&'a [u8]),
}

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published<'a> {
    /// The number of the message.
    pub(crate) mid: u64,
    /// The session it came from; 0 is the operator or a will.
    pub(crate) from: u64,
    /// The QoS 2 packet identifier it came with, or 0.
    pub(crate) packet_id: u16,
    /// The quality of service it came with.
    pub(crate) qos: u8,
    /// It is to be retained on its topic.
    pub(crate) retain: bool,
    /// When it expires (milliseconds since 1970), or 0.
    pub(crate) expires: i64,
    /// The message, see `message.rs`.
    pub(crate) wire: &'a [u8],
    /// Who gets it, encoded.
    pub(crate) to: &'a [u8],
}

/// Bytes that are no record this version can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer version.
    #[error("a session record of format {0}; this version reads format {FORMAT}")]
    Newer(u8),
    /// Not a record at all.
    #[error("a session record that cannot be read (tag {0})")]
    Malformed(u8),
}

pub(crate) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push((n & 0x7f) as u8);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Times before 1970 cannot occur; they would be written as 1970.
pub(crate) fn put_time(out: &mut Vec<u8>, at: i64) {
    put_number(out, u64::try_from(at).unwrap_or(0));
}

pub(crate) fn put_recipient(out: &mut Vec<u8>, r: &Recipient, ids: &[SubscriptionId]) {
    put_number(out, r.sid);
    out.push(r.flags);
    put_number(out, u64::from(r.packet_id));
    put_ids(out, ids);
}

pub(crate) fn put_ids(out: &mut Vec<u8>, ids: &[SubscriptionId]) {
    put_number(out, ids.len() as u64);
    for id in ids {
        put_number(out, u64::from(id.get()));
    }
}

impl Record<'_> {
    /// Appends the record to `out`.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm a record, in the order of the tags"
    )]
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        match *self {
            Self::Opened {
                sid,
                client,
                v5,
                expiry,
            } => {
                out.push(1);
                put_number(out, sid);
                put_bytes(out, client.as_bytes());
                out.push(u8::from(v5));
                put_number(out, u64::from(expiry));
            }
            Self::Closed { sid, at, expiry } => {
                out.push(2);
                put_number(out, sid);
                put_time(out, at);
                put_number(out, u64::from(expiry));
            }
            Self::Ended { sid } => {
                out.push(3);
                put_number(out, sid);
            }
            Self::Subscribed {
                sid,
                filter,
                options,
                id,
            } => {
                out.push(4);
                put_number(out, sid);
                put_bytes(out, filter.as_bytes());
                out.push(options);
                put_number(out, u64::from(id));
            }
            Self::Unsubscribed { sid, filter } => {
                out.push(5);
                put_number(out, sid);
                put_bytes(out, filter.as_bytes());
            }
            Self::Published(Published {
                mid,
                from,
                packet_id,
                qos,
                retain,
                expires,
                wire,
                to,
            }) => {
                out.push(6);
                put_number(out, mid);
                put_number(out, from);
                put_number(out, u64::from(packet_id));
                out.push(qos);
                out.push(u8::from(retain));
                put_time(out, expires);
                put_bytes(out, wire);
                out.extend_from_slice(to);
            }
            Self::Sent {
                sid,
                mid,
                packet_id,
            } => {
                out.push(7);
                put_number(out, sid);
                put_number(out, mid);
                put_number(out, u64::from(packet_id));
            }
            Self::Received { sid, packet_id } => put_step(out, 8, sid, packet_id),
            Self::Acked { sid, packet_id } => put_step(out, 9, sid, packet_id),
            Self::Released { sid, packet_id } => put_step(out, 10, sid, packet_id),
            Self::Dropped { sid, mid } => {
                out.push(11);
                put_number(out, sid);
                put_number(out, mid);
            }
            Self::Willed {
                sid,
                delay,
                flags,
                wire,
            } => {
                out.push(12);
                put_number(out, sid);
                out.push(flags);
                put_number(out, u64::from(delay));
                put_bytes(out, wire);
            }
            Self::Retained {
                mid,
                qos,
                expires,
                wire,
            } => {
                out.push(13);
                put_number(out, mid);
                out.push(qos);
                put_time(out, expires);
                put_bytes(out, wire);
            }
            Self::Session(body) => {
                out.push(14);
                put_bytes(out, body);
            }
        }
    }
}

fn put_step(out: &mut Vec<u8>, tag: u8, sid: u64, packet_id: u16) {
    out.push(tag);
    put_number(out, sid);
    put_number(out, u64::from(packet_id));
}

/// Reads fields one after another; `None` when the bytes do not fit.
#[derive(Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn ids(&mut self) -> Option<Box<[SubscriptionId]>> {
        // One byte each at least: more than are left cannot be.
        let n = self.small::<usize>().filter(|&n| n <= self.0.len())?;
        (0..n).map(|_| SubscriptionId::new(self.small()?)).collect()
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<'a> Record<'a> {
    /// Reads one record, which must fill `bytes`.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut fields = Fields(bytes);
        match fields.byte() {
            Some(FORMAT) => {}
            Some(other) if other > FORMAT => return Err(RecordError::Newer(other)),
            _ => return Err(RecordError::Malformed(0)),
        }
        let tag = fields.byte().ok_or(RecordError::Malformed(0))?;
        let record = Self::body(tag, &mut fields).ok_or(RecordError::Malformed(tag))?;
        if fields.0.is_empty() {
            Ok(record)
        } else {
            Err(RecordError::Malformed(tag))
        }
    }

    fn body(tag: u8, f: &mut Fields<'a>) -> Option<Self> {
        Some(match tag {
            1 => Self::Opened {
                sid: f.number()?,
                client: f.text()?,
                v5: f.flag()?,
                expiry: f.small()?,
            },
            2 => Self::Closed {
                sid: f.number()?,
                at: f.small()?,
                expiry: f.small()?,
            },
            3 => Self::Ended { sid: f.number()? },
            4 => Self::Subscribed {
                sid: f.number()?,
                filter: f.text()?,
                options: f.byte()?,
                id: f.small()?,
            },
            5 => Self::Unsubscribed {
                sid: f.number()?,
                filter: f.text()?,
            },
            6 => Self::Published(Published {
                mid: f.number()?,
                from: f.number()?,
                packet_id: f.small()?,
                qos: f.byte()?,
                retain: f.flag()?,
                expires: f.small()?,
                wire: f.bytes()?,
                to: std::mem::take(&mut f.0),
            }),
            7 => Self::Sent {
                sid: f.number()?,
                mid: f.number()?,
                packet_id: f.small()?,
            },
            8 => Self::Received {
                sid: f.number()?,
                packet_id: f.small()?,
            },
            9 => Self::Acked {
                sid: f.number()?,
                packet_id: f.small()?,
            },
            10 => Self::Released {
                sid: f.number()?,
                packet_id: f.small()?,
            },
            11 => Self::Dropped {
                sid: f.number()?,
                mid: f.number()?,
            },
            12 => Self::Willed {
                sid: f.number()?,
                flags: f.byte()?,
                delay: f.small()?,
                wire: f.bytes()?,
            },
            13 => Self::Retained {
                mid: f.number()?,
                qos: f.byte()?,
                expires: f.small()?,
                wire: f.bytes()?,
            },
            14 => Self::Session(f.bytes()?),
            _ => return None,
        })
    }
}

/// Reads the recipients of a published message and hands each to `each`; `None` when malformed.
pub(crate) fn recipients(
    to: &[u8],
    mut each: impl FnMut(Recipient, Box<[SubscriptionId]>),
) -> Option<()> {
    let mut f = Fields(to);
    while !f.0.is_empty() {
        let (sid, flags, packet_id) = (f.number()?, f.byte()?, f.small()?);
        let ids = f.ids()?;
        each(
            Recipient {
                sid,
                flags,
                packet_id,
            },
            ids,
        );
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(record: &Record<'_>) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(Record::decode(&bytes).as_ref(), Ok(record));
        for cut in 0..bytes.len() {
            let cut_off = Record::decode(&bytes[..cut]);
            // A published message without recipients is complete without them.
            assert!(
                cut_off.is_err() || matches!(record, Record::Published(_)),
                "{cut}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_record_reads_back_as_written(
            sid in any::<u64>(), mid in any::<u64>(), packet_id in any::<u16>(), at in 0..i64::MAX,
            small in any::<u32>(), text in ".{0,20}", wire in prop::collection::vec(any::<u8>(), 0..40),
            flag in any::<bool>(), options in any::<u8>(),
        ) {
            for record in [
                Record::Opened { sid, client: &text, v5: flag, expiry: small },
                Record::Closed { sid, at, expiry: small },
                Record::Ended { sid },
                Record::Subscribed { sid, filter: &text, options, id: small },
                Record::Unsubscribed { sid, filter: &text },
                Record::Sent { sid, mid, packet_id },
                Record::Received { sid, packet_id },
                Record::Acked { sid, packet_id },
                Record::Released { sid, packet_id },
                Record::Dropped { sid, mid },
                Record::Willed { sid, delay: small, flags: options, wire: &wire },
                Record::Retained { mid, qos: options, expires: at, wire: &wire },
                Record::Session(&wire),
            ] {
                check(&record);
            }
            let mut to = Vec::new();
            let who = Recipient { sid, flags: options, packet_id };
            let ids = [SubscriptionId::new(small.clamp(1, 0x0fff_ffff)).unwrap()];
            put_recipient(&mut to, &who, &ids);
            put_recipient(&mut to, &who, &[]);
            check(&Record::Published(Published { mid, from: sid, packet_id, qos: options, retain: flag, expires: at, wire: &wire, to: &to }));
            let mut seen = 0;
            recipients(&to, |r, i| { assert_eq!(r, who); assert_eq!(&*i, &ids[seen..]); seen += 1; }).unwrap();
            prop_assert_eq!(seen, 2);
        }

        #[test]
        fn no_bytes_make_the_reader_fall_over(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _read = Record::decode(&bytes);
            let _read = recipients(&bytes, |_, _| ());
        }
    }

    #[test]
    fn a_record_of_a_newer_version_is_told_apart_from_damage() {
        assert_eq!(Record::decode(&[2, 1, 1]), Err(RecordError::Newer(2)));
        assert_eq!(Record::decode(&[1, 99]), Err(RecordError::Malformed(99)));
    }
}
