//! EDHOC of `stockade-link` against the `lakers` crate: handshakes of method 3 and suite 2 between the two, in both roles, with
//! credentials by name and by value, identifiers of all lengths and external authorization data. Both must end with the same keys.
//!
//! `stockade-lakers [HANDSHAKES]`: one line at the end, and 0; or the first difference, and 1.

use std::process::ExitCode;

use lakers::{
    CredentialTransfer, EADItem, EDHOCMethod, EDHOCSuite, EdhocInitiator, EdhocMessageBuffer,
    EdhocResponder, credential_check_or_fetch,
};
use stockade_link::cbor::Writer;
use stockade_link::credential::{self, Credential, IdCred};
use stockade_link::crypto::rust::{RustCrypto, RustKey};
use stockade_link::crypto::{CryptoError, Curve, PublicKey, Secret, Y};
use stockade_link::edhoc::{
    Accepts, ConnectionId, EadItem, Established, GotMessage1, Identity, Initiator, Method,
    Proposal, Suite, SuiteSet,
};

#[expect(dead_code, reason = "the damage it can do is for other tests")]
#[path = "../../../fuzz/random.rs"]
mod random;

use random::Random;

type Failure = Box<dyn std::error::Error>;

/// The labels of an exporter, its contexts and lengths that are compared.
const EXPORTS: [(u8, &[u8], usize); 4] = [
    (0, b"", 16),
    (1, b"", 8),
    (7, b"stockade", 100),
    (23, &[0x18; 40], 32),
];

fn main() -> ExitCode {
    let handshakes = std::env::args()
        .nth(1)
        .and_then(|it| it.parse().ok())
        .unwrap_or(10_000);
    for seed in 1..=handshakes {
        let mut chance = Chance(Random(seed));
        let ended = if seed % 2 == 0 {
            we_initiate(&mut chance)
        } else {
            they_initiate(&mut chance)
        };
        if let Err(error) = ended {
            println!("handshake {seed}: {error}");
            return ExitCode::FAILURE;
        }
    }
    println!("{handshakes} handshakes with lakers 0.8.0, half of them begun by it: the same keys");
    ExitCode::SUCCESS
}

/// Random numbers of a fixed seed, for both.
struct Chance(Random);

impl Chance {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill_with(|| u8::try_from(self.0.below(256)).unwrap_or_default());
    }

    fn bytes(&mut self, least: usize, below: usize) -> Vec<u8> {
        let mut out = vec![0; least + self.0.below(below - least)];
        self.fill(&mut out);
        out
    }

    fn ours(&mut self) -> RustCrypto<impl FnMut(&mut [u8]) -> Result<(), CryptoError> + use<>> {
        let mut chance = Self(Random(self.0.0 ^ 0x5555));
        RustCrypto::new(move |out: &mut [u8]| {
            chance.fill(out);
            Ok(())
        })
    }

    fn theirs(&mut self) -> lakers_crypto_rustcrypto::Crypto<Self> {
        lakers_crypto_rustcrypto::Crypto::new(Self(Random(self.0.0 ^ 0xaaaa)))
    }
}

impl rand_core::RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill(out);
        Ok(())
    }
}

impl rand_core::CryptoRng for Chance {}

/// One side: its key and what the other knows of it.
struct Side {
    private: [u8; 32],
    kid: Vec<u8>,
    ccs: Vec<u8>,
    by_value: bool,
    id: Vec<u8>,
}

impl Side {
    fn new(chance: &mut Chance) -> Result<Self, Failure> {
        let mut private = [0; 32];
        chance.fill(&mut private);
        let key = RustKey::new(Curve::P256, &Secret::new(private))?;
        let kid = chance.bytes(1, 5);
        let subject = "stockade".get(..chance.0.below(9)).unwrap_or_default();
        let by_value = chance.0.below(2) == 0;
        let public = match key.public() {
            // lakers writes the length of a MAC's context in one byte: a credential by value, which is in it twice, must be short.
            PublicKey::P256 { x, .. } if by_value => PublicKey::P256 { x, y: Y::Unknown },
            public => public,
        };
        let mut buffer = [0; 160];
        Ok(Self {
            private,
            ccs: credential::ccs(&mut buffer, Some(subject), Some(&kid), &public)?.to_vec(),
            kid,
            by_value,
            id: chance.bytes(0, 8),
        })
    }

    fn key(&self) -> Result<RustKey, Failure> {
        Ok(RustKey::new(Curve::P256, &Secret::new(self.private))?)
    }

    fn credential(&self) -> Result<Credential<'_>, Failure> {
        Ok(Credential::read(&self.ccs)?)
    }

    fn id_cred(&self) -> IdCred<'_> {
        if self.by_value {
            IdCred::Ccs(&self.ccs)
        } else {
            IdCred::Kid(&self.kid)
        }
    }

    fn is_named(&self, id_cred: &IdCred<'_>) -> Result<(), Failure> {
        if *id_cred == self.id_cred() {
            Ok(())
        } else {
            Err("another credential was named".into())
        }
    }

    fn theirs(&self) -> Result<lakers::Credential, Failure> {
        lakers::Credential::parse_ccs(&self.ccs).map_err(failed)
    }

    fn transfer(&self) -> CredentialTransfer {
        if self.by_value {
            CredentialTransfer::ByValue
        } else {
            CredentialTransfer::ByReference
        }
    }

    fn connection(&self) -> Result<lakers::ConnId, Failure> {
        lakers::ConnId::from_slice(&self.id).ok_or_else(|| "lakers has no such identifier".into())
    }
}

/// Two sides that differ in all that must differ.
fn sides(chance: &mut Chance) -> Result<(Side, Side), Failure> {
    let initiator = Side::new(chance)?;
    let mut responder = Side::new(chance)?;
    while responder.id == initiator.id {
        responder.id = chance.bytes(0, 8);
    }
    Ok((initiator, responder))
}

/// An item for each message, or none: of lakers' labels, which end at 23.
struct Extra {
    label: u16,
    value: Option<Vec<u8>>,
}

impl Extra {
    fn all(chance: &mut Chance) -> [Option<Self>; 4] {
        std::array::from_fn(|_| {
            (chance.0.below(2) == 0).then(|| Self {
                label: u16::try_from(chance.0.below(23)).unwrap_or_default() + 1,
                value: (chance.0.below(2) == 0).then(|| chance.bytes(0, 40)),
            })
        })
    }

    fn ours(item: Option<&Self>) -> Vec<EadItem<'_>> {
        let item = item.map(|it| EadItem {
            label: it.label.into(),
            critical: false,
            value: it.value.as_deref(),
        });
        item.into_iter().collect()
    }

    /// lakers takes the value as it is encoded.
    fn theirs(item: Option<&Self>) -> Option<EADItem> {
        item.map(|it| EADItem {
            label: it.label,
            is_critical: false,
            value: it.value.as_ref().and_then(|value| {
                let mut buffer = [0; 64];
                let mut writer = Writer::new(&mut buffer);
                writer.bytes(value);
                EdhocMessageBuffer::new_from_slice(writer.finish().ok()?).ok()
            }),
        })
    }
}

fn failed(error: impl std::fmt::Debug) -> Failure {
    format!("lakers: {error:?}").into()
}

fn buffer(message: &[u8]) -> Result<EdhocMessageBuffer, Failure> {
    EdhocMessageBuffer::new_from_slice(message).map_err(failed)
}

fn same(what: &str, ours: &[u8], theirs: &[u8]) -> Result<(), Failure> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what} differs").into())
    }
}

fn they_initiate(chance: &mut Chance) -> Result<(), Failure> {
    let (initiator, responder) = sides(chance)?;
    let extra = Extra::all(chance);
    let [ead_1, ead_2, ead_3, ead_4] = extra.each_ref().map(Option::as_ref);
    let mut crypto = chance.ours();
    let mut them = EdhocInitiator::new(
        chance.theirs(),
        EDHOCMethod::StatStat,
        EDHOCSuite::CipherSuite2,
    );
    them.set_identity(initiator.private, initiator.theirs()?);
    let (them, message_1) = them
        .prepare_message_1(Some(initiator.connection()?), &Extra::theirs(ead_1))
        .map_err(failed)?;

    let accepts = Accepts {
        methods: &[Method::StaticStatic],
        suites: SuiteSet::of(&[Suite::S2]),
        understood: &[],
    };
    let got = GotMessage1::read(message_1.as_slice(), &accepts)?;
    same("C_I", got.c_i().as_bytes(), &initiator.id)?;
    let key = responder.key()?;
    let own = Identity {
        id_cred: responder.id_cred(),
        credential: responder.credential()?,
        key: &key,
    };
    let mut out = [0; 512];
    let c_r = ConnectionId::new(&responder.id)?;
    let (wait, message_2) = got.message_2(&mut crypto, &own, c_r, &Extra::ours(ead_2), &mut out)?;

    let message_2 = buffer(message_2)?;
    let (them, c_r, id_cred, _) = them.parse_message_2(&message_2).map_err(failed)?;
    same("C_R", &responder.id, c_r.as_slice())?;
    let known = credential_check_or_fetch(Some(responder.theirs()?), id_cred).map_err(failed)?;
    let them = them.verify_message_2(known).map_err(failed)?;
    let (them, message_3, _) = them
        .prepare_message_3(initiator.transfer(), &Extra::theirs(ead_3))
        .map_err(failed)?;

    let mut message_3 = message_3.as_slice().to_vec();
    let got = wait.message_3(&mut crypto, &mut message_3, &[])?;
    initiator.is_named(got.id_cred())?;
    let (mut ended, fourth) = got.verify(
        &mut crypto,
        &initiator.credential()?,
        &own.credential,
        &mut [],
    )?;
    let message_4 = fourth.message_4(&mut crypto, &Extra::ours(ead_4), &mut out)?;
    let message_4 = buffer(message_4)?;
    let (mut them, _) = them.process_message_4(&message_4).map_err(failed)?;
    for update in [None, Some(b"update")] {
        if let Some(context) = update {
            ended.key_update(&mut crypto, context)?;
            them.edhoc_key_update(context);
        }
        exported(&ended, &mut crypto, |label, context, length| {
            them.edhoc_exporter(label, context, length).to_vec()
        })?;
    }
    Ok(())
}

fn we_initiate(chance: &mut Chance) -> Result<(), Failure> {
    let (initiator, responder) = sides(chance)?;
    let extra = Extra::all(chance);
    let [ead_1, ead_2, ead_3, ead_4] = extra.each_ref().map(Option::as_ref);
    let mut crypto = chance.ours();
    let mut out = [0; 512];
    let proposal = Proposal {
        method: Method::StaticStatic,
        suites: &[Suite::S2],
        c_i: ConnectionId::new(&initiator.id)?,
        ead_1: &Extra::ours(ead_1),
    };
    let (wait, message_1) = Initiator::start(&mut crypto, &proposal, &mut out)?;

    let them = EdhocResponder::new(
        chance.theirs(),
        EDHOCMethod::StatStat,
        responder.private,
        responder.theirs()?,
    );
    let (them, c_i, _) = them
        .process_message_1(&buffer(message_1)?)
        .map_err(failed)?;
    same("C_I", &initiator.id, c_i.as_slice())?;
    let (them, message_2) = them
        .prepare_message_2(
            responder.transfer(),
            Some(responder.connection()?),
            &Extra::theirs(ead_2),
        )
        .map_err(failed)?;

    let mut message_2 = message_2.as_slice().to_vec();
    let got = wait.message_2(&mut crypto, &mut message_2, &[])?;
    responder.is_named(got.id_cred())?;
    let key = initiator.key()?;
    let own = Identity {
        id_cred: initiator.id_cred(),
        credential: initiator.credential()?,
        key: &key,
    };
    let verified = got.verify(&mut crypto, &responder.credential()?, &own, &mut [])?;
    let (mut ended, fourth, message_3) =
        verified.message_3(&mut crypto, &Extra::ours(ead_3), &mut out)?;

    let message_3 = buffer(message_3)?;
    let (them, id_cred, _) = them.parse_message_3(&message_3).map_err(failed)?;
    let known = credential_check_or_fetch(Some(initiator.theirs()?), id_cred).map_err(failed)?;
    let (them, _) = them.verify_message_3(known).map_err(failed)?;
    let (mut them, message_4) = them
        .prepare_message_4(&Extra::theirs(ead_4))
        .map_err(failed)?;
    let mut message_4 = message_4.as_slice().to_vec();
    fourth.message_4(&mut crypto, &mut message_4, &[])?;
    for update in [None, Some(b"update")] {
        if let Some(context) = update {
            ended.key_update(&mut crypto, context)?;
            them.edhoc_key_update(context);
        }
        exported(&ended, &mut crypto, |label, context, length| {
            them.edhoc_exporter(label, context, length).to_vec()
        })?;
    }
    Ok(())
}

/// Both sides' keys are the same.
fn exported<R: FnMut(&mut [u8]) -> Result<(), CryptoError>>(
    ended: &Established,
    crypto: &mut RustCrypto<R>,
    mut theirs: impl FnMut(u8, &[u8], usize) -> Vec<u8>,
) -> Result<(), Failure> {
    for (label, context, length) in EXPORTS {
        let mut ours = vec![0; length];
        ended.exporter(crypto, label.into(), context, &mut ours)?;
        let theirs = theirs(label, context, length);
        same(
            "an exported key",
            &ours,
            theirs.get(..length).unwrap_or_default(),
        )?;
    }
    Ok(())
}
