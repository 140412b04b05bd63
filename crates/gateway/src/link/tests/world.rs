//! A gateway without sockets, a clock to turn, and devices.

use std::net::SocketAddr;
use std::sync::Arc;

use stockade_link::cbor::Reader;
use stockade_link::coap::message::{Body, Builder, Code, Message, Token, Type};
use stockade_link::coap::option;
use stockade_link::credential::{self, Credential, IdCred, thumbprint};
use stockade_link::crypto::{Crypto as _, Curve, Secret};
use stockade_link::edhoc::{
    ConnectionId, Established, Identity, Initiator, Method, Proposal, Suite,
};
use stockade_link::oscore::{Asked, Context, Outside, Refused};
use stockade_store::{Bus, Journal, JournalOptions, Sqlite, Store, Stream};

use super::super::Rates;
use super::super::bearer::{Datagram, Place};
use super::super::core::{Core, CoreSettings, Request};
use super::super::crypto::{AwsKey, AwsLc};
use super::super::grants::Grants;
use super::super::handshake::moment;
use super::super::keys::LinkKeys;
use crate::broker::{Broker, Limits, Now, Output, Report};
use crate::name::{DeviceId, DeviceName, TrustDomain};
use crate::pki::{Pki, PkiSettings};
use crate::registry::{Registry, RegistrySettings};
use crate::tls::{Clock, TlsOptions, TlsSettings, sha256};

pub(super) const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "soil-1"
version = 1
class = "constrained"
[[comms.publish]]
topic = "soil-1/${device}/moisture"
max-bytes = 64
rate = "3/min"
schema = "moisture"
[[comms.publish]]
topic = "soil-1/${device}/picture"
max-bytes = 3000
[[comms.subscribe]]
topic = "soil-1/${device}/command"
[[comms.subscribe]]
topic = "soil-1/${device}/firmware"
[data.moisture]
percent = { use = "keep" }
"#;

pub(super) struct World {
    _dir: tempfile::TempDir,
    pub(super) registry: Arc<Registry>,
    pub(super) pki: Pki,
    tls: TlsSettings,
    pub(super) broker: Broker,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) core: Core,
    pub(super) now: Now,
    pub(super) reports: Vec<Report>,
    /// What the disk has reached, as the core is told.
    pub(super) durable: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Rates::default())
    }

    pub(super) fn with(rates: Rates) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("state.db")).unwrap());
        let settings = RegistrySettings::default();
        let kept = Arc::clone(&store);
        let registry = Arc::new(Registry::open(store, Arc::default(), settings).unwrap());
        let keys = Arc::new(LinkKeys::open(&dir.path().join("link")).unwrap());
        let grants = Arc::new(Grants::open(kept, Arc::clone(&registry), keys).unwrap());
        let now = Now {
            mono: 1_000,
            unix: 1_790_000_000_000,
        };
        let profile = stockade_profile::parse(PROFILE).unwrap();
        registry.install_profile(profile, moment(now)).unwrap();
        let journal =
            Journal::open(&dir.path().join("journal"), JournalOptions::default()).unwrap();
        let bus: Arc<dyn Bus> = Arc::new(journal);
        let clock = Clock::new(move || moment(now));
        let settings = PkiSettings::new(TrustDomain::new("stockade.local").unwrap());
        let pki = Pki::open(&dir.path().join("ca"), settings, clock).unwrap();
        let tls = pki.mqtt_tls(TlsOptions::default()).unwrap();
        let settings = CoreSettings {
            rates,
            grants,
            devices: Some(Arc::clone(tls.devices())),
        };
        Self {
            broker: Broker::new(Limits::default(), Arc::clone(&bus), Arc::default()),
            core: Core::new(settings, Arc::clone(&registry)).unwrap(),
            registry,
            pki,
            tls,
            bus,
            _dir: dir,
            now,
            reports: Vec::new(),
            durable: u64::MAX,
        }
    }

    /// The gateway's link starts anew; broker and registry are what they were.
    pub(super) fn restart_link(&mut self) {
        self.turn(Core::leave);
        let settings = CoreSettings {
            rates: Rates::default(),
            grants: Arc::clone(&self.core.grants),
            devices: Some(Arc::clone(self.tls.devices())),
        };
        self.core = Core::new(settings, Arc::clone(&self.registry)).unwrap();
    }

    pub(super) fn turn<R>(
        &mut self,
        f: impl FnOnce(&mut Core, &mut Broker, &mut Output) -> R,
    ) -> R {
        let mut out = Output::at(self.now);
        let result = f(&mut self.core, &mut self.broker, &mut out);
        for outbox in &out.dirty {
            outbox.flush(self.durable);
        }
        self.reports.append(&mut out.reports);
        self.reports.append(&mut self.core.reports);
        result
    }

    /// A datagram comes; what goes out is returned.
    pub(super) fn datagram(&mut self, place: Place, bytes: &[u8]) -> Vec<Datagram> {
        let mut bytes = bytes.to_vec();
        let request: Option<Request> = self.core.receive(place, &mut bytes, self.now);
        if let Some(request) = request {
            let durable = self.durable;
            self.turn(|core, broker, out| core.serve(request, broker, durable, out));
        }
        self.poll()
    }

    /// The broker's turn; what goes out is returned.
    pub(super) fn poll(&mut self) -> Vec<Datagram> {
        let durable = self.durable;
        for _ in 0..3 {
            self.turn(|core, broker, out| core.poll(broker, durable, out));
        }
        std::mem::take(&mut self.core.out)
    }

    /// Time passes.
    pub(super) fn pass(&mut self, ms: u64) -> Vec<Datagram> {
        self.now.mono += ms;
        self.now.unix += i64::try_from(ms).unwrap();
        self.turn(|_, broker, out| broker.handle_tick(out));
        self.core.expire(self.now.mono);
        self.poll()
    }

    /// What the registry says of a device now, as its watchers apply it.
    pub(super) fn apply(&mut self, id: &str) {
        let id = DeviceId::new(id).unwrap();
        let now = self.now;
        let registry = Arc::clone(&self.registry);
        self.turn(|core, broker, out| {
            crate::mqtt::apply(&registry, broker, &id, moment(now), out);
            core.changed(&id, now);
        });
    }

    /// The operator tells a device something.
    pub(super) fn command(&mut self, topic: &str, payload: &[u8]) -> usize {
        self.turn(|_, broker, out| {
            broker
                .publish_from_operator((topic, payload), 1, false, out)
                .unwrap()
                .1
        })
    }

    /// What is for the vault.
    pub(super) fn telemetry(&self) -> Vec<Vec<u8>> {
        // What is read back is what is on disk.
        while *self.bus.durable().borrow() < self.bus.last() {
            std::thread::yield_now();
        }
        let records = self
            .bus
            .read(Stream::Telemetry, stockade_store::Seq::ZERO, 1_000)
            .unwrap();
        let payload = |bytes: &[u8]| {
            stockade_store::telemetry::Record::decode(bytes)
                .unwrap()
                .payload
                .to_vec()
        };
        records.iter().map(|(_, bytes)| payload(bytes)).collect()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        let violation = |report: &'_ Report| match report {
            Report::Violation { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        self.reports.iter().filter_map(violation).collect()
    }

    /// A device is added by what its label says.
    pub(super) fn add(&mut self, id: &str) -> Device {
        let mut device = Device::new(id);
        let name = DeviceName::new("soil-1", id).unwrap();
        let label = device.thumbprint();
        let link = self
            .registry
            .add_constrained(&name, label, moment(self.now))
            .unwrap();
        device.kid = link.kid.bytes();
        device
    }

    /// The same, and it has enrolled and is there.
    pub(super) fn enrolled(&mut self, id: &str) -> Device {
        let mut device = self.add(id);
        device.shake_hands(self, Show::Credential).unwrap();
        device.by_name = true;
        device
    }
}

/// How a device says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Credential,
    Name,
    /// Its certificate, whole.
    Certificate,
    /// The hash of it, in an algorithm of COSE.
    Hash(i64),
}

pub(super) struct Device {
    pub(super) place: Place,
    pub(super) key: AwsKey,
    pub(super) credential: Vec<u8>,
    pub(super) kid: Vec<u8>,
    /// As EDHOC encodes it.
    pub(super) certificate: Vec<u8>,
    pub(super) method: Method,
    pub(super) by_name: bool,
    pub(super) context: Option<Context>,
    pub(super) next_id: u16,
    pub(super) crypto: AwsLc,
    /// Bytes of EDHOC messages of the last handshake.
    pub(super) sizes: [usize; 3],
}

/// An answer, decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: Code,
    pub(super) payload: Vec<u8>,
    pub(super) etag: Option<Vec<u8>>,
    pub(super) block: Option<u32>,
    pub(super) max_age: Option<u32>,
}

pub(super) fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

/// A place on the internet.
pub(super) fn at(host: u8) -> Place {
    Place::Udp(SocketAddr::from(([192, 0, 2, host], 50_000)))
}

impl Device {
    pub(super) fn new(id: &str) -> Self {
        let mut secret = Secret::new([0; 32]);
        AwsLc::default().random(secret.expose_mut()).unwrap();
        Self::of(id, &secret)
    }

    pub(super) fn of(id: &str, secret: &Secret<32>) -> Self {
        let key = AwsKey::new(Curve::P256, secret).unwrap();
        let mut buffer = [0; 160];
        let ccs = credential::ccs(&mut buffer, Some(id), None, &key.public().unwrap()).unwrap();
        Self {
            place: at(1),
            credential: ccs.to_vec(),
            key,
            kid: Vec::new(),
            certificate: Vec::new(),
            method: Method::StaticStatic,
            by_name: false,
            context: None,
            next_id: 0,
            crypto: AwsLc::default(),
            sizes: [0; 3],
        }
    }

    pub(super) fn thumbprint(&mut self) -> [u8; 32] {
        let credential = Credential::read(&self.credential).unwrap();
        thumbprint(&mut self.crypto, &credential.key).unwrap()
    }

    fn plain(
        &mut self,
        code: Code,
        options: &[(u16, &[u8])],
        path: &str,
        payload: &[u8],
    ) -> Vec<u8> {
        self.next_id += 1;
        let token = Token::new(&self.next_id.to_be_bytes()).unwrap();
        let mut buffer = vec![0; 2_048];
        let mut builder = Builder::new(&mut buffer, Type::Confirmable, code, self.next_id, &token);
        let early = |&&(number, _): &&(u16, &[u8])| number < option::URI_PATH;
        for (number, value) in options.iter().filter(early) {
            builder.option(*number, value);
        }
        builder.path(path);
        for (number, value) in options.iter().filter(|it| !early(it)) {
            builder.option(*number, value);
        }
        builder.payload(payload).unwrap().to_vec()
    }

    /// A POST to `/.well-known/edhoc`; what its answer says.
    pub(super) fn post_edhoc(&mut self, world: &mut World, payload: &[u8]) -> Option<Answer> {
        self.post_edhoc_with(world, payload, &[])
    }

    pub(super) fn post_edhoc_with(
        &mut self,
        world: &mut World,
        payload: &[u8],
        options: &[(u16, &[u8])],
    ) -> Option<Answer> {
        let message = self.plain(Code::POST, options, ".well-known/edhoc", payload);
        let out = world.datagram(self.place, &message);
        let [answer] = out.as_slice() else {
            return None;
        };
        let message = Message::parse(&answer.bytes).unwrap();
        Some(answered(message.code, message.body))
    }

    /// Sends `message_1`; gives the state and what `message_2` is.
    pub(super) fn first(&mut self) -> (Initiator<AwsLc>, Vec<u8>) {
        let proposal = Proposal {
            method: self.method,
            suites: &[Suite::S2],
            c_i: ConnectionId::new(&[0x37]).unwrap(),
            ead_1: &[],
        };
        let mut buffer = [0; 256];
        let (state, message) = Initiator::start(&mut self.crypto, &proposal, &mut buffer).unwrap();
        (state, [&[0xf5], message].concat())
    }

    /// Everything up to `message_3`, with the name that goes before it.
    pub(super) fn third(
        &mut self,
        world: &mut World,
        show: Show,
    ) -> Option<(Established, Vec<u8>, Vec<u8>)> {
        let (state, first) = self.first();
        let mut second = self
            .post_edhoc(world, &first)
            .filter(|it| it.code == Code::CHANGED)?
            .payload;
        self.sizes = [first.len() - 1, second.len(), 0];
        self.answer_second(world, state, &mut second, show)
    }

    pub(super) fn answer_second(
        &mut self,
        world: &World,
        state: Initiator<AwsLc>,
        second: &mut [u8],
        show: Show,
    ) -> Option<(Established, Vec<u8>, Vec<u8>)> {
        let got = state.message_2(&mut self.crypto, second, &[]).ok()?;
        let c_r = got.c_r();
        let gateway = Credential::read(&world.core.own.credential).unwrap();
        let hash;
        let id_cred = match show {
            Show::Credential => IdCred::Ccs(&self.credential),
            Show::Name => IdCred::Kid(&self.kid),
            Show::Certificate => IdCred::X5chain(&self.certificate),
            Show::Hash(algorithm) => {
                let certificate = Reader::new(&self.certificate).bytes().unwrap();
                hash = sha256(certificate);
                let hash = match algorithm {
                    -15 => &hash[..8],
                    _ => &hash[..],
                };
                IdCred::X5t { algorithm, hash }
            }
        };
        let credential = match show {
            Show::Credential | Show::Name => &self.credential,
            Show::Certificate | Show::Hash(_) => &self.certificate,
        };
        let own = Identity {
            id_cred,
            credential: Credential::read(credential).unwrap(),
            key: &self.key,
        };
        let mut scratch = [0; 512];
        let verified = got
            .verify(&mut self.crypto, &gateway, &own, &mut scratch)
            .unwrap();
        let mut buffer = [0; 4_096];
        let (established, _, third) = verified
            .message_3(&mut self.crypto, &[], &mut buffer)
            .unwrap();
        self.sizes[2] = third.len();
        let mut name = [0; 16];
        let mut writer = stockade_link::cbor::Writer::new(&mut name);
        c_r.write(&mut writer);
        let name = writer.finish().unwrap().to_vec();
        Some((established, name, third.to_vec()))
    }

    /// A whole handshake, `message_4` in the end; the code of the last answer if it failed.
    pub(super) fn shake_hands(
        &mut self,
        world: &mut World,
        show: Show,
    ) -> Result<(), Option<Code>> {
        let (established, name, third) = self.third(world, show).ok_or(None)?;
        let answer = self
            .post_edhoc(world, &[name, third].concat())
            .ok_or(None)?;
        if answer.code != Code::CHANGED {
            return Err(Some(answer.code));
        }
        self.establish(&established);
        Ok(())
    }

    pub(super) fn establish(&mut self, established: &Established) {
        let secrets = established.oscore(&mut self.crypto).unwrap();
        self.context = Some(Context::derive(&mut self.crypto, &secrets, None).unwrap());
    }

    /// Protects a request; gives the datagram and what its answers are read with.
    pub(super) fn protect(
        &mut self,
        code: Code,
        path: &str,
        options: &[(u16, &[u8])],
        (payload, third): (&[u8], &[u8]),
    ) -> (Vec<u8>, Asked) {
        let plain = self.plain(code, options, path, payload);
        let message = Message::parse(&plain).unwrap();
        let mut out = [0; 2_048];
        let context = self.context.as_mut().unwrap();
        let outside = Outside {
            message_3: third,
            ..Outside::default()
        };
        let (length, asked) = context
            .protect_request(&mut self.crypto, &message, outside, 0, &mut out)
            .unwrap();
        (out[..length].to_vec(), asked)
    }

    /// Reads an answer; unprotected ones have their code only.
    pub(super) fn read(&mut self, asked: &mut Asked, datagram: &[u8]) -> Answer {
        let mut bytes = datagram.to_vec();
        let outside = Message::parse(datagram).unwrap().code;
        let context = self.context.as_mut().unwrap();
        match context.unprotect_response(&mut self.crypto, asked, &mut bytes, 0) {
            Ok(response) => answered(response.inner.code, response.inner.body),
            Err(Refused::Unprotected) => answered(outside, Body::EMPTY),
            Err(why) => panic!("{why}"),
        }
    }

    pub(super) fn ask(
        &mut self,
        world: &mut World,
        code: Code,
        path: &str,
        options: &[(u16, &[u8])],
        payload: &[u8],
    ) -> Option<Answer> {
        let (datagram, mut asked) = self.protect(code, path, options, (payload, &[]));
        let out = world.datagram(self.place, &datagram);
        let first = out.into_iter().next()?;
        assert_eq!(first.place, self.place);
        Some(self.read(&mut asked, &first.bytes))
    }

    pub(super) fn post(&mut self, world: &mut World, path: &str, payload: &[u8]) -> Code {
        self.ask(world, Code::POST, path, &[], payload)
            .unwrap()
            .code
    }

    pub(super) fn get(&mut self, world: &mut World, path: &str) -> Answer {
        self.ask(world, Code::GET, path, &[], &[]).unwrap()
    }
}

fn answered(code: Code, body: Body<'_>) -> Answer {
    Answer {
        code,
        payload: body.payload().to_vec(),
        etag: body.get(option::ETAG).map(<[u8]>::to_vec),
        block: body.uint(option::BLOCK2),
        max_age: body.uint(option::MAX_AGE),
    }
}
