//! A client over a byte stream: sends whatever it is told to, reads strictly, waits for events.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::answer::{self, Ack, Answer, Codes, ConnAck, Message};
use crate::wire::{
    self, Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Properties, Publish, V5, V311, Version, id,
};

/// How long an answer that is due may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    static IMPATIENT: Cell<bool> = const { Cell::new(false) };
}

/// For tests that are known to fail: this thread's clients do not wait long for it.
pub(crate) fn lose_patience() {
    IMPATIENT.set(true);
}

/// A byte stream, plain or TLS.
pub(crate) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A stream and the socket below it.
pub(crate) struct Connection {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) socket: TcpStream,
}

/// Lets time pass where it is what the statement is about.
pub(crate) fn pass(time: Duration) {
    let (_keep, never) = sync_channel::<()>(1);
    let waited = never.recv_timeout(time);
    assert!(waited.is_err(), "nothing is ever sent");
}

/// One network connection and what was read from it.
pub(crate) struct Client {
    connection: Connection,
    pub(crate) version: Version,
    buffer: Vec<u8>,
    pending: VecDeque<Answer>,
    aliases: BTreeMap<u32, String>,
    alias_maximum: u32,
    largest: usize,
    next_id: u16,
    closed: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(connection: Connection, version: Version) -> Self {
        let socket = &connection.socket;
        let patience = if IMPATIENT.get() {
            PATIENCE / 4
        } else {
            PATIENCE
        };
        socket
            .set_nodelay(true)
            .and_then(|()| socket.set_read_timeout(Some(patience)))
            .and_then(|()| socket.set_write_timeout(Some(PATIENCE)))
            .expect("a TCP socket");
        Self {
            connection,
            version,
            buffer: Vec::new(),
            pending: VecDeque::new(),
            aliases: BTreeMap::new(),
            alias_maximum: 0,
            largest: usize::MAX,
            next_id: 20_000,
            closed: false,
        }
    }

    /// Waits for longer than usual before it gives up.
    pub(crate) fn patience(&mut self, time: Duration) {
        self.connection
            .socket
            .set_read_timeout(Some(time))
            .expect("a TCP socket");
    }

    /// A packet identifier that no test uses by hand.
    pub(crate) fn fresh_id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// Sends bytes; a server that has closed already is found out by reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let sent = self
            .connection
            .stream
            .write_all(bytes)
            .and_then(|()| self.connection.stream.flush());
        if let Err(error) = sent {
            let gone = [
                ErrorKind::BrokenPipe,
                ErrorKind::ConnectionReset,
                ErrorKind::ConnectionAborted,
            ];
            assert!(gone.contains(&error.kind()), "sending failed: {error}");
        }
    }

    /// The next packet, or `None` once the server has closed the connection.
    pub(crate) fn recv(&mut self) -> Option<Answer> {
        match self.pending.pop_front() {
            Some(answer) => Some(answer),
            None => self.read(),
        }
    }

    fn read(&mut self) -> Option<Answer> {
        loop {
            if let Some((first, body)) = answer::take_packet(&mut self.buffer) {
                return Some(self.judge(first, &body));
            }
            if self.closed {
                return None;
            }
            let mut chunk = [0; 4096];
            match self.connection.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        panic!("the server neither answered nor closed within {PATIENCE:?}")
                    }
                    ErrorKind::Interrupted => {}
                    ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe => self.closed = true,
                    _ => panic!("reading failed: {error}"),
                },
            }
        }
    }

    fn judge(&mut self, first: u8, body: &[u8]) -> Answer {
        let length_bytes = wire::Bytes::new().varint(body.len()).0.len();
        let size = 1 + length_bytes + body.len();
        assert!(
            size <= self.largest,
            "[MQTT-3.1.2-24] {size} bytes to a client that takes {}",
            self.largest
        );
        let mut answer = answer::read(self.version, first, body);
        if let Answer::Publish(message) = &mut answer {
            self.resolve(message);
        }
        answer
    }

    fn resolve(&mut self, message: &mut Message) {
        let Some(alias) = message.properties.number(id::TOPIC_ALIAS) else {
            assert!(
                !message.topic.is_empty(),
                "[MQTT-4.7.3-1] an empty topic without an alias"
            );
            return;
        };
        assert!(
            alias <= self.alias_maximum,
            "[MQTT-3.1.2-26] alias {alias} > {}",
            self.alias_maximum
        );
        if message.topic.is_empty() {
            message.topic.clone_from(
                self.aliases
                    .get(&alias)
                    .expect("an alias that was introduced"),
            );
        } else {
            self.aliases.insert(alias, message.topic.clone());
        }
    }

    /// Sends CONNECT and reads CONNACK, whatever it says.
    pub(crate) fn connect(&mut self, connect: &Connect) -> ConnAck {
        self.announce(connect);
        self.send(&connect.encode());
        match self.recv() {
            Some(Answer::ConnAck(connack)) => connack,
            other => panic!("CONNACK is due, got {other:?}"),
        }
    }

    /// Notes the limits that the CONNECT puts on the server, to hold it to them.
    pub(crate) fn announce(&mut self, connect: &Connect) {
        let mut rest = connect.properties.0.as_slice();
        // Only the two properties that limit what is read; the tests put them first.
        while let [key, tail @ ..] = rest {
            match (*key, tail) {
                (id::MAXIMUM_PACKET_SIZE, [a, b, c, d, more @ ..]) => {
                    self.largest = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                    rest = more;
                }
                (id::TOPIC_ALIAS_MAXIMUM, [a, b, more @ ..]) => {
                    self.alias_maximum = u16::from_be_bytes([*a, *b]).into();
                    rest = more;
                }
                (id::SESSION_EXPIRY, [_, _, _, _, more @ ..])
                | (id::RECEIVE_MAXIMUM, [_, _, more @ ..]) => rest = more,
                _ => return,
            }
        }
    }

    /// Waits for the first answer that `wanted` takes; others stay in their order.
    fn await_answer<T>(&mut self, what: &str, wanted: impl Fn(&Answer) -> Option<T>) -> T {
        if let Some(index) = self
            .pending
            .iter()
            .position(|answer| wanted(answer).is_some())
        {
            let answer = self.pending.remove(index).expect("found just now");
            return wanted(&answer).expect("found just now");
        }
        loop {
            match self.read() {
                Some(answer) => match wanted(&answer) {
                    Some(found) => return found,
                    None => self.pending.push_back(answer),
                },
                None => panic!(
                    "{what} is due, the connection was closed after {:?}",
                    self.pending
                ),
            }
        }
    }

    pub(crate) fn await_ack(&mut self, first: u8, packet_id: u16) -> Ack {
        self.await_answer(
            &format!("acknowledgement {first:#04x} of {packet_id}"),
            |answer| {
                let (kind, ack) = match answer {
                    Answer::PubAck(ack) => (PUBACK, ack),
                    Answer::PubRec(ack) => (PUBREC, ack),
                    Answer::PubRel(ack) => (PUBREL, ack),
                    Answer::PubComp(ack) => (PUBCOMP, ack),
                    _ => return None,
                };
                (kind == first && ack.packet_id == packet_id).then(|| ack.clone())
            },
        )
    }

    pub(crate) fn await_suback(&mut self, packet_id: u16) -> Codes {
        self.await_answer("SUBACK", |answer| match answer {
            Answer::SubAck(codes) if codes.packet_id == packet_id => Some(codes.clone()),
            _ => None,
        })
    }

    pub(crate) fn await_unsuback(&mut self, packet_id: u16) -> Codes {
        self.await_answer("UNSUBACK", |answer| match answer {
            Answer::UnsubAck(codes) if codes.packet_id == packet_id => Some(codes.clone()),
            _ => None,
        })
    }

    /// Subscribes to one filter; the code of the SUBACK.
    pub(crate) fn try_subscribe(&mut self, filter: &str, options: u8) -> u8 {
        let codes = self.subscribe_with(&Properties::new(), &[(filter, options)]);
        assert_eq!(codes.codes.len(), 1, "[MQTT-3.8.4-6] one code a filter");
        codes.codes[0]
    }

    /// Subscribes to one filter, which is granted as asked.
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8) {
        let code = self.try_subscribe(filter, options);
        assert_eq!(code, options & 3, "the QoS granted for {filter:?}");
    }

    pub(crate) fn subscribe_with(
        &mut self,
        properties: &Properties,
        filters: &[(&str, u8)],
    ) -> Codes {
        let packet_id = self.fresh_id();
        let filters: Vec<(&[u8], u8)> = filters.iter().map(|(f, o)| (f.as_bytes(), *o)).collect();
        self.send(&wire::subscribe(
            self.version,
            packet_id,
            properties,
            &filters,
        ));
        self.await_suback(packet_id)
    }

    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Codes {
        let packet_id = self.fresh_id();
        let filters: Vec<&[u8]> = filters.iter().map(|f| f.as_bytes()).collect();
        self.send(&wire::unsubscribe(self.version, packet_id, &filters));
        self.await_unsuback(packet_id)
    }

    /// Sends a message and nothing more.
    pub(crate) fn send_publish(&mut self, publish: &Publish) {
        let bytes = publish.encode(self.version);
        self.send(&bytes);
    }

    /// Sends a message, completes its handshake, and returns the first reason code (QoS 0: 0).
    pub(crate) fn try_publish(&mut self, publish: &Publish) -> u8 {
        self.send_publish(publish);
        let packet_id = publish.packet_id;
        match publish.qos {
            0 => {
                self.fence_keeping();
                0
            }
            1 => self.await_ack(PUBACK, packet_id).reason,
            _ => {
                let reason = self.await_ack(PUBREC, packet_id).reason;
                if reason < 0x80 {
                    self.send(&wire::ack(PUBREL, packet_id));
                    self.await_ack(PUBCOMP, packet_id);
                }
                reason
            }
        }
    }

    /// The same; the server must take the message.
    pub(crate) fn publish(&mut self, publish: &Publish) {
        let reason = self.try_publish(publish);
        assert!(
            reason < 0x80,
            "the server refuses {publish:?} with {reason:#04x}"
        );
    }

    /// PINGREQ and PINGRESP; returns everything that came before the answer.
    pub(crate) fn fence(&mut self) -> Vec<Answer> {
        self.fence_keeping();
        self.pending.drain(..).collect()
    }

    fn fence_keeping(&mut self) {
        self.send(&wire::PINGREQ);
        self.await_answer("PINGRESP", |answer| {
            matches!(answer, Answer::PingResp).then_some(())
        });
    }

    /// Nothing has arrived, and nothing does before a round trip is over.
    pub(crate) fn expect_nothing(&mut self) {
        let arrived = self.fence();
        assert!(arrived.is_empty(), "nothing is due, got {arrived:?}");
    }

    /// The next packet is a message; it is not acknowledged.
    pub(crate) fn expect_message(&mut self) -> Message {
        match self.recv() {
            Some(Answer::Publish(message)) => message,
            other => panic!("a message is due, got {other:?}"),
        }
    }

    /// The next packet is a message; acknowledges it to the end.
    pub(crate) fn receive(&mut self) -> Message {
        let message = self.expect_message();
        self.finish(&message);
        message
    }

    /// Acknowledges a message to the end.
    pub(crate) fn finish(&mut self, message: &Message) {
        match message.qos {
            0 => {}
            1 => self.send(&wire::ack(PUBACK, message.packet_id)),
            _ => {
                self.send(&wire::ack(PUBREC, message.packet_id));
                self.await_ack(PUBREL, message.packet_id);
                self.send(&wire::ack(PUBCOMP, message.packet_id));
            }
        }
    }

    /// Everything up to a fence, which must be messages; acknowledged to the end.
    pub(crate) fn drain(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let arrived = self.fence();
            if arrived.is_empty() {
                return messages;
            }
            for answer in arrived {
                let Answer::Publish(message) = answer else {
                    panic!("messages are due, got {answer:?}")
                };
                self.finish(&message);
                messages.push(message);
            }
        }
    }

    /// The payloads of [`Client::drain`].
    pub(crate) fn drain_texts(&mut self) -> Vec<String> {
        self.drain()
            .iter()
            .map(|message| message.text().to_owned())
            .collect()
    }

    /// Everything until the server closes.
    pub(crate) fn until_closed(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(answer) = self.recv() {
            answers.push(answer);
        }
        answers
    }

    /// The server closes the established connection, in MQTT 5 perhaps after one DISCONNECT,
    /// whose reason is returned; it sends nothing else and, in 3.1.1, nothing at all.
    pub(crate) fn refused(&mut self) -> Option<u8> {
        let answers = self.until_closed();
        match (self.version, answers.as_slice()) {
            (_, []) => None,
            (V5, [Answer::Disconnect(reason, _)]) => {
                assert!(
                    *reason >= 0x80,
                    "[MQTT-4.13.1-1] closed for an error with {reason:#04x}"
                );
                Some(*reason)
            }
            (V5 | V311, other) => panic!("closing is due, got {other:02x?}"),
        }
    }

    /// [`Client::refused`], where the specification gives the reason codes that fit.
    pub(crate) fn refused_with(&mut self, reasons: &[u8]) {
        if let Some(reason) = self.refused() {
            assert!(
                reasons.contains(&reason),
                "DISCONNECT says {reason:#04x}, one of {reasons:02x?} is due"
            );
        }
    }

    /// The server closes a connection that sent it no acceptable CONNECT: no CONNACK with
    /// success, no DISCONNECT [MQTT-3.14.0-1]. Returns the reason of a CONNACK.
    pub(crate) fn turned_away(&mut self) -> Option<u8> {
        match self.until_closed().as_slice() {
            [] => None,
            [Answer::ConnAck(connack)] => {
                assert!(
                    connack.reason != 0,
                    "CONNACK says success, then the connection is closed"
                );
                Some(connack.reason)
            }
            other => panic!("the connection must be refused, got {other:?}"),
        }
    }

    /// Ends the session's connection in good order.
    pub(crate) fn leave(mut self) {
        self.send(&wire::DISCONNECT);
        let after = self.until_closed();
        let rest = after
            .iter()
            .all(|a| matches!(a, Answer::Publish(_) | Answer::PubRel(_)));
        assert!(
            rest,
            "[MQTT-3.14.4-2] after DISCONNECT the server closes, it sent {after:?}"
        );
    }

    /// Cuts the network connection without a word.
    pub(crate) fn cut(self) {
        // The server may have closed first: then there is nothing left to cut.
        let _gone = self.connection.socket.shutdown(Shutdown::Both);
    }
}
