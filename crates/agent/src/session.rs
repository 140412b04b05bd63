//! A device's MQTT 5 session: connect, subscribe, publish at QoS 1, take what comes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use stockade_mqtt::{
    Ack, AckKind, Connect, ConnectProperties, DecodeError, Delivery, Disconnect, EncodeError,
    Limits, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, Sender, Subscribe,
    SubscribeProperties, Subscription, SubscriptionFilter, Subscriptions, Text, TextError,
    TopicError, TopicName, Version, encode_ping_request, frame,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Largest message taken from the gateway, in bytes.
const MAX_PACKET: usize = 256 * 1024;

/// Why a session could not be had, or ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection could not be made or broke.
    #[error("the connection to {0} failed")]
    Connection(SocketAddr, #[source] std::io::Error),
    /// The gateway refused the session.
    #[error("the gateway refused: {}", .0.as_str())]
    Refused(ReasonCode),
    /// The gateway ended the session.
    #[error("the gateway ended the session: {}", .0.as_str())]
    Ended(ReasonCode),
    /// The gateway sent something that is no MQTT 5.
    #[error("the gateway does not speak MQTT 5: {0}")]
    Peer(#[from] DecodeError),
    /// We were about to send something that is no MQTT 5.
    #[error("cannot send this")]
    Ours(#[from] EncodeError),
    /// A topic or filter that is none.
    #[error("no valid topic")]
    Topic(#[from] TopicError),
    /// A client identifier that is none.
    #[error("no valid client identifier")]
    Text(#[from] TextError),
}

/// What came from the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message of a subscription; already acknowledged.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// The answer to a publish.
    Published(PacketId, ReasonCode),
    /// The answer to a subscribe, one code a filter.
    Subscribed(PacketId, Vec<ReasonCode>),
    /// The answer to a ping.
    Pong,
}

/// A live session.
#[derive(Debug)]
pub struct Session {
    peer: SocketAddr,
    stream: TlsStream<TcpStream>,
    inbox: Vec<u8>,
    next_id: u16,
}

impl Session {
    /// Connects to the gateway at `peer` as the device of the TLS identity, with a clean start; from the local
    /// address `source`, if it is given.
    pub async fn connect(
        peer: SocketAddr,
        source: Option<IpAddr>,
        tls: Arc<ClientConfig>,
        client_id: &str,
        keep_alive: u16,
    ) -> Result<Self, SessionError> {
        let lost = |e| SessionError::Connection(peer, e);
        let tcp = dial(peer, source).await.map_err(lost)?;
        let name = ServerName::IpAddress(peer.ip().into());
        Self::over(tcp, peer, name, tls, (client_id, keep_alive)).await
    }

    /// The same, by the gateway's name.
    pub async fn connect_to(
        peer: SocketAddr,
        name: ServerName<'static>,
        tls: Arc<ClientConfig>,
        client_id: &str,
        keep_alive: u16,
    ) -> Result<Self, SessionError> {
        let lost = |e| SessionError::Connection(peer, e);
        let tcp = dial(peer, None).await.map_err(lost)?;
        Self::over(tcp, peer, name, tls, (client_id, keep_alive)).await
    }

    async fn over(
        tcp: TcpStream,
        peer: SocketAddr,
        name: ServerName<'static>,
        tls: Arc<ClientConfig>,
        (client_id, keep_alive): (&str, u16),
    ) -> Result<Self, SessionError> {
        let lost = |e| SessionError::Connection(peer, e);
        tcp.set_nodelay(true).map_err(lost)?;
        let stream = TlsConnector::from(tls)
            .connect(name, tcp)
            .await
            .map_err(lost)?;
        let mut session = Self {
            peer,
            stream,
            inbox: Vec::new(),
            next_id: 0,
        };
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive,
            properties: ConnectProperties::default(),
            client_id: Text::new(client_id)?,
            will: None,
            user_name: None,
            password: None,
        };
        session.send(&Packet::Connect(Box::new(connect))).await?;
        loop {
            match session.take()? {
                Some(Seen::Connected(ReasonCode::Success)) => return Ok(session),
                Some(Seen::Connected(reason) | Seen::Ended(reason)) => {
                    return Err(SessionError::Refused(reason));
                }
                Some(_) => return Err(SessionError::Refused(ReasonCode::ProtocolError)),
                None => session.fill().await?,
            }
        }
    }

    /// Asks for the messages of a filter, at QoS 1 at most.
    pub async fn subscribe(&mut self, filter: &str) -> Result<PacketId, SessionError> {
        let id = self.fresh_id();
        let filter = SubscriptionFilter::new(filter, Version::V5)?;
        let list = [Subscription::new(filter, QoS::AtLeastOnce)];
        let subscribe = Subscribe {
            id,
            properties: SubscribeProperties::default(),
            subscriptions: Subscriptions::from(&list[..]),
        };
        self.send(&Packet::Subscribe(subscribe)).await?;
        Ok(id)
    }

    /// Sends a message at QoS 1; the gateway's answer comes as [`Incoming::Published`].
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<PacketId, SessionError> {
        let id = self.fresh_id();
        let publish = Publish {
            delivery: Delivery::AtLeastOnce { id, dup: false },
            retain: false,
            topic: Some(TopicName::new(topic)?),
            properties: PublishProperties::default(),
            payload,
        };
        self.send(&Packet::Publish(publish)).await?;
        Ok(id)
    }

    /// Shows the gateway that we are there.
    pub async fn ping(&mut self) -> Result<(), SessionError> {
        let mut out = Vec::new();
        encode_ping_request(&mut out);
        self.write(&out).await
    }

    /// Ends the session in good order.
    pub async fn disconnect(mut self) -> Result<(), SessionError> {
        self.send(&Packet::Disconnect(Disconnect::with_reason(
            ReasonCode::Success,
        )))
        .await?;
        self.stream
            .shutdown()
            .await
            .map_err(|e| SessionError::Connection(self.peer, e))
    }

    /// Waits for the next thing from the gateway. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Incoming, SessionError> {
        loop {
            match self.take()? {
                Some(Seen::Incoming(incoming, unanswered)) => {
                    // A message is ours once it is in our hands; should the answer be lost, it comes again.
                    if let Some(id) = unanswered {
                        let mut out = Vec::new();
                        Ack::success(id).encode(AckKind::PubAck, Version::V5, &mut out)?;
                        self.write(&out).await?;
                    }
                    return Ok(incoming);
                }
                Some(Seen::Ended(reason)) => return Err(SessionError::Ended(reason)),
                Some(Seen::Connected(_) | Seen::Other) => {}
                None => self.fill().await?,
            }
        }
    }

    fn fresh_id(&mut self) -> PacketId {
        loop {
            self.next_id = self.next_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.next_id) {
                return id;
            }
        }
    }

    async fn send(&mut self, packet: &Packet<'_>) -> Result<(), SessionError> {
        let mut out = Vec::new();
        packet.encode(Version::V5, &mut out)?;
        self.write(&out).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let lost = |e| SessionError::Connection(self.peer, e);
        self.stream.write_all(bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    async fn fill(&mut self) -> Result<(), SessionError> {
        let lost = |e| SessionError::Connection(self.peer, e);
        let count = self.stream.read_buf(&mut self.inbox).await.map_err(lost)?;
        if count == 0 {
            return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// The next whole packet of the inbox, if there is one.
    fn take(&mut self) -> Result<Option<Seen>, SessionError> {
        let limits = Limits {
            max_packet: MAX_PACKET,
            ..Limits::default()
        };
        let Some(frame) = frame(&self.inbox, limits)? else {
            return Ok(None);
        };
        let seen = Seen::of(&frame.decode(Version::V5, Sender::Server)?);
        let used = frame.len();
        self.inbox.drain(..used);
        Ok(Some(seen))
    }
}

/// Connects, from a certain local address if one is given.
pub async fn dial(peer: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let Some(source) = source else {
        return TcpStream::connect(peer).await;
    };
    let socket = if peer.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(peer).await
}

/// A packet as far as a device cares.
enum Seen {
    Connected(ReasonCode),
    /// With the identifier of a message that wants an answer.
    Incoming(Incoming, Option<PacketId>),
    Ended(ReasonCode),
    Other,
}

impl Seen {
    fn of(packet: &Packet<'_>) -> Self {
        match packet {
            Packet::ConnAck(ack) => Self::Connected(ack.reason),
            Packet::Publish(publish) => {
                let topic = publish
                    .topic
                    .map(|t| t.as_str().to_owned())
                    .unwrap_or_default();
                let message = Incoming::Message {
                    topic,
                    payload: publish.payload.to_vec(),
                };
                Self::Incoming(message, publish.delivery.id())
            }
            Packet::PubAck(ack) => Self::Incoming(Incoming::Published(ack.id, ack.reason), None),
            Packet::SubAck(ack) => {
                let reasons = ack.reasons.iter().collect();
                Self::Incoming(Incoming::Subscribed(ack.id, reasons), None)
            }
            Packet::PingResp => Self::Incoming(Incoming::Pong, None),
            Packet::Disconnect(disconnect) => Self::Ended(disconnect.reason),
            _ => Self::Other,
        }
    }
}
