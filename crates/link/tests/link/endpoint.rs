//! Devices' endpoints with a gateway made of the link's parts, and with each other, over a network that a test rules.

use std::collections::{BTreeMap, VecDeque};

use stockade_link::cbor::Writer;
use stockade_link::coap::block::{Block, slice};
use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::coap::option;
use stockade_link::credential::{Credential, IdCred, ccs};
use stockade_link::crypto::rust::{RustCrypto, RustKey};
use stockade_link::crypto::{CryptoError, Curve, Secret};
use stockade_link::edhoc::{
    self, Accepts, ConnectionId, GotMessage1, Method, Suite, SuiteSet, WaitMessage3,
};
use stockade_link::endpoint::{
    Endpoint, Event, Failure, Identity, Kept, NotTaken, Output, PeerId, Place, Record,
};
use stockade_link::grant::{GRANT_MAX, Issue, Scope};
use stockade_link::oscore::{Context, Owed, Refused, Request, To, message_3, refuse};

use crate::random::Random;

pub(crate) const SIZE: usize = 512;
pub(crate) const GATEWAY: Place = Place(0);
const NEIGHBOUR: Place = Place(1);
const TIME: u64 = 1_800_000_000;

pub(crate) type Source = Box<dyn FnMut(&mut [u8]) -> Result<(), CryptoError>>;
pub(crate) type Rust = RustCrypto<Source>;
pub(crate) type Device = Endpoint<'static, Rust, Flash, 3, SIZE>;

pub(crate) fn crypto(seed: u64) -> Rust {
    let mut random = Random(seed | 1);
    RustCrypto::new(Box::new(move |out: &mut [u8]| {
        out.fill_with(|| u8::try_from(random.below(256)).unwrap());
        Ok(())
    }))
}

/// A key, and its credential by this name.
pub(crate) fn party(seed: u8, name: &str) -> (RustKey, Credential<'static>) {
    let key = RustKey::new(Curve::P256, &Secret::new([seed; 32])).unwrap();
    let mut buffer = [0; 192];
    let bytes = ccs(&mut buffer, Some(name), Some(&[seed]), &key.public()).unwrap();
    let bytes: &'static [u8] = bytes.to_vec().leak();
    (key, Credential::read(bytes).unwrap())
}

/// Memory that outlasts an endpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flash(std::rc::Rc<std::cell::RefCell<BTreeMap<u8, Vec<u8>>>>);

impl Kept for Flash {
    fn load(&mut self, record: Record, out: &mut [u8]) -> Option<usize> {
        let all = self.0.borrow();
        let bytes = all.get(&(record as u8))?;
        out[..bytes.len()].copy_from_slice(bytes);
        Some(bytes.len())
    }

    fn store(&mut self, record: Record, bytes: &[u8]) {
        self.0.borrow_mut().insert(record as u8, bytes.to_vec());
    }
}

pub(crate) fn device(seed: u8, name: &'static str, flash: &Flash, now: u64) -> Device {
    let (key, credential) = party(seed, name);
    let us = Identity {
        name,
        credential,
        key,
        gateway: party(200, "gateway").1,
        authority: party(201, "authority").0.public(),
    };
    Endpoint::new(
        us,
        crypto(u64::from(seed) + now),
        flash.clone(),
        (GATEWAY, now),
    )
}

fn grant(from: (&str, u8), to: &str, epoch: u64, scope: &[(&str, u8)]) -> Vec<u8> {
    let (authority, _) = party(201, "authority");
    let scope = Scope::of(scope.iter().copied()).unwrap();
    let key = party(from.1, from.0).0.public();
    let issue = Issue {
        subject: from.0,
        audience: to,
        issued: TIME,
        expires: TIME + 86_400,
        key: &key,
        kid: Some(&[from.1]),
        scope: &scope,
        epoch,
    };
    let mut out = [0; GRANT_MAX];
    issue
        .sign(&mut crypto(9), &authority, b"a", &mut out)
        .unwrap()
        .to_vec()
}

/// What the gateway says at `/grants`.
fn bundle(epoch: u64, grants: &[(Vec<u8>, &str, u8)]) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let mut writer = Writer::new(&mut buffer);
    writer.array(3).uint(TIME).uint(epoch).array(grants.len());
    for (grant, name, seed) in grants {
        let credential = party(*seed, name).1;
        writer
            .array(3)
            .bytes(grant)
            .bytes(credential.bytes)
            .text(name);
    }
    writer.finish().unwrap().to_vec()
}

/// A gateway as a device sees it: one device, everything allowed, what was posted remembered.
struct Gateway {
    crypto: Rust,
    waiting: Option<WaitMessage3<Rust>>,
    context: Option<Context>,
    bundle: Vec<u8>,
    posted: Vec<(String, Vec<u8>)>,
    observer: Option<(Token, Owed)>,
    handshakes: u32,
    by_value: u32,
    next: u16,
    /// The request that came last, and what was answered.
    last: Option<(u16, Vec<u8>)>,
}

impl Gateway {
    fn new(bundle: Vec<u8>) -> Self {
        Self {
            crypto: crypto(77),
            waiting: None,
            context: None,
            bundle,
            posted: Vec::new(),
            observer: None,
            handshakes: 0,
            by_value: 0,
            next: 1,
            last: None,
        }
    }

    fn name(&self) -> ConnectionId {
        ConnectionId::new(&[0x80, 1, u8::try_from(self.handshakes % 256).unwrap()]).unwrap()
    }

    fn received(&mut self, now: u64, datagram: &mut [u8]) -> Option<Vec<u8>> {
        let message = Message::parse(datagram).unwrap();
        let id = message.id;
        if !message.code.is_request() {
            return None;
        }
        if let Some((last, answer)) = &self.last
            && *last == id
        {
            return Some(answer.clone());
        }
        let answer = self.answer(now, datagram);
        self.last = Some((id, answer.clone()));
        Some(answer)
    }

    fn message_2(&mut self, message_1: &[u8], to: To) -> Vec<u8> {
        self.handshakes += 1;
        let accepts = Accepts {
            methods: &[Method::StaticStatic],
            suites: SuiteSet::of(&[Suite::S2]),
            understood: &[],
        };
        let got = GotMessage1::read(message_1, &accepts).unwrap();
        let (key, credential) = party(200, "gateway");
        let own = edhoc::Identity {
            id_cred: IdCred::Kid(&[200]),
            credential,
            key: &key,
        };
        let (mut buffer, mut out) = ([0; 256], [0; 256]);
        let name = self.name();
        let (state, message_2) = got
            .message_2(&mut self.crypto, &own, name, &[], &mut buffer)
            .unwrap();
        self.waiting = Some(state);
        let builder = Builder::new(&mut out, to.kind, Code::CHANGED, to.id, &to.token);
        builder.payload(message_2).unwrap().to_vec()
    }

    fn message_3(&mut self, state: WaitMessage3<Rust>, message_3: &[u8]) {
        let mut message_3 = message_3.to_vec();
        let got = state
            .message_3(&mut self.crypto, &mut message_3, &[])
            .unwrap();
        self.by_value += u32::from(matches!(got.id_cred(), IdCred::Ccs(_)));
        let (_, device) = party(1, "thermo-1/porch");
        let own = party(200, "gateway").1;
        let (established, _) = got
            .verify(&mut self.crypto, &device, &own, &mut [0; 512])
            .unwrap();
        let secrets = established.oscore(&mut self.crypto).unwrap();
        self.context = Some(Context::derive(&mut self.crypto, &secrets, None).unwrap());
    }

    fn answer(&mut self, now: u64, datagram: &mut [u8]) -> Vec<u8> {
        let mut out = [0; 1152];
        let message = Message::parse(datagram).unwrap();
        let to = To {
            kind: Type::Acknowledgement,
            id: message.id,
            token: message.token,
        };
        if message.body.path_is(".well-known/edhoc") {
            return self.message_2(&message.body.payload()[1..], to);
        }
        if let Some(message_3) = message_3(&message).unwrap()
            && let Some(state) = self.waiting.take()
        {
            self.message_3(state, message_3);
        }
        let result = match &mut self.context {
            Some(context) => context.unprotect_request(&mut self.crypto, datagram, now),
            None => Err(Refused::NoContext),
        };
        let Request { inner, mut owed } = match result {
            Ok(request) => request,
            Err(why) => {
                let length = refuse(&why, to, &mut out).unwrap();
                return out[..length].to_vec();
            }
        };
        let mut path = [0; 64];
        let path = inner.body.path(&mut path).unwrap();
        let mut plain = [0; 1152];
        let code = if inner.code == Code::POST {
            Code::CHANGED
        } else {
            Code::CONTENT
        };
        let mut builder = Builder::new(&mut plain, to.kind, code, to.id, &to.token);
        let mut payload = &[][..];
        if path == "grants" {
            let asked = inner.body.get(option::BLOCK2).and_then(Block::parse);
            if let Some((block, range)) = slice(self.bundle.len(), asked, 6).unwrap() {
                builder.uint(option::BLOCK2, block.value());
                payload = &self.bundle[range];
            }
        } else if inner.code == Code::POST {
            self.posted
                .push((path.to_owned(), inner.body.payload().to_vec()));
        } else if inner.body.get(option::OBSERVE).is_some() {
            builder.uint(option::OBSERVE, 0);
        }
        let observe = inner.body.get(option::OBSERVE).is_some();
        let plain = Message::parse(builder.payload(payload).unwrap()).unwrap();
        let context = self.context.as_mut().unwrap();
        let length = context
            .protect_response(&mut self.crypto, &mut owed, &plain, now, &mut out)
            .unwrap();
        if observe {
            self.observer = Some((to.token, owed));
        }
        out[..length].to_vec()
    }

    /// A command for the device.
    fn notify(&mut self, now: u64, payload: &[u8]) -> Vec<u8> {
        let (token, owed) = self.observer.as_mut().unwrap();
        let (mut plain, mut out) = ([0; 256], [0; 256]);
        self.next += 1;
        let mut builder = Builder::new(
            &mut plain,
            Type::Confirmable,
            Code::CONTENT,
            self.next,
            token,
        );
        builder.uint(option::OBSERVE, 1);
        let plain = Message::parse(builder.payload(payload).unwrap()).unwrap();
        let context = self.context.as_mut().unwrap();
        let length = context
            .protect_response(&mut self.crypto, owed, &plain, now, &mut out)
            .unwrap();
        out[..length].to_vec()
    }
}

/// What came of something, in words.
type Told = Vec<String>;

fn told(event: Option<Event<'_>>) -> Option<String> {
    let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    Some(match event? {
        Event::Response { code, body, .. } => format!("{code} {}", text(body.payload())),
        Event::Notified { body, .. } => format!("command {}", text(body.payload())),
        Event::Request { .. } => unreachable!("answered where it comes"),
    })
}

/// All that a device has to send, and what it tells.
fn drain(device: &mut Device, now: u64, told: &mut Told) -> VecDeque<(Place, Vec<u8>)> {
    let (mut all, mut out) = (VecDeque::new(), [0; SIZE]);
    while let Some(output) = device.poll(now, &mut out) {
        match output {
            Output::Send(place, length) => all.push_back((place, out[..length].to_vec())),
            Output::Failed(_, why) => told.push(format!("failed {why:?}")),
        }
    }
    all
}

/// Lets a device and the gateway talk until both are silent; `lose` tells which datagrams never arrive.
fn talk(
    device: &mut Device,
    gateway: &mut Gateway,
    now: u64,
    mut lose: impl FnMut() -> bool,
) -> Told {
    let mut words = Told::new();
    loop {
        let sent = drain(device, now, &mut words);
        if sent.is_empty() {
            return words;
        }
        for (place, mut datagram) in sent {
            assert_eq!(place, GATEWAY);
            if lose() {
                continue;
            }
            let Some(mut answer) = gateway.received(now, &mut datagram) else {
                continue;
            };
            if !lose() {
                words.extend(told(device.received(now, GATEWAY, &mut answer)));
            }
        }
    }
}

const fn never() -> bool {
    false
}

#[test]
fn a_reading_arrives_with_the_handshake_and_later_ones_without() {
    let mut gateway = Gateway::new(bundle(0, &[]));
    let flash = Flash::default();
    let mut device = device(1, "thermo-1/porch", &flash, 0);
    device
        .post(0, PeerId::GATEWAY, "temperature", b"21")
        .unwrap();
    assert_eq!(
        device.post(0, PeerId::GATEWAY, "x", b""),
        Err(NotTaken::Busy)
    );
    assert_eq!(talk(&mut device, &mut gateway, 0, never), ["2.04 "]);
    assert_eq!(gateway.posted, [("temperature".to_owned(), b"21".to_vec())]);
    assert_eq!(
        device.clock().least(5_000),
        TIME + 5,
        "the gateway has told the time"
    );
    device
        .post(1, PeerId::GATEWAY, "temperature", b"22")
        .unwrap();
    assert_eq!(talk(&mut device, &mut gateway, 1, never), ["2.04 "]);
    assert_eq!((gateway.handshakes, gateway.by_value), (1, 1));
}

#[test]
fn a_command_comes_when_it_is_given_and_a_forged_or_repeated_one_does_not() {
    let mut gateway = Gateway::new(bundle(0, &[]));
    let mut device = device(1, "thermo-1/porch", &Flash::default(), 0);
    device.observe(PeerId::GATEWAY, "command").unwrap();
    assert_eq!(talk(&mut device, &mut gateway, 0, never), Told::new());
    let notification = gateway.notify(5, b"faster");
    let event = told(device.received(5, GATEWAY, &mut notification.clone()));
    assert_eq!(event.unwrap(), "command faster");
    let sent = drain(&mut device, 5, &mut Told::new());
    assert_eq!(
        Message::parse(&sent[0].1).unwrap().kind,
        Type::Acknowledgement
    );
    assert!(
        device
            .received(6, GATEWAY, &mut notification.clone())
            .is_none(),
        "once"
    );
    let mut forged = gateway.notify(7, b"slower");
    let last = forged.last_mut().unwrap();
    *last ^= 1;
    assert!(device.received(7, GATEWAY, &mut forged).is_none());
}

#[test]
fn a_gateway_that_lost_its_sessions_gets_a_new_one_by_name() {
    let mut gateway = Gateway::new(bundle(0, &[]));
    let mut device = device(1, "thermo-1/porch", &Flash::default(), 0);
    device.observe(PeerId::GATEWAY, "command").unwrap();
    talk(&mut device, &mut gateway, 0, never);
    gateway.context = None;
    gateway.observer = None;
    device
        .post(10, PeerId::GATEWAY, "temperature", b"23")
        .unwrap();
    assert_eq!(talk(&mut device, &mut gateway, 10, never), ["2.04 "]);
    assert_eq!(
        (gateway.handshakes, gateway.by_value),
        (2, 1),
        "its name is enough"
    );
    assert!(
        gateway.observer.is_some(),
        "what was observed is observed again"
    );
}

#[test]
fn forged_refusals_cost_a_few_handshakes_and_no_more() {
    let mut gateway = Gateway::new(bundle(0, &[]));
    let mut device = device(1, "thermo-1/porch", &Flash::default(), 0);
    let mut now = 0;
    for _ in 0..100 {
        now += 1_000;
        let _maybe_busy = device.post(now, PeerId::GATEWAY, "temperature", b"1");
        for _ in 0..8 {
            for (_, datagram) in drain(&mut device, now, &mut Told::new()) {
                let message = Message::parse(&datagram).unwrap();
                if message.body.get(option::OSCORE).is_some() {
                    // Whatever is protected, somebody answers before the gateway does.
                    let to = To {
                        kind: Type::Acknowledgement,
                        id: message.id,
                        token: message.token,
                    };
                    let mut out = [0; 32];
                    let length = refuse(&Refused::NoContext, to, &mut out).unwrap();
                    assert!(device.received(now, GATEWAY, &mut out[..length]).is_none());
                }
                if let Some(mut answer) = gateway.received(now, &mut datagram.clone()) {
                    device.received(now, GATEWAY, &mut answer);
                }
            }
        }
    }
    assert!(
        gateway.handshakes <= 4,
        "{} handshakes in 100 seconds",
        gateway.handshakes
    );
    assert!(!gateway.posted.is_empty(), "and the right answers count");
}

#[test]
fn whatever_is_lost_each_reading_arrives_or_is_known_to_have_failed() {
    let mut random = Random(5);
    let mut gateway = Gateway::new(bundle(0, &[]));
    let mut device = device(1, "thermo-1/porch", &Flash::default(), 0);
    let (mut now, mut done, mut answered) = (0, 0, 0_u32);
    while done < 60 {
        let mut asked = device
            .post(now, PeerId::GATEWAY, "temperature", b"1")
            .is_ok();
        let deadline = now + 200_000;
        loop {
            let words = talk(&mut device, &mut gateway, now, || random.below(4) == 0);
            let arrived = words.iter().any(|word| word.starts_with("2.04"));
            if arrived || words.iter().any(|word| word.starts_with("failed")) {
                assert!(asked, "told twice");
                (asked, done, answered) = (false, done + 1, answered + u32::from(arrived));
            }
            now = device
                .next_wake(now)
                .unwrap_or(now + 1)
                .clamp(now + 1, now + 1_000);
            if !asked {
                break;
            }
            assert!(now < deadline, "it neither arrived nor failed");
        }
    }
    assert!(answered > 50, "{answered} of 60");
}

#[test]
fn a_gateway_that_is_silent_is_told_of_once_and_tried_seldom() {
    let mut device = device(1, "thermo-1/porch", &Flash::default(), 0);
    let (mut now, mut sent, mut words) = (0, 0, Told::new());
    while now < 3_600_000 {
        let _busy = device.post(now, PeerId::GATEWAY, "temperature", b"1");
        sent += drain(&mut device, now, &mut words).len();
        now = device
            .next_wake(now)
            .unwrap_or(now + 1_000)
            .max(now + 1_000);
    }
    assert!(
        words
            .iter()
            .all(|word| *word == format!("failed {:?}", Failure::TimedOut))
    );
    assert!(words.len() >= 10, "{words:?}");
    // At most 4 + 12 handshakes, each sent five times.
    assert!(sent <= 16 * 5, "{sent} datagrams in an hour");
}

/// Two devices beside each other: what each sends to its neighbour arrives there; requests to the second are answered by what `serve`
/// says.
fn neighbours(
    one: &mut Device,
    other: &mut Device,
    now: u64,
    mut change: impl FnMut(&mut Vec<u8>),
) -> (Told, Vec<String>) {
    let (mut words, mut asked) = (Told::new(), Vec::new());
    loop {
        let mut sent = drain(one, now, &mut words);
        let mut back = drain(other, now, &mut Told::new());
        if sent.is_empty() && back.is_empty() {
            return (words, asked);
        }
        for (place, mut datagram) in sent.drain(..) {
            if place == GATEWAY {
                // It is away.
                continue;
            }
            change(&mut datagram);
            if let Some(Event::Request { peer, method, body }) =
                other.received(now, NEIGHBOUR, &mut datagram)
            {
                let mut path = [0; 64];
                asked.push(format!("{method} {}", body.path(&mut path).unwrap()));
                other.respond(now, peer, Code::CHANGED, b"done").unwrap();
            }
        }
        for (_, mut datagram) in back.drain(..) {
            words.extend(told(one.received(now, NEIGHBOUR, &mut datagram)));
        }
    }
}

/// A camera that may sound a siren, both of which have been at the gateway.
fn camera_and_siren(epoch: u64, scope: &[(&str, u8)]) -> (Device, Device) {
    let grant = grant(("thermo-1/porch", 1), "siren-1/roof", epoch, scope);
    let siren = device(2, "siren-1/roof", &Flash::default(), 0);
    (camera_with(grant), siren)
}

/// A camera that believes that it may ask a siren with this grant.
fn camera_with(grant: Vec<u8>) -> Device {
    let mut gateway = Gateway::new(bundle(0, &[(grant, "siren-1/roof", 2)]));
    let mut camera = device(1, "thermo-1/porch", &Flash::default(), 0);
    camera
        .post(0, PeerId::GATEWAY, "temperature", b"1")
        .unwrap();
    talk(&mut camera, &mut gateway, 0, never);
    camera
}

/// POST, as a set of methods.
const POST: u8 = 0b10;

#[test]
fn a_device_with_a_grant_is_served_by_another_that_never_heard_of_it() {
    let (mut camera, mut siren) = camera_and_siren(0, &[("/siren/sound", POST)]);
    assert_eq!(
        camera.call(NEIGHBOUR, "siren-1/cellar"),
        Err(NotTaken::NotGranted)
    );
    let peer = camera.call(NEIGHBOUR, "siren-1/roof").unwrap();
    for now in [100, 200] {
        camera.post(now, peer, "siren/sound", b"on").unwrap();
        let (words, asked) = neighbours(&mut camera, &mut siren, now, |_| {});
        assert_eq!(
            (words, asked),
            (
                vec!["2.04 done".to_owned()],
                vec!["0.02 siren/sound".to_owned()]
            )
        );
    }
    // What the grant does not say is refused, inside of the session.
    camera.get(300, peer, "siren/sound").unwrap();
    let (words, asked) = neighbours(&mut camera, &mut siren, 300, |_| {});
    assert_eq!((words, asked), (vec!["4.03 ".to_owned()], vec![]));
    camera.post(400, peer, "siren/volume", b"0").unwrap();
    let (words, _) = neighbours(&mut camera, &mut siren, 400, |_| {});
    assert_eq!(words, ["4.03 "]);
    // A day later the grant is over, and nothing else is asked.
    let later = 90_000_000;
    camera.post(later, peer, "siren/sound", b"on").unwrap();
    let mut now = later;
    let mut asked = Vec::new();
    while now < later + 200_000 {
        asked.extend(neighbours(&mut camera, &mut siren, now, |_| {}).1);
        now += 1_000;
    }
    assert!(asked.is_empty());
}

#[test]
fn a_stolen_grant_and_one_for_another_device_give_nothing_and_do_not_stop_a_good_one() {
    let scope = [("/siren/sound", POST)];
    let (mut camera, mut siren) = camera_and_siren(0, &scope);
    let mut damaged = grant(("thermo-1/porch", 1), "siren-1/roof", 0, &scope);
    *damaged.last_mut().unwrap() ^= 1;
    let bad = [
        // Somebody else's, whose key the camera does not have; with its own name, and with the other's.
        grant(("thermo-1/porch", 3), "siren-1/roof", 0, &scope),
        grant(("thermo-1/hall", 3), "siren-1/roof", 0, &scope),
        // The camera's, but it is called something else in it: that is another credential.
        grant(("thermo-1/hall", 1), "siren-1/roof", 0, &scope),
        grant(("thermo-1/porch", 1), "siren-1/cellar", 0, &scope),
        damaged,
    ];
    for (grant, start) in bad.into_iter().zip((0..).step_by(200_000)) {
        let mut thief = camera_with(grant);
        let peer = thief.call(NEIGHBOUR, "siren-1/roof").unwrap();
        thief.post(start, peer, "siren/sound", b"on").unwrap();
        for now in (start..start + 100_000).step_by(1_000) {
            let (words, asked) = neighbours(&mut thief, &mut siren, now, |_| {});
            assert!(asked.is_empty(), "{asked:?}");
            assert!(
                words.iter().all(|word| word.starts_with("failed")),
                "{words:?}"
            );
        }
    }
    let peer = camera.call(NEIGHBOUR, "siren-1/roof").unwrap();
    camera.post(2_000_000, peer, "siren/sound", b"on").unwrap();
    let (_, asked) = neighbours(&mut camera, &mut siren, 2_000_000, |_| {});
    assert_eq!(asked, ["0.02 siren/sound"]);
}

#[test]
fn a_siren_that_restarts_is_called_again_and_one_that_revoked_is_not() {
    let (mut camera, mut siren) = camera_and_siren(3, &[("/siren/sound", POST)]);
    let peer = camera.call(NEIGHBOUR, "siren-1/roof").unwrap();
    camera.post(100, peer, "siren/sound", b"on").unwrap();
    assert_eq!(neighbours(&mut camera, &mut siren, 100, |_| {}).1.len(), 1);
    let flash = Flash::default();
    siren = device(2, "siren-1/roof", &flash, 7);
    camera.post(200, peer, "siren/sound", b"on").unwrap();
    assert_eq!(
        neighbours(&mut camera, &mut siren, 200, |_| {}).0,
        ["2.04 done"]
    );
    // The gateway has told the siren that grants of an epoch below 4 are revoked; it remembers over a restart.
    let mut clock = stockade_link::grant::Clock::default();
    clock.tell(TIME, 4, 0);
    let mut record = [0; stockade_link::grant::Clock::KEPT];
    let length = clock.keep(0, &mut record);
    flash.clone().store(Record::Clock, &record[..length]);
    siren = device(2, "siren-1/roof", &flash, 9);
    camera.post(300, peer, "siren/sound", b"on").unwrap();
    assert!(
        neighbours(&mut camera, &mut siren, 300, |_| {})
            .1
            .is_empty()
    );
}

#[test]
fn what_is_not_protected_or_damaged_is_never_served() {
    let (mut camera, mut siren) = camera_and_siren(0, &[("/siren/sound", POST)]);
    let mut out = [0; 64];
    let mut builder = Builder::new(
        &mut out,
        Type::Confirmable,
        Code::POST,
        7,
        &Token::default(),
    );
    builder.path("siren/sound");
    let length = builder.payload(b"on").unwrap().len();
    assert!(siren.received(0, NEIGHBOUR, &mut out[..length]).is_none());
    let answer = drain(&mut siren, 0, &mut Told::new());
    assert_eq!(
        Message::parse(&answer[0].1).unwrap().code,
        Code::UNAUTHORIZED
    );
    let peer = camera.call(NEIGHBOUR, "siren-1/roof").unwrap();
    let mut random = Random(3);
    let mut now = 0;
    for _ in 0..2_000 {
        now += 20_000;
        let _busy = camera.post(now, peer, "siren/sound", b"on");
        let (_, asked) = neighbours(&mut camera, &mut siren, now, |datagram| {
            let (at, bit) = (random.below(datagram.len()), random.below(8));
            datagram[at] ^= 1 << bit;
            if random.below(4) == 0 {
                datagram.truncate(random.below(datagram.len()));
            }
        });
        for path in asked {
            assert_eq!(
                path, "0.02 siren/sound",
                "only headers outside of the protection were damaged"
            );
        }
    }
}

#[test]
fn strangers_get_few_answers_and_leave_nothing_behind() {
    let mut siren = device(2, "siren-1/roof", &Flash::default(), 0);
    let mut answers = 0;
    for number in 0..500_u16 {
        // Somebody else each time: a handshake that is begun and never ended.
        let mut stranger = device(
            1,
            "thermo-1/porch",
            &Flash::default(),
            u64::from(number) + 1,
        );
        stranger.post(0, PeerId::GATEWAY, "x", b"").unwrap();
        for (_, mut datagram) in drain(&mut stranger, 0, &mut Told::new()) {
            datagram[2..4].copy_from_slice(&number.to_be_bytes());
            siren.received(u64::from(number) * 10, NEIGHBOUR, &mut datagram);
        }
        for (_, datagram) in drain(&mut siren, u64::from(number) * 10, &mut Told::new()) {
            answers += u32::from(Message::parse(&datagram).unwrap().code == Code::CHANGED);
        }
    }
    assert!(answers <= 8, "{answers} answers in five seconds");
    // After a while there is room for who has a grant.
    let (mut camera, _) = camera_and_siren(0, &[("/siren/sound", POST)]);
    let peer = camera.call(NEIGHBOUR, "siren-1/roof").unwrap();
    camera.post(60_000, peer, "siren/sound", b"on").unwrap();
    let (words, _) = neighbours(&mut camera, &mut siren, 60_000, |_| {});
    assert_eq!(words, ["2.04 done"]);
}

#[test]
fn a_peer_takes_less_than_two_kilobytes() {
    let one = size_of::<
        Endpoint<'_, RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>, Flash, 1, SIZE>,
    >();
    let two = size_of::<
        Endpoint<'_, RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>, Flash, 2, SIZE>,
    >();
    assert!(two - one <= 2560, "{} bytes", two - one);
}
