//! Bytes from a client, well-formed or not: nothing here refuses to be wrong.

/// The protocol versions under test; the number is the protocol level of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V311 = 4,
    V5 = 5,
}

pub(crate) use Version::{V5, V311};

impl Version {
    pub(crate) fn level(self) -> u8 {
        match self {
            V311 => 4,
            V5 => 5,
        }
    }
}

/// Property identifiers (MQTT 5.0, 2.2.2.2).
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTH_METHOD: u8 = 0x15;
    pub(crate) const REQUEST_PROBLEM_INFO: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFO: u8 = 0x19;
    pub(crate) const RESPONSE_INFO: u8 = 0x1A;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
}

/// Bytes appended one field at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn byte(self, value: u8) -> Self {
        self.raw(&[value])
    }

    pub(crate) fn two(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn four(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Two bytes of length, then the bytes, whatever they are.
    pub(crate) fn field(self, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).expect("a field has at most 65535 bytes");
        self.two(length).raw(bytes)
    }

    pub(crate) fn varint(mut self, mut value: usize) -> Self {
        loop {
            let low = u8::try_from(value % 128).expect("below 128");
            value /= 128;
            self.0.push(if value > 0 { low | 0x80 } else { low });
            if value == 0 {
                return self;
            }
        }
    }

    /// Properties with their length before them; nothing at all in 3.1.1.
    pub(crate) fn properties(self, version: Version, properties: &Properties) -> Self {
        match version {
            V311 => self,
            V5 => self.varint(properties.0.len()).raw(&properties.0),
        }
    }

    /// Closes the packet: fixed header before everything gathered so far.
    pub(crate) fn packet(self, first: u8) -> Vec<u8> {
        Self::new().byte(first).varint(self.0.len()).raw(&self.0).0
    }
}

/// Encoded properties, in the order they were added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Properties(pub(crate) Vec<u8>);

impl Properties {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn add(mut self, bytes: Bytes) -> Self {
        self.0.extend(bytes.0);
        self
    }

    pub(crate) fn byte(self, id: u8, value: u8) -> Self {
        self.add(Bytes::new().byte(id).byte(value))
    }

    pub(crate) fn two(self, id: u8, value: u16) -> Self {
        self.add(Bytes::new().byte(id).two(value))
    }

    pub(crate) fn four(self, id: u8, value: u32) -> Self {
        self.add(Bytes::new().byte(id).four(value))
    }

    pub(crate) fn varint(self, id: u8, value: usize) -> Self {
        self.add(Bytes::new().byte(id).varint(value))
    }

    pub(crate) fn field(self, id: u8, value: &[u8]) -> Self {
        self.add(Bytes::new().byte(id).field(value))
    }

    pub(crate) fn text(self, id: u8, value: &str) -> Self {
        self.field(id, value.as_bytes())
    }

    pub(crate) fn user(self, name: &str, value: &str) -> Self {
        self.add(
            Bytes::new()
                .byte(id::USER_PROPERTY)
                .field(name.as_bytes())
                .field(value.as_bytes()),
        )
    }
}

/// The will of a CONNECT.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Properties,
}

impl Will {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: 0,
            retain: false,
            properties: Properties::new(),
        }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn with(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }
}

/// How long a session of [`Connect::persistent`] is kept, in seconds.
pub(crate) const KEPT: u32 = 300;

/// A CONNECT packet, every part of which can be made wrong.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) name: Vec<u8>,
    pub(crate) level: u8,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: Properties,
    pub(crate) client_id: Vec<u8>,
    pub(crate) will: Option<Will>,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    /// Bits flipped in the connect flags that the fields above give.
    pub(crate) flip: u8,
    /// Bytes after the last field.
    pub(crate) tail: Vec<u8>,
}

impl Connect {
    /// A clean session that ends with its connection.
    pub(crate) fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            name: b"MQTT".to_vec(),
            level: version.level(),
            clean: true,
            keep_alive: 60,
            properties: Properties::new(),
            client_id: client_id.into(),
            will: None,
            user: None,
            password: None,
            flip: 0,
            tail: Vec::new(),
        }
    }

    /// A session that is resumed if there is one and outlives its connection.
    pub(crate) fn persistent(version: Version, client_id: &str) -> Self {
        let mut connect = Self::new(version, client_id);
        connect.clean = false;
        connect.properties = Properties::new().four(id::SESSION_EXPIRY, KEPT);
        connect
    }

    pub(crate) fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// Adds properties after those there are.
    pub(crate) fn with(mut self, properties: Properties) -> Self {
        self.properties.0.extend(properties.0);
        self
    }

    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.user.is_some()) << 7;
        let mut bytes = Bytes::new()
            .field(&self.name)
            .byte(self.level)
            .byte(flags ^ self.flip)
            .two(self.keep_alive)
            .properties(self.version, &self.properties)
            .field(&self.client_id);
        if let Some(will) = &self.will {
            bytes = bytes
                .properties(self.version, &will.properties)
                .field(&will.topic)
                .field(&will.payload);
        }
        for field in [&self.user, &self.password].into_iter().flatten() {
            bytes = bytes.field(field);
        }
        bytes.raw(&self.tail).packet(0x10)
    }
}

/// A PUBLISH packet from a client.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties,
}

impl Publish {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: 0,
            retain: false,
            dup: false,
            packet_id: 0,
            properties: Properties::new(),
        }
    }

    /// The QoS and, above 0, the packet identifier.
    pub(crate) fn qos(mut self, qos: u8, packet_id: u16) -> Self {
        self.qos = qos;
        self.packet_id = packet_id;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub(crate) fn with(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    pub(crate) fn encode(&self, version: Version) -> Vec<u8> {
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut bytes = Bytes::new().field(&self.topic);
        if self.qos > 0 {
            bytes = bytes.two(self.packet_id);
        }
        bytes
            .properties(version, &self.properties)
            .raw(&self.payload)
            .packet(first)
    }
}

/// SUBSCRIBE with one options byte a filter.
pub(crate) fn subscribe(
    version: Version,
    packet_id: u16,
    properties: &Properties,
    filters: &[(&[u8], u8)],
) -> Vec<u8> {
    let mut bytes = Bytes::new().two(packet_id).properties(version, properties);
    for (filter, options) in filters {
        bytes = bytes.field(filter).byte(*options);
    }
    bytes.packet(0x82)
}

/// UNSUBSCRIBE.
pub(crate) fn unsubscribe(version: Version, packet_id: u16, filters: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Bytes::new()
        .two(packet_id)
        .properties(version, &Properties::new());
    for filter in filters {
        bytes = bytes.field(filter);
    }
    bytes.packet(0xA2)
}

/// First bytes of the acknowledgements.
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;

/// PUBACK, PUBREC, PUBREL or PUBCOMP in the form both versions share.
pub(crate) fn ack(first: u8, packet_id: u16) -> Vec<u8> {
    Bytes::new().two(packet_id).packet(first)
}

/// The same with an MQTT 5 reason code.
pub(crate) fn ack_reason(first: u8, packet_id: u16, reason: u8) -> Vec<u8> {
    Bytes::new().two(packet_id).byte(reason).packet(first)
}

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0x00];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0x00];

/// DISCONNECT with an MQTT 5 reason code.
pub(crate) fn disconnect(reason: u8) -> Vec<u8> {
    Bytes::new().byte(reason).packet(0xE0)
}
