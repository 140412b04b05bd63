//! What one device may do on MQTT, compiled from its model's profile.
//!
//! Default deny: a topic no rule names is refused, for publishing, subscribing, delivery and wills.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stockade_api::signed::MOST_EVIDENCE;
use stockade_mqtt::{SharedFilter, TopicFilter, TopicFilterBuf, TopicName};
use stockade_profile::{Profile, Rate};
use stockade_store::Stream;

use crate::name::DeviceName;

/// What every device may say of itself: signed evidence, and what happened on it.
pub const POSTURE: &str = "posture";
/// See [`POSTURE`].
pub const EVENTS: &str = "events";
/// How many bytes of events a device may send at once.
const EVENTS_MAX_BYTES: u32 = 64 * 1024;
/// How often it may.
const OWN_RATE: Rate = Rate {
    count: 60,
    per: Duration::from_mins(1),
};

/// One topic a device may publish to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PublishRule {
    topic: Box<str>,
    max_bytes: u32,
    rate: Option<Rate>,
    /// Where it is written down, and as what.
    kept: Option<(Stream, Box<str>)>,
}

/// What one device may do; never changed, only replaced.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    device: DeviceName,
    version: u64,
    quarantined: bool,
    publish: Box<[PublishRule]>,
    subscribe: Box<[TopicFilterBuf]>,
}

/// Why a publish is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No rule names the topic.
    Topic,
    /// Larger than the rule allows.
    Size {
        /// What the rule allows.
        max_bytes: u32,
    },
}

impl Policy {
    /// What `device` may do by `profile`; in quarantine only what it needs to be mended.
    pub fn compile(profile: &Profile, device: &DeviceName, quarantined: bool) -> Arc<Self> {
        let id = device.id.as_str();
        let own = |name: &str, max_bytes| PublishRule {
            topic: format!("stockade/{id}/{name}").into(),
            max_bytes,
            rate: Some(OWN_RATE),
            kept: Some((Stream::Posture, name.into())),
        };
        let evidence = u32::try_from(MOST_EVIDENCE).unwrap_or(u32::MAX);
        let mut publish = vec![own(POSTURE, evidence), own(EVENTS, EVENTS_MAX_BYTES)];
        let mut subscribe: Vec<_> = TopicFilterBuf::new(format!("stockade/{id}/repair"))
            .into_iter()
            .collect();
        if !quarantined {
            publish.extend(profile.comms.publish.iter().map(|rule| {
                PublishRule {
                    topic: rule.topic.expand(id).into(),
                    max_bytes: rule.max_bytes,
                    rate: rule.rate,
                    kept: rule
                        .schema
                        .as_ref()
                        .map(|s| (Stream::Telemetry, s.as_str().into())),
                }
            }));
            // A template that makes no filter allows nothing.
            let filters = profile.comms.subscribe.iter();
            subscribe.extend(filters.filter_map(|s| TopicFilterBuf::new(s.topic.expand(id)).ok()));
        }
        Arc::new(Self {
            device: device.clone(),
            version: profile.device.version,
            quarantined,
            publish: publish.into(),
            subscribe: subscribe.into(),
        })
    }

    /// Nothing at all: for the sessions of a device for which nobody has vouched since the start.
    pub fn nothing(device: DeviceName) -> Self {
        Self {
            device,
            version: 0,
            quarantined: false,
            publish: Box::new([]),
            subscribe: Box::new([]),
        }
    }

    /// Whether this is [`Policy::nothing`].
    pub fn is_nothing(&self) -> bool {
        self.publish.is_empty()
    }

    /// Whose policy it is.
    pub fn device(&self) -> &DeviceName {
        &self.device
    }

    /// The version of the profile it comes from.
    pub fn profile_version(&self) -> u64 {
        self.version
    }

    /// Whether the device is in quarantine.
    pub fn quarantined(&self) -> bool {
        self.quarantined
    }

    /// How many publish rules there are.
    pub fn rules(&self) -> usize {
        self.publish.len()
    }

    /// The rule under which `bytes` may be published to `topic`.
    pub fn may_publish(&self, topic: TopicName<'_>, bytes: usize) -> Result<usize, Denied> {
        let topic = topic.as_str();
        let found = self
            .publish
            .iter()
            .enumerate()
            .find(|(_, rule)| *rule.topic == *topic);
        match found {
            // Topics of the server stay closed, whatever a profile says (MQTT 5 §4.7.2).
            Some(_) if topic.starts_with('$') => Err(Denied::Topic),
            None => Err(Denied::Topic),
            Some((_, rule)) if usize::try_from(rule.max_bytes).is_ok_and(|max| bytes > max) => {
                Err(Denied::Size {
                    max_bytes: rule.max_bytes,
                })
            }
            Some((number, _)) => Ok(number),
        }
    }

    /// How often a rule may be used.
    pub fn rate(&self, rule: usize) -> Option<Rate> {
        self.publish.get(rule)?.rate
    }

    /// Where what is published under a rule is written down, and as what: for the vault by its schema, for judgement by
    /// the topic's name.
    pub fn kept(&self, rule: usize) -> Option<(Stream, &str)> {
        let (stream, name) = self.publish.get(rule)?.kept.as_ref()?;
        Some((*stream, name))
    }

    /// Whether everything `filter` matches may be received: it must be *contained* in one allowed filter.
    pub fn may_subscribe(&self, filter: TopicFilter<'_>) -> bool {
        !filter.starts_with('$')
            && self
                .subscribe
                .iter()
                .any(|allowed| allowed.borrow().contains(filter))
    }

    /// The same for the text of a subscription, shared or not; what is no filter is refused.
    pub fn may_subscribe_text(&self, text: &str) -> bool {
        match SharedFilter::new(text) {
            Some(shared) => shared.is_ok_and(|s| self.may_subscribe(s.filter())),
            None => TopicFilter::new(text).is_ok_and(|filter| self.may_subscribe(filter)),
        }
    }

    /// Whether a message on `topic` may be delivered to the device.
    pub fn may_receive(&self, topic: TopicName<'_>) -> bool {
        !topic.starts_with('$')
            && self
                .subscribe
                .iter()
                .any(|allowed| allowed.borrow().matches(topic))
    }

    /// Each topic it may publish to, and how many bytes.
    pub fn publish_topics(&self) -> impl Iterator<Item = (&str, u32)> {
        self.publish
            .iter()
            .map(|rule| (&*rule.topic, rule.max_bytes))
    }

    /// Each filter it may subscribe to.
    pub fn subscribe_filters(&self) -> impl Iterator<Item = &str> {
        self.subscribe.iter().map(TopicFilterBuf::as_str)
    }

    /// What it may publish to, for a sentence.
    pub fn publishes(&self) -> impl fmt::Display {
        list(self.publish.iter().map(|rule| &*rule.topic))
    }

    /// What it may subscribe to, for a sentence.
    pub fn subscribes(&self) -> impl fmt::Display {
        list(self.subscribe.iter().map(TopicFilterBuf::as_str))
    }
}

/// The profile's own rules first: the repair topics, which everybody has, explain nothing.
fn list<'a>(topics: impl Iterator<Item = &'a str>) -> String {
    let (own, repair): (Vec<_>, Vec<_>) = topics.partition(|t| !t.starts_with("stockade/"));
    let shown = if own.is_empty() { repair } else { own };
    if shown.is_empty() {
        return "nothing".to_owned();
    }
    let text: Vec<_> = shown.iter().take(3).map(|t| format!("`{t}`")).collect();
    let more = if shown.len() > 3 { " and others" } else { "" };
    format!("{}{more}", text.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 7
class = "linux"
[[comms.publish]]
topic = "cam-2/${device}/motion"
max-bytes = 512
rate = "2/s"
[[comms.subscribe]]
topic = "cam-2/${device}/command/#"
"#;

    fn policy(quarantined: bool) -> Arc<Policy> {
        let profile = stockade_profile::parse(PROFILE).unwrap();
        Policy::compile(
            &profile,
            &DeviceName::new("cam-2", "porch").unwrap(),
            quarantined,
        )
    }

    fn publish(policy: &Policy, topic: &str, bytes: usize) -> Result<usize, Denied> {
        TopicName::new(topic).map_or(Err(Denied::Topic), |topic| policy.may_publish(topic, bytes))
    }

    #[test]
    fn only_the_topics_of_the_profile_may_be_published_to_and_only_that_large() {
        let policy = policy(false);
        let rule = publish(&policy, "cam-2/porch/motion", 512).unwrap();
        assert_eq!(policy.rate(rule).unwrap().count, 2);
        assert_eq!(
            publish(&policy, "cam-2/porch/motion", 513),
            Err(Denied::Size { max_bytes: 512 })
        );
        for other in [
            "cam-2/attic/motion",
            "cam-2/porch/motion/x",
            "cam-2/porch",
            "$SYS/x",
            "x",
        ] {
            assert_eq!(publish(&policy, other, 0), Err(Denied::Topic), "{other}");
        }
    }

    #[test]
    fn a_filter_must_be_contained_not_merely_overlap() {
        let policy = policy(false);
        for good in [
            "cam-2/porch/command/#",
            "cam-2/porch/command",
            "cam-2/porch/command/+/x",
        ] {
            assert!(policy.may_subscribe_text(good), "{good}");
            assert!(
                policy.may_subscribe_text(&format!("$share/g/{good}")),
                "{good}"
            );
        }
        for bad in [
            "#",
            "+/porch/command/#",
            "cam-2/+/command",
            "cam-2/#",
            "$SYS/#",
            "$share/g/#",
            "a/#/b",
        ] {
            assert!(!policy.may_subscribe_text(bad), "{bad}");
        }
    }

    #[test]
    fn in_quarantine_only_the_repair_topics_are_left() {
        let policy = policy(true);
        for own in ["posture", "events"] {
            let rule = publish(&policy, &format!("stockade/porch/{own}"), 10).unwrap();
            assert_eq!(policy.kept(rule), Some((Stream::Posture, own)));
        }
        assert_eq!(
            publish(&policy, "cam-2/porch/motion", 1),
            Err(Denied::Topic)
        );
        assert!(policy.may_subscribe_text("stockade/porch/repair"));
        assert!(!policy.may_subscribe_text("cam-2/porch/command"));
        assert!(!policy.may_receive(TopicName::new("cam-2/porch/command").unwrap()));
    }

    #[test]
    fn the_sentence_names_what_the_profile_allows() {
        assert_eq!(
            policy(false).publishes().to_string(),
            "`cam-2/porch/motion`"
        );
        assert_eq!(
            policy(true).subscribes().to_string(),
            "`stockade/porch/repair`"
        );
    }
}
