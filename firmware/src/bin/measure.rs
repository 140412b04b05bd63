//! What the link costs a Cortex-M4: instructions and stack of each step, for `cargo xtask bench link`.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, Ordering};

use stockade_firmware::step::Step;
use stockade_firmware::{board, host};
use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::credential::{Credential, IdCred, ccs};
use stockade_link::crypto::rust::{RustCrypto, RustKey};
use stockade_link::crypto::{Crypto, CryptoError, Curve, Secret};
use stockade_link::edhoc::{
    Accepts, ConnectionId, GotMessage1, Identity, Initiator, Method, Proposal, Suite, SuiteSet,
};
use stockade_link::oscore::{Context, Outside};

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    board::start();
    board::under_test();
    let mut next = 0_u8;
    // What the bytes are does not change the cost.
    let mut crypto = RustCrypto::new(move |out: &mut [u8]| {
        for byte in out {
            next = next.wrapping_add(1);
            *byte = next;
        }
        Ok::<_, CryptoError>(())
    });
    if measure(&mut crypto).is_none() {
        host::print("a step failed\n");
        host::exit(1);
    }
    // Once more in one go: a step's own count leaves out what lives from one to the next.
    WHOLE.store(true, Ordering::Relaxed);
    let whole = Step::begin();
    measure(&mut crypto);
    whole.end("whole");
    host::exit(0)
}

/// Whether the steps are measured as one.
static WHOLE: AtomicBool = AtomicBool::new(false);

/// Measures one step.
fn step<T>(name: &str, work: impl FnOnce() -> T) -> T {
    if WHOLE.load(Ordering::Relaxed) {
        return work();
    }
    let step = Step::begin();
    let out = work();
    step.end(name);
    out
}

#[inline(never)]
fn measure<C: Crypto<PrivateKey = RustKey>>(crypto: &mut C) -> Option<()> {
    let keys = [1, 2].map(|seed| RustKey::new(Curve::P256, &Secret::new([seed; 32])));
    let [Ok(device), Ok(gateway)] = &keys else {
        return None;
    };
    let mut buffers = [[0; 128]; 2];
    let [first, second] = &mut buffers;
    let device = identity(first, 1, device)?;
    let gateway = identity(second, 2, gateway)?;
    let proposal = Proposal {
        method: Method::StaticStatic,
        suites: &[Suite::S2],
        c_i: ConnectionId::new(&[1]).ok()?,
        ead_1: &[],
    };
    let accepts = Accepts {
        methods: &[Method::StaticStatic],
        suites: SuiteSet::of(&[Suite::S2]),
        understood: &[],
    };
    let (mut one, mut two, mut three) = ([0; 64], [0; 64], [0; 64]);
    let (initiator, message_1) = step("initiator-message-1", || {
        Initiator::start(crypto, &proposal, &mut one).ok()
    })?;
    let (responder, message_2) = step("responder-message-2", || {
        let got = GotMessage1::read(message_1, &accepts).ok()?;
        let name = ConnectionId::new(&[2]).ok()?;
        got.message_2(crypto, &gateway, name, &[], &mut two).ok()
    })?;
    let length = message_2.len();
    let (ours, message_3) = step("initiator-message-3", || {
        let got = initiator
            .message_2(crypto, two.get_mut(..length)?, &[])
            .ok()?;
        let verified = got
            .verify(crypto, &gateway.credential, &device, &mut [])
            .ok()?;
        let (established, _, message) = verified.message_3(crypto, &[], &mut three).ok()?;
        let secrets = established.oscore(crypto).ok()?;
        Some((Context::derive(crypto, &secrets, None).ok()?, message.len()))
    })?;
    let theirs = step("responder-finish", || {
        let got = responder
            .message_3(crypto, three.get_mut(..message_3)?, &[])
            .ok()?;
        let (established, _) = got
            .verify(crypto, &device.credential, &gateway.credential, &mut [])
            .ok()?;
        let secrets = established.oscore(crypto).ok()?;
        Context::derive(crypto, &secrets, None).ok()
    })?;
    messages(crypto, ours, theirs)
}

#[inline(never)]
fn messages<C: Crypto>(crypto: &mut C, mut ours: Context, mut theirs: Context) -> Option<()> {
    let mut plain = [0; 64];
    let mut builder = Builder::new(
        &mut plain,
        Type::Confirmable,
        Code::POST,
        1,
        &Token::default(),
    );
    builder.path("temperature");
    let plain = Message::parse(builder.payload(&[0x20; 32]).ok()?).ok()?;
    let mut out = [0; 128];
    let length = step("oscore-protect-32", || {
        let sealed = ours.protect_request(crypto, &plain, Outside::default(), 0, &mut out);
        Some(sealed.ok()?.0)
    })?;
    let good = step("oscore-unprotect-32", || {
        let datagram = out.get_mut(..length)?;
        Some(
            theirs
                .unprotect_request(crypto, datagram, 0)
                .ok()?
                .inner
                .body
                .payload()
                == [0x20; 32],
        )
    })?;
    good.then_some(())
}

fn identity<'b>(buffer: &'b mut [u8], kid: u8, key: &'b RustKey) -> Option<Identity<'b, RustKey>> {
    let kid_and_rest = ccs(buffer, None, Some(&[kid]), &key.public()).ok()?;
    let credential = Credential::read(kid_and_rest).ok()?;
    Some(Identity {
        id_cred: IdCred::Kid(credential.kid?),
        credential,
        key,
    })
}
