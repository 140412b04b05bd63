//! The packets: one struct each, for both versions and both roles.

mod ack;
mod connack;
mod connect;
mod control;
mod publish;
mod subscribe;

use crate::{
    DecodeError, EncodeError, Frame, Kind, QoS, Sender, Version, error::rule, wire::Reader,
};

pub use ack::{Ack, AckKind, AckProperties, SubAck, UnsubAck};
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Will, WillProperties};
pub use control::{
    Auth, AuthProperties, Disconnect, DisconnectProperties, encode_ping_request,
    encode_ping_response,
};
pub use publish::{Delivery, Publish, PublishFrame, PublishProperties};
pub use subscribe::{
    Subscribe, SubscribeProperties, Subscription, Subscriptions, Unsubscribe, UnsubscribeFilters,
};

/// One packet; strings, payload and properties borrow from the buffer it was decoded from.
#[derive(Debug, Clone)]
pub enum Packet<'a> {
    /// A client opens its session.
    Connect(Box<Connect<'a>>),
    /// The server answers CONNECT.
    ConnAck(Box<ConnAck<'a>>),
    /// A message.
    Publish(Publish<'a>),
    /// A QoS 1 message has arrived.
    PubAck(Ack<'a>),
    /// A QoS 2 message has arrived.
    PubRec(Ack<'a>),
    /// The sender of a QoS 2 message will not send it again.
    PubRel(Ack<'a>),
    /// The receiver of a QoS 2 message has forgotten its identifier.
    PubComp(Ack<'a>),
    /// A client asks for topics.
    Subscribe(Subscribe<'a>),
    /// The server answers SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// A client no longer wants topics.
    Unsubscribe(Unsubscribe<'a>),
    /// The server answers UNSUBSCRIBE.
    UnsubAck(UnsubAck<'a>),
    /// A client shows that it lives.
    PingReq,
    /// The server answers PINGREQ.
    PingResp,
    /// The last packet of a connection.
    Disconnect(Disconnect<'a>),
    /// A step of enhanced authentication, MQTT 5 only.
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// The type of the packet.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Connect(_) => Kind::Connect,
            Self::ConnAck(_) => Kind::ConnAck,
            Self::Publish(_) => Kind::Publish,
            Self::PubAck(_) => Kind::PubAck,
            Self::PubRec(_) => Kind::PubRec,
            Self::PubRel(_) => Kind::PubRel,
            Self::PubComp(_) => Kind::PubComp,
            Self::Subscribe(_) => Kind::Subscribe,
            Self::SubAck(_) => Kind::SubAck,
            Self::Unsubscribe(_) => Kind::Unsubscribe,
            Self::UnsubAck(_) => Kind::UnsubAck,
            Self::PingReq => Kind::PingReq,
            Self::PingResp => Kind::PingResp,
            Self::Disconnect(_) => Kind::Disconnect,
            Self::Auth(_) => Kind::Auth,
        }
    }

    /// Appends the packet; a CONNECT is written in the version it names itself.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::ConnAck(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::PubAck(packet) => packet.encode(AckKind::PubAck, version, out),
            Self::PubRec(packet) => packet.encode(AckKind::PubRec, version, out),
            Self::PubRel(packet) => packet.encode(AckKind::PubRel, version, out),
            Self::PubComp(packet) => packet.encode(AckKind::PubComp, version, out),
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::SubAck(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::UnsubAck(packet) => packet.encode(version, out),
            Self::PingReq => {
                encode_ping_request(out);
                Ok(())
            }
            Self::PingResp => {
                encode_ping_response(out);
                Ok(())
            }
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }
}

impl<'a> Frame<'a> {
    /// Parses and checks the packet. `version` is that of the connection; a CONNECT says its own and ignores it.
    pub fn decode(&self, version: Version, sender: Sender) -> Result<Packet<'a>, DecodeError> {
        self.check_direction(version, sender)?;
        if self.kind != Kind::Connect {
            self.check_header(version)?;
        }
        let mut body = Reader::new(self.body, version);
        let reader = &mut body;
        let packet = match self.kind {
            Kind::Connect => {
                return Connect::decode(self).map(|connect| Packet::Connect(Box::new(connect)));
            }
            Kind::ConnAck => {
                ConnAck::decode(reader).map(|connack| Packet::ConnAck(Box::new(connack)))
            }
            Kind::Publish => return Publish::decode(self, *reader, sender).map(Packet::Publish),
            Kind::PubAck => Ack::decode(reader, AckKind::PubAck, sender).map(Packet::PubAck),
            Kind::PubRec => Ack::decode(reader, AckKind::PubRec, sender).map(Packet::PubRec),
            Kind::PubRel => Ack::decode(reader, AckKind::PubRel, sender).map(Packet::PubRel),
            Kind::PubComp => Ack::decode(reader, AckKind::PubComp, sender).map(Packet::PubComp),
            Kind::Subscribe => Subscribe::decode(reader, self.limits).map(Packet::Subscribe),
            Kind::SubAck => SubAck::decode(reader).map(Packet::SubAck),
            Kind::Unsubscribe => Unsubscribe::decode(reader, self.limits).map(Packet::Unsubscribe),
            Kind::UnsubAck => UnsubAck::decode(reader).map(Packet::UnsubAck),
            Kind::PingReq => Ok(Packet::PingReq),
            Kind::PingResp => Ok(Packet::PingResp),
            Kind::Disconnect => Disconnect::decode(reader, sender).map(Packet::Disconnect),
            Kind::Auth => Auth::decode(reader, sender).map(Packet::Auth),
        }?;
        body.end()?;
        Ok(packet)
    }

    /// Each packet type has the direction of table 2-1 (5.0) and 2.1 (3.1.1).
    fn check_direction(&self, version: Version, sender: Sender) -> Result<(), DecodeError> {
        let allowed = match self.kind {
            Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::PingReq => {
                sender == Sender::Client
            }
            Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp => {
                sender == Sender::Server
            }
            Kind::Disconnect => sender == Sender::Client || version == Version::V5,
            Kind::Publish | Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => true,
            Kind::Auth => version == Version::V5,
        };
        if allowed {
            Ok(())
        } else if self.kind == Kind::Auth {
            Err(rule::KIND.malformed(version, "packet type 15 is reserved"))
        } else {
            Err(rule::KIND.protocol(version, "packet type not allowed in this direction"))
        }
    }

    /// The checks of the fixed header which need the version.
    pub(crate) fn check_header(&self, version: Version) -> Result<(), DecodeError> {
        // 3.1.1 asks for no shortest form.
        if version == Version::V5 && !self.minimal {
            return Err(rule::VARINT_MINIMAL
                .malformed(version, "remaining length is not the shortest form"));
        }
        Ok(())
    }

    /// The QoS bits of a PUBLISH.
    pub(crate) fn publish_qos(&self, version: Version) -> Result<QoS, DecodeError> {
        QoS::from_u8(self.flags >> 1 & 0b11).ok_or_else(|| rule::QOS.malformed(version, "QoS 3"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Packet, Publish};

    /// Moving a packet around must stay cheap.
    #[test]
    fn a_packet_stays_small() {
        assert_eq!(
            (size_of::<Packet<'_>>(), size_of::<Publish<'_>>()),
            (152, 152)
        );
    }
}
