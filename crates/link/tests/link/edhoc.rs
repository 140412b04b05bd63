//! EDHOC's parties with each other: every method, suite and kind of credential; what is negotiated, and what is refused.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own handshakes"
)]

use proptest::prelude::*;
use stockade_link::cbor::Writer;
use stockade_link::credential::{self, Credential, IdCred};
use stockade_link::crypto::rust::{RustCrypto, RustKey};
use stockade_link::crypto::{Crypto as _, CryptoError, PublicKey, Secret, Y};
use stockade_link::edhoc::{
    Accepts, AwaitMessage4, ConnectionId, EadItem, EdhocError, Established, GotMessage1, Identity,
    Initiator, Method, PeerError, Proposal, SendMessage4, Suite, SuiteSet, WaitMessage3,
    error_message, read_error,
};

use crate::random::Random;

type Source = Box<dyn FnMut(&mut [u8]) -> Result<(), CryptoError>>;
pub(crate) type Crypto = RustCrypto<Source>;

pub(crate) fn crypto(seed: u64) -> Crypto {
    let mut random = Random(seed);
    RustCrypto::new(Box::new(move |out: &mut [u8]| {
        out.fill_with(|| u8::try_from(random.below(256)).unwrap());
        Ok(())
    }))
}

/// How a credential is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    Kid,
    Ccs,
    X5t,
    X5chain,
}

const NAMINGS: [Naming; 4] = [Naming::Kid, Naming::Ccs, Naming::X5t, Naming::X5chain];

/// One side: its key, its credential and its names.
pub(crate) struct Party {
    key: RustKey,
    naming: Naming,
    name: Vec<u8>,
    credential: Vec<u8>,
    pub(crate) connection: Vec<u8>,
}

impl Party {
    pub(crate) fn new(seed: u8, suite: Suite, signs: bool, naming: Naming) -> Self {
        let curve = if signs {
            suite.signature_curve()
        } else {
            suite.curve()
        };
        let key = RustKey::new(curve, &Secret::new([seed; 32])).unwrap();
        let public = key.public();
        let mut buffer = [0; 300];
        let credential = match naming {
            Naming::Kid | Naming::Ccs => {
                credential::ccs(&mut buffer, Some("party"), Some(&[seed]), &public).unwrap()
            }
            Naming::X5t | Naming::X5chain => {
                let mut writer = Writer::new(&mut buffer);
                writer.bytes(&certificate(&public));
                writer.finish().unwrap()
            }
        };
        let name = match naming {
            Naming::Kid => vec![seed],
            Naming::X5t => {
                let der = &credential[if credential[0] == 0x59 { 3 } else { 2 }..];
                crypto(1).sha256(&[der]).unwrap()[..8].to_vec()
            }
            Naming::Ccs | Naming::X5chain => credential.to_vec(),
        };
        Self {
            key,
            naming,
            name,
            credential: credential.to_vec(),
            connection: vec![seed],
        }
    }

    pub(crate) fn id_cred(&self) -> IdCred<'_> {
        match self.naming {
            Naming::Kid => IdCred::Kid(&self.name),
            Naming::Ccs => IdCred::Ccs(&self.name),
            Naming::X5t => IdCred::X5t {
                algorithm: -15,
                hash: &self.name,
            },
            Naming::X5chain => IdCred::X5chain(&self.name),
        }
    }

    pub(crate) fn credential(&self) -> Credential<'_> {
        Credential::read(&self.credential).unwrap()
    }

    pub(crate) fn identity(&self) -> Identity<'_, RustKey> {
        Identity {
            id_cred: self.id_cred(),
            credential: self.credential(),
            key: &self.key,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        ConnectionId::new(&self.connection).unwrap()
    }
}

/// A certificate of which only the key says anything.
fn certificate(key: &PublicKey) -> Vec<u8> {
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let length = u8::try_from(body.len()).unwrap();
        let head: &[u8] = if length < 0x80 {
            &[tag, length]
        } else {
            &[tag, 0x81, length]
        };
        [head, &body].concat()
    }
    let (algorithm, point) = match key {
        PublicKey::P256 { x, y: Y::Full(y) } => (
            [
                der(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]]),
                der(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]]),
            ]
            .concat(),
            [&[0, 4], x.as_slice(), y].concat(),
        ),
        PublicKey::P256 { .. } => panic!("half a point"),
        PublicKey::X25519(x) => (
            der(6, &[&[0x2b, 0x65, 0x6e]]),
            [&[0], x.as_slice()].concat(),
        ),
        PublicKey::Ed25519(x) => (
            der(6, &[&[0x2b, 0x65, 0x70]]),
            [&[0], x.as_slice()].concat(),
        ),
    };
    let signature = der(0x30, &[&der(6, &[&[0x2b, 0x65, 0x70]])]);
    let time = der(0x17, &[b"260101000000Z"]);
    let body = der(
        0x30,
        &[
            &der(0xa0, &[&der(2, &[&[2]])]),
            &der(2, &[&[1]]),
            &signature,
            &der(0x30, &[]),
            &der(0x30, &[&time, &time]),
            &der(0x30, &[]),
            &der(0x30, &[&der(0x30, &[&algorithm]), &der(3, &[&point])]),
        ],
    );
    der(0x30, &[&body, &signature, &der(3, &[&[0; 9]])])
}

/// Two parties that know each other.
pub(crate) struct Pair {
    method: Method,
    suite: Suite,
    pub(crate) initiator: Party,
    pub(crate) responder: Party,
}

/// Room for any message of these tests and what is signed.
pub(crate) const ROOM: usize = 1500;

impl Pair {
    pub(crate) fn new(method: Method, suite: Suite, namings: [Naming; 2]) -> Self {
        Self {
            method,
            suite,
            initiator: Party::new(0x31, suite, method.initiator_signs(), namings[0]),
            responder: Party::new(0x42, suite, method.responder_signs(), namings[1]),
        }
    }

    pub(crate) fn message_1(
        &self,
        crypto: &mut Crypto,
        ead: &[EadItem<'_>],
    ) -> (Initiator<Crypto>, Vec<u8>) {
        let proposal = Proposal {
            method: self.method,
            suites: &[self.suite],
            c_i: self.initiator.id(),
            ead_1: ead,
        };
        let mut out = [0; ROOM];
        let (state, message) = Initiator::start(crypto, &proposal, &mut out).unwrap();
        (state, message.to_vec())
    }

    pub(crate) fn message_2(
        &self,
        crypto: &mut Crypto,
        message_1: &[u8],
        ead: &[EadItem<'_>],
    ) -> Result<(WaitMessage3<Crypto>, Vec<u8>), EdhocError> {
        let got = GotMessage1::read(message_1, &EVERYTHING)?;
        let mut out = [0; ROOM];
        let own = self.responder.identity();
        let (state, message) = got.message_2(crypto, &own, self.responder.id(), ead, &mut out)?;
        Ok((state, message.to_vec()))
    }

    pub(crate) fn message_3(
        &self,
        crypto: &mut Crypto,
        initiator: Initiator<Crypto>,
        message_2: &[u8],
        ead: &[EadItem<'_>],
    ) -> Result<(Established, AwaitMessage4, Vec<u8>), EdhocError> {
        let mut message = message_2.to_vec();
        let got = initiator.message_2(crypto, &mut message, &[CRITICAL])?;
        if *got.id_cred() != self.responder.id_cred() {
            return Err(EdhocError::UnknownCredential);
        }
        let (peer, own) = (self.responder.credential(), self.initiator.identity());
        let verified = got.verify(crypto, &peer, &own, &mut [0; ROOM])?;
        let mut out = [0; ROOM];
        let (established, wait, message) = verified.message_3(crypto, ead, &mut out)?;
        Ok((established, wait, message.to_vec()))
    }

    pub(crate) fn end(
        &self,
        crypto: &mut Crypto,
        responder: WaitMessage3<Crypto>,
        message_3: &[u8],
    ) -> Result<(Established, SendMessage4), EdhocError> {
        let mut message = message_3.to_vec();
        let got = responder.message_3(crypto, &mut message, &[CRITICAL])?;
        if *got.id_cred() != self.initiator.id_cred() {
            return Err(EdhocError::UnknownCredential);
        }
        let (peer, own) = (self.initiator.credential(), self.responder.credential());
        got.verify(crypto, &peer, &own, &mut [0; ROOM])
    }
}

/// The label of a critical item that is understood here.
const CRITICAL: u64 = 70_000;

const EVERYTHING: Accepts<'static> = Accepts {
    methods: &Method::ALL,
    suites: SuiteSet::ALL,
    understood: &[CRITICAL],
};

/// Each side's keys.
pub(crate) fn exported(crypto: &mut Crypto, ended: &Established) -> Vec<u8> {
    let mut out = vec![0; 40];
    ended
        .exporter(crypto, 32_768, b"context", &mut out)
        .unwrap();
    out
}

fn values() -> impl Strategy<Value = Vec<(u64, bool, Option<Vec<u8>>)>> {
    let label = prop_oneof![Just(0), 1..24_u64, 24..70_000_u64, Just(1 << 62)];
    let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60));
    let item = (label, any::<bool>(), value).prop_map(|(label, critical, value)| {
        if critical {
            (CRITICAL, true, value)
        } else {
            (label, false, value)
        }
    });
    proptest::collection::vec(item, 0..4)
}

fn items(values: &[(u64, bool, Option<Vec<u8>>)]) -> Vec<EadItem<'_>> {
    let each = values.iter();
    each.map(|(label, critical, value)| EadItem {
        label: *label,
        critical: *critical,
        value: value.as_deref(),
    })
    .collect()
}

fn unpadded<'a>(items: &[EadItem<'a>]) -> Vec<EadItem<'a>> {
    items
        .iter()
        .copied()
        .filter(|item| item.label != 0)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn both_sides_end_with_the_same_keys(
        (method, suite) in (0..4_usize, 0..4_usize),
        namings in (0..4_usize, 0..4_usize),
        (c_i, c_r) in (proptest::collection::vec(any::<u8>(), 0..8), proptest::collection::vec(any::<u8>(), 0..8)),
        values in [values(), values(), values(), values()],
        seed in 1_u64..,
    ) {
        prop_assume!(c_i != c_r);
        let namings = [NAMINGS[namings.0], NAMINGS[namings.1]];
        let mut pair = Pair::new(Method::ALL[method], Suite::ALL[suite], namings);
        pair.initiator.connection = c_i;
        pair.responder.connection = c_r;
        let [ead_1, ead_2, ead_3, ead_4] = values.each_ref().map(|values| items(values));
        let mut crypto = crypto(seed);

        let (initiator, message_1) = pair.message_1(&mut crypto, &ead_1);
        let got = GotMessage1::read(&message_1, &EVERYTHING).unwrap();
        prop_assert_eq!(got.ead().items().collect::<Vec<_>>(), unpadded(&ead_1));
        let (responder, message_2) = pair.message_2(&mut crypto, &message_1, &ead_2).unwrap();
        let (mut ours, await_4, message_3) =
            pair.message_3(&mut crypto, initiator, &message_2, &ead_3).unwrap();
        let mut third = message_3;
        let got = responder.message_3(&mut crypto, &mut third, &[CRITICAL]).unwrap();
        prop_assert_eq!(got.ead().items().collect::<Vec<_>>(), unpadded(&ead_3));
        let (peer, own) = (pair.initiator.credential(), pair.responder.credential());
        let (mut theirs, send_4) = got.verify(&mut crypto, &peer, &own, &mut [0; ROOM]).unwrap();
        let mut out = [0; ROOM];
        let mut message_4 = send_4.message_4(&mut crypto, &ead_4, &mut out).unwrap().to_vec();
        let got = await_4.message_4(&mut crypto, &mut message_4, &[CRITICAL]).unwrap();
        prop_assert_eq!(got.items().collect::<Vec<_>>(), unpadded(&ead_4));

        for _ in 0..2 {
            prop_assert_eq!(exported(&mut crypto, &ours), exported(&mut crypto, &theirs));
            let (a, b) = (ours.oscore(&mut crypto).unwrap(), theirs.oscore(&mut crypto).unwrap());
            prop_assert_eq!(a.master_secret.expose(), b.master_secret.expose());
            prop_assert_eq!(a.master_salt.expose(), b.master_salt.expose());
            prop_assert_eq!(a.sender_id.as_bytes(), &pair.responder.connection);
            prop_assert_eq!((a.sender_id, a.recipient_id), (b.recipient_id, b.sender_id));
            ours.key_update(&mut crypto, &[7; 30]).unwrap();
            theirs.key_update(&mut crypto, &[7; 30]).unwrap();
        }
    }

    #[test]
    fn error_messages_say_what_was_refused_and_no_more(bytes: Vec<u8>, which in 0..16_u8) {
        let _ = read_error(&bytes);
        let suites: Vec<Suite> = Suite::ALL.into_iter().filter(|it| which & 1 << it.number() != 0).collect();
        let mut out = [0; 16];
        let error = EdhocError::WrongSuite(SuiteSet::of(&suites));
        let told = error_message(&error, &mut out).unwrap();
        if !suites.is_empty() {
            prop_assert_eq!(read_error(told), Ok(PeerError::WrongSuite(SuiteSet::of(&suites))));
        }
    }
}

/// A handshake of few bytes is of few bytes (RFC 9528, table 1).
#[test]
fn static_keys_named_by_one_byte_take_101_bytes() {
    let mut pair = Pair::new(Method::StaticStatic, Suite::S2, [Naming::Kid; 2]);
    pair.responder = Party::new(0x32, Suite::S2, false, Naming::Kid);
    let mut crypto = crypto(1);
    let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
    let (responder, message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
    let (_, _, message_3) = pair
        .message_3(&mut crypto, initiator, &message_2, &[])
        .unwrap();
    let lengths = [&message_1, &message_2, &message_3].map(Vec::len);
    assert_eq!(lengths, [37, 45, 19]);
    assert!(
        size_of_val(&responder) <= 128,
        "{} bytes wait",
        size_of_val(&responder)
    );
}

#[test]
fn long_identifiers_are_an_error_and_oscore_takes_seven_bytes() {
    assert_eq!(ConnectionId::new(&[1; 9]), Err(EdhocError::LongIdentifier));
    let mut pair = Pair::new(Method::StaticStatic, Suite::S2, [Naming::Kid; 2]);
    pair.initiator.connection = vec![3; 8];
    let mut crypto = crypto(13);
    let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
    let (_, message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
    let (ended, _, _) = pair
        .message_3(&mut crypto, initiator, &message_2, &[])
        .unwrap();
    assert_eq!(
        ended.oscore(&mut crypto).err(),
        Some(EdhocError::LongIdentifier)
    );
    for length in [9, 23, 24, 60] {
        let mut long = message_1[..36].to_vec();
        let mut buffer = [0; 80];
        let mut writer = Writer::new(&mut buffer);
        writer.bytes(&vec![3; length]);
        long.extend(writer.finish().unwrap());
        let refused = pair.message_2(&mut crypto, &long, &[]).err();
        assert_eq!(refused, Some(EdhocError::LongIdentifier));
    }
}

/// RFC 9528, section 6.3.2, with the suites that there are: the Responder picks from what it knows, and nobody can make the two
/// fall back on a suite that the Initiator likes less.
#[test]
fn suites_are_negotiated_and_not_downgraded() {
    let ours = [Suite::S3, Suite::S2, Suite::S0];
    let mut crypto = crypto(14);
    let mut start = |suites: &[Suite]| {
        let proposal = Proposal {
            method: Method::StaticStatic,
            suites,
            c_i: ConnectionId::new(&[1]).unwrap(),
            ead_1: &[],
        };
        let mut out = [0; 64];
        let (_, message) = Initiator::start(&mut crypto, &proposal, &mut out).unwrap();
        message.to_vec()
    };
    let accepts = Accepts {
        suites: SuiteSet::of(&[Suite::S2, Suite::S0]),
        ..EVERYTHING
    };
    let refused = GotMessage1::read(&start(&ours[..1]), &accepts).unwrap_err();
    let mut out = [0; 8];
    let told = error_message(&refused, &mut out).unwrap();
    assert_eq!(told, [0x02, 0x82, 0x00, 0x02]);
    let Ok(PeerError::WrongSuite(theirs)) = read_error(told) else {
        panic!("not an error of suites");
    };
    let chosen = Suite::select(&ours, theirs).unwrap();
    assert_eq!(chosen, [Suite::S3, Suite::S2]);
    assert_eq!(
        GotMessage1::read(&start(chosen), &accepts).unwrap().suite(),
        Suite::S2
    );
    // Passing suite 2 over is refused, whoever made the Initiator do it.
    let refused = GotMessage1::read(&start(&ours), &accepts).err();
    assert_eq!(refused, Some(EdhocError::WrongSuite(accepts.suites)));
    assert_eq!(Suite::select(&[Suite::S1], theirs), None);
    // A lie about what the Responder knows is found out: TH_2 covers what was proposed.
    let pair = Pair::new(Method::StaticStatic, Suite::S2, [Naming::Kid; 2]);
    let (initiator, mut message_1) = pair.message_1(&mut crypto, &[]);
    message_1.splice(1..2, [0x82, 0x03, 0x02]);
    let accepts = Accepts {
        suites: SuiteSet::of(&[Suite::S2]),
        ..EVERYTHING
    };
    let got = GotMessage1::read(&message_1, &accepts).unwrap();
    let mut out = [0; 128];
    let (own, c_r) = (pair.responder.identity(), pair.responder.id());
    let (_, message_2) = got
        .message_2(&mut crypto, &own, c_r, &[], &mut out)
        .unwrap();
    assert!(
        pair.message_3(&mut crypto, initiator, message_2, &[])
            .is_err()
    );
}

#[test]
fn a_method_that_is_not_accepted_is_refused_without_a_reason() {
    let pair = Pair::new(Method::SignStatic, Suite::S2, [Naming::Kid; 2]);
    let (_, mut message_1) = pair.message_1(&mut crypto(15), &[]);
    let accepts = Accepts {
        methods: &[Method::StaticStatic],
        ..EVERYTHING
    };
    let refused = GotMessage1::read(&message_1, &accepts).unwrap_err();
    assert_eq!(refused, EdhocError::Method);
    message_1[0] = 4;
    assert_eq!(
        GotMessage1::read(&message_1, &EVERYTHING).unwrap_err(),
        EdhocError::Method
    );
    let mut out = [0; 16];
    let told = error_message(&refused, &mut out).unwrap();
    assert_eq!(read_error(told), Ok(PeerError::Unspecified("refused")));
    assert_eq!(
        error_message(&EdhocError::UnknownCredential, &mut out),
        Ok([0x03, 0xf5].as_slice())
    );
    assert_eq!(read_error(&[0x03, 0xf5]), Ok(PeerError::UnknownCredential));
    assert_eq!(read_error(&[0x00, 0xf5]), Err(EdhocError::Malformed));
    assert_eq!(read_error(&[0x38, 0x63, 0xf5]), Ok(PeerError::Other(-100)));
}

/// RFC 9528, section 3.8: what is critical and not understood ends the session, whoever hears it first.
#[test]
fn critical_items_that_nobody_understands_end_the_session() {
    let item = |label, critical| {
        [EadItem {
            label,
            critical,
            value: Some(b"value"),
        }]
    };
    let pair = Pair::new(Method::StaticStatic, Suite::S2, [Naming::Kid; 2]);
    let mut crypto = crypto(16);
    for label in [1, 23, 24, 40_000, 70_001] {
        let expected = Some(EdhocError::CriticalItem(label));
        let (_, message_1) = pair.message_1(&mut crypto, &item(label, true));
        assert_eq!(pair.message_2(&mut crypto, &message_1, &[]).err(), expected);
        let (initiator, message_1) = pair.message_1(&mut crypto, &item(label, false));
        let (_, message_2) = pair
            .message_2(&mut crypto, &message_1, &item(label, true))
            .unwrap();
        assert_eq!(
            pair.message_3(&mut crypto, initiator, &message_2, &[])
                .err(),
            expected
        );
        let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
        let (wait, message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
        let (_, _, message_3) = pair
            .message_3(&mut crypto, initiator, &message_2, &item(label, true))
            .unwrap();
        assert_eq!(pair.end(&mut crypto, wait, &message_3).err(), expected);
        let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
        let (wait, message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
        let (_, await_4, message_3) = pair
            .message_3(&mut crypto, initiator, &message_2, &[])
            .unwrap();
        let (_, send_4) = pair.end(&mut crypto, wait, &message_3).unwrap();
        let mut out = [0; 64];
        let mut message_4 = send_4
            .message_4(&mut crypto, &item(label, true), &mut out)
            .unwrap()
            .to_vec();
        assert_eq!(
            await_4.message_4(&mut crypto, &mut message_4, &[]).err(),
            expected
        );
    }
}

/// A buffer that is too small is an error at every length, never a panic and never a short message.
#[test]
fn small_buffers_are_an_error() {
    for method in [Method::SignSign, Method::StaticStatic] {
        let pair = Pair::new(method, Suite::S0, [Naming::Ccs; 2]);
        let whole = |room: usize| -> Result<usize, EdhocError> {
            let mut crypto = crypto(17);
            let (_, message_1) = pair.message_1(&mut crypto, &[]);
            let got = GotMessage1::read(&message_1, &EVERYTHING)?;
            let mut out = vec![0; room];
            let (own, c_r) = (pair.responder.identity(), pair.responder.id());
            let (_, message) = got.message_2(&mut crypto, &own, c_r, &[], &mut out)?;
            Ok(message.len())
        };
        let length = whole(ROOM).unwrap();
        let enough = (0..ROOM).find(|&room| whole(room).is_ok()).unwrap();
        assert!((length..length + 300).contains(&enough));
        for room in 0..enough {
            assert_eq!(whole(room), Err(EdhocError::Full), "{room}");
        }
    }
}
