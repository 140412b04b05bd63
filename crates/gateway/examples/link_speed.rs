//! What the link costs the gateway on one core, as a line of JSON: for `cargo xtask bench link`.
//!
//! Handshakes are of method 3 and suite 2 with both credentials by kid; only the gateway's part is counted, from `message_1` to the
//! OSCORE context. Messages are requests with 32 bytes of payload, protected by one end and read by the other.
#![expect(clippy::print_stdout, reason = "its one line is what it is for")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use stockade_gateway::link::crypto::{AwsKey, AwsLc};
use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::coap::option;
use stockade_link::credential::{Credential, IdCred, ccs};
use stockade_link::crypto::{Curve, PublicKey, Secret, Y};
use stockade_link::edhoc::{
    Accepts, ConnectionId, GotMessage1, Identity, Initiator, Method, Proposal, Suite, SuiteSet,
};
use stockade_link::oscore::{Context, Outside};

/// How long each is done.
const LONG: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    let mut crypto = AwsLc::default();
    let (mut spent, mut handshakes) = (Duration::ZERO, 0_u32);
    let begun = Instant::now();
    let (mut wire, mut contexts) = ([0; 3], None);
    while begun.elapsed() < LONG {
        let done = handshake(&mut crypto)?;
        spent += done.responder;
        handshakes += 1;
        wire = done.wire;
        contexts = Some(done.contexts);
    }
    let (mut device, mut gateway) = contexts.context("no handshake")?;
    let (mut messages, begun) = (0_u32, Instant::now());
    while begun.elapsed() < LONG {
        message(&mut crypto, &mut device, &mut gateway)?;
        messages += 1;
    }
    println!(
        "{}",
        serde_json::json!({
            "handshakes": f64::from(handshakes) / spent.as_secs_f64(),
            "messages": f64::from(messages) / begun.elapsed().as_secs_f64(),
            "wire": wire,
            "context": size_of::<Context>(),
        })
    );
    Ok(())
}

struct Done {
    responder: Duration,
    wire: [usize; 3],
    contexts: (Context, Context),
}

/// One side's key and the credential that carries it.
fn identity(kid: u8) -> Result<(AwsKey, Vec<u8>)> {
    let key = AwsKey::new(Curve::P256, &Secret::new([kid.wrapping_add(1); 32]))?;
    let PublicKey::P256 { x, .. } = key.public()? else {
        return Err(anyhow!("not a key of P-256"));
    };
    let public = PublicKey::P256 { x, y: Y::Unknown };
    let mut buffer = [0; 128];
    let credential =
        ccs(&mut buffer, None, Some(&[kid]), &public).map_err(|_| anyhow!("too long"))?;
    Ok((key, credential.to_vec()))
}

fn handshake(crypto: &mut AwsLc) -> Result<Done> {
    let (initiator_key, initiator_ccs) = identity(0x0a)?;
    let (gateway_key, gateway_ccs) = identity(0)?;
    let initiator = Identity {
        id_cred: IdCred::Kid(&[0x0a]),
        credential: Credential::read(&initiator_ccs)?,
        key: &initiator_key,
    };
    let own = Identity {
        id_cred: IdCred::Kid(&[0]),
        credential: Credential::read(&gateway_ccs)?,
        key: &gateway_key,
    };
    let (mut first, mut second, mut third, mut scratch) = ([0; 128], [0; 256], [0; 256], [0; 256]);
    let proposal = Proposal {
        method: Method::StaticStatic,
        suites: &[Suite::S2],
        c_i: ConnectionId::new(&[1])?,
        ead_1: &[],
    };
    let (waiting, message_1) = Initiator::start(crypto, &proposal, &mut first)?;

    let begun = Instant::now();
    let accepts = Accepts {
        methods: &Method::ALL,
        suites: SuiteSet::of(&Suite::ALL),
        understood: &[],
    };
    let got = GotMessage1::read(message_1, &accepts)?;
    let (gateway, message_2) =
        got.message_2(crypto, &own, ConnectionId::new(&[2])?, &[], &mut second)?;
    let mut responder = begun.elapsed();

    let mut message_2 = message_2.to_vec();
    let mut wire = [message_1.len(), message_2.len(), 0];
    let got = waiting.message_2(crypto, &mut message_2, &[])?;
    let verified = got.verify(crypto, &own.credential, &initiator, &mut scratch)?;
    let (established, _, message_3) = verified.message_3(crypto, &[], &mut third)?;
    let secrets = established.oscore(crypto)?;
    let device = Context::derive(crypto, &secrets, None)?;
    let mut message_3 = message_3.to_vec();
    wire[2] = message_3.len();

    let begun = Instant::now();
    let got = gateway.message_3(crypto, &mut message_3, &[])?;
    let (established, _) =
        got.verify(crypto, &initiator.credential, &own.credential, &mut scratch)?;
    let secrets = established.oscore(crypto)?;
    let gateway = Context::derive(crypto, &secrets, None)?;
    responder += begun.elapsed();
    Ok(Done {
        responder,
        wire,
        contexts: (device, gateway),
    })
}

fn message(crypto: &mut AwsLc, device: &mut Context, gateway: &mut Context) -> Result<()> {
    let (mut plain, mut protected) = ([0; 128], [0; 192]);
    let token = Token::new(&[7]).context("a token")?;
    let mut builder = Builder::new(&mut plain, Type::Confirmable, Code::POST, 1, &token);
    builder.option(option::URI_PATH, b"t");
    let plain = builder.payload(&[7; 32])?;
    let message = Message::parse(plain)?;
    let (length, _) =
        device.protect_request(crypto, &message, Outside::default(), 0, &mut protected)?;
    let datagram = protected.get_mut(..length).context("too long")?;
    let request = gateway.unprotect_request(crypto, datagram, 0)?;
    ensure!(request.inner.body.payload() == [7; 32], "another payload");
    Ok(())
}
