//! What a device may ask of the gateway: its topics, what there is, and what it may show to others.
//!
//! | Request | Meaning |
//! |---|---|
//! | `POST /motion` | a PUBLISH to `<model>/<device>/motion`; 2.04 once it is on disk |
//! | `GET /command`, with Observe | a subscription; each message is a confirmable notification |
//! | `GET /command` | the oldest message that waits, with an `ETag`; again with that `ETag`: it has it, the next one |
//! | `GET /.well-known/core` | its resources (RFC 6690) |
//! | `GET /grants` | what it may show to other devices, and the time |

use stockade_link::coap::block::Block;
use stockade_link::coap::link_format::Links;
use stockade_link::coap::message::{Body, Builder, Code};
use stockade_link::coap::option::{
    self,
    observe::{DEREGISTER, REGISTER},
};
use stockade_link::oscore::{Owed, Refused, To};
use stockade_mqtt::{ReasonCode, TopicName};

use super::active::{OBSERVED, Observed, PENDING, Pending, What};
use super::blocks::{asked_for, uint};
use super::core::{Content, Core, Request};
use super::guest::Guest;
use super::handshake::moment;
use crate::broker::{Arrival, Broker, Output, Way};
use crate::policy::{Denied, Policy};
use crate::registry::Admission;

/// How often a device that speaks is noted in the registry, in milliseconds.
const SEEN: u64 = 10_000;
/// Critical options that are understood inside.
const KNOWN: [u16; 7] = [
    option::URI_HOST,
    option::URI_PORT,
    option::URI_PATH,
    option::URI_QUERY,
    option::ACCEPT,
    option::BLOCK1,
    option::BLOCK2,
];
/// What a device reads its resources at.
pub(super) const DIRECTORY: &str = ".well-known/core";
/// What a device reads its grants at.
pub(super) const GRANTS: &str = "grants";

/// Options and payload of a message, for later.
pub(super) fn copied(body: &Body<'_>) -> Vec<u8> {
    let length = body
        .options()
        .map(|(_, value)| value.len() + 5)
        .sum::<usize>();
    let mut buffer = vec![0; length + body.payload().len() + 1];
    let mut builder = Builder::body(&mut buffer);
    builder.copy(body.options(), |_| true);
    let length = builder.payload(body.payload()).map_or(0, <[u8]>::len);
    buffer.truncate(length);
    buffer
}

/// One request, while it is dealt with.
pub(super) struct Asked<'a> {
    pub(super) slot: u32,
    to: To,
    /// Taken by who answers later.
    owed: Option<Owed>,
    code: Code,
    body: Body<'a>,
    admission: &'a Admission,
    grants: Option<Vec<u8>>,
    early: Option<u32>,
}

impl Core {
    /// Does what a device asks for, with the broker.
    pub fn serve(&mut self, request: Request, broker: &mut Broker, durable: u64, out: &mut Output) {
        let Request {
            slot,
            place,
            to,
            owed,
            code,
            body,
            grants,
            early,
        } = request;
        let now = out.now;
        let Ok(admission) = self.admission(slot, now) else {
            self.end(slot);
            self.refuse(place, to, &Refused::NoContext);
            return;
        };
        let Some(active) = self.activate(slot, place, now.mono) else {
            return;
        };
        let moved = std::mem::replace(&mut active.place, place) != place;
        active.heard = now.mono;
        active.asleep = false;
        // What is on its way is repeated when it would have been.
        let idle = now.mono + super::deliver::IDLE;
        let due = active.flying.as_ref().map_or(idle, |it| it.next.min(idle));
        let seen = now.mono >= active.seen;
        if seen {
            active.seen = now.mono + SEEN;
        }
        if let Some(guest) = &active.guest {
            guest.heard(broker, out);
            if moved {
                guest.moved(broker, place.address());
            }
        }
        if moved {
            self.find_flying(slot);
        }
        if seen || moved {
            let id = &admission.name.id;
            self.registry.seen(id, moment(now), place.address());
        }
        self.remember(slot, to, None);
        self.schedule(slot, due);
        // That the broker let it go is to be known first.
        self.collect(slot, broker, durable, out);
        let Some(body) = Body::parse(&body) else {
            return;
        };
        let mut asked = Asked {
            slot,
            to,
            owed: Some(owed),
            code,
            body,
            admission: &admission,
            grants,
            early,
        };
        if let Some(code) = self.dispatch(&mut asked, broker, out) {
            self.reply(&mut asked, (code, &[], &[]), now.mono);
        }
        self.collect(slot, broker, durable, out);
    }

    /// Gives the code of an answer without content, if it is not answered already, or later.
    fn dispatch(
        &mut self,
        asked: &mut Asked<'_>,
        broker: &mut Broker,
        out: &mut Output,
    ) -> Option<Code> {
        if asked.body.unknown_critical(&KNOWN).is_some() {
            return Some(Code::BAD_OPTION);
        }
        let mut buffer = [0; 512];
        let Ok(path) = asked.body.path(&mut buffer) else {
            return Some(Code::BAD_REQUEST);
        };
        let read = asked.code == Code::GET;
        match path {
            DIRECTORY if read => {
                let listed = |asked: &mut Asked<'_>| Some(directory(&compile(asked.admission)));
                self.content(asked, path, (option::format::LINK, listed), out.now.mono)
            }
            GRANTS if read || asked.code == Code::POST => {
                let bundle = |asked: &mut Asked<'_>| asked.grants.take();
                self.content(asked, path, (option::format::CBOR, bundle), out.now.mono)
            }
            DIRECTORY | GRANTS => Some(Code::METHOD_NOT_ALLOWED),
            path => {
                let topic = topic(asked.admission, path);
                // What has wildcards in it is no name of a topic.
                let Ok(topic) = TopicName::new(&topic) else {
                    return Some(Code::BAD_REQUEST);
                };
                match asked.code {
                    Code::POST | Code::PUT => self.publish(asked, topic, broker, out),
                    Code::GET => self.get(asked, topic, broker, out),
                    _ => Some(Code::METHOD_NOT_ALLOWED),
                }
            }
        }
    }

    pub(super) fn reply(&mut self, asked: &mut Asked<'_>, answer: Content<'_>, now: u64) {
        if let Some(owed) = asked.owed.as_mut() {
            let _sent = self.answer(asked.slot, asked.to, owed, answer, now);
        }
    }

    // Publishing.

    fn publish(
        &mut self,
        asked: &mut Asked<'_>,
        topic: TopicName<'_>,
        broker: &mut Broker,
        out: &mut Output,
    ) -> Option<Code> {
        if !self.arrive(asked, false, broker, out) {
            return Some(Code::SERVICE_UNAVAILABLE);
        }
        let policy = std::sync::Arc::clone(broker.policy(&asked.admission.name.id)?);
        let Some(value) = asked.body.get(option::BLOCK1) else {
            return self.hand_over(
                asked,
                topic,
                (asked.body.payload(), None),
                (&policy, broker),
                out,
            );
        };
        let Some(block) = Block::parse(value) else {
            return Some(Code::BAD_REQUEST);
        };
        let taking = match self.take_block(asked.slot, topic, block, &asked.body) {
            Ok(taking) => taking,
            Err(why) => return Some(why.code()),
        };
        let fits = policy.may_publish(topic, taking.body.len()).is_ok();
        if !block.more || !fits {
            // What is too large, or to nowhere, is refused where all of it is: by the broker, which counts it.
            return self.hand_over(
                asked,
                topic,
                (&taking.body, Some(block.value())),
                (&policy, broker),
                out,
            );
        }
        if !self.keep_taking(asked.slot, taking) {
            return Some(Code::REQUEST_ENTITY_TOO_LARGE);
        }
        let value = uint(block.value());
        let options = [(option::BLOCK1, value.as_slice())];
        let answer = (Code::CONTINUE, &options[..], &[][..]);
        self.reply(asked, answer, out.now.mono);
        None
    }

    fn hand_over(
        &mut self,
        asked: &mut Asked<'_>,
        topic: TopicName<'_>,
        (payload, block): (&[u8], Option<u32>),
        (policy, broker): (&Policy, &mut Broker),
        out: &mut Output,
    ) -> Option<Code> {
        let too_large = matches!(
            policy.may_publish(topic, payload.len()),
            Err(Denied::Size { .. })
        );
        let active = self.peers.get(asked.slot)?.active.as_mut()?;
        if active.pending.len() >= PENDING {
            return Some(Code::SERVICE_UNAVAILABLE);
        }
        let packet = active.guest.as_mut()?.publish(broker, topic, payload, out);
        let Some(packet) = packet else {
            return Some(Code::SERVICE_UNAVAILABLE);
        };
        self.later(asked, packet, What::Publish { too_large, block });
        None
    }

    fn later(&mut self, asked: &mut Asked<'_>, packet: stockade_mqtt::PacketId, what: What) {
        let active = self.peers.get(asked.slot).and_then(|s| s.active.as_mut());
        if let (Some(active), Some(owed)) = (active, asked.owed.take()) {
            active.pending.push(Pending {
                to: asked.to,
                owed,
                packet,
                what,
                separate: false,
            });
        }
    }

    // Reading.

    fn get(
        &mut self,
        asked: &mut Asked<'_>,
        topic: TopicName<'_>,
        broker: &mut Broker,
        out: &mut Output,
    ) -> Option<Code> {
        let block = match asked_for(&asked.body) {
            Ok(block) => block,
            Err(code) => return Some(code),
        };
        if let Some(block) = block.filter(|block| block.number > 0) {
            return self.next_block(asked, topic.as_str(), block, broker, out);
        }
        let observe = asked.body.uint(option::OBSERVE);
        if let Some(etag) = asked.body.get(option::ETAG).and_then(option::uint) {
            self.confirm(asked.slot, etag, broker, out);
        }
        let active = self.peers.get(asked.slot)?.active.as_mut()?;
        if observe == Some(DEREGISTER) {
            active.observed.retain(|it| *it.topic != *topic.as_str());
        }
        let known = active.topics.iter().any(|it| **it == *topic.as_str());
        if known && observe != Some(REGISTER) {
            return self.oldest(asked, topic.as_str(), block, out.now.mono);
        }
        if observe == Some(REGISTER) && active.observed.len() >= OBSERVED {
            // RFC 7641, section 4.1: answered as if it had not been asked for; but it must be told.
            return Some(Code::SERVICE_UNAVAILABLE);
        }
        if !self.arrive(asked, true, broker, out) {
            return Some(Code::SERVICE_UNAVAILABLE);
        }
        let active = self.peers.get(asked.slot)?.active.as_mut()?;
        if active.pending.len() >= PENDING {
            return Some(Code::SERVICE_UNAVAILABLE);
        }
        let Some(packet) = active.guest.as_mut()?.subscribe(broker, topic, out) else {
            return Some(Code::SERVICE_UNAVAILABLE);
        };
        let topic = topic.as_str().into();
        let what = match observe {
            Some(REGISTER) => What::Observe(topic),
            _ => What::Get { topic, block },
        };
        self.later(asked, packet, what);
        None
    }

    /// Answers with the oldest message on a topic, or with nothing.
    fn oldest(
        &mut self,
        asked: &mut Asked<'_>,
        topic: &str,
        block: Option<Block>,
        now: u64,
    ) -> Option<Code> {
        let (slot, to) = (asked.slot, asked.to);
        self.give_oldest((slot, to), asked.owed.as_mut()?, topic, block, now);
        None
    }

    pub(super) fn give_oldest(
        &mut self,
        (slot, to): (u32, To),
        owed: &mut Owed,
        topic: &str,
        block: Option<Block>,
        now: u64,
    ) {
        let active = self.peers.get(slot).and_then(|s| s.active.as_ref());
        let oldest = active.and_then(|active| active.oldest(topic));
        match oldest.map(|waiting| (waiting.payload.clone(), waiting.etag)) {
            Some((payload, etag)) => {
                self.give((slot, to), owed, (topic, None, &payload, etag), block, now);
            }
            None => {
                let _sent = self.answer(slot, to, owed, (Code::CONTENT, &[], &[]), now);
            }
        }
    }

    /// Answers with what is made for this device, unless it was made too often lately: 4.29, and in how many seconds it can be
    /// made again (RFC 8516, section 3).
    fn content(
        &mut self,
        asked: &mut Asked<'_>,
        path: &str,
        (format, make): (u16, impl FnOnce(&mut Asked<'_>) -> Option<Vec<u8>>),
        now: u64,
    ) -> Option<Code> {
        let block = match asked_for(&asked.body) {
            Ok(block) => block,
            Err(code) => return Some(code),
        };
        if let Some(block) = block.filter(|block| block.number > 0) {
            return self.block(asked, path, block, now).err();
        }
        if let Some(seconds) = asked.early {
            let seconds = uint(seconds);
            let options = [(option::MAX_AGE, seconds.as_slice())];
            self.reply(asked, (Code::TOO_MANY_REQUESTS, &options, &[]), now);
            return None;
        }
        let Some(body) = make(asked) else {
            return Some(Code::SERVICE_UNAVAILABLE);
        };
        let etag = self.fresh_etag();
        let (slot, to) = (asked.slot, asked.to);
        let owed = asked.owed.as_mut()?;
        self.give(
            (slot, to),
            owed,
            (path, Some(format), &body, etag),
            block,
            now,
        );
        None
    }

    /// The device has a message.
    pub(super) fn confirm(&mut self, slot: u32, etag: u32, broker: &mut Broker, out: &mut Output) {
        let active = self.peers.get(slot).and_then(|s| s.active.as_mut());
        let Some(active) = active else { return };
        let id = active.remove(etag).and_then(|waiting| waiting.id);
        if let (Some(id), Some(guest)) = (id, &active.guest) {
            guest.confirm(broker, id, out);
        }
    }

    // The broker.

    /// Sees to it that the device is connected to the broker, for subscriptions in a session that lasts.
    fn arrive(
        &mut self,
        asked: &Asked<'_>,
        lasting: bool,
        broker: &mut Broker,
        out: &mut Output,
    ) -> bool {
        let slot = asked.slot;
        let waker = self.waker(slot);
        self.next_conn += 1;
        let conn = self.next_conn;
        let Some(session) = self.peers.get(slot) else {
            return false;
        };
        let key = asked.admission;
        let until = i64::try_from(key.not_after.unix_timestamp_nanos() / 1_000_000).ok();
        let certificate = self.certified.by_kid(session.kid);
        let proof = certificate.map(|leaf| leaf.fingerprint);
        let proof = proof.or_else(|| self.registry.link_key(&key.name.id));
        let Some(active) = session.active.as_mut() else {
            return false;
        };
        let address = active.place.address();
        let fits = |guest: &Guest| guest.lasting || !lasting;
        if active.guest.as_ref().is_some_and(fits) {
            return true;
        }
        if let Some(guest) = active.forget_guest() {
            guest.leave(broker, out);
        }
        let arrival = Arrival {
            policy: compile(key),
            peer: address,
            way: Way::Link,
            conn,
            fingerprint: proof.unwrap_or_default(),
            certified_until: until.unwrap_or(i64::MAX),
        };
        active.guest = Guest::arrive(broker, &arrival, lasting, &waker, out);
        let arrived = active.guest.is_some();
        self.find_flying(slot);
        arrived
    }
}

fn compile(admission: &Admission) -> std::sync::Arc<Policy> {
    Policy::compile(&admission.profile, &admission.name, admission.quarantined)
}

/// The topic of a path: below the device's own, unless it is written whole.
fn topic(admission: &Admission, path: &str) -> String {
    let name = &admission.name;
    let own = format!("{}/{}/", name.model, name.id);
    let repair = format!("stockade/{}/", name.id);
    if path.starts_with(&own) || path.starts_with(&repair) {
        path.to_owned()
    } else {
        own + path
    }
}

/// What a device may use (RFC 6690), as short as it may be written.
fn directory(policy: &Policy) -> Vec<u8> {
    let name = policy.device();
    let own = format!("{}/{}", name.model, name.id);
    let short = |topic: &str| {
        topic
            .strip_prefix(&own)
            .map_or_else(|| format!("/{topic}"), str::to_owned)
    };
    let mut buffer = vec![0; 16 * 1024];
    let mut links = Links::new(&mut buffer);
    for (topic, most) in policy.publish_topics() {
        links
            .link(&short(topic))
            .attribute("rt", "stockade.publish")
            .attribute("max", &most.to_string());
    }
    for filter in policy
        .subscribe_filters()
        .filter(|it| !it.contains(['+', '#']))
    {
        links
            .link(&short(filter))
            .attribute("rt", "stockade.subscribe")
            .flag("obs");
    }
    links.link("/grants").attribute("ct", "60");
    links.finish().map(<[u8]>::to_vec).unwrap_or_default()
}

/// The answer to what the broker says.
pub(super) fn code(reason: ReasonCode, too_large: bool) -> Code {
    match reason {
        reason if !reason.is_error() => Code::CHANGED,
        ReasonCode::NotAuthorized => Code::FORBIDDEN,
        ReasonCode::QuotaExceeded if too_large => Code::REQUEST_ENTITY_TOO_LARGE,
        ReasonCode::QuotaExceeded => Code::TOO_MANY_REQUESTS,
        _ => Code::SERVICE_UNAVAILABLE,
    }
}

/// The topics whose messages are sent as they come.
pub(super) fn observe(observed: &mut Vec<Observed>, new: Observed) {
    observed.retain(|it| it.topic != new.topic);
    observed.push(new);
}
