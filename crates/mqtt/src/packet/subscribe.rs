//! SUBSCRIBE (5.0 §3.8, 3.1.1 §3.8) and UNSUBSCRIBE (5.0 §3.10, 3.1.1 §3.10).

use crate::{
    DecodeError, EncodeError, Kind, Limits, PacketId, QoS, ReasonCode, RetainHandling,
    SubscriptionFilter, SubscriptionId, UserProperties, Version,
    error::{Rule, rule},
    property::{Properties, PropertySet, Writer, id},
    wire::{Body, Reader, Sink, encode},
};

/// SUBSCRIBE: a client asks for topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The packet identifier, to be repeated in SUBACK.
    pub id: PacketId,
    /// Properties, empty in 3.1.1.
    pub properties: SubscribeProperties<'a>,
    /// What is asked for, at least one.
    pub subscriptions: Subscriptions<'a>,
}

/// Properties of SUBSCRIBE (5.0 §3.8.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeProperties<'a> {
    /// The identifier for the subscriptions of this packet.
    pub subscription_id: Option<SubscriptionId>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

/// One filter of a SUBSCRIBE and its options (5.0 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The filter, shared or not.
    pub filter: SubscriptionFilter<'a>,
    /// The highest QoS the client wants.
    pub qos: QoS,
    /// Do not send the client's own messages back to it; false in 3.1.1.
    pub no_local: bool,
    /// Keep the retain flag as it was published; false in 3.1.1.
    pub retain_as_published: bool,
    /// When to send retained messages; at each SUBSCRIBE in 3.1.1.
    pub retain_handling: RetainHandling,
}

impl<'a> Subscription<'a> {
    /// A subscription with the options that 3.1.1 has.
    pub const fn new(filter: SubscriptionFilter<'a>, qos: QoS) -> Self {
        Self {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let filter = filter(reader)?;
        let options = reader.u8()?;
        let reserved = match reader.version() {
            Version::V311 => 0xFC,
            Version::V5 => 0xC0,
        };
        if options & reserved != 0 {
            return Err(reader.malformed(
                Rule::of("MQTT-3.8.3-5", "MQTT-3.8.3-4"),
                "reserved bits of the subscription options",
            ));
        }
        let Some(qos) = QoS::from_u8(options & 0b11) else {
            return Err(reader.protocol(
                Rule::of("5.0 §3.8.3.1", "MQTT-3.8.3-4"),
                "subscription with QoS 3",
            ));
        };
        let Some(retain_handling) = RetainHandling::from_u8(options >> 4 & 0b11) else {
            return Err(reader.protocol(Rule::both("5.0 §3.8.3.1"), "retain handling 3"));
        };
        let no_local = options & 0x04 != 0;
        if no_local && filter.group().is_some() {
            return Err(reader.protocol(
                Rule::both("MQTT-3.8.3-4"),
                "no-local on a shared subscription",
            ));
        }
        Ok(Self {
            filter,
            qos,
            no_local,
            retain_as_published: options & 0x08 != 0,
            retain_handling,
        })
    }

    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        check_version(self.filter, version)?;
        if self.no_local && self.filter.group().is_some() {
            return Err(EncodeError::NoLocalOnShared);
        }
        let options = u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | self.retain_handling.as_u8() << 4;
        if version == Version::V311 && options != 0 {
            return Err(EncodeError::NotInVersion);
        }
        out.string(self.filter.as_str());
        out.u8(options | self.qos.as_u8());
        Ok(())
    }
}

fn check_version(filter: SubscriptionFilter<'_>, version: Version) -> Result<(), EncodeError> {
    if version == Version::V311 && filter.group().is_some() {
        Err(EncodeError::NotInVersion)
    } else {
        Ok(())
    }
}

fn filter<'a>(reader: &mut Reader<'a>) -> Result<SubscriptionFilter<'a>, DecodeError> {
    let text = reader.str()?;
    SubscriptionFilter::new(text, reader.version()).map_err(|error| {
        error.in_packet(reader.version(), Rule::of("MQTT-4.7.0-1", "MQTT-4.7.1-1"))
    })
}

fn check_limits(filter: SubscriptionFilter<'_>, limits: Limits) -> Result<(), DecodeError> {
    // The "$share/{group}/" of a shared subscription is no part of the levels that are matched.
    if limits.allow_topic(filter.filter().as_str())
        && filter.as_str().len() <= limits.max_topic_bytes
    {
        Ok(())
    } else {
        Err(DecodeError::new(
            ReasonCode::TopicFilterInvalid,
            "5.0 §3.14.2.1",
            "topic filter longer or deeper than this server accepts",
        ))
    }
}

/// The filters of a SUBSCRIBE: checked bytes that are walked when asked for, or a list to send.
#[derive(Clone, Copy)]
pub struct Subscriptions<'a>(Source<'a, Subscription<'a>>);

/// The filters of an UNSUBSCRIBE: checked bytes that are walked when asked for, or a list to send.
#[derive(Clone, Copy)]
pub struct UnsubscribeFilters<'a>(Source<'a, SubscriptionFilter<'a>>);

#[derive(Clone, Copy)]
enum Source<'a, T> {
    Wire { reader: Reader<'a>, len: usize },
    List(&'a [T]),
}

impl<'a, T: Copy> Source<'a, T> {
    fn iter(
        self,
        decode: fn(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> impl Iterator<Item = T> + use<'a, T> {
        let (mut reader, list): (Reader<'a>, &[T]) = match self {
            Self::Wire { reader, .. } => (reader, &[]),
            Self::List(list) => (Reader::new(&[], Version::V5), list),
        };
        let wire = std::iter::from_fn(move || {
            if reader.is_empty() {
                None
            } else {
                decode(&mut reader).ok()
            }
        });
        wire.chain(list.iter().copied())
    }

    const fn len(&self) -> usize {
        match self {
            Self::Wire { len, .. } => *len,
            Self::List(list) => list.len(),
        }
    }

    /// Checks all that is left in the packet.
    fn check(
        reader: &mut Reader<'a>,
        none: Rule,
        decode: impl Fn(&mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<Self, DecodeError> {
        let start = *reader;
        let mut len: usize = 0;
        while !reader.is_empty() {
            decode(reader)?;
            len = len.saturating_add(1);
        }
        if len == 0 {
            return Err(reader.protocol(none, "packet without topic filter"));
        }
        Ok(Self::Wire { reader: start, len })
    }
}

macro_rules! filter_list {
    ($name:ident, $item:ty, $decode:expr) => {
        impl<'a> $name<'a> {
            /// How many there are.
            pub const fn len(&self) -> usize {
                self.0.len()
            }

            /// Whether there are none, which no packet may say.
            pub const fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// All of them in order.
            pub fn iter(&self) -> impl Iterator<Item = $item> + use<'a> {
                self.0.iter($decode)
            }
        }

        impl<'a> From<&'a [$item]> for $name<'a> {
            fn from(list: &'a [$item]) -> Self {
                Self(Source::List(list))
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.iter().eq(other.iter())
            }
        }

        impl Eq for $name<'_> {}

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }
    };
}

filter_list!(Subscriptions, Subscription<'a>, Subscription::decode);
filter_list!(UnsubscribeFilters, SubscriptionFilter<'a>, filter);

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, limits: Limits) -> Result<Self, DecodeError> {
        let id = reader.packet_id(rule::PACKET_ID_CLIENT)?;
        let properties = SubscribeProperties::decode(reader)?;
        let none = Rule::of("MQTT-3.8.3-2", "MQTT-3.8.3-3");
        let subscriptions = Source::check(reader, none, |reader| {
            check_limits(Subscription::decode(reader)?.filter, limits)
        })?;
        Ok(Self {
            id,
            properties,
            subscriptions: Subscriptions(subscriptions),
        })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode(Kind::Subscribe.first_byte(), self, version, out)
    }
}

impl<'a> SubscribeProperties<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        let mut block = Properties::take(reader, "5.0 §3.8.2.1")?;
        while let Some(property) = block.next()? {
            match property {
                id::SUBSCRIPTION_ID => block.one_subscription_id(&mut found.subscription_id)?,
                id::USER_PROPERTY => block.user()?,
                _ => return Err(block.unknown()),
            }
        }
        found.user_properties = block.users();
        Ok(found)
    }
}

impl PropertySet for SubscribeProperties<'_> {
    fn write(&self, out: &mut Writer<'_, impl Sink>) {
        out.subscription_id(self.subscription_id);
        self.user_properties.write(out.0);
    }
}

impl Body for Subscribe<'_> {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        if self.subscriptions.is_empty() {
            return Err(EncodeError::Empty);
        }
        out.u16(self.id.get());
        self.properties.write_block(version, out)?;
        self.subscriptions
            .iter()
            .try_for_each(|subscription| subscription.write(version, out))
    }
}

/// UNSUBSCRIBE: a client no longer wants topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The packet identifier, to be repeated in UNSUBACK.
    pub id: PacketId,
    /// User properties, empty in 3.1.1.
    pub user_properties: UserProperties<'a>,
    /// The filters, at least one.
    pub filters: UnsubscribeFilters<'a>,
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, limits: Limits) -> Result<Self, DecodeError> {
        let id = reader.packet_id(rule::PACKET_ID_CLIENT)?;
        let mut block = Properties::take(reader, "5.0 §3.10.2.1")?;
        while let Some(property) = block.next()? {
            match property {
                id::USER_PROPERTY => block.user()?,
                _ => return Err(block.unknown()),
            }
        }
        let none = Rule::both("MQTT-3.10.3-2");
        let filters = Source::check(reader, none, |reader| check_limits(filter(reader)?, limits))?;
        Ok(Self {
            id,
            user_properties: block.users(),
            filters: UnsubscribeFilters(filters),
        })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode(Kind::Unsubscribe.first_byte(), self, version, out)
    }
}

impl PropertySet for UserProperties<'_> {
    fn write(&self, out: &mut Writer<'_, impl Sink>) {
        UserProperties::write(self, out.0);
    }
}

impl Body for Unsubscribe<'_> {
    fn write(&self, version: Version, out: &mut impl Sink) -> Result<(), EncodeError> {
        if self.filters.is_empty() {
            return Err(EncodeError::Empty);
        }
        out.u16(self.id.get());
        self.user_properties.write_block(version, out)?;
        self.filters.iter().try_for_each(|filter| {
            check_version(filter, version)?;
            out.string(filter.as_str());
            Ok(())
        })
    }
}
