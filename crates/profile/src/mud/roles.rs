//! Who opens: of the rules for both ways, which let a flow begin, and which speak of its answers.

use super::file::Rule;
use super::flow::Flow;
use super::matches::Why;
use crate::{Direction, Endpoint};

/// What a rule that accepts does.
pub(crate) enum Role {
    Opens,
    Answers(usize, &'static str),
    Nothing(Why),
}

const SAID_SO: &str = "it speaks of its answers";
pub(crate) const READ_SO: &str =
    "it looks the same the other way round, so it is read as its answers";
const REPLY: &str = "it is the echo that it asks for";

/// What the rules of the other policy accept.
fn accepted(rules: &[Rule], direction: Direction) -> impl Iterator<Item = (usize, &Flow)> {
    rules
        .iter()
        .enumerate()
        .filter(move |(_, rule)| rule.direction != direction)
        .filter_map(|(index, rule)| Some((index, rule.accepted()?)))
}

/// Whether a rule opens flows, or speaks of the answers of another one (decision 0100).
pub(crate) fn role(rules: &[Rule], rule: &Rule, flow: &Flow, literal: bool) -> Role {
    let others = || accepted(rules, rule.direction);
    // RFC 8520 §4.8: what goes against the direction is dropped unless the other side has opened.
    if let Some(initiated) = flow.initiated {
        if initiated == rule.direction {
            return Role::Opens;
        }
        let opener = |(_, other): &(usize, &Flow)| {
            other.answers(flow) && other.initiated != Some(rule.direction)
        };
        return match others().find(opener) {
            Some((index, _)) => Role::Answers(index, SAID_SO),
            None => Role::Nothing(
                "it speaks of answers, and no rule of the other policy opens what they would answer"
                    .to_owned(),
            ),
        };
    }
    if literal {
        return Role::Opens;
    }
    let mut mirror = None;
    for (index, other) in others().filter(|(_, other)| other.mirrors(flow)) {
        match other.initiated {
            Some(initiated) if initiated == rule.direction => return Role::Opens,
            Some(_) => return Role::Answers(index, SAID_SO),
            None => mirror = mirror.or(Some(index)),
        }
    }
    let looks_like_answers = answers_by_its_ports(rule.direction, flow);
    if let Some(index) = mirror
        && looks_like_answers
    {
        return Role::Answers(index, READ_SO);
    }
    if let Some((index, _)) = others().find(|(_, other)| flow.is_reply_to(other)) {
        return Role::Answers(index, REPLY);
    }
    // A rule that could not be read must not turn its answers into something that opens.
    match rules
        .iter()
        .find(|other| other.is_unread_accept(rule.direction))
    {
        Some(unread) if looks_like_answers => Role::Nothing(format!(
            "it looks like answers, maybe those of `{}`, which can not be read",
            unread.name()
        )),
        _ => Role::Opens,
    }
}

/// Of two rules that are the same the other way round: whether this one is the answers.
fn answers_by_its_ports(direction: Direction, flow: &Flow) -> bool {
    if flow.is_its_own_mirror() || flow.names_only_to() {
        false
    } else {
        flow.names_only_from() || direction == Direction::In
    }
}

/// What opens more than its author may have meant.
pub(crate) fn wide(direction: Direction, flow: &Flow) -> Option<String> {
    if flow.asked_by().is_some() {
        return Some("an echo reply opens nothing, and no rule asks for it".to_owned());
    }
    match direction {
        Direction::In if flow.peer == Endpoint::Any => {
            Some("it lets anybody open flows to the device".to_owned())
        }
        Direction::In if flow.names_only_from() => Some(
            "it lets the other end open flows to every port of the device; \
             it has no counterpart whose answers it could be"
                .to_owned(),
        ),
        Direction::Out if flow.names_only_from() => Some(
            "it lets the device open flows to every port of the other end; \
             it has no counterpart whose answers it could be"
                .to_owned(),
        ),
        Direction::In | Direction::Out => None,
    }
}
