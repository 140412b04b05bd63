//! The link's core: datagrams, their places and the time come in; datagrams, and what somebody should know, come out.
//!
//! No socket, no clock, no thread. Cryptography and the registry are in here; the broker is lent where it is needed, so that
//! key agreements do not stop MQTT: [`Core::receive`] decrypts, [`Core::serve`] does what was asked for.
//!
//! What a stranger can make us keep: a handshake of a bounded number, for ten seconds. Everything else belongs to a session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use stockade_link::coap::message::{Code, Malformed, Message, Type};
use stockade_link::crypto::{Crypto as _, CryptoError, Secret};
use stockade_link::oscore::{self, Header, Owed, Refused, To};

use super::active::{Active, Last};
use super::bearer::{Datagram, Place};
use super::blocks::asked_for;
use super::budget::{Budget, Rates};
use super::certified::Certified;
use super::crypto::AwsLc;
use super::grants::Grants;
use super::handshake::{Own, Seen, moment};
use super::peers::{Peers, slot};
use super::resources::{DIRECTORY, GRANTS, copied};
use crate::broker::{Broker, Now, Outbox, Output, Report};
use crate::name::{DeviceId, DeviceName};
use crate::registry::{Admission, Kid, Refusal, Registry};
use crate::tls::{DeviceVerifier, Why};

/// Where handshakes go (RFC 9528, appendix A.2).
pub(super) const EDHOC: &str = ".well-known/edhoc";
/// The longest message.
pub(super) const MESSAGE: usize = 1_280;
/// Refusals that are told of one call.
const TOLD: usize = 16;

/// What an answer says: a code, options in their order, a payload.
pub(super) type Content<'a> = (Code, &'a [(u16, &'a [u8])], &'a [u8]);

/// What the core is to know from the beginning.
#[derive(Debug)]
pub struct CoreSettings {
    /// How many handshakes are begun.
    pub rates: Rates,
    /// What devices may ask of each other, and the gateway's keys.
    pub grants: Arc<Grants>,
    /// Who judges certificates; without, none is a way in.
    pub(crate) devices: Option<Arc<DeviceVerifier>>,
}

/// What was counted, and what there is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Sessions now.
    pub sessions: usize,
    /// Handshakes under way now.
    pub handshakes_under_way: usize,
    /// Bytes that the sessions take.
    pub bytes: usize,
    /// Devices that say or observe something now.
    pub active: usize,
    /// Handshakes that came to their end.
    pub handshakes: u64,
    /// Handshakes that were refused.
    pub handshakes_refused: u64,
    /// Handshakes for which an Echo was demanded.
    pub echoes: u64,
    /// Handshakes that were not even answered.
    pub silenced: u64,
    /// Requests that were protected, new and right.
    pub requests: u64,
    /// Messages whose tag was not right.
    pub bad_tags: u64,
    /// Messages that came again.
    pub replays: u64,
    /// Requests without protection, or of nobody known.
    pub unprotected: u64,
}

/// Somebody who was refused, for the events.
#[derive(Debug)]
pub struct Stranger {
    /// Why.
    pub why: Why,
    /// Where it is.
    pub place: Place,
    /// Who it says or proved to be.
    pub device: Option<DeviceName>,
}

/// A request that is authentic and new, for [`Core::serve`].
#[derive(Debug)]
#[must_use]
pub struct Request {
    pub(super) slot: u32,
    pub(super) place: Place,
    pub(super) to: To,
    pub(super) owed: Owed,
    pub(super) code: Code,
    /// Options and payload.
    pub(super) body: Vec<u8>,
    /// What the device may show to others, if it asks for that: made where no lock is held.
    pub(super) grants: Option<Vec<u8>>,
    /// Seconds to wait, if it asks too often for what is made for it alone.
    pub(super) early: Option<u32>,
}

/// The core.
#[derive(Debug)]
pub struct Core {
    pub(super) crypto: AwsLc,
    pub(super) own: Own,
    pub(super) grants: Arc<Grants>,
    pub(super) registry: Arc<Registry>,
    pub(super) certified: Certified,
    pub(super) peers: Peers,
    pub(super) budget: Budget,
    pub(super) echo: Secret<32>,
    pub(super) ready: Arc<Ready>,
    pub(super) timers: BTreeSet<(u64, u32)>,
    /// Notifications on their way, by where they went.
    pub(super) flying: BTreeMap<(Place, u16), u32>,
    /// Where a device's handshakes came from lately.
    pub(super) sightings: BTreeMap<Kid, Seen>,
    pub(super) counted: LinkCounters,
    pub(super) bodies: usize,
    pub(super) next_conn: u64,
    pub(super) next_etag: u32,
    pub(super) leaving: Vec<super::guest::Guest>,
    /// Notifications that arrived, by device and `ETag`.
    pub(super) arrived: Vec<(u32, u32)>,
    /// Datagrams to send.
    pub out: Vec<Datagram>,
    /// What the broker's shell tells of devices.
    pub reports: Vec<Report>,
    /// Who was refused.
    pub strangers: Vec<Stranger>,
    /// Outboxes that wait for the disk, and for which position.
    pub parked: Vec<(Arc<Outbox>, u64)>,
}

/// Devices for which the broker has something.
#[derive(Debug, Default)]
pub struct Ready {
    slots: Mutex<BTreeSet<u32>>,
    bell: tokio::sync::Notify,
}

impl Ready {
    fn put(&self, slot: u32) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.insert(slot);
        drop(slots);
        self.bell.notify_one();
    }

    fn take(&self) -> BTreeSet<u32> {
        std::mem::take(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there is one.
    pub(super) async fn wait(&self) {
        self.bell.notified().await;
    }
}

/// The waker of one device's outbox.
struct Bell {
    slot: u32,
    ready: Arc<Ready>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ready.put(self.slot);
    }
}

impl Core {
    /// A core that knows nobody yet.
    pub fn new(settings: CoreSettings, registry: Arc<Registry>) -> Result<Self, CryptoError> {
        let mut crypto = AwsLc::default();
        let mut echo = Secret::new([0; 32]);
        crypto.random(echo.expose_mut())?;
        let mut etag = [0; 4];
        crypto.random(&mut etag)?;
        Ok(Self {
            crypto,
            own: settings.grants.keys().own()?,
            grants: settings.grants,
            registry,
            certified: Certified::new(settings.devices),
            peers: Peers::default(),
            budget: Budget::new(settings.rates),
            echo,
            ready: Arc::default(),
            timers: BTreeSet::new(),
            flying: BTreeMap::new(),
            sightings: BTreeMap::new(),
            counted: LinkCounters::default(),
            bodies: 0,
            // Numbers of connections that the listener for MQTT does not reach.
            next_conn: 1 << 63,
            next_etag: u32::from_be_bytes(etag),
            leaving: Vec::new(),
            arrived: Vec::new(),
            out: Vec::new(),
            reports: Vec::new(),
            strangers: Vec::new(),
            parked: Vec::new(),
        })
    }

    /// What was counted so far.
    pub fn counters(&self) -> LinkCounters {
        LinkCounters {
            sessions: self.peers.len(),
            handshakes_under_way: self.peers.under_way(),
            bytes: self.peers.bytes(),
            active: self.timers.len(),
            ..self.counted
        }
    }

    /// For whom the broker has something: to wait on.
    pub fn ready(&self) -> &Arc<Ready> {
        &self.ready
    }

    pub(super) fn waker(&self, slot: u32) -> Waker {
        Waker::from(Arc::new(Bell {
            slot,
            ready: Arc::clone(&self.ready),
        }))
    }

    /// A datagram. What is to be done for it with the broker is returned.
    pub fn receive(&mut self, place: Place, datagram: &mut [u8], now: Now) -> Option<Request> {
        let message = match Message::parse(datagram) {
            Ok(message) => message,
            Err(Malformed::Format {
                kind: Type::Confirmable,
                id,
            }) => {
                self.reset(place, id);
                return None;
            }
            Err(_) => return None,
        };
        let (kind, code, id) = (message.kind, message.code, message.id);
        if code.is_request() && matches!(kind, Type::Confirmable | Type::NonConfirmable) {
            return self.request(place, datagram, now);
        }
        match kind {
            Type::Acknowledgement => self.acknowledged(place, id),
            Type::Reset => self.refused_notification(place, id),
            // A ping (RFC 7252, section 4.3), or an answer to nothing that we asked.
            Type::Confirmable => self.reset(place, id),
            Type::NonConfirmable => {}
        }
        None
    }

    fn request(&mut self, place: Place, datagram: &mut [u8], now: Now) -> Option<Request> {
        let message = Message::parse(datagram).ok()?;
        let to = To {
            kind: match message.kind {
                Type::Confirmable => Type::Acknowledgement,
                _ => Type::NonConfirmable,
            },
            id: message.id,
            token: message.token,
        };
        let header = match Header::of(&message) {
            Ok(Some(header)) => header,
            Ok(None) if message.body.path_is(EDHOC) && message.code == Code::POST => {
                self.handshake(place, to, datagram, now);
                return None;
            }
            Ok(None) => {
                self.stranger(Why::PlainCoap, place, None);
                self.refuse(place, to, &Refused::Unprotected);
                return None;
            }
            Err(why) => {
                self.refuse(place, to, &why);
                return None;
            }
        };
        let found = header.kid.and_then(slot);
        let third = match oscore::message_3(&message) {
            Ok(third) => third.map(<[u8]>::to_vec),
            Err(why) => {
                self.refuse(place, to, &why);
                return None;
            }
        };
        let Some(found) = found else {
            self.refuse(place, to, &Refused::NoContext);
            return None;
        };
        if self.repeated(found, place, &message, to) {
            return None;
        }
        if let Some(mut third) = third
            && self.peers.get(found).is_none()
        {
            // RFC 9668, section 3.3.1: the handshake first.
            self.combined(found, place, to, &mut third, now)?;
        }
        self.unprotect(found, place, to, datagram, now)
    }

    fn unprotect(
        &mut self,
        slot: u32,
        place: Place,
        to: To,
        datagram: &mut [u8],
        now: Now,
    ) -> Option<Request> {
        let opened = match self.peers.get(slot) {
            Some(session) => session
                .context
                .unprotect_request(&mut self.crypto, datagram, now.mono)
                .map(|request| {
                    let (code, body) = (request.inner.code, request.inner.body);
                    // The blocks after the first are of what was made then.
                    let first =
                        asked_for(&body).map_or(true, |it| it.is_none_or(|it| it.number == 0));
                    let grants = first && body.path_is(GRANTS);
                    let made = grants || first && body.path_is(DIRECTORY);
                    (request.owed, code, copied(&body), (made, grants))
                }),
            None => Err(Refused::NoContext),
        };
        match opened {
            Ok((owed, code, body, (made, grants))) => {
                self.counted.requests += 1;
                let early = made
                    .then(|| self.activate(slot, place, now.mono)?.make(now.mono).err())
                    .flatten();
                let name = (grants && early.is_none())
                    .then(|| self.admission(slot, now).ok())
                    .flatten();
                let grants = name.map(|it| self.grants.bundle(&it.name.id, moment(now)));
                if let Some(Err(error)) = &grants {
                    tracing::error!(%error, "grants cannot be made");
                }
                Some(Request {
                    slot,
                    place,
                    to,
                    owed,
                    code,
                    body,
                    grants: grants.and_then(Result::ok),
                    early,
                })
            }
            Err(why) => {
                match why {
                    Refused::NotAuthentic => self.counted.bad_tags += 1,
                    Refused::Replayed => self.counted.replays += 1,
                    Refused::Ended => {
                        self.end(slot);
                    }
                    _ => {}
                }
                self.refuse(place, to, &why);
                None
            }
        }
    }

    /// Whether this is a device's last request again; then it gets the same answer, or is told that there will be one.
    fn repeated(&mut self, slot: u32, place: Place, message: &Message<'_>, to: To) -> bool {
        let Some(active) = self.peers.get(slot).and_then(|s| s.active.as_mut()) else {
            return false;
        };
        let Some(last) = &active.last else {
            return false;
        };
        if active.place != place || last.id != message.id || last.token != message.token {
            return false;
        }
        if let Some(answer) = &last.answer {
            let bytes = answer.clone();
            self.out.push(Datagram { place, bytes });
        } else if to.kind == Type::Acknowledgement {
            if let Some(pending) = active.pending.iter_mut().find(|p| p.to.id == to.id) {
                pending.separate = true;
            }
            // RFC 7252, section 5.2.2: the answer comes by itself.
            self.empty(place, Type::Acknowledgement, to.id);
        }
        true
    }

    /// The registry changed: who may not come in any more loses its session at once.
    pub fn changed(&mut self, id: &DeviceId, now: Now) {
        let record = self.registry.get(id, moment(now));
        let kid = record.and_then(|it| it.link).map(|link| link.kid);
        for kid in [kid, self.certified.kid(id)].into_iter().flatten() {
            if let Some(slot) = self.peers.of(kid)
                && self.admission(slot, now).is_err()
            {
                self.end(slot);
            }
        }
    }

    /// Who has this session, if it may still come in. Asked for every request.
    pub(super) fn admission(&mut self, slot: u32, now: Now) -> Result<Admission, Refusal> {
        let session = self.peers.get(slot).ok_or(Refusal::Unknown)?;
        let (kid, key) = (session.kid, session.key);
        match self.certified.by_kid(kid) {
            Some(leaf) if leaf.fingerprint.starts_with(&key) => {
                (self.registry).admit(&leaf.name, &leaf.fingerprint, moment(now))
            }
            Some(_) => Err(Refusal::Superseded),
            None => self.registry.on_link(kid, &key),
        }
    }

    /// Ends a session.
    pub(super) fn end(&mut self, slot: u32) {
        let Some(session) = self.peers.end(slot) else {
            return;
        };
        if let Some(active) = session.active {
            self.drop_active(slot, *active);
        }
    }

    pub(super) fn drop_active(&mut self, slot: u32, mut active: Active) {
        self.timers.remove(&(active.due, slot));
        self.bodies = self.bodies.saturating_sub(active.bodies());
        if let Some(flew) = active.found_by {
            self.flying.remove(&flew);
        }
        self.leaving.extend(active.guest.take());
    }

    /// Time has passed, or the broker has something: call it several times a second, and when [`Ready`] says so.
    pub fn poll(&mut self, broker: &mut Broker, durable: u64, out: &mut Output) {
        for guest in std::mem::take(&mut self.leaving) {
            guest.leave(broker, out);
        }
        self.confirm_arrived(broker, out);
        for slot in self.ready.take() {
            self.collect(slot, broker, durable, out);
        }
        while let Some(&(due, slot)) = self.timers.first()
            && due <= out.now.mono
        {
            self.timers.pop_first();
            self.due(slot, broker, out);
        }
    }

    /// What took too long is forgotten.
    pub fn expire(&mut self, now: u64) {
        self.peers.expire(now);
        self.forget_sightings(now);
    }

    /// The gateway stops: every device leaves the broker.
    pub fn leave(&mut self, broker: &mut Broker, out: &mut Output) {
        for (_, slot) in std::mem::take(&mut self.timers) {
            self.end(slot);
        }
        for guest in std::mem::take(&mut self.leaving) {
            guest.leave(broker, out);
        }
    }

    /// Whether [`Core::poll`] has something to do.
    pub fn is_due(&self, now: u64) -> bool {
        !self.leaving.is_empty()
            || !self.arrived.is_empty()
            || self.timers.first().is_some_and(|&(due, _)| due <= now)
    }

    /// The part of a session that only who is active has.
    pub(super) fn activate(&mut self, slot: u32, place: Place, now: u64) -> Option<&mut Active> {
        let mut id = [0; 2];
        self.crypto.random(&mut id).ok()?;
        let session = self.peers.get(slot)?;
        let active = session
            .active
            .get_or_insert_with(|| Box::new(Active::new(place, now, u16::from_be_bytes(id))));
        Some(active)
    }

    /// The answer to a message that is not inside of a session yet, for its repetition.
    pub(super) fn remember(&mut self, slot: u32, to: To, answer: Option<Vec<u8>>) {
        if let Some(active) = self.peers.get(slot).and_then(|s| s.active.as_mut()) {
            active.last = Some(Last {
                id: to.id,
                token: to.token,
                answer,
            });
        }
    }

    pub(super) fn stranger(&mut self, why: Why, place: Place, device: Option<DeviceName>) {
        if self.strangers.len() < TOLD {
            self.strangers.push(Stranger { why, place, device });
        }
    }

    /// Tells time to a device's part no later than `due`.
    pub(super) fn schedule(&mut self, slot: u32, due: u64) {
        if let Some(active) = self.peers.get(slot).and_then(|s| s.active.as_mut()) {
            let before = std::mem::replace(&mut active.due, due);
            self.timers.remove(&(before, slot));
            self.timers.insert((due, slot));
        }
    }
}
