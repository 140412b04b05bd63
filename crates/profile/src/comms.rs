//! `[comms]`: the key, what is published, what is subscribed to, and which models are met directly.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::fault::{Faulted, Faults};
use crate::read::{Form, Keys, Node, Value, Writer};
use crate::text::{choice, identifier, name};
use crate::units::spoken;
use crate::words::{Words, listed, ticked};
use crate::{Control, ModelName, Rate, SchemaName, TopicTemplate};

choice! {
    /// Where a device keeps its private key.
    KeyStore: "a place for a key" {
        /// In a file that only the agent reads.
        File = "file",
        /// In a PKCS#11 token.
        Pkcs11 = "pkcs11",
        /// In a TPM.
        Tpm = "tpm",
    }
}

name! {
    /// What one device may ask of another, for example `siren.sound`.
    ScopeName: "a scope", identifier
}

/// How a device communicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comms {
    /// Where the private key is.
    pub key: KeyStore,
    /// How long a certificate is valid.
    pub certificate_life: Duration,
    /// Where to it may publish.
    pub publish: Vec<Publish>,
    /// What it may subscribe to.
    pub subscribe: Vec<Subscribe>,
    /// Which models it may meet directly, with a grant.
    pub peers: Vec<Peer>,
}

/// One topic that a device may publish to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The topic, without wildcards.
    pub topic: TopicTemplate,
    /// The largest payload.
    pub max_bytes: u32,
    /// How often.
    pub rate: Option<Rate>,
    /// The data set that keeps it; without one it is passed on and not stored.
    pub schema: Option<SchemaName>,
}

/// One filter that a device may subscribe to, or to part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The filter.
    pub topic: TopicTemplate,
}

/// One model that a device may meet directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The other model.
    pub model: ModelName,
    /// What it may ask for.
    pub scope: Vec<ScopeName>,
}

const CERTIFICATE_LIFE: Duration = Duration::from_hours(7 * 24);
/// Below, renewal at two thirds would never rest; above, a lost device stays trusted for too long.
const CERTIFICATE_LIVES: RangeInclusive<Duration> =
    Duration::from_hours(1)..=Duration::from_hours(90 * 24);
/// 16 MiB: a still picture fits, and one message can not fill a gateway.
const MESSAGE_BYTES: RangeInclusive<u32> = 1..=16_777_216;

impl Default for Comms {
    fn default() -> Self {
        Self {
            key: KeyStore::File,
            certificate_life: CERTIFICATE_LIFE,
            publish: Vec::new(),
            subscribe: Vec::new(),
            peers: Vec::new(),
        }
    }
}

impl Form for Comms {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let key = keys.or("key", KeyStore::File);
        let life = keys.or("certificate-life", CERTIFICATE_LIFE);
        let certificate_life = keys.within("certificate-life", life, &CERTIFICATE_LIVES);
        let publish = keys.or_default("publish");
        let publish = keys.distinct("publish", publish, |a: &Publish, b| a.topic == b.topic);
        let subscribe = keys.or_default("subscribe");
        let peers = keys.or_default("peer");
        let peers = keys.distinct("peer", peers, |a: &Peer, b| a.model == b.model);
        keys.finish()?;
        Ok(Self {
            key: key?,
            certificate_life: certificate_life?,
            publish: publish?,
            subscribe: subscribe?,
            peers: peers?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .unless("key", &self.key, &KeyStore::File)
            .unless(
                "certificate-life",
                &self.certificate_life,
                &CERTIFICATE_LIFE,
            )
            .unless_default("publish", &self.publish)
            .unless_default("subscribe", &self.subscribe)
            .unless_default("peer", &self.peers)
            .done()
    }
}

impl Form for Publish {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let topic = keys
            .required::<TopicTemplate>("topic", "\"cam-2/${device}/motion\"")
            .and_then(|topic| {
                TopicTemplate::name(topic.as_str()).map_err(|wrong| keys.error("topic", wrong))
            });
        let max_bytes = keys.required("max-bytes", "512");
        let max_bytes = keys.within("max-bytes", max_bytes, &MESSAGE_BYTES);
        let rate = keys.optional("rate");
        let schema = keys.optional("schema");
        keys.finish()?;
        Ok(Self {
            topic: topic?,
            max_bytes: max_bytes?,
            rate: rate?,
            schema: schema?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("topic", &self.topic)
            .put("max-bytes", &self.max_bytes)
            .some("rate", self.rate.as_ref())
            .some("schema", self.schema.as_ref())
            .done()
    }
}

impl Form for Subscribe {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let topic = keys.required("topic", "\"cam-2/${device}/command\"");
        keys.finish()?;
        Ok(Self { topic: topic? })
    }

    fn write(&self) -> Value {
        Writer::default().put("topic", &self.topic).done()
    }
}

impl Form for Peer {
    fn read(node: &Node, faults: &Faults) -> Result<Self, Faulted> {
        let mut keys = Keys::of(node, faults)?;
        let model = keys.required("model", "\"siren-1\"");
        let scope = keys.some("scope", "[\"siren.sound\"]");
        keys.finish()?;
        Ok(Self {
            model: model?,
            scope: scope?,
        })
    }

    fn write(&self) -> Value {
        Writer::default()
            .put("model", &self.model)
            .put("scope", &self.scope)
            .done()
    }
}

impl Comms {
    pub(crate) fn words(&self, words: &mut Words<'_>) {
        const CONTROL: Control = Control::Comms;
        if self.publish.is_empty() {
            words.say(CONTROL, "may publish nothing");
        }
        for rule in &self.publish {
            let topic = words.topic(&rule.topic);
            let rate = rule
                .rate
                .map(|rate| format!(", {}", rate.spoken()))
                .unwrap_or_default();
            let kept = match &rule.schema {
                Some(schema) => format!("kept as the data set `{schema}`"),
                None => "passed on and not stored".to_owned(),
            };
            let bytes = rule.max_bytes;
            words.say(
                CONTROL,
                format!("may publish {topic}, up to {bytes} bytes{rate}, {kept}"),
            );
        }
        if self.subscribe.is_empty() {
            words.say(CONTROL, "may receive nothing");
        }
        for rule in &self.subscribe {
            let topic = words.topic(&rule.topic);
            words.say(CONTROL, format!("may receive {topic}"));
        }
        for Peer { model, scope } in &self.peers {
            let scope = listed(scope, ticked);
            let text = format!("may ask devices of the model `{model}` for {scope}, with a grant");
            words.say(CONTROL, text);
        }
        let place = match self.key {
            KeyStore::File => "in a file",
            KeyStore::Pkcs11 => "in a PKCS#11 token",
            KeyStore::Tpm => "in a TPM",
        };
        let life = spoken(self.certificate_life);
        let certificate = if words.constrained {
            "a certificate, if it has one,"
        } else {
            "its certificate"
        };
        words.say(
            CONTROL,
            format!("keeps its key {place}; {certificate} lives for {life}"),
        );
    }
}
