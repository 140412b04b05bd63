//! The traces of RFC 9529: every value of them is among what was computed, and the messages are theirs byte for byte.

use std::collections::VecDeque;
use std::string::String;
use std::vec::Vec;

use super::schedule::Transcript;
use super::session::Ended;
use super::*;
use crate::credential;
use crate::crypto::rust::{RustCrypto, RustKey};
use crate::crypto::{Crypto, Secret};

/// The backend, with random numbers from a list, and all that goes in and comes out written down.
struct Recorder {
    random: VecDeque<[u8; 32]>,
    seen: Vec<Vec<u8>>,
    /// How often a key was agreed on.
    agreed: usize,
    /// The outputs of HMAC, one after the other: among them the keystream.
    blocks: Vec<u8>,
}

type Backend<'a> = RustCrypto<&'a mut dyn FnMut(&mut [u8]) -> Result<(), CryptoError>>;

impl Recorder {
    fn new(random: &[Vec<u8>]) -> Self {
        let random = random.iter().map(|it| it.as_slice().try_into().unwrap());
        Self {
            random: random.collect(),
            seen: Vec::new(),
            agreed: 0,
            blocks: Vec::new(),
        }
    }

    fn with<T>(&mut self, run: impl FnOnce(&mut Backend<'_>) -> T) -> T {
        let random = &mut self.random;
        let mut next = |out: &mut [u8]| {
            out.copy_from_slice(&random.pop_front().ok_or(CryptoError::Failed)?);
            Ok(())
        };
        run(&mut RustCrypto::new(&mut next))
    }

    fn saw(&mut self, parts: &[&[u8]]) {
        self.seen.push(parts.concat());
    }
}

impl Crypto for Recorder {
    type PrivateKey = RustKey;

    fn random(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.with(|crypto| crypto.random(out))
    }

    fn sha256(&mut self, parts: &[&[u8]]) -> Result<[u8; 32], CryptoError> {
        let out = self.with(|crypto| crypto.sha256(parts))?;
        self.saw(parts);
        self.saw(&[&out]);
        Ok(out)
    }

    fn hmac_sha256(&mut self, key: &[u8], parts: &[&[u8]]) -> Result<Secret<32>, CryptoError> {
        let out = self.with(|crypto| crypto.hmac_sha256(key, parts))?;
        self.saw(&[key]);
        self.saw(parts);
        self.blocks.extend(out.expose());
        Ok(out)
    }

    fn seal(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError> {
        for seen in [key.as_slice(), nonce, aad, buffer] {
            self.saw(&[seen]);
        }
        self.with(|crypto| crypto.seal(aead, key, nonce, aad, buffer))
    }

    fn open(
        &mut self,
        aead: Aead,
        key: &[u8; 16],
        nonce: &[u8; 13],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.with(|crypto| crypto.open(aead, key, nonce, aad, buffer))
    }

    fn generate(&mut self, curve: Curve) -> Result<(RustKey, [u8; 32]), CryptoError> {
        let private = self.random.front().copied().unwrap();
        self.saw(&[&private]);
        self.with(|crypto| crypto.generate(curve))
    }

    fn agree(&mut self, key: &RustKey, peer: &[u8; 32]) -> Result<Secret<32>, CryptoError> {
        let out = self.with(|crypto| crypto.agree(key, peer))?;
        self.agreed = self.agreed.saturating_add(1);
        self.saw(&[out.expose()]);
        Ok(out)
    }

    fn sign(&mut self, key: &RustKey, message: &[u8]) -> Result<[u8; 64], CryptoError> {
        let out = self.with(|crypto| crypto.sign(key, message))?;
        self.saw(&[message]);
        Ok(out)
    }

    fn verify(
        &mut self,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), CryptoError> {
        self.with(|crypto| crypto.verify(key, message, signature))
    }
}

/// A section of the vectors.
struct Trace(Vec<[String; 3]>);

impl Trace {
    fn of(section: &str) -> Self {
        let text = include_str!("../../tests/vectors/rfc9529.json");
        let all: serde_json::Value = serde_json::from_str(text).unwrap();
        Self(serde_json::from_value(all[section].clone()).unwrap())
    }

    /// The first value whose part and name begin so.
    fn get(&self, part: &str, name: &str) -> Vec<u8> {
        let found = self
            .0
            .iter()
            .find(|[p, n, _]| p.starts_with(part) && n.starts_with(name));
        hex(&found.unwrap_or_else(|| panic!("no {name} of {part}"))[2])
    }

    /// Every value is among what `crypto` saw or `others`.
    fn is_all_in(&self, crypto: &Recorder, others: &[&[u8]]) {
        for [part, name, value] in &self.0 {
            // What the parties' keys are made of; and beside the x-coordinates of the ephemeral keys, which are all that is used, the
            // RFC tells one y-coordinate each.
            if name.starts_with("SK_") || name.contains("ephemeral public key, one 'y'-coordinate")
            {
                continue;
            }
            let value = hex(value);
            let within =
                |bytes: &[u8]| value.is_empty() || bytes.windows(value.len()).any(|it| it == value);
            let mut seen = crypto
                .seen
                .iter()
                .map(Vec::as_slice)
                .chain(others.iter().copied());
            assert!(seen.any(within) || within(&crypto.blocks), "{part}: {name}");
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A party of the traces: its key on a curve, its credential, and its name for it.
fn identity<'a>(
    key: &'a RustKey,
    credential: &'a [u8],
    id_cred: IdCred<'a>,
) -> Identity<'a, RustKey> {
    let credential = Credential::read(credential).unwrap();
    Identity {
        id_cred,
        credential,
        key,
    }
}

fn key(curve: Curve, bytes: &[u8]) -> RustKey {
    RustKey::new(curve, &Secret::new(bytes.try_into().unwrap())).unwrap()
}

/// Plays a trace from `message_1`, which was composed, to the keys after an update; every value of it is seen.
fn play(
    trace: &Trace,
    mut crypto: Recorder,
    (curve, message_1_part): (Curve, &str),
    names: [IdCred<'_>; 2],
    (initiator, mut message_1): (Initiator<Recorder>, Vec<u8>),
) {
    let [sk_i, sk_r] = [
        trace.get("message_3", "SK_I"),
        trace.get("message_2", "SK_R"),
    ]
    .map(|it| key(curve, &it));
    let [cred_i, cred_r] = [
        trace.get("message_3", "CRED_I (CBOR Data Item)"),
        trace.get("message_2", "CRED_R (CBOR Data Item)"),
    ];
    let own_i = identity(&sk_i, &cred_i, names[0]);
    let own_r = identity(&sk_r, &cred_r, names[1]);
    assert_eq!(message_1, trace.get(message_1_part, "message_1"));

    let accepts = Accepts {
        methods: &Method::ALL,
        suites: SuiteSet::of(&Suite::ALL),
        understood: &[],
    };
    let got = GotMessage1::read(&message_1, &accepts).unwrap();
    let c_r = ConnectionId::new(&trace.get("message_2", "C_R (")).unwrap();
    let mut out = [0; 512];
    let (wait, message_2) = got
        .message_2(&mut crypto, &own_r, c_r, &[], &mut out)
        .unwrap();
    let mut message_2 = message_2.to_vec();
    assert_eq!(message_2, trace.get("message_2", "message_2"));
    crypto.saw(&[&message_2]);

    let mut scratch = [0; 512];
    let got = initiator
        .message_2(&mut crypto, &mut message_2, &[])
        .unwrap();
    assert_eq!(*got.id_cred(), names[1]);
    crypto.saw(&[got.plaintext()]);
    let verified = got
        .verify(&mut crypto, &own_r.credential, &own_i, &mut scratch)
        .unwrap();
    let (ended, await_4, message_3) = verified.message_3(&mut crypto, &[], &mut out).unwrap();
    let mut message_3 = message_3.to_vec();
    assert_eq!(message_3, trace.get("message_3", "message_3"));
    crypto.saw(&[&message_3]);

    let got = wait.message_3(&mut crypto, &mut message_3, &[]).unwrap();
    assert_eq!(*got.id_cred(), names[0]);
    let (established, send_4) = got
        .verify(
            &mut crypto,
            &own_i.credential,
            &own_r.credential,
            &mut scratch,
        )
        .unwrap();
    let message_4 = send_4.message_4(&mut crypto, &[], &mut out).unwrap();
    let mut message_4 = message_4.to_vec();
    assert_eq!(message_4, trace.get("message_4", "message_4"));
    crypto.saw(&[&message_4]);
    await_4.message_4(&mut crypto, &mut message_4, &[]).unwrap();
    message_1.extend(c_r.as_bytes());
    exports(trace, &mut crypto, ended, &established);
    trace.is_all_in(&crypto, &[&message_1, &[0x02, 0x02]]);
}

/// Both sides have the keys of the trace, one also after an update.
fn exports(
    trace: &Trace,
    crypto: &mut Recorder,
    mut ended: Established,
    established: &Established,
) {
    let secrets = ended.oscore(crypto).unwrap();
    let theirs = established.oscore(crypto).unwrap();
    assert_eq!(secrets.sender_id, theirs.recipient_id);
    let oscore = |name| trace.get("OSCORE Parameters", name);
    assert_eq!(
        secrets.sender_id.as_bytes(),
        oscore("Client's OSCORE Sender ID")
    );
    assert_eq!(
        secrets.recipient_id.as_bytes(),
        oscore("Server's OSCORE Sender ID")
    );
    assert_eq!(
        secrets.master_secret.expose().as_slice(),
        oscore("OSCORE Master Secret")
    );
    assert_eq!(
        secrets.master_salt.expose().as_slice(),
        oscore("OSCORE Master Salt")
    );
    let context = trace.get("Key Update", "context for KeyUpdate (Raw Value)");
    ended.key_update(crypto, &context).unwrap();
    let secrets = ended.oscore(crypto).unwrap();
    let after = trace.get("Key Update", "OSCORE Master Secret after KeyUpdate");
    assert_eq!(secrets.master_secret.expose().as_slice(), after);
}

/// RFC 9529, section 2: method 0, suite 0, X.509 certificates named by `x5t`.
#[test]
fn the_trace_with_signatures_is_played_byte_for_byte() {
    let trace = Trace::of("signatures");
    let ephemeral = [trace.get("message_1", "X ("), trace.get("message_2", "Y (")];
    let mut crypto = Recorder::new(&ephemeral);
    let proposal = Proposal {
        method: Method::SignSign,
        suites: &[Suite::S0],
        c_i: ConnectionId::new(&trace.get("message_1", "C_I (")).unwrap(),
        ead_1: &[],
    };
    let mut out = [0; 64];
    let (initiator, message_1) = Initiator::start(&mut crypto, &proposal, &mut out).unwrap();
    let [id_i, id_r] = [
        trace.get("message_3", "ID_CRED_I"),
        trace.get("message_2", "ID_CRED_R"),
    ];
    let names = [&id_i, &id_r].map(|id| IdCred::read(&mut Reader::new(id)).unwrap());
    let begun = (initiator, message_1.to_vec());
    play(&trace, crypto, (Curve::Ed25519, "message_1"), names, begun);
}

/// RFC 9529, section 3: method 3, suite 2 after suite 6 was refused, CCS named by `kid`.
#[test]
fn the_trace_with_static_keys_is_played_byte_for_byte() {
    let trace = Trace::of("static");
    let ephemeral = [
        trace.get("message_1 (first", "X ("),
        trace.get("message_1 (second", "X ("),
        trace.get("message_2", "Y ("),
    ];
    let mut crypto = Recorder::new(&ephemeral);
    let mut proposal = Proposal {
        method: Method::StaticStatic,
        suites: &[],
        c_i: ConnectionId::new(&trace.get("message_1 (first", "C_I (")).unwrap(),
        ead_1: &[],
    };
    // Suite 6 is unknown here; the RFC's key in it is of P-256.
    let mut out = [0; 64];
    let six = (Suite::S2, [6].into_iter());
    let (_, message_1) = Initiator::propose(&mut crypto, &proposal, six, &mut out).unwrap();
    assert_eq!(message_1, trace.get("message_1 (first", "message_1"));
    let accepts = Accepts {
        methods: &Method::ALL,
        suites: SuiteSet::of(&[Suite::S2]),
        understood: &[],
    };
    let error = GotMessage1::read(message_1, &accepts).unwrap_err();
    let mut answer = [0; 8];
    let answer = error_message(&error, &mut answer).unwrap();
    assert_eq!(answer, trace.get("error", "error"));
    assert_eq!(
        read_error(answer),
        Ok(PeerError::WrongSuite(accepts.suites))
    );

    proposal.c_i = ConnectionId::new(&trace.get("message_1 (second", "C_I (")).unwrap();
    let two = (Suite::S2, [6, 2].into_iter());
    let (initiator, message_1) = Initiator::propose(&mut crypto, &proposal, two, &mut out).unwrap();
    let begun = (initiator, message_1.to_vec());
    let names = [IdCred::Kid(&[0x2b]), IdCred::Kid(&[0x32])];
    play(
        &trace,
        crypto,
        (Curve::P256, "message_1 (second"),
        names,
        begun,
    );
}

/// Every bit of it, and every length.
#[test]
fn a_damaged_message_4_is_refused() {
    let mut crypto = Recorder::new(&[]);
    for suite in Suite::ALL {
        let th_4 = Transcript::second(&mut crypto, &[4; 32], &[5; 32]).unwrap();
        let ended = || Ended {
            suite,
            prk_4e3m: Secret::new([6; 32]),
            th_4: th_4.clone(),
        };
        let item = EadItem {
            label: 5,
            critical: true,
            value: Some(b"value"),
        };
        let mut out = [0; 64];
        let whole = SendMessage4(ended()).message_4(&mut crypto, &[item], &mut out);
        let whole = whole.unwrap();
        let mut taken = |mut message: Vec<u8>| {
            let read = AwaitMessage4(ended()).message_4(&mut crypto, &mut message, &[5]);
            read.is_ok()
        };
        assert!(taken(whole.to_vec()));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!taken(damaged), "{suite:?}, bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(!taken(whole[..length].to_vec()));
        }
        assert!(!taken([whole, &[0]].concat()));
    }
}

/// What a Responder computes, by method: key agreements, and HMACs.
#[test]
fn a_responder_makes_one_key_and_agrees_three_times_at_most() {
    for (method, work) in Method::ALL
        .into_iter()
        .zip([(1, 9), (2, 9), (2, 11), (3, 11)])
    {
        let keys: Vec<_> = (1..3_u8).map(|seed| [seed; 32].to_vec()).collect();
        let suite = Suite::S2;
        let parties = [7_u8, 8].map(|seed| key(Curve::P256, &[seed; 32]));
        let mut buffers = [[0; 128]; 2];
        let mut credentials = parties
            .iter()
            .zip(&mut buffers)
            .map(|(party, buffer)| credential::ccs(buffer, None, None, &party.public()).unwrap());
        let (cred_i, cred_r) = (credentials.next().unwrap(), credentials.next().unwrap());
        let own_i = identity(&parties[0], cred_i, IdCred::Kid(&[1]));
        let own_r = identity(&parties[1], cred_r, IdCred::Kid(&[2]));
        let (mut theirs, mut ours) = (Recorder::new(&keys[..1]), Recorder::new(&keys[1..]));
        let proposal = Proposal {
            method,
            suites: &[suite],
            c_i: ConnectionId::new(&[1]).unwrap(),
            ead_1: &[],
        };
        let accepts = Accepts {
            methods: &[method],
            suites: SuiteSet::ALL,
            understood: &[],
        };
        let (mut out, mut scratch) = ([0; 512], [0; 512]);
        let (state, message) = Initiator::start(&mut theirs, &proposal, &mut out).unwrap();
        let got = GotMessage1::read(message, &accepts).unwrap();
        let c_r = ConnectionId::new(&[2]).unwrap();
        let mut out = [0; 512];
        let (wait, message) = got
            .message_2(&mut ours, &own_r, c_r, &[], &mut out)
            .unwrap();
        let mut message = message.to_vec();
        let got = state.message_2(&mut theirs, &mut message, &[]).unwrap();
        let verified = got
            .verify(&mut theirs, &own_r.credential, &own_i, &mut scratch)
            .unwrap();
        let (_, _, message) = verified.message_3(&mut theirs, &[], &mut out).unwrap();
        let mut message = message.to_vec();
        let got = wait.message_3(&mut ours, &mut message, &[]).unwrap();
        got.verify(
            &mut ours,
            &own_i.credential,
            &own_r.credential,
            &mut scratch,
        )
        .unwrap();
        assert_eq!(ours.random.len(), 0, "one key");
        let blocks = ours.blocks.len() / 32;
        assert_eq!((ours.agreed, blocks), work, "{method:?}");
    }
}
