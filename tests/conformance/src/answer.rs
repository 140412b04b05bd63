//! Packets from a server, read strictly: whatever a server must never send fails the test that
//! receives it, and the message names the statement that was broken.

use crate::wire::{V5, V311, Version, id};

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

/// Properties in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Received(pub(crate) Vec<(u8, Value)>);

impl Received {
    fn get(&self, id: u8) -> Option<&Value> {
        self.0
            .iter()
            .find(|(key, _)| *key == id)
            .map(|(_, value)| value)
    }

    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        match self.get(id)? {
            Value::Number(number) => Some(*number),
            other => panic!("property {id:#04x} is {other:?}, a number is due"),
        }
    }

    pub(crate) fn numbers(&self, id: u8) -> Vec<u32> {
        let mut found: Vec<u32> = self
            .0
            .iter()
            .filter(|(key, _)| *key == id)
            .filter_map(|(_, value)| {
                if let Value::Number(n) = value {
                    Some(*n)
                } else {
                    None
                }
            })
            .collect();
        found.sort_unstable();
        found
    }

    pub(crate) fn text(&self, id: u8) -> Option<&str> {
        match self.get(id)? {
            Value::Text(text) => Some(text),
            other => panic!("property {id:#04x} is {other:?}, text is due"),
        }
    }

    pub(crate) fn binary(&self, id: u8) -> Option<&[u8]> {
        match self.get(id)? {
            Value::Binary(bytes) => Some(bytes),
            other => panic!("property {id:#04x} is {other:?}, binary data are due"),
        }
    }

    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .filter_map(|(_, value)| {
                if let Value::Pair(name, text) = value {
                    Some((name.as_str(), text.as_str()))
                } else {
                    None
                }
            })
            .collect()
    }
}

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnAck {
    pub(crate) session_present: bool,
    pub(crate) reason: u8,
    pub(crate) properties: Received,
}

/// PUBLISH to a subscriber; the topic is what the alias stands for where one is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: u16,
    pub(crate) properties: Received,
}

impl Message {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the tests' payloads are text")
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) packet_id: u16,
    pub(crate) reason: u8,
    pub(crate) properties: Received,
}

/// SUBACK, UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) packet_id: u16,
    pub(crate) properties: Received,
    pub(crate) codes: Vec<u8>,
}

/// One packet from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    ConnAck(ConnAck),
    Publish(Message),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    SubAck(Codes),
    UnsubAck(Codes),
    PingResp,
    Disconnect(u8, Received),
    Auth(u8),
}

/// Takes a whole packet off the front of `buffer`: its first byte and the rest.
pub(crate) fn take_packet(buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let first = *buffer.first()?;
    let mut length = 0usize;
    for index in 0..4 {
        let byte = *buffer.get(1 + index)?;
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            assert!(
                index == 0 || byte != 0,
                "[MQTT-1.5.5-1] remaining length is not minimal"
            );
            let end = 2 + index + length;
            if buffer.len() < end {
                return None;
            }
            let body = buffer[2 + index..end].to_vec();
            buffer.drain(..end);
            return Some((first, body));
        }
    }
    panic!(
        "remaining length of more than four bytes: {:02x?}",
        &buffer[..5.min(buffer.len())]
    );
}

struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(
            self.bytes.len() >= count,
            "{} ends in the middle of a field",
            self.what
        );
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn four(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn binary(&mut self) -> &'a [u8] {
        let length = self.two();
        self.take(usize::from(length))
    }

    fn text(&mut self) -> String {
        let bytes = self.binary();
        let text = std::str::from_utf8(bytes).unwrap_or_else(|_| {
            panic!(
                "[MQTT-1.5.4-1] {} holds ill-formed UTF-8: {bytes:02x?}",
                self.what
            )
        });
        assert!(
            !text.contains('\0'),
            "[MQTT-1.5.4-2] {} holds U+0000: {text:?}",
            self.what
        );
        text.to_owned()
    }

    fn varint(&mut self) -> u32 {
        let mut value = 0u32;
        for index in 0..4 {
            let byte = self.byte();
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                assert!(
                    index == 0 || byte != 0,
                    "[MQTT-1.5.5-1] {} holds a padded integer",
                    self.what
                );
                return value;
            }
        }
        panic!(
            "[MQTT-1.5.5-1] {} holds an integer of more than four bytes",
            self.what
        );
    }

    /// Property length and properties; only those in `allowed` may be there.
    fn properties(&mut self, version: Version, allowed: &[u8]) -> Received {
        if version == V311 {
            return Received::default();
        }
        let length = self.varint();
        let mut inner = Reader {
            bytes: self.take(length as usize),
            what: self.what,
        };
        let mut found: Vec<(u8, Value)> = Vec::new();
        while !inner.bytes.is_empty() {
            let key = inner.byte();
            assert!(
                allowed.contains(&key),
                "{} may not hold property {key:#04x}",
                self.what
            );
            let many = key == id::USER_PROPERTY || key == id::SUBSCRIPTION_ID;
            assert!(
                many || found.iter().all(|(k, _)| *k != key),
                "{}: property {key:#04x} twice",
                self.what
            );
            let value = match key {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => {
                    Value::Number(inner.byte().into())
                }
                0x13 | 0x21..=0x23 => Value::Number(inner.two().into()),
                0x02 | 0x11 | 0x18 | 0x27 => Value::Number(inner.four()),
                0x0B => Value::Number(inner.varint()),
                0x09 | 0x16 => Value::Binary(inner.binary().to_vec()),
                0x26 => Value::Pair(inner.text(), inner.text()),
                _ => Value::Text(inner.text()),
            };
            found.push((key, value));
        }
        Received(found)
    }

    fn end(&self) {
        assert!(
            self.bytes.is_empty(),
            "{} has {} bytes too many",
            self.what,
            self.bytes.len()
        );
    }
}

const CONNACK_PROPERTIES: &[u8] = &[
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2A,
];
const CONNACK_REASONS: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
const PUBLISH_PROPERTIES: &[u8] = &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26];
const ACK_PROPERTIES: &[u8] = &[0x1F, 0x26];
const RECEIVED_REASONS: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASE_REASONS: &[u8] = &[0x00, 0x92];
const SUBACK_REASONS: &[u8] = &[
    0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
];
const UNSUBACK_REASONS: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
/// Those a server may send; Session Expiry Interval is not among the properties [MQTT-3.14.2-2].
const DISCONNECT_PROPERTIES: &[u8] = &[0x1C, 0x1F, 0x26];
const DISCONNECT_REASONS: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];
const AUTH_PROPERTIES: &[u8] = &[0x15, 0x16, 0x1F, 0x26];

fn reason(reason: u8, allowed: &[u8], statement: &str) -> u8 {
    assert!(
        allowed.contains(&reason),
        "[{statement}] reason code {reason:#04x} is not one of this packet's"
    );
    reason
}

fn ack(mut reader: Reader<'_>, version: Version, reasons: &[u8], statement: &str) -> Ack {
    let packet_id = reader.two();
    let (mut code, mut properties) = (0, Received::default());
    if version == V5 && !reader.bytes.is_empty() {
        code = reason(reader.byte(), reasons, statement);
        if !reader.bytes.is_empty() {
            properties = reader.properties(version, ACK_PROPERTIES);
        }
    }
    reader.end();
    Ack {
        packet_id,
        reason: code,
        properties,
    }
}

fn codes(mut reader: Reader<'_>, version: Version, table: &[u8], statement: &str) -> Codes {
    let (packet_id, properties) = (reader.two(), reader.properties(version, ACK_PROPERTIES));
    let codes = reader
        .bytes
        .iter()
        .map(|code| reason(*code, table, statement))
        .collect();
    Codes {
        packet_id,
        properties,
        codes,
    }
}

fn connack(mut reader: Reader<'_>, version: Version) -> ConnAck {
    let flags = reader.byte();
    assert!(
        flags & 0xFE == 0,
        "[MQTT-3.2.2-1] reserved bits of CONNACK are set: {flags:#04x}"
    );
    let code = reader.byte();
    // A server that does not speak the version asked for may answer in the form of 3.1.1.
    let version = if version == V5 && reader.bytes.is_empty() {
        V311
    } else {
        version
    };
    match version {
        V311 => assert!(
            code <= 5,
            "[MQTT-3.2.2-6] return code {code:#04x} is reserved"
        ),
        V5 => _ = reason(code, CONNACK_REASONS, "MQTT-3.2.2-8"),
    }
    let session_present = flags == 1;
    assert!(
        code == 0 || !session_present,
        "[MQTT-3.2.2-6] a refusal with Session Present"
    );
    let properties = reader.properties(version, CONNACK_PROPERTIES);
    reader.end();
    ConnAck {
        session_present,
        reason: code,
        properties,
    }
}

fn publish(first: u8, mut reader: Reader<'_>, version: Version) -> Message {
    let (dup, qos, retain) = (first & 8 != 0, first >> 1 & 3, first & 1 != 0);
    assert!(qos < 3, "[MQTT-3.3.1-4] QoS 3");
    assert!(qos > 0 || !dup, "[MQTT-3.3.1-2] DUP with QoS 0");
    let topic = reader.text();
    assert!(
        !topic.contains(['#', '+']),
        "[MQTT-3.3.2-2] wildcard in {topic:?}"
    );
    let packet_id = if qos > 0 { reader.two() } else { 0 };
    assert!(
        qos == 0 || packet_id > 0,
        "[MQTT-2.2.1-4] packet identifier 0"
    );
    let properties = reader.properties(version, PUBLISH_PROPERTIES);
    assert!(
        properties.number(id::TOPIC_ALIAS) != Some(0),
        "[MQTT-3.3.2-8] topic alias 0"
    );
    Message {
        topic,
        payload: reader.bytes.to_vec(),
        qos,
        retain,
        dup,
        packet_id,
        properties,
    }
}

/// Reads one packet; panics on anything a server may not send.
pub(crate) fn read(version: Version, first: u8, body: &[u8]) -> Answer {
    let flags = first & 0x0F;
    let reader = |what| Reader { bytes: body, what };
    let due = if first >> 4 == 6 { 2 } else { 0 };
    assert!(
        first >> 4 == 3 || flags == due,
        "[MQTT-2.1.3-1] reserved flags of {first:#04x} are wrong"
    );
    match first >> 4 {
        2 => Answer::ConnAck(connack(reader("CONNACK"), version)),
        3 => Answer::Publish(publish(first, reader("PUBLISH"), version)),
        4 => Answer::PubAck(ack(
            reader("PUBACK"),
            version,
            RECEIVED_REASONS,
            "MQTT-3.4.2-1",
        )),
        5 => Answer::PubRec(ack(
            reader("PUBREC"),
            version,
            RECEIVED_REASONS,
            "MQTT-3.5.2-1",
        )),
        6 => Answer::PubRel(ack(
            reader("PUBREL"),
            version,
            RELEASE_REASONS,
            "MQTT-3.6.2-1",
        )),
        7 => Answer::PubComp(ack(
            reader("PUBCOMP"),
            version,
            RELEASE_REASONS,
            "MQTT-3.7.2-1",
        )),
        9 => {
            let table = if version == V5 {
                SUBACK_REASONS
            } else {
                &[0, 1, 2, 0x80]
            };
            Answer::SubAck(codes(reader("SUBACK"), version, table, "MQTT-3.9.3-2"))
        }
        11 => {
            let table = if version == V5 { UNSUBACK_REASONS } else { &[] };
            Answer::UnsubAck(codes(reader("UNSUBACK"), version, table, "MQTT-3.11.3-2"))
        }
        13 => {
            reader("PINGRESP").end();
            Answer::PingResp
        }
        14 if version == V5 => disconnect(reader("DISCONNECT")),
        15 if version == V5 => auth(reader("AUTH")),
        other => panic!("a server may not send packet type {other} in {version:?}"),
    }
}

fn disconnect(mut reader: Reader<'_>) -> Answer {
    if reader.bytes.is_empty() {
        return Answer::Disconnect(0, Received::default());
    }
    let code = reason(reader.byte(), DISCONNECT_REASONS, "MQTT-3.14.2-1");
    let properties = if reader.bytes.is_empty() {
        Received::default()
    } else {
        reader.properties(V5, DISCONNECT_PROPERTIES)
    };
    reader.end();
    Answer::Disconnect(code, properties)
}

fn auth(mut reader: Reader<'_>) -> Answer {
    if reader.bytes.is_empty() {
        return Answer::Auth(0);
    }
    let code = reason(reader.byte(), &[0x00, 0x18], "MQTT-3.15.2-1");
    if !reader.bytes.is_empty() {
        reader.properties(V5, AUTH_PROPERTIES);
    }
    reader.end();
    Answer::Auth(code)
}
