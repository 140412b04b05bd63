//! Handshakes with the gateway as Responder (RFC 9528), at `/.well-known/edhoc` or in front of a first request (RFC 9668).

use std::net::SocketAddr;

use stockade_link::cbor::Reader;
use stockade_link::coap::message::{Code, Message};
use stockade_link::coap::{echo, option};
use stockade_link::credential::{Credential, CredentialError, IdCred, thumbprint};
use stockade_link::edhoc::{
    Accepts, ConnectionId, EdhocError, GotMessage1, Identity, Method, SendMessage4, Suite,
    SuiteSet, error_message,
};
use stockade_link::oscore::{Context, To};
use time::OffsetDateTime;

use super::bearer::Place;
use super::budget::Verdict;
use super::certified::Shown;
use super::core::{Core, MESSAGE};
use super::crypto::AwsKey;
use super::peers::{self, Session};
use crate::broker::clone::{Sightings, WINDOW};
use crate::broker::{Now, Report};
use crate::name::DeviceName;
use crate::registry::{Admission, Kid, Refusal, State};
use crate::tls::{Fingerprint, Why};

/// What stands before `message_1` (RFC 9528, appendix A.2.1): true.
const FIRST: u8 = 0xf5;
/// How long an Echo value is good, in seconds.
const ECHOED: u32 = 20;
/// Room for what a device has signed: its certificates twice, of the longest datagram.
const SIGNED: usize = 4_608;
/// The methods: a device signs or has a static key; the gateway has a static key.
const METHODS: [Method; 2] = [Method::StaticStatic, Method::SignStatic];
/// The suites.
const SUITES: [Suite; 2] = [Suite::S2, Suite::S3];

/// Who the gateway is on the link.
#[derive(Debug)]
pub struct Own {
    /// What it is called by (`kid`).
    pub kid: Vec<u8>,
    /// Its credential: a CCS with its public key, as devices have it.
    pub credential: Vec<u8>,
    /// The private key.
    pub key: AwsKey,
}

/// Where a device's last handshake came from.
#[derive(Debug)]
pub(super) struct Seen {
    from: SocketAddr,
    at: u64,
    sightings: Sightings,
}

/// A handshake that was not brought to its end: what the peer is told, and what the operator.
pub(super) struct Failed {
    error: EdhocError,
    told: Option<(Why, Option<DeviceName>)>,
}

impl From<EdhocError> for Failed {
    fn from(error: EdhocError) -> Self {
        Self { error, told: None }
    }
}

impl Failed {
    /// Somebody who proved to be a device that is not wanted, or none.
    pub(super) fn unwanted(why: &dyn std::fmt::Display, device: Option<DeviceName>) -> Self {
        Self {
            error: EdhocError::UnknownCredential,
            told: Some((Why::NotAdmitted(why.to_string()), device)),
        }
    }
}

impl Core {
    /// A POST to `/.well-known/edhoc`.
    pub(super) fn handshake(&mut self, place: Place, to: To, datagram: &mut [u8], now: Now) {
        let Ok(message) = Message::parse(datagram) else {
            return;
        };
        let payload = message.body.payload();
        if let Some((&FIRST, first)) = payload.split_first() {
            let echoed = self.echoed(&message, place, now);
            let first = first.to_vec();
            self.first(place, to, &first, (echoed, datagram.len()), now);
            return;
        }
        let mut reader = Reader::new(payload);
        let named = ConnectionId::read(&mut reader)
            .ok()
            .and_then(|name| peers::slot(name.as_bytes()));
        let Some(slot) = named else {
            self.failed(place, to, EdhocError::Malformed.into());
            return;
        };
        let mut third = reader.rest().to_vec();
        if self.peers.get(slot).is_some() {
            // It is over already: what came again gets the same answer.
            if let Ok(message) = Message::parse(datagram)
                && !self.known_again(slot, place, &message)
            {
                self.failed(place, to, EdhocError::Malformed.into());
            }
            return;
        }
        match self.third(slot, place, &mut third, now) {
            Ok(fourth) => {
                let mut buffer = [0; 64];
                // RFC 9528, section 5.5: nothing else that is protected goes to the device now.
                if let Ok(fourth) = fourth.message_4(&mut self.crypto, &[], &mut buffer) {
                    let format = [option::format::EDHOC.to_be_bytes()[1]];
                    let options = [(option::CONTENT_FORMAT, &format[..])];
                    let answer = self.plain(place, to, Code::CHANGED, &options, fourth);
                    self.remember(slot, to, answer);
                }
            }
            Err(failed) => self.failed(place, to, failed),
        }
    }

    /// `message_3` in front of a request. Nothing, if it failed: the peer was told.
    pub(super) fn combined(
        &mut self,
        slot: u32,
        place: Place,
        to: To,
        third: &mut [u8],
        now: Now,
    ) -> Option<()> {
        match self.third(slot, place, third, now) {
            Ok(_not_needed) => Some(()),
            Err(failed) => {
                self.failed(place, to, failed);
                None
            }
        }
    }

    /// `message_1`: answered with `message_2`, or with an Echo to bring along.
    fn first(
        &mut self,
        place: Place,
        to: To,
        message: &[u8],
        (echoed, asked): (bool, usize),
        now: Now,
    ) {
        match self.budget.may_begin(&place, echoed, now.mono) {
            Verdict::Begin => {}
            Verdict::Echo => {
                self.counted.echoes += 1;
                let (now, peer) = (seconds(now), address_bytes(place));
                if let Ok(value) = echo::value(&mut self.crypto, &self.echo, now, &peer) {
                    let options = [(option::ECHO, &value[..])];
                    let _sent = self.plain(place, to, Code::UNAUTHORIZED, &options, &[]);
                }
                return;
            }
            Verdict::Silence => {
                self.counted.silenced += 1;
                return;
            }
        }
        let mut buffer = [0; MESSAGE];
        match self.second(place, message, &mut buffer, now) {
            Ok(second) if echoed || second.len() + 16 <= echo::response_limit(asked) => {
                let format = [option::format::EDHOC.to_be_bytes()[1]];
                let options = [(option::CONTENT_FORMAT, &format[..])];
                let second = second.to_vec();
                let _sent = self.plain(place, to, Code::CHANGED, &options, &second);
            }
            Ok(_) => self.counted.silenced += 1,
            Err(error) => self.failed(place, to, error.into()),
        }
    }

    fn second<'o>(
        &mut self,
        place: Place,
        message: &[u8],
        out: &'o mut [u8],
        now: Now,
    ) -> Result<&'o [u8], EdhocError> {
        let accepts = Accepts {
            methods: &METHODS,
            suites: SuiteSet::of(&SUITES),
            understood: &[],
        };
        let first = GotMessage1::read(message, &accepts)?;
        let c_i = first.c_i();
        let slot = self.peers.reserve(c_i.as_bytes()).ok_or(EdhocError::Full)?;
        let own = Identity {
            id_cred: IdCred::Kid(&self.own.kid),
            credential: Credential::read(&self.own.credential).map_err(unusable)?,
            key: &self.own.key,
        };
        let second = ConnectionId::new(&peers::name(slot))
            .and_then(|c_r| first.message_2(&mut self.crypto, &own, c_r, &[], out));
        match second {
            Ok((state, second)) => {
                self.peers.begin(slot, state, place, now.mono);
                Ok(second)
            }
            Err(error) => {
                self.peers.give_up(slot);
                Err(error)
            }
        }
    }

    /// `message_3`: who it is, whether it may come in, and its session.
    fn third(
        &mut self,
        slot: u32,
        place: Place,
        message: &mut [u8],
        now: Now,
    ) -> Result<SendMessage4, Failed> {
        let state = self
            .peers
            .third(slot, place, now.mono)
            .ok_or(EdhocError::Malformed)?;
        let ended = self.authenticate(state, place, message, now);
        match ended {
            Ok((session, name, fourth)) => {
                self.counted.handshakes += 1;
                self.establish(slot, session, place, &name, now);
                Ok(fourth)
            }
            Err(failed) => {
                self.peers.give_up(slot);
                Err(failed)
            }
        }
    }

    fn authenticate(
        &mut self,
        state: stockade_link::edhoc::WaitMessage3<super::crypto::AwsLc>,
        place: Place,
        message: &mut [u8],
        now: Now,
    ) -> Result<(Session, DeviceName, SendMessage4), Failed> {
        let signs = state.method().initiator_signs();
        let third = state.message_3(&mut self.crypto, message, &[])?;
        let shown = match *third.id_cred() {
            IdCred::Kid(kid) => Shown::by_key(self.by_name(kid)?),
            IdCred::Ccs(ccs) => Shown::by_key(ccs.to_vec()),
            // What signs in TLS agrees on no keys here.
            IdCred::X5t { .. } | IdCred::X5chain(_) if !signs => {
                return Err(Failed::unwanted(
                    &"shows a certificate, whose key only signs, where it does not sign",
                    None,
                ));
            }
            IdCred::X5t { algorithm, hash } => self.certified.recall(algorithm, hash)?,
            IdCred::X5chain(_) => self.certified.judge(third.id_cred(), now)?,
        };
        let credential = Credential::read(&shown.credential).map_err(unusable)?;
        let own = Credential::read(&self.own.credential).map_err(unusable)?;
        let mut scratch = [0; SIGNED];
        let (established, fourth) =
            third.verify(&mut self.crypto, &credential, &own, &mut scratch)?;
        let (kid, key, admission) = if shown.leaf.is_some() {
            self.admit_certified(shown, now)?
        } else {
            let key = thumbprint(&mut self.crypto, &credential.key).map_err(EdhocError::from)?;
            let (kid, admission) = self.admit(&key, &shown.credential, now)?;
            (kid, key, admission)
        };
        let secrets = established.oscore(&mut self.crypto)?;
        let left = (admission.not_after - moment(now)).whole_milliseconds();
        let until = (now.mono).saturating_add(left.try_into().unwrap_or_default());
        let context = Context::derive(&mut self.crypto, &secrets, None)
            .map_err(EdhocError::from)?
            .limited(until, 0);
        let session = Session {
            context,
            kid,
            key: *key.first_chunk().ok_or(EdhocError::Full)?,
            active: None,
        };
        let name = admission.name;
        self.registry.seen(&name.id, moment(now), place.address());
        Ok((session, name, fourth))
    }

    /// Lets a device in that has proved to hold the key of its certificate, by what TLS goes by.
    fn admit_certified(
        &mut self,
        shown: Shown,
        now: Now,
    ) -> Result<(Kid, Fingerprint, Admission), Failed> {
        let leaf = shown.leaf.as_ref().ok_or(EdhocError::Credential)?;
        let (name, fingerprint) = (leaf.name.clone(), leaf.fingerprint);
        let admission = self.registry.admit(&name, &fingerprint, moment(now));
        let admission = admission.map_err(|why| Failed::unwanted(&why, Some(name.clone())))?;
        let kid = self
            .certified
            .keep(name.id, shown)
            .ok_or(EdhocError::Full)?;
        Ok((kid, fingerprint, admission))
    }

    /// The credential of the device with this short name.
    fn by_name(&self, kid: &[u8]) -> Result<Vec<u8>, Failed> {
        Kid::from_bytes(kid)
            .and_then(|kid| self.registry.by_kid(kid))
            .and_then(|id| self.registry.credential(&id))
            .ok_or_else(|| Failed::unwanted(&"calls itself by a name that no device has", None))
    }

    /// Lets a device in that has proved to hold its key; the first time, it enrols with that.
    fn admit(
        &self,
        key: &[u8; 32],
        credential: &[u8],
        now: Now,
    ) -> Result<(Kid, Admission), Failed> {
        let id = self.registry.by_link_key(key);
        let id = &id.ok_or_else(|| Failed::unwanted(&"holds a key that no device has", None))?;
        let admission = self.registry.admit_link(id, key);
        let admission = admission.map_err(|why: Refusal| {
            let name = self.registry.get(id, moment(now)).map(|record| record.name);
            Failed::unwanted(&why, name)
        })?;
        let record = self.registry.get(id, moment(now));
        let link = record.as_ref().and_then(|record| record.link.clone());
        let (Some(record), Some(link)) = (record, link) else {
            return Err(Failed::unwanted(&"is not in the registry", None));
        };
        if record.state == State::Pending || link.credential.as_deref() != Some(credential) {
            self.registry
                .enrol_link(id, key, credential, moment(now))
                .map_err(|why| Failed::unwanted(&why, Some(admission.name.clone())))?;
        }
        Ok((link.kid, admission))
    }

    fn establish(
        &mut self,
        slot: u32,
        session: Session,
        place: Place,
        name: &DeviceName,
        now: Now,
    ) {
        let kid = session.kid;
        self.watch_for_clones(kid, place, name, now.mono);
        if let Some((before, old)) = self.peers.establish(slot, session)
            && let Some(active) = old.active
        {
            self.drop_active(before, *active);
        }
        if self.activate(slot, place, now.mono).is_some() {
            self.schedule(slot, now.mono + super::deliver::IDLE);
        }
        self.reports.push(Report::Admitted {
            device: name.id.clone(),
            peer: place.address(),
            reason: "connects over the link: EDHOC, then OSCORE".to_owned(),
        });
    }

    /// Two keepers of one key take the device's only session from each other, each with a handshake, which proves that both
    /// live (see `broker/clone.rs`).
    fn watch_for_clones(&mut self, kid: Kid, place: Place, name: &DeviceName, now: u64) {
        let from = place.address();
        let seen = self.sightings.entry(kid).or_insert_with(|| Seen {
            from,
            at: now,
            sightings: Sightings::default(),
        });
        let before = std::mem::replace(&mut seen.from, from);
        seen.at = now;
        if before.ip() == from.ip() {
            return;
        }
        seen.sightings.alive(before.ip(), now);
        if seen.sightings.displaced(before.ip(), from.ip(), now) {
            seen.sightings = Sightings::default();
            self.reports.push(Report::Cloned {
                device: name.id.clone(),
                peer: from,
                reason: format!(
                    "cloned key: {} and {} take its session on the link from each other",
                    before.ip(),
                    from.ip()
                ),
            });
        }
    }

    pub(super) fn forget_sightings(&mut self, now: u64) {
        self.sightings
            .retain(|_, seen| now.saturating_sub(seen.at) <= WINDOW);
    }

    /// Tells the peer that a handshake ended, without saying why, and who watches.
    fn failed(&mut self, place: Place, to: To, failed: Failed) {
        self.counted.handshakes_refused += 1;
        let why = failed
            .told
            .unwrap_or_else(|| (Why::Link(failed.error.to_string()), None));
        self.stranger(why.0, place, why.1);
        let mut buffer = [0; 64];
        if let Ok(error) = error_message(&failed.error, &mut buffer) {
            let format = [option::format::EDHOC.to_be_bytes()[1]];
            let options = [(option::CONTENT_FORMAT, &format[..])];
            let error = error.to_vec();
            let _sent = self.plain(place, to, Code::BAD_REQUEST, &options, &error);
        }
    }

    /// Whether the peer brought an Echo value that was given to its address lately.
    fn echoed(&mut self, message: &Message<'_>, place: Place, now: Now) -> bool {
        let Some(value) = message.body.get(option::ECHO) else {
            return false;
        };
        let (now, peer) = (seconds(now), address_bytes(place));
        let fresh = echo::is_fresh(&mut self.crypto, &self.echo, value, now, &peer, ECHOED);
        fresh.unwrap_or(false)
    }

    /// The answer to a request that comes again before it is clear whose it is.
    fn known_again(&mut self, slot: u32, place: Place, message: &Message<'_>) -> bool {
        let active = self.peers.get(slot).and_then(|s| s.active.as_ref());
        let same = active.filter(|active| active.place == place);
        let answer = same
            .and_then(|active| active.last.as_ref())
            .filter(|last| (last.id, last.token) == (message.id, message.token))
            .and_then(|last| last.answer.clone());
        let Some(bytes) = answer else { return false };
        self.out.push(super::bearer::Datagram { place, bytes });
        true
    }
}

const fn unusable(_: CredentialError) -> EdhocError {
    EdhocError::Credential
}

fn seconds(now: Now) -> u32 {
    u32::try_from(now.mono / 1_000).unwrap_or(u32::MAX)
}

pub(super) fn moment(now: Now) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(now.unix) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// An address, port and all, as bytes that a MAC is made of.
fn address_bytes(place: Place) -> Vec<u8> {
    let address = place.address();
    let mut bytes = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes
}
