//! Who gets what: subscriptions by filter, found by topic.
//!
//! Most filters of devices name one topic exactly: those are in one hash table. Filters with
//! wildcards are in a tree of levels.

use std::collections::BTreeMap;
#[expect(
    clippy::disallowed_types,
    reason = "looked up on every publish, never iterated"
)]
use std::collections::HashMap;

use stockade_mqtt::SubscriptionId;

use super::slab::Slab;

/// One subscriber under a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Slot of the session.
    pub(crate) session: u32,
    /// Its subscription options.
    pub(crate) options: Options,
    /// Its subscription identifier.
    pub(crate) id: Option<SubscriptionId>,
}

/// Subscription options (MQTT 5 §3.8.3.1), packed as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Options(pub(crate) u8);

impl Options {
    pub(crate) const fn new(qos: u8, no_local: bool, retain_as_published: bool) -> Self {
        Self((qos & 3) | ((no_local as u8) << 2) | ((retain_as_published as u8) << 3))
    }
    pub(crate) const fn qos(self) -> u8 {
        self.0 & 3
    }
    pub(crate) const fn no_local(self) -> bool {
        self.0 & 4 != 0
    }
    pub(crate) const fn retain_as_published(self) -> bool {
        self.0 & 8 != 0
    }
}

/// The members of one `$share/<name>/<filter>` (MQTT 5 §4.8.2).
#[derive(Debug, Default)]
pub(crate) struct Group {
    name: Box<str>,
    members: Vec<Entry>,
    next: usize,
}

impl Group {
    /// The member whose turn it is, among those `ready` says yes to; else the first in turn.
    fn pick(&mut self, ready: &mut impl FnMut(u32) -> bool) -> Option<Entry> {
        let n = self.members.len();
        let chosen = (0..n)
            .map(|i| (self.next + i) % n)
            .find(|&i| self.members.get(i).is_some_and(|m| ready(m.session)))
            .or_else(|| (n > 0).then(|| self.next % n))?;
        self.next = (chosen + 1) % n;
        self.members.get(chosen).copied()
    }
}

#[derive(Debug, Default)]
struct Subscribers {
    single: Vec<Entry>,
    groups: Vec<Group>,
}

impl Subscribers {
    fn is_empty(&self) -> bool {
        self.single.is_empty() && self.groups.is_empty()
    }

    /// True when the subscriber was not there before.
    fn insert(&mut self, group: Option<&str>, entry: Entry) -> bool {
        let list = match group {
            None => &mut self.single,
            Some(name) => {
                let at = self
                    .groups
                    .iter()
                    .position(|g| &*g.name == name)
                    .unwrap_or_else(|| {
                        self.groups.push(Group {
                            name: name.into(),
                            ..Group::default()
                        });
                        self.groups.len() - 1
                    });
                match self.groups.get_mut(at) {
                    Some(group) => &mut group.members,
                    None => return false,
                }
            }
        };
        if let Some(old) = list.iter_mut().find(|e| e.session == entry.session) {
            *old = entry;
            return false;
        }
        list.push(entry);
        true
    }

    fn remove(&mut self, group: Option<&str>, session: u32) {
        match group {
            None => self.single.retain(|e| e.session != session),
            Some(name) => {
                for g in self.groups.iter_mut().filter(|g| &*g.name == name) {
                    g.members.retain(|e| e.session != session);
                }
                self.groups.retain(|g| !g.members.is_empty());
            }
        }
    }

    fn collect(&mut self, out: &mut Vec<Entry>, ready: &mut impl FnMut(u32) -> bool) {
        out.extend_from_slice(&self.single);
        for group in &mut self.groups {
            out.extend(group.pick(ready));
        }
    }
}

#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<Box<str>, u32>,
    /// Filters that end at this level.
    here: Subscribers,
    /// Filters that end in `#` below this level; they match the level itself too (§4.7.1.2).
    below: Subscribers,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_empty() && self.below.is_empty()
    }
}

/// Every subscription of the broker.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    #[expect(
        clippy::disallowed_types,
        reason = "looked up on every publish, never iterated"
    )]
    exact: HashMap<Box<str>, Subscribers>,
    nodes: Slab<Node>,
    root: u32,
}

impl Default for Subscriptions {
    fn default() -> Self {
        let mut nodes = Slab::default();
        let root = nodes.insert(Node::default());
        #[expect(
            clippy::disallowed_types,
            reason = "looked up on every publish, never iterated"
        )]
        let exact = HashMap::new();
        Self { exact, nodes, root }
    }
}

fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|b| matches!(b, b'+' | b'#'))
}

/// The group and the filter of `$share/<group>/<filter>`, or no group.
pub(crate) fn split_share(filter: &str) -> (Option<&str>, &str) {
    match filter
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((group, filter)) => (Some(group), filter),
        None => (None, filter),
    }
}

impl Subscriptions {
    /// Adds or replaces the subscription of `entry.session` to a checked filter.
    /// True when it is new.
    pub(crate) fn insert(&mut self, filter: &str, entry: Entry) -> bool {
        let (group, filter) = split_share(filter);
        if !has_wildcard(filter) {
            if let Some(found) = self.exact.get_mut(filter) {
                return found.insert(group, entry);
            }
            let mut subscribers = Subscribers::default();
            let fresh = subscribers.insert(group, entry);
            self.exact.insert(filter.into(), subscribers);
            return fresh;
        }
        let mut at = self.root;
        for level in filter.split('/') {
            if level == "#" {
                break;
            }
            at = self.child(at, level);
        }
        let below = filter.ends_with('#');
        self.nodes.get_mut(at).is_some_and(|node| {
            let list = if below {
                &mut node.below
            } else {
                &mut node.here
            };
            list.insert(group, entry)
        })
    }

    fn child(&mut self, at: u32, level: &str) -> u32 {
        if let Some(&next) = self.nodes.get(at).and_then(|n| n.children.get(level)) {
            return next;
        }
        let next = self.nodes.insert(Node::default());
        if let Some(node) = self.nodes.get_mut(at) {
            node.children.insert(level.into(), next);
        }
        next
    }

    /// Removes the subscription of `session` to `filter`.
    pub(crate) fn remove(&mut self, filter: &str, session: u32) {
        let (group, filter) = split_share(filter);
        if !has_wildcard(filter) {
            if let Some(found) = self.exact.get_mut(filter) {
                found.remove(group, session);
                if found.is_empty() {
                    self.exact.remove(filter);
                }
            }
            return;
        }
        let mut path = vec![(self.root, "")];
        let mut at = self.root;
        for level in filter.split('/').take_while(|l| *l != "#") {
            match self.nodes.get(at).and_then(|n| n.children.get(level)) {
                Some(&next) => at = next,
                None => return,
            }
            path.push((at, level));
        }
        if let Some(node) = self.nodes.get_mut(at) {
            let list = if filter.ends_with('#') {
                &mut node.below
            } else {
                &mut node.here
            };
            list.remove(group, session);
        }
        // Empty levels go, from the leaf up; the root stays.
        while let Some((node, level)) = path.pop() {
            if path.is_empty() || !self.nodes.get(node).is_some_and(Node::is_empty) {
                break;
            }
            self.nodes.remove(node);
            if let Some(parent) = path.last().and_then(|&(p, _)| self.nodes.get_mut(p)) {
                parent.children.remove(level);
            }
        }
    }

    /// Collects who gets a message on `topic`. `ready` says which members of a shared
    /// subscription can take it now.
    pub(crate) fn collect(
        &mut self,
        topic: &str,
        out: &mut Vec<Entry>,
        mut ready: impl FnMut(u32) -> bool,
    ) {
        if let Some(found) = self.exact.get_mut(topic) {
            found.collect(out, &mut ready);
        }
        if self.nodes.get(self.root).is_none_or(Node::is_empty) {
            return;
        }
        // [MQTT-4.7.2-1]: a filter that starts with a wildcard matches no topic with a `$` first.
        let hidden = topic.starts_with('$');
        self.walk(self.root, Some(topic), hidden, out, &mut ready);
    }

    fn walk(
        &mut self,
        at: u32,
        rest: Option<&str>,
        hidden: bool,
        out: &mut Vec<Entry>,
        ready: &mut impl FnMut(u32) -> bool,
    ) {
        let Some(node) = self.nodes.get_mut(at) else {
            return;
        };
        if !hidden {
            node.below.collect(out, ready);
        }
        let Some(rest) = rest else {
            node.here.collect(out, ready);
            return;
        };
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        let named = node.children.get(level).copied();
        let any = if hidden {
            None
        } else {
            node.children.get("+").copied()
        };
        for next in [named, any].into_iter().flatten() {
            self.walk(next, rest, false, out, ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(session: u32) -> Entry {
        Entry {
            session,
            options: Options::new(1, false, false),
            id: None,
        }
    }

    fn found(subs: &mut Subscriptions, topic: &str) -> Vec<u32> {
        let mut out = Vec::new();
        subs.collect(topic, &mut out, |_| true);
        let mut sessions: Vec<u32> = out.iter().map(|e| e.session).collect();
        sessions.sort_unstable();
        sessions
    }

    /// §4.7 read literally, level by level.
    fn matches(filter: &str, topic: &str) -> bool {
        if topic.starts_with('$') && filter.starts_with(['+', '#']) {
            return false;
        }
        let (f, t): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
        for (i, level) in f.iter().enumerate() {
            match *level {
                "#" => return true,
                "+" if i < t.len() => {}
                name if t.get(i) == Some(&name) => {}
                _ => return false,
            }
        }
        f.len() == t.len()
    }

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            Just("a".into()),
            Just("b".into()),
            Just("$x".into())
        ]
    }

    proptest! {
        #[test]
        fn a_topic_finds_exactly_the_filters_that_match_it(
            filters in prop::collection::vec(
                (prop::collection::vec(prop_oneof![level(), Just("+".to_owned())], 1..4), any::<bool>()), 1..12),
            removed in prop::collection::vec(any::<bool>(), 12),
            topic in prop::collection::vec(level(), 1..5),
        ) {
            let topic = topic.join("/");
            prop_assume!(!topic.is_empty());
            let mut subs = Subscriptions::default();
            let mut expected = Vec::new();
            let mut kept = Vec::new();
            for (i, (levels, hash)) in filters.into_iter().enumerate() {
                let mut filter = levels.join("/");
                if hash { filter.push_str("/#"); }
                if filter.is_empty() { continue; }
                let session = u32::try_from(i).unwrap();
                subs.insert(&filter, entry(session));
                kept.push((filter, session, removed[i]));
            }
            for (filter, session, gone) in &kept {
                if *gone { subs.remove(filter, *session); }
                else if matches(filter, &topic) { expected.push(*session); }
            }
            prop_assert_eq!(found(&mut subs, &topic), expected);
            for (filter, session, _) in &kept { subs.remove(filter, *session); }
            prop_assert!(subs.exact.is_empty());
            prop_assert_eq!(subs.nodes.len(), 1);
        }
    }

    #[test]
    fn a_shared_subscription_takes_turns_among_those_who_are_there() {
        let mut subs = Subscriptions::default();
        for session in 0..3 {
            subs.insert("$share/g/a/+", entry(session));
        }
        let mut turn = |ready: fn(u32) -> bool| {
            let mut out = Vec::new();
            subs.collect("a/b", &mut out, ready);
            out.into_iter().map(|e| e.session).collect::<Vec<_>>()
        };
        assert_eq!(turn(|_| true), [0]);
        assert_eq!(turn(|_| true), [1]);
        assert_eq!(turn(|_| true), [2]);
        assert_eq!(turn(|s| s == 1), [1]);
        assert_eq!(turn(|s| s == 1), [1]);
        assert_eq!(turn(|_| false), [2]);
    }
}
