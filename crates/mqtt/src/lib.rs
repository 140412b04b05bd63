//! MQTT 5 and 3.1.1 packets, topic names and filters, on bytes.
//!
//! [`frame`] finds one packet at the start of a buffer, [`Frame::decode`] turns it into a [`Packet`] which borrows from that
//! buffer, and the packet structs write themselves with `encode`. Everything a receiver can check without knowing the
//! session is checked while decoding, so a `Packet` never breaks a rule of its specification. Nothing here does I/O,
//! reads a clock or keeps state between packets.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]
#![forbid(unsafe_code)]

mod error;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod packet;
mod property;
mod reason;
mod topic;
mod value;
mod wire;

pub use error::{DecodeError, EncodeError};
pub use frame::{Frame, Kind, Limits, frame};
pub use packet::{
    Ack, AckKind, AckProperties, Auth, AuthProperties, ConnAck, ConnAckProperties, Connect,
    ConnectProperties, Delivery, Disconnect, DisconnectProperties, Packet, Publish, PublishFrame,
    PublishProperties, SubAck, Subscribe, SubscribeProperties, Subscription, Subscriptions,
    UnsubAck, Unsubscribe, UnsubscribeFilters, Will, WillProperties, encode_ping_request,
    encode_ping_response,
};
pub use property::{SubscriptionIds, UserProperties, UserPropertiesBuf};
pub use reason::{ReasonCode, ReasonCodes};
pub use topic::{
    SharedFilter, SubscriptionFilter, TopicError, TopicFilter, TopicFilterBuf, TopicName,
    TopicNameBuf,
};
pub use value::{
    Binary, PacketId, Password, QoS, RetainHandling, Sender, SubscriptionId, Text, TextError,
    Version,
};
