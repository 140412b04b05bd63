//! The last message of each topic, for those who subscribe later (MQTT 5 §3.3.1.3).

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use stockade_mqtt::{TopicFilter, TopicName};

use super::message::Message;

/// Retained messages by topic.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    by_topic: BTreeMap<Box<str>, Kept>,
    bytes: usize,
}

/// One retained message.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) message: Arc<Message>,
    /// The quality of service it was published with.
    pub(crate) qos: u8,
}

impl Retained {
    /// Whether a message of `size` bytes fits on `topic` within the limits.
    pub(crate) fn fits(
        &self,
        topic: &str,
        size: usize,
        max_topics: usize,
        max_bytes: usize,
    ) -> bool {
        let old = self.by_topic.get(topic).map(|k| k.message.size());
        let topics = self.by_topic.len() + usize::from(old.is_none());
        topics <= max_topics && self.bytes - old.unwrap_or(0) + size <= max_bytes
    }

    pub(crate) fn set(&mut self, topic: &str, kept: Kept) {
        self.remove(topic);
        self.bytes += kept.message.size();
        self.by_topic.insert(topic.into(), kept);
    }

    pub(crate) fn remove(&mut self, topic: &str) -> bool {
        let old = self.by_topic.remove(topic);
        self.bytes -= old.as_ref().map_or(0, |k| k.message.size());
        old.is_some()
    }

    /// The messages whose topics `filter` matches, in the order of the topics.
    pub(crate) fn matching(&self, filter: TopicFilter<'_>) -> Vec<Kept> {
        let text = filter.as_str();
        let literal = text.split(['+', '#']).next().unwrap_or_default();
        if literal.len() == text.len() {
            return self.by_topic.get(text).cloned().into_iter().collect();
        }
        // "a/#" also matches "a" (§4.7.1.2), which sorts before "a/".
        let parent = text
            .strip_suffix("/#")
            .filter(|p| p.len() + 1 == literal.len());
        let parent = parent.and_then(|p| self.by_topic.get(p)).cloned();
        let below = self
            .by_topic
            .range::<str, _>((Included(literal), Unbounded))
            .take_while(|(topic, _)| topic.starts_with(literal))
            .filter(|(topic, _)| TopicName::new(topic).is_ok_and(|t| filter.matches(t)))
            .map(|(_, kept)| kept.clone());
        parent.into_iter().chain(below).collect()
    }

    /// Up to `limit` topics after `after`, for walking through all of them piece by piece.
    pub(crate) fn after(&self, after: Option<&str>, limit: usize) -> Vec<(Box<str>, Kept)> {
        let from = after.map_or(Unbounded, Excluded);
        let range = self.by_topic.range::<str, _>((from, Unbounded));
        range
            .take(limit)
            .map(|(t, k)| (t.clone(), k.clone()))
            .collect()
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Kept)> {
        self.by_topic.iter().map(|(t, k)| (&**t, k))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_topic.len()
    }
}
