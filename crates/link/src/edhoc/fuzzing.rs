//! The bodies of EDHOC's fuzz targets. Who damages or forges messages here knows all that an attacker on the way may know.

use crate::cbor::{Reader, Writer};
use crate::credential::{self, Credential, IdCred};
use crate::crypto::rust::{RustCrypto, RustKey};
use crate::crypto::{Crypto, CryptoError, Curve, PublicKey, Secret};

use super::schedule::{self, Transcript, label};
use super::session::Ended;
use super::{
    Accepts, AwaitMessage4, ConnectionId, Ead, EdhocError, GotMessage1, Identity, Initiator,
    Method, PeerError, Proposal, Suite, SuiteSet, WaitMessage3, error_message, read_error,
};

const ROOM: usize = 1024;

const EVERYTHING: Accepts<'static> = Accepts {
    methods: &Method::ALL,
    suites: SuiteSet::ALL,
    understood: &[1],
};

/// Random numbers of a fixed seed.
fn random(mut state: u64) -> impl FnMut(&mut [u8]) -> Result<(), CryptoError> {
    move |out| {
        for byte in out {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            *byte = state.to_be_bytes()[0];
        }
        Ok(())
    }
}

/// A party with a CCS that both sides know by a byte.
struct Party {
    key: RustKey,
    ccs: [u8; 96],
    length: usize,
    name: [u8; 1],
}

impl Party {
    fn new(name: u8, suite: Suite, signs: bool) -> Option<Self> {
        let curve = if signs {
            suite.signature_curve()
        } else {
            suite.curve()
        };
        let key = RustKey::new(curve, &Secret::new([name; 32])).ok()?;
        let mut ccs = [0; 96];
        let length = credential::ccs(&mut ccs, None, None, &key.public())
            .ok()?
            .len();
        Some(Self {
            key,
            ccs,
            length,
            name: [name],
        })
    }

    fn identity(&self) -> Option<Identity<'_, RustKey>> {
        Some(Identity {
            id_cred: IdCred::Kid(&self.name),
            credential: Credential::read(self.ccs.get(..self.length)?).ok()?,
            key: &self.key,
        })
    }

    fn connection(&self) -> Option<ConnectionId> {
        ConnectionId::new(&self.name).ok()
    }
}

/// Reading `message_1` ends; an answer is composed, or the point was none.
pub fn edhoc_message_1(data: &[u8]) {
    let Ok(got) = GotMessage1::read(data, &EVERYTHING) else {
        return;
    };
    let mut name = [0; 16];
    let mut writer = Writer::new(&mut name);
    got.c_i().write(&mut writer);
    assert!(writer.finish().is_ok_and(|name| holds(data, name)));
    items_are_of(got.ead(), data);
    let composed = (|| {
        let own = Party::new(0x41, got.suite(), got.method().responder_signs())?;
        let mut out = [0; ROOM];
        let mut crypto = RustCrypto::new(random(1));
        let answer = got.message_2(
            &mut crypto,
            &own.identity()?,
            own.connection()?,
            &[],
            &mut out,
        );
        Some(answer.map(|(_, message)| message.len()))
    })();
    assert!(matches!(
        composed,
        Some(Ok(34..) | Err(EdhocError::BadPublicKey | EdhocError::SameIdentifier))
    ));
}

/// `message_2` is these bytes, or has these bytes as its plaintext: nobody is taken for the Responder.
pub fn edhoc_message_2(data: &[u8]) {
    for forge in [false, true] {
        let _longer_than_the_room = message_2(data, forge);
    }
}

fn message_2(data: &[u8], forge: bool) -> Option<()> {
    let (initiator, responder) = pair(Method::StaticStatic, Suite::S0)?;
    let mut crypto = RustCrypto::new(random(1));
    let mut out = [0; 64];
    let (state, message_1) = start(
        &mut crypto,
        &initiator,
        Method::StaticStatic,
        Suite::S0,
        &mut out,
    )?;
    let mut message = [0; ROOM];
    let length = if forge {
        forged_message_2(&mut crypto, message_1, data, &mut message)?
    } else {
        copied(data, &mut message)?
    };
    let message = message.get_mut(..length)?;
    let got = state.message_2(&mut crypto, message, &[1]).ok()?;
    items_are_of(got.ead(), got.plaintext());
    let (peer, own) = (responder.identity()?.credential, initiator.identity()?);
    assert!(got.verify(&mut crypto, &peer, &own, &mut []).is_err());
    Some(())
}

/// A Responder who is nobody, and encrypts `data` as everybody can.
fn forged_message_2<C: Crypto>(
    crypto: &mut C,
    message_1: &[u8],
    data: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let mut reader = Reader::new(message_1);
    reader.skip().ok()?;
    reader.skip().ok()?;
    let g_x = reader.bytes_of::<32>().ok()?;
    let (y, g_y) = crypto.generate(Curve::X25519).ok()?;
    let hash = crypto.sha256(&[message_1]).ok()?;
    let th_2 = Transcript::second(crypto, &g_y, &hash).ok()?;
    let prk_2e = schedule::prk_2e(crypto, &y, g_x, &th_2).ok()?;
    let (key, text) = out.get_mut(schedule::HEAD..)?.split_first_chunk_mut()?;
    *key = g_y;
    let text = text.get_mut(..data.len())?;
    text.copy_from_slice(data);
    schedule::keystream(crypto, &prk_2e, &th_2, text).ok()?;
    let length = data.len().checked_add(32)?;
    Some(schedule::frame(out, length).ok()?.len())
}

/// `message_3` is these bytes, or has these bytes as its plaintext: nobody is taken for the Initiator.
pub fn edhoc_message_3(data: &[u8]) {
    for forge in [false, true] {
        let _longer_than_the_room = message_3(data, forge);
    }
}

fn message_3(data: &[u8], forge: bool) -> Option<()> {
    let (initiator, responder) = pair(Method::StaticStatic, Suite::S0)?;
    let mut crypto = RustCrypto::new(random(1));
    let mut message = [0; ROOM];
    let (wait, mut length) = forged_message_3(&mut crypto, &responder, data, &mut message)?;
    if !forge {
        length = copied(data, &mut message)?;
    }
    let message = message.get_mut(..length)?;
    let got = wait.message_3(&mut crypto, message, &[1]).ok()?;
    assert!(forge, "bytes of no session");
    items_are_of(got.ead(), data);
    let (peer, own) = (
        initiator.identity()?.credential,
        responder.identity()?.credential,
    );
    assert!(got.verify(&mut crypto, &peer, &own, &mut []).is_err());
    Some(())
}

/// An Initiator who computes what everybody can, up to the keys of `message_3`, and seals `data` with them.
fn forged_message_3<C: Crypto<PrivateKey = RustKey>>(
    crypto: &mut C,
    responder: &Party,
    data: &[u8],
    out: &mut [u8],
) -> Option<(WaitMessage3<C>, usize)> {
    let suite = Suite::S0;
    let (x, g_x) = crypto.generate(Curve::X25519).ok()?;
    let mut message_1 = [0; 64];
    let mut writer = Writer::new(&mut message_1);
    writer.uint(3).uint(0).bytes(&g_x).uint(0);
    let message_1 = writer.finish().ok()?;
    let hash = crypto.sha256(&[message_1]).ok()?;
    let got = GotMessage1::read(message_1, &EVERYTHING).ok()?;
    let own = responder.identity()?;
    let mut message_2 = [0; 128];
    let c_r = responder.connection()?;
    let (wait, message_2) = got.message_2(crypto, &own, c_r, &[], &mut message_2).ok()?;
    let (g_y, text) = Reader::new(message_2).bytes().ok()?.split_first_chunk()?;
    let mut plaintext = [0; 128];
    let plaintext = plaintext.get_mut(..text.len())?;
    plaintext.copy_from_slice(text);
    let th_2 = Transcript::second(crypto, g_y, &hash).ok()?;
    let prk_2e = schedule::prk_2e(crypto, &x, g_y, &th_2).ok()?;
    schedule::keystream(crypto, &prk_2e, &th_2, plaintext).ok()?;
    let PublicKey::X25519(g_r) = own.credential.key else {
        return None;
    };
    let keys = (&x, &g_r);
    let prk_3e2m = schedule::prk_static(crypto, &prk_2e, label::SALT_3E2M, &th_2, keys).ok()?;
    let th_3 = th_2.next(crypto, plaintext, own.credential.bytes).ok()?;
    let length = data.len().checked_add(suite.aead().tag_length())?;
    let body = out.get_mut(schedule::HEAD..)?.get_mut(..length)?;
    body.get_mut(..data.len())?.copy_from_slice(data);
    schedule::seal(crypto, suite, (&prk_3e2m, label::K_3), &th_3, body).ok()?;
    Some((wait, schedule::frame(out, length).ok()?.len()))
}

/// `message_4` is these bytes: it is refused. With these bytes as its plaintext it is read to its end.
pub fn edhoc_message_4(data: &[u8]) {
    for forge in [false, true] {
        let _longer_than_the_room = message_4(data, forge);
    }
}

fn message_4(data: &[u8], forge: bool) -> Option<()> {
    let suite = Suite::S3;
    let mut crypto = RustCrypto::new(random(1));
    let th_4 = Transcript::second(&mut crypto, &[4; 32], &[4; 32]).ok()?;
    let ended = Ended {
        suite,
        prk_4e3m: Secret::new([4; 32]),
        th_4,
    };
    let mut message = [0; ROOM];
    let mut length = copied(data, &mut message)?;
    if forge {
        let end = data.len().checked_add(suite.aead().tag_length())?;
        let body = message.get_mut(schedule::HEAD..)?.get_mut(..end)?;
        copied(data, body)?;
        let key = (&ended.prk_4e3m, label::K_4);
        schedule::seal(&mut crypto, suite, key, &ended.th_4, body).ok()?;
        length = schedule::frame(&mut message, end).ok()?.len();
    }
    let message = message.get_mut(..length)?;
    let ead = AwaitMessage4(ended)
        .message_4(&mut crypto, message, &[1])
        .ok()?;
    assert!(forge, "bytes of no session");
    items_are_of(ead, data);
    Some(())
}

/// Reading an error message ends, and what it says is its bytes.
pub fn edhoc_error(data: &[u8]) {
    match read_error(data) {
        Ok(PeerError::Unspecified(text)) => assert!(holds(data, text.as_bytes())),
        Ok(PeerError::WrongSuite(suites)) if suites != SuiteSet::default() => {
            let mut out = [0; 8];
            let said = error_message(&EdhocError::WrongSuite(suites), &mut out);
            assert_eq!(said.and_then(read_error), Ok(PeerError::WrongSuite(suites)));
        }
        Ok(PeerError::Other(code)) => assert!(!(0..=3).contains(&code)),
        Ok(PeerError::WrongSuite(_) | PeerError::UnknownCredential) | Err(_) => {}
    }
}

/// A script: method and suite, then what an attacker changes in what the Responder receives. It lets in who was not interfered
/// with, and nobody else.
pub fn edhoc_responder(data: &[u8]) {
    played(data, [true, false, true, false]);
}

/// The same with what the Initiator receives.
pub fn edhoc_initiator(data: &[u8]) {
    played(data, [false, true, false, true]);
}

fn played(script: &[u8], reached: [bool; 4]) {
    let mut attacker = Attacker {
        script: script.get(1..).unwrap_or_default(),
        reached,
        changed: false,
    };
    let choice = script.first().copied().unwrap_or_default();
    let method = Method::of((choice & 3).into()).unwrap_or(Method::StaticStatic);
    let suite = Suite::of((choice >> 2 & 3).into()).unwrap_or(Suite::S0);
    let ended = play(method, suite, &mut attacker);
    assert_eq!(ended.is_some(), !attacker.changed);
}

/// Who sits on the way.
struct Attacker<'a> {
    /// What is left of the script: for each message a count, then as many places with what to exclusive-or there.
    script: &'a [u8],
    reached: [bool; 4],
    changed: bool,
}

impl Attacker<'_> {
    /// The message as it arrives.
    fn deliver(&mut self, number: usize, message: &mut [u8]) {
        if self.reached.get(number) != Some(&true) {
            return;
        }
        let (count, mut rest) = self.script.split_first().unwrap_or((&0, &[]));
        let mut before = [0; ROOM];
        let length = copied(message, &mut before).unwrap_or_default();
        for _ in 0..*count {
            let Some((&[place, mask], more)) = rest.split_first_chunk() else {
                break;
            };
            rest = more;
            let place = usize::from(place).checked_rem(message.len());
            if let Some(byte) = place.and_then(|place| message.get_mut(place)) {
                *byte ^= mask;
            }
        }
        self.changed |= before.get(..length) != Some(&*message);
        self.script = rest;
    }
}

/// A whole handshake with an attacker on the way: both sides' ends, if they have the same keys.
fn play(method: Method, suite: Suite, attacker: &mut Attacker<'_>) -> Option<()> {
    let (initiator, responder) = pair(method, suite)?;
    let (own_i, own_r) = (initiator.identity()?, responder.identity()?);
    let mut crypto = RustCrypto::new(random(1));
    let (mut here, mut there, mut scratch) = ([0; ROOM], [0; ROOM], [0; ROOM]);

    let (state, message) = start(&mut crypto, &initiator, method, suite, &mut here)?;
    let length = copied(message, &mut there)?;
    let message = there.get_mut(..length)?;
    attacker.deliver(0, message);
    let got = GotMessage1::read(message, &EVERYTHING).ok()?;
    let c_r = responder.connection()?;
    let (wait, message) = got
        .message_2(&mut crypto, &own_r, c_r, &[], &mut here)
        .ok()?;

    let length = copied(message, &mut there)?;
    let message = there.get_mut(..length)?;
    attacker.deliver(1, message);
    let got = state.message_2(&mut crypto, message, &[1]).ok()?;
    let verified = got
        .verify(&mut crypto, &own_r.credential, &own_i, &mut scratch)
        .ok()?;
    let (ours, fourth, message) = verified.message_3(&mut crypto, &[], &mut here).ok()?;

    let length = copied(message, &mut there)?;
    let message = there.get_mut(..length)?;
    attacker.deliver(2, message);
    let got = wait.message_3(&mut crypto, message, &[1]).ok()?;
    let ended = got.verify(
        &mut crypto,
        &own_i.credential,
        &own_r.credential,
        &mut scratch,
    );
    let (theirs, send) = ended.ok()?;
    let message = send.message_4(&mut crypto, &[], &mut here).ok()?;

    let length = copied(message, &mut there)?;
    let message = there.get_mut(..length)?;
    attacker.deliver(3, message);
    fourth.message_4(&mut crypto, message, &[1]).ok()?;
    let (ours, theirs) = (
        ours.oscore(&mut crypto).ok()?,
        theirs.oscore(&mut crypto).ok()?,
    );
    assert_eq!(ours.master_secret.expose(), theirs.master_secret.expose());
    Some(())
}

fn pair(method: Method, suite: Suite) -> Option<(Party, Party)> {
    let initiator = Party::new(0x11, suite, method.initiator_signs())?;
    let responder = Party::new(0x12, suite, method.responder_signs())?;
    Some((initiator, responder))
}

fn start<'o, C: Crypto>(
    crypto: &mut C,
    initiator: &Party,
    method: Method,
    suite: Suite,
    out: &'o mut [u8],
) -> Option<(Initiator<C>, &'o [u8])> {
    let proposal = Proposal {
        method,
        suites: &[suite],
        c_i: initiator.connection()?,
        ead_1: &[],
    };
    Initiator::start(crypto, &proposal, out).ok()
}

/// Puts the bytes at the beginning of a buffer, if it has room.
fn copied(bytes: &[u8], buffer: &mut [u8]) -> Option<usize> {
    buffer.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(bytes.len())
}

fn holds(data: &[u8], part: &[u8]) -> bool {
    part.is_empty() || data.windows(part.len()).any(|window| window == part)
}

/// What items say is in the data; those that are critical are understood.
fn items_are_of(ead: Ead<'_>, data: &[u8]) {
    for item in ead.items() {
        assert!(!item.critical || item.label == 1);
        assert!(holds(data, item.value.unwrap_or_default()));
    }
}
