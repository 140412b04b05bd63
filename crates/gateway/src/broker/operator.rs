//! Messages of the operator: commands to devices.

use stockade_mqtt::{Delivery, Publish, PublishProperties, TopicName};
use stockade_store::BusError;

use super::deliver::Inbound;
use super::{Broker, Output};

/// Why a message of the operator was not published.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// No topic to publish to.
    #[error("`{topic}` is no topic to publish to: {source}")]
    Topic {
        /// What was given.
        topic: String,
        /// What is wrong with it.
        source: stockade_mqtt::TopicError,
    },
    /// More than a packet may have.
    #[error("a payload of {0} bytes is too large")]
    TooLarge(usize),
    /// The journal does not take it.
    #[error(transparent)]
    Journal(#[from] BusError),
}

impl Broker {
    /// Publishes a message of the operator; no profile bounds it but those of the receivers.
    pub fn publish_from_operator(
        &mut self,
        (topic, payload): (&str, &[u8]),
        qos: u8,
        retain: bool,
        out: &mut Output,
    ) -> Result<(u64, usize), OperatorError> {
        let name = TopicName::new(topic).map_err(|source| OperatorError::Topic {
            topic: topic.escape_default().to_string(),
            source,
        })?;
        if payload.len() > usize::try_from(self.limits.max_packet).unwrap_or(usize::MAX) {
            return Err(OperatorError::TooLarge(payload.len()));
        }
        let publish = Publish {
            delivery: Delivery::AtMostOnce,
            retain,
            topic: Some(name),
            properties: PublishProperties::default(),
            payload,
        };
        let inbound = Inbound {
            publish: &publish,
            topic: name,
            qos: qos.min(2),
            from: 0,
            device: None,
            packet_id: 0,
            kept: None,
            with: None,
        };
        let routed = self.route(inbound, out)?;
        Ok((routed.seq, routed.recipients))
    }
}
