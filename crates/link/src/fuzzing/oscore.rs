//! OSCORE: the option, what is inside of requests and responses, and a server that is restarted, lied to and repeated to.

use crate::{
    coap::{
        message::{Builder, Code, Message, Token, Type},
        option,
    },
    crypto::{Aead, Crypto as _, CryptoError, Secret, rust::RustCrypto},
    oscore::{Asked, Context, Header, Id, Kept, NotKept, Outside, Refused, Secrets, To},
};

type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;

fn crypto() -> Crypto {
    RustCrypto::new(|_| Err(CryptoError::Failed))
}

/// A context of RFC 8613, appendix C.1, of the client or of the server.
fn context(crypto: &mut Crypto, client: bool) -> Option<Context> {
    let (none, one) = (Id::default(), Id::new(&[1])?);
    let secrets = Secrets {
        master_secret: Secret::new([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        master_salt: Secret::new([0x9e, 0x7c, 0xa9, 0x22, 0x23, 0x78, 0x63, 0x40]),
        sender_id: if client { none } else { one },
        recipient_id: if client { one } else { none },
        aead: Aead::Ccm16Tag64,
    };
    Context::derive(crypto, &secrets, None).ok()
}

/// The value of an OSCORE option: what is read is all there was.
pub fn oscore_option(data: &[u8]) {
    if let Some(header) = Header::parse(data) {
        let mut buffer = [0; 520];
        assert_eq!(header.write(&mut buffer), Ok(data));
    }
}

/// A datagram for a server; and a plaintext, encrypted as the client would.
pub fn oscore_request(data: &[u8]) {
    const KEY: [u8; 16] = 0xf091_0ed7_295e_6ad4_b54f_c793_1543_02ff_u128.to_be_bytes();
    inside(data, false, &KEY, &[0x09, 0]);
}

/// A datagram for a client that asked; and a plaintext, encrypted as the server would.
pub fn oscore_response(data: &[u8]) {
    const KEY: [u8; 16] = 0xffb1_4e09_3c94_c9ca_c947_1648_b4f9_8710_u128.to_be_bytes();
    inside(data, true, &KEY, &[]);
}

fn inside(data: &[u8], client: bool, key: &[u8; 16], value: &[u8]) {
    const NONCE: [u8; 13] = [
        0x46, 0x22, 0xd4, 0xdd, 0x6d, 0x94, 0x41, 0x68, 0xee, 0xfb, 0x54, 0x98, 0x7c,
    ];
    const AAD: &[u8] = b"\x83\x68Encrypt0\x40\x48\x85\x01\x81\x0a\x40\x41\x00\x40";
    let mut crypto = crypto();
    let mut raw = [0; 1024];
    let mut sealed = [0; 1100];
    let Some(datagram) = raw.get_mut(..data.len()) else {
        return;
    };
    datagram.copy_from_slice(data);
    read(&mut crypto, client, datagram);
    let code = if client { Code::CHANGED } else { Code::POST };
    let mut builder = Builder::new(&mut sealed, Type::Confirmable, code, 1, &Token::default());
    builder.option(option::OSCORE, value);
    let Ok((before, space)) = builder.payload_space() else {
        return;
    };
    let length = data.len().saturating_add(8);
    let Some(buffer) = space.get_mut(..length) else {
        return;
    };
    for (place, byte) in buffer.iter_mut().zip(data) {
        *place = *byte;
    }
    let done = crypto.seal(Aead::Ccm16Tag64, key, &NONCE, AAD, buffer);
    assert_eq!(done, Ok(()));
    let sealed = sealed.get_mut(..before.saturating_add(length));
    let authentic = read(&mut crypto, client, sealed.unwrap_or_default());
    // A code at least: what is empty has no tag of its own to be wrong.
    assert!(authentic || data.is_empty());
}

/// Whether the message is authentic.
fn read(crypto: &mut Crypto, client: bool, datagram: &mut [u8]) -> bool {
    let Some(mut context) = context(crypto, client) else {
        return false;
    };
    let outcome = if client {
        let Some((_, mut asked)) = ask(crypto, &mut context, &[], &mut [0; 64]) else {
            return false;
        };
        let result = context.unprotect_response(crypto, &mut asked, datagram, 0);
        result.map(|it| assert!(it.inner.code.is_response() && it.order.is_none()))
    } else {
        let result = context.unprotect_request(crypto, datagram, 0);
        result.map(|it| assert!(it.inner.code.is_request()))
    };
    match outcome {
        Ok(()) | Err(Refused::Malformed) => true,
        Err(_) => false,
    }
}

fn ask(
    crypto: &mut Crypto,
    client: &mut Context,
    echo: &[u8],
    out: &mut [u8],
) -> Option<(usize, Asked)> {
    let mut plain = [0; 32];
    let mut builder = Builder::new(
        &mut plain,
        Type::Confirmable,
        Code::GET,
        1,
        &Token::default(),
    );
    if !echo.is_empty() {
        builder.option(option::ECHO, echo);
    }
    let plain = Message::parse(builder.finish().ok()?).ok()?;
    client
        .protect_request(crypto, &plain, Outside::default(), 0, out)
        .ok()
}

/// What survives a restart.
struct Flash(u64);

impl Kept for Flash {
    fn store(&mut self, next: u64) -> Result<(), NotKept> {
        self.0 = next;
        Ok(())
    }
}

/// A request that was sent, and whether the server acted on it.
struct Sent {
    datagram: [u8; 64],
    length: usize,
    asked: Asked,
    accepted: bool,
}

/// Requests of a script.
const REQUESTS: usize = 32;

/// Two ends, what was sent, and the last Echo the client was given.
struct Ends {
    crypto: Crypto,
    client: Context,
    server: Context,
    kept: [Flash; 2],
    sent: [Option<Sent>; REQUESTS],
    count: usize,
    echo: [u8; 5],
    echo_length: usize,
}

impl Ends {
    fn new() -> Option<Self> {
        let mut crypto = crypto();
        Some(Self {
            client: context(&mut crypto, true)?.kept(),
            server: context(&mut crypto, false)?.kept(),
            crypto,
            kept: [Flash(0), Flash(0)],
            sent: [const { None }; REQUESTS],
            count: 0,
            echo: [0; 5],
            echo_length: 0,
        })
    }

    fn step(&mut self, operation: u8, argument: u8) -> Option<()> {
        let [of_client, of_server] = &mut self.kept;
        self.client.keep_ahead(of_client).ok()?;
        self.server.keep_ahead(of_server).ok()?;
        match operation % 8 {
            0 | 1 => {
                let place = self.sent.get_mut(self.count)?;
                let mut datagram = [0; 64];
                let echo = self.echo.get(..self.echo_length)?;
                let (length, asked) = ask(&mut self.crypto, &mut self.client, echo, &mut datagram)?;
                *place = Some(Sent {
                    datagram,
                    length,
                    asked,
                    accepted: false,
                });
                self.count = self.count.saturating_add(1);
            }
            2 => self.server = context(&mut self.crypto, false)?.resumed(of_server.0),
            3 => self.client = context(&mut self.crypto, true)?.resumed(of_client.0),
            kind => {
                let index = usize::from(argument).checked_rem(self.count)?;
                self.deliver(index, (kind == 4).then_some(argument | 1))?;
            }
        }
        Some(())
    }

    /// Delivers a request, its last byte, of the tag, damaged if need be; and the challenge it may be answered with.
    fn deliver(&mut self, index: usize, damage: Option<u8>) -> Option<()> {
        let one = self.sent.get_mut(index)?.as_mut()?;
        let mut datagram = one.datagram;
        let datagram = datagram.get_mut(..one.length)?;
        *datagram.last_mut()? ^= damage.unwrap_or_default();
        let crypto = &mut self.crypto;
        match self.server.unprotect_request(crypto, datagram, 0) {
            Ok(_) => {
                assert!(damage.is_none() && !one.accepted, "acted on twice");
                one.accepted = true;
            }
            Err(Refused::NotFresh(owed)) => {
                assert!(damage.is_none(), "damaged");
                let to = To {
                    kind: Type::Acknowledgement,
                    id: 1,
                    token: Token::default(),
                };
                let mut out = [0; 64];
                let challenge = self.server.challenge(crypto, owed, to, 0, &mut out);
                let answer = out.get_mut(..challenge.ok()?)?;
                let answer = self
                    .client
                    .unprotect_response(crypto, &mut one.asked, answer, 0);
                let answer = answer.ok()?;
                let echo = answer.inner.body.get(option::ECHO)?;
                self.echo_length = echo.len();
                self.echo.get_mut(..echo.len())?.copy_from_slice(echo);
            }
            Err(_) => {}
        }
        Some(())
    }
}

/// A script of sending, delivering, damaging and restarting: no request is acted on twice, whatever happens, and no damaged one.
pub fn oscore_server(data: &[u8]) {
    let Some(mut ends) = Ends::new() else { return };
    for step in data.chunks_exact(2).take(200) {
        if let &[operation, argument] = step {
            let _ = ends.step(operation, argument);
        }
    }
}
