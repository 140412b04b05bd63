//! A blocking MQTT session that remembers what the specification says a client remembers, across lost connections.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use stockade_load::wire::{self, Five};

use crate::device::Device;

/// Longest silence that is waited through in one read.
const TURN: Duration = Duration::from_millis(250);

/// A TLS connection that speaks MQTT packets.
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    inbox: Vec<u8>,
    five: Five,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// TLS as the device.
fn tls(device: &Device, versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&device.ca)? {
        roots.add(certificate?)?;
    }
    let chain =
        CertificateDer::pem_file_iter(&device.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&device.key)?;
    Ok(ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?)
}

impl Connection {
    /// Connects at the TLS level only, with one of these versions.
    fn open(
        device: &Device,
        five: Five,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self> {
        let tcp = TcpStream::connect(("127.0.0.1", device.port))?;
        Self::over(tcp, device, five, versions)
    }

    fn over(
        tcp: TcpStream,
        device: &Device,
        five: Five,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(TURN))?;
        let name = ServerName::try_from("127.0.0.1")?;
        let connection = ClientConnection::new(Arc::new(tls(device, versions)?), name)?;
        Ok(Self {
            stream: StreamOwned::new(connection, tcp),
            inbox: Vec::new(),
            five,
        })
    }

    /// Connects at the TLS level only.
    pub fn bare(device: &Device, five: Five) -> Result<Self> {
        Self::open(device, five, ALL_VERSIONS)
    }

    /// Connects and takes up the session `client_id` left; true when the gateway remembers it.
    pub fn resume(device: &Device, client_id: &str, five: Five) -> Result<(Self, bool)> {
        Self::resume_over(ALL_VERSIONS, device, client_id, five)
    }

    /// The same, offering these versions of TLS only.
    pub fn resume_over(
        versions: &[&'static SupportedProtocolVersion],
        device: &Device,
        client_id: &str,
        five: Five,
    ) -> Result<(Self, bool)> {
        Self::open(device, five, versions)?.greet(client_id)
    }

    /// The same over a TCP connection that is there already, perhaps from another address.
    pub fn resume_on(
        tcp: TcpStream,
        device: &Device,
        client_id: &str,
        five: Five,
    ) -> Result<(Self, bool)> {
        Self::over(tcp, device, five, ALL_VERSIONS)?.greet(client_id)
    }

    fn greet(mut self, client_id: &str) -> Result<(Self, bool)> {
        let (five, mut packet) = (self.five, Vec::new());
        let connection = &mut self;
        wire::resume(five, client_id, &mut packet);
        connection.send(&packet)?;
        let (first, body) = connection
            .packet(Duration::from_secs(10))?
            .context("no CONNACK")?;
        ensure!(
            first >> 4 == wire::CONNACK,
            "packet type {} in place of CONNACK",
            first >> 4
        );
        wire::granted(five, &body)?;
        let present = body.first() == Some(&1);
        Ok((self, present))
    }

    /// The key exchange that was agreed on.
    pub fn key_exchange(&self) -> Option<rustls::NamedGroup> {
        let group = self.stream.conn.negotiated_key_exchange_group();
        group.map(rustls::crypto::SupportedKxGroup::name)
    }

    /// Subscribes and waits for the answer.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        let mut packet = Vec::new();
        wire::subscribe(self.five, filter, qos, &mut packet);
        self.send(&packet)?;
        let (first, body) = self.packet(Duration::from_secs(10))?.context("no SUBACK")?;
        ensure!(
            first >> 4 == wire::SUBACK,
            "packet type {} in place of SUBACK",
            first >> 4
        );
        ensure!(
            body.last() == Some(&qos),
            "the subscription was answered with {body:02x?}"
        );
        Ok(())
    }

    /// Sends bytes, which need not be a packet.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        Ok(())
    }

    /// The next packet, as its first byte and its body; `None` after `patience` of silence.
    pub fn packet(&mut self, patience: Duration) -> Result<Option<(u8, Vec<u8>)>> {
        let until = std::time::Instant::now() + patience;
        loop {
            if let Some((first, body, taken)) = wire::next(&self.inbox)? {
                let body = body.to_vec();
                self.inbox.drain(..taken);
                return Ok(Some((first, body)));
            }
            if !self.fill()? && std::time::Instant::now() >= until {
                return Ok(None);
            }
        }
    }

    /// Whether a whole packet is here already.
    fn has_packet(&self) -> bool {
        wire::next(&self.inbox).is_ok_and(|packet| packet.is_some())
    }

    /// Reads what is there; false when nothing came in a turn.
    fn fill(&mut self) -> Result<bool> {
        let mut bytes = [0_u8; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => bail!("the gateway closed the connection"),
            Ok(count) => {
                self.inbox
                    .extend_from_slice(bytes.get(..count).unwrap_or_default());
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// How far a message has got at its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBLISH sent, nothing heard.
    Sent,
    /// PUBREC heard, PUBREL sent: the gateway owns it.
    Released,
}

/// Publishes numbered messages at `QoS` 1 or 2 as fast as it can, and keeps what was acknowledged.
#[derive(Debug)]
pub struct Publisher {
    device: Device,
    topic: String,
    label: u8,
    qos: u8,
    window: usize,
    next_number: u32,
    next_identifier: u16,
    flying: BTreeMap<u16, (u32, Stage)>,
    /// Numbers of the messages the gateway took responsibility for: PUBACK, or PUBREC (§4.3.3).
    pub acknowledged: BTreeSet<u32>,
}

impl Publisher {
    /// A publisher whose messages carry `label`, so that several can share a subscriber.
    pub fn new(device: Device, topic: &str, label: u8, qos: u8) -> Self {
        Self {
            device,
            topic: topic.to_owned(),
            label,
            qos,
            window: 16,
            next_number: 0,
            next_identifier: 0,
            flying: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    /// Lets the device move: the gateway may come back on another port.
    pub fn at(&mut self, change: impl FnOnce(&mut Device)) {
        change(&mut self.device);
    }

    /// Publishes until the connection breaks, or `stop` says so and everything is acknowledged.
    pub fn run(&mut self, stop: impl Fn() -> bool) -> Result<()> {
        let (mut connection, present) =
            Connection::resume(&self.device, &self.device.id, Five(true))?;
        self.resend(&mut connection, present)?;
        let mut out = Vec::new();
        loop {
            out.clear();
            while !stop() && self.flying.len() < self.window {
                self.one_more(&mut out);
            }
            connection.send(&out)?;
            if self.flying.is_empty() {
                return Ok(());
            }
            let packet = connection.packet(Duration::from_secs(20))?;
            let mut packet = Some(packet.context("the gateway acknowledges nothing for 20 s")?);
            out.clear();
            while let Some((first, body)) = packet.take() {
                self.take(first, &body, &mut out)?;
                if connection.has_packet() {
                    packet = connection.packet(TURN)?;
                }
            }
            connection.send(&out)?;
        }
    }

    fn payload(&self, number: u32) -> [u8; 5] {
        let [a, b, c, d] = number.to_be_bytes();
        [self.label, a, b, c, d]
    }

    fn one_more(&mut self, out: &mut Vec<u8>) {
        loop {
            self.next_identifier = self.next_identifier.checked_add(1).unwrap_or(1);
            if !self.flying.contains_key(&self.next_identifier) {
                break;
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        self.flying
            .insert(self.next_identifier, (number, Stage::Sent));
        self.put(self.next_identifier, number, false, out);
    }

    fn put(&self, identifier: u16, number: u32, again: bool, out: &mut Vec<u8>) {
        let payload = self.payload(number);
        if self.qos == 2 {
            wire::publish_twice_safe(Five(true), &self.topic, identifier, again, &payload, out);
        } else {
            wire::publish(Five(true), &self.topic, Some(identifier), &payload, out);
        }
    }

    /// What is unfinished is sent again with the same identifiers [MQTT-4.4.0-1], in order [MQTT-4.6.0-1]. A gateway
    /// that forgot the session must not have acknowledged any of it.
    fn resend(&mut self, connection: &mut Connection, present: bool) -> Result<()> {
        ensure!(
            present || self.acknowledged.is_empty(),
            "the gateway forgot the session of {}",
            self.device.id
        );
        let mut order: Vec<(u32, u16, Stage)> = self
            .flying
            .iter()
            .map(|(id, (number, at))| (*number, *id, *at))
            .collect();
        order.sort_unstable_by_key(|(number, ..)| *number);
        let mut out = Vec::new();
        for (number, identifier, stage) in order {
            match stage {
                Stage::Sent => self.put(identifier, number, true, &mut out),
                Stage::Released => wire::acknowledge(wire::PUBREL, identifier, &mut out),
            }
        }
        connection.send(&out)
    }

    fn take(&mut self, first: u8, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let kind = first >> 4;
        if kind == wire::DISCONNECT {
            bail!("the gateway said goodbye: {body:02x?}");
        }
        let (identifier, success) = wire::acknowledged(body)?;
        if !success {
            // Refused is not acknowledged: a gateway whose disk fails says so, and the message is not counted.
            self.flying.remove(&identifier);
            return Ok(());
        }
        match (kind, self.qos) {
            (wire::PUBACK, 1) => {
                if let Some((number, _)) = self.flying.remove(&identifier) {
                    self.acknowledged.insert(number);
                }
            }
            (wire::PUBREC, 2) => {
                if let Some((number, stage)) = self.flying.get_mut(&identifier) {
                    *stage = Stage::Released;
                    self.acknowledged.insert(*number);
                }
                wire::acknowledge(wire::PUBREL, identifier, out);
            }
            (wire::PUBCOMP, 2) => {
                self.flying.remove(&identifier);
            }
            _ => bail!("packet type {kind} came to a publisher at QoS {}", self.qos),
        }
        Ok(())
    }
}

/// Receives at `QoS` 2 in a session that lasts, and counts how often each message came.
#[derive(Debug)]
pub struct Subscriber {
    device: Device,
    filters: Vec<String>,
    known: bool,
    /// Identifiers answered with PUBREC and not yet released: coming again, they are the same message (§4.3.3).
    pending: BTreeSet<u16>,
    /// How often each (label, number) was delivered.
    pub received: BTreeMap<(u8, u32), u32>,
}

impl Subscriber {
    /// A subscriber to these filters.
    pub fn new(device: Device, filters: &[String]) -> Self {
        Self {
            device,
            filters: filters.to_vec(),
            known: false,
            pending: BTreeSet::new(),
            received: BTreeMap::new(),
        }
    }

    /// Makes the session and its subscriptions.
    pub fn subscribe(&mut self) -> Result<()> {
        let (mut connection, _) = Connection::resume(&self.device, &self.device.id, Five(true))?;
        for filter in &self.filters {
            connection.subscribe(filter, 2)?;
        }
        self.known = true;
        Ok(())
    }

    /// Lets the device move: the gateway may come back on another port.
    pub fn at(&mut self, change: impl FnOnce(&mut Device)) {
        change(&mut self.device);
    }

    /// Receives until the connection breaks, or `stop` says so.
    pub fn run(&mut self, stop: impl Fn() -> bool) -> Result<()> {
        let (mut connection, present) =
            Connection::resume(&self.device, &self.device.id, Five(true))?;
        ensure!(
            present == self.known,
            "the gateway forgot the subscriber's session"
        );
        let mut out = Vec::new();
        while !stop() {
            let Some((first, body)) = connection.packet(TURN)? else {
                continue;
            };
            out.clear();
            self.take(first, &body, &mut out)?;
            while connection.has_packet() {
                let Some((first, body)) = connection.packet(TURN)? else {
                    break;
                };
                self.take(first, &body, &mut out)?;
            }
            connection.send(&out)?;
        }
        Ok(())
    }

    fn take(&mut self, first: u8, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match first >> 4 {
            wire::PUBLISH => {
                let (identifier, payload) = wire::published(Five(true), first, body)?;
                let [label, number @ ..] = payload else {
                    bail!("an empty message")
                };
                let number = u32::from_be_bytes(number.try_into().context("an odd message")?);
                let qos = first >> 1 & 0x03;
                let fresh = match (qos, identifier) {
                    (2, Some(identifier)) => {
                        wire::acknowledge(wire::PUBREC, identifier, out);
                        self.pending.insert(identifier)
                    }
                    (1, Some(identifier)) => {
                        wire::acknowledge(wire::PUBACK, identifier, out);
                        true
                    }
                    _ => true,
                };
                if fresh {
                    *self.received.entry((*label, number)).or_default() += 1;
                }
            }
            wire::PUBREL => {
                let (identifier, _) = wire::acknowledged(body)?;
                self.pending.remove(&identifier);
                wire::acknowledge(wire::PUBCOMP, identifier, out);
            }
            wire::DISCONNECT => bail!("the gateway said goodbye: {body:02x?}"),
            _ => {}
        }
        Ok(())
    }
}
