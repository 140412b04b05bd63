//! Reason codes (5.0 §2.4) and the packets that may carry each.

use crate::{Sender, frame::Kind};

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// A reason code of MQTT 5; the return codes of 3.1.1 are mapped onto it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ReasonCode {
            $($(#[$doc])* $name,)*
        }

        impl ReasonCode {
            /// The reason code for its byte, `None` if the specification has none.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The byte on the wire.
            pub const fn as_u8(self) -> u8 {
                match self {
                    $(Self::$name => $value,)*
                }
            }

            /// The name the specification gives it, in lower case.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// All of them, in the order of their bytes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

reason_codes! {
    /// Success, normal disconnection or granted QoS 0.
    Success = 0x00, "success";
    /// Granted QoS 1.
    GrantedQoS1 = 0x01, "granted QoS 1";
    /// Granted QoS 2.
    GrantedQoS2 = 0x02, "granted QoS 2";
    /// The client leaves and wants its will published.
    DisconnectWithWill = 0x04, "disconnect with will message";
    /// Accepted, but nobody subscribed.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// There was nothing to unsubscribe from.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// Next step of the authentication.
    ContinueAuthentication = 0x18, "continue authentication";
    /// Begin authentication again.
    ReAuthenticate = 0x19, "re-authenticate";
    /// Refused, and the reason is not told.
    UnspecifiedError = 0x80, "unspecified error";
    /// The packet cannot be parsed.
    MalformedPacket = 0x81, "malformed packet";
    /// The packet holds what the protocol does not allow.
    ProtocolError = 0x82, "protocol error";
    /// Valid, but this receiver does not accept it.
    ImplementationSpecificError = 0x83, "implementation specific error";
    /// The server does not speak this version.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// The client identifier is not allowed.
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    /// User name or password is wrong.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// The request is not allowed.
    NotAuthorized = 0x87, "not authorized";
    /// The server is not available.
    ServerUnavailable = 0x88, "server unavailable";
    /// The server is busy.
    ServerBusy = 0x89, "server busy";
    /// The client is banned.
    Banned = 0x8A, "banned";
    /// The server is shutting down.
    ServerShuttingDown = 0x8B, "server shutting down";
    /// The authentication method is not supported or not the current one.
    BadAuthenticationMethod = 0x8C, "bad authentication method";
    /// Nothing came for one and a half times the keep alive time.
    KeepAliveTimeout = 0x8D, "keep alive timeout";
    /// Another connection uses the same client identifier.
    SessionTakenOver = 0x8E, "session taken over";
    /// The topic filter is well-formed but not accepted.
    TopicFilterInvalid = 0x8F, "topic filter invalid";
    /// The topic name is well-formed but not accepted.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// The packet identifier is in use already.
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    /// More unacknowledged messages than the receive maximum.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// The topic alias is zero, above the maximum or unknown.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// The packet is larger than the receiver accepts.
    PacketTooLarge = 0x95, "packet too large";
    /// Messages come too fast.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// A limit of the receiver is reached.
    QuotaExceeded = 0x97, "quota exceeded";
    /// An administrator closed the connection.
    AdministrativeAction = 0x98, "administrative action";
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// The server keeps no retained messages.
    RetainNotSupported = 0x9A, "retain not supported";
    /// The QoS is above the server's maximum.
    QoSNotSupported = 0x9B, "QoS not supported";
    /// Use another server for now.
    UseAnotherServer = 0x9C, "use another server";
    /// Use another server from now on.
    ServerMoved = 0x9D, "server moved";
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded";
    /// The connection lasted as long as it was allowed to.
    MaximumConnectTime = 0xA0, "maximum connect time";
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
    /// Wildcard subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// Whether this code tells that the operation failed (5.0 §2.4).
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The CONNACK return code of 3.1.1 that says the same (3.1.1 §3.2.2.3).
    pub const fn as_connect_return_code(self) -> u8 {
        match self.as_u8() {
            0x00 => 0,
            0x84 => 1,
            0x85 => 2,
            0x86 => 4,
            0x87 | 0x8A | 0x8C => 5,
            _ => 3,
        }
    }

    /// The reason code for a CONNACK return code of 3.1.1, `None` for the reserved ones.
    pub const fn from_connect_return_code(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// Whether `sender` may put this code into a packet of this kind (5.0 table 2-6 and the table of each packet).
    pub const fn allowed_in(self, kind: Kind, sender: Sender) -> bool {
        let code = self.as_u8();
        match kind {
            Kind::ConnAck => {
                matches!(code, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
            }
            // "No matching subscribers" is sent only by the server (5.0 §3.4.2.1).
            Kind::PubAck | Kind::PubRec => {
                matches!(code, 0x00 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
                    || (code == 0x10 && matches!(sender, Sender::Server))
            }
            Kind::PubRel | Kind::PubComp => matches!(code, 0x00 | 0x92),
            Kind::SubAck => matches!(
                code,
                0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
            ),
            Kind::UnsubAck => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            Kind::Disconnect => match sender {
                Sender::Client => matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99),
                Sender::Server => matches!(
                    code,
                    0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2
                ),
            },
            Kind::Auth => match sender {
                Sender::Client => matches!(code, 0x18 | 0x19),
                Sender::Server => matches!(code, 0x00 | 0x18),
            },
            Kind::Connect
            | Kind::Publish
            | Kind::Subscribe
            | Kind::Unsubscribe
            | Kind::PingReq
            | Kind::PingResp => false,
        }
    }
}

impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (0x{:02X})", self.as_str(), self.as_u8())
    }
}

/// The reason codes of a SUBACK or UNSUBACK, in the order of the filters they answer.
#[derive(Clone, Copy)]
pub struct ReasonCodes<'a>(Codes<'a>);

#[derive(Clone, Copy)]
enum Codes<'a> {
    /// Bytes that were checked to be reason codes.
    Wire(&'a [u8]),
    List(&'a [ReasonCode]),
}

impl<'a> ReasonCodes<'a> {
    pub(crate) const fn wire(checked: &'a [u8]) -> Self {
        Self(Codes::Wire(checked))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        match self.0 {
            Codes::Wire(bytes) => bytes.len(),
            Codes::List(list) => list.len(),
        }
    }

    /// Whether there are none, as in an UNSUBACK of 3.1.1.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The codes in order.
    pub fn iter(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        let (bytes, list): (&[u8], &[ReasonCode]) = match self.0 {
            Codes::Wire(bytes) => (bytes, &[]),
            Codes::List(list) => (&[], list),
        };
        bytes
            .iter()
            .filter_map(|byte| ReasonCode::from_u8(*byte))
            .chain(list.iter().copied())
    }
}

impl<'a> From<&'a [ReasonCode]> for ReasonCodes<'a> {
    fn from(list: &'a [ReasonCode]) -> Self {
        Self(Codes::List(list))
    }
}

impl PartialEq for ReasonCodes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ReasonCodes<'_> {}

impl std::fmt::Debug for ReasonCodes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
