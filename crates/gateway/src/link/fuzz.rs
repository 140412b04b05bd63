//! A script of datagrams, commands and decisions against the core and the broker.

use std::net::SocketAddr;
use std::sync::Arc;

use stockade_link::coap::message::{Builder, Code, Message, Token, Type};
use stockade_link::crypto::{Aead, Secret};
use stockade_link::oscore::{Context, Id, Outside, Secrets};
use stockade_store::{Batch, Bus, Entry, Scan, Store, StoreError, Table};

use super::bearer::{Datagram, Place};
use super::blocks::BODIES;
use super::core::{Core, CoreSettings};
use super::crypto::AwsLc;
use super::grants::Grants;
use super::handshake::moment;
use super::keys::LinkKeys;
use super::peers::{HANDSHAKES, Session, name};
use crate::broker::fuzz::Memory;
use crate::broker::{Broker, Limits, Now, Output};
use crate::name::DeviceName;
use crate::registry::{Registry, RegistrySettings};

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "m"
version = 1
class = "constrained"
[[comms.publish]]
topic = "m/${device}/a"
max-bytes = 3000
[[comms.subscribe]]
topic = "m/${device}/c"
"#;
/// The thumbprint of the device's key.
const KEY: [u8; 32] = [7; 32];
/// What the device calls its session.
const THEIRS: &[u8] = &[0x37];

/// A store that takes everything and keeps nothing.
#[derive(Debug)]
struct Nothing;

impl Store for Nothing {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn scan(&self, _: Table, _: Scan) -> Result<Vec<Entry>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&self, _: Batch) -> Result<(), StoreError> {
        Ok(())
    }
}

struct World {
    registry: Arc<Registry>,
    broker: Broker,
    core: Core,
    now: Now,
    durable: u64,
    name: DeviceName,
    crypto: AwsLc,
    device: Context,
    /// The last confirmable message the device got.
    told: Option<u16>,
}

fn place(host: u8) -> Place {
    Place::Udp(SocketAddr::from(([192, 0, 2, host], 5_683)))
}

fn context(crypto: &mut AwsLc, ours: &[u8], theirs: &[u8]) -> Option<Context> {
    let secrets = Secrets {
        master_secret: Secret::new([1; 16]),
        master_salt: Secret::new([2; 8]),
        sender_id: Id::new(ours)?,
        recipient_id: Id::new(theirs)?,
        aead: Aead::Ccm16Tag64,
    };
    Context::derive(crypto, &secrets, None).ok()
}

impl World {
    /// A gateway with one device that has a session.
    fn new() -> Option<Self> {
        let store: Arc<dyn Store> = Arc::new(Nothing);
        let settings = RegistrySettings::default();
        let registry = Registry::open(Arc::clone(&store), Arc::default(), settings).ok()?;
        let registry = Arc::new(registry);
        let now = Now {
            mono: 1_000,
            unix: 1_790_000_000_000,
        };
        let profile = stockade_profile::parse(PROFILE).ok()?;
        registry.install_profile(profile, moment(now)).ok()?;
        let name_of = DeviceName::new("m", "d").ok()?;
        let link = registry.add_constrained(&name_of, KEY, moment(now)).ok()?;
        registry
            .enrol_link(&name_of.id, &KEY, b"ccs", moment(now))
            .ok()?;
        let keys = Arc::new(LinkKeys::of(&[3; 32], &[4; 32]).ok()?);
        let grants = Arc::new(Grants::open(store, Arc::clone(&registry), keys).ok()?);
        let settings = CoreSettings {
            rates: super::Rates::default(),
            grants,
            devices: None,
        };
        let mut core = Core::new(settings, Arc::clone(&registry)).ok()?;
        let mut crypto = AwsLc::default();
        let slot = core.peers.reserve(THEIRS)?;
        let session = Session {
            context: context(&mut crypto, THEIRS, &name(slot))?,
            kid: link.kid,
            key: *KEY.first_chunk()?,
            active: None,
        };
        core.peers.establish(slot, session);
        let bus: Arc<dyn Bus> = Arc::<Memory>::default();
        Some(Self {
            device: context(&mut crypto, &name(slot), THEIRS)?,
            broker: Broker::new(Limits::default(), bus, Arc::default()),
            registry,
            core,
            now,
            durable: u64::MAX,
            name: name_of,
            crypto,
            told: None,
        })
    }

    fn turn(&mut self, f: impl FnOnce(&mut Core, &mut Broker, &mut Output)) {
        let mut out = Output::at(self.now);
        f(&mut self.core, &mut self.broker, &mut out);
        for outbox in &out.dirty {
            outbox.flush(self.durable);
        }
        for (outbox, _) in self.core.parked.drain(..) {
            outbox.unpark(self.durable);
        }
    }

    fn datagram(&mut self, from: Place, bytes: &[u8]) -> Vec<Datagram> {
        let durable = self.durable;
        if let Some(request) = self.core.receive(from, &mut bytes.to_vec(), self.now) {
            self.turn(|core, broker, out| core.serve(request, broker, durable, out));
        }
        self.poll()
    }

    fn poll(&mut self) -> Vec<Datagram> {
        let durable = self.durable;
        self.turn(|core, broker, out| core.poll(broker, durable, out));
        self.core.reports.clear();
        self.core.strangers.clear();
        let out = std::mem::take(&mut self.core.out);
        let mut told = out
            .iter()
            .rev()
            .filter_map(|it| Message::parse(&it.bytes).ok());
        self.told = told
            .find(|it| it.kind == Type::Confirmable)
            .map(|it| it.id)
            .or(self.told);
        out
    }

    fn protected(&mut self, message: &[u8]) {
        let Ok(message) = Message::parse(message) else {
            return;
        };
        let mut sealed = vec![0; 4_096];
        let (crypto, outside) = (&mut self.crypto, Outside::default());
        let sent = self
            .device
            .protect_request(crypto, &message, outside, 0, &mut sealed);
        if let Ok((length, _)) = sent {
            let sealed = sealed.get(..length).unwrap_or_default().to_vec();
            self.datagram(place(1), &sealed);
        }
    }

    fn quarantine(&mut self, on: bool) {
        let (id, at) = (self.name.id.clone(), moment(self.now));
        let _changed = if on {
            self.registry.quarantine(&id, "fuzzing", at)
        } else {
            self.registry.release(&id, "fuzzing", at)
        };
        let (registry, now) = (Arc::clone(&self.registry), self.now);
        self.turn(|core, broker, out| {
            crate::mqtt::apply(&registry, broker, &id, at, out);
            core.changed(&id, now);
        });
    }
}

/// Each step is a byte that says what happens, one for a length or a number, and as many bytes. Whatever comes, nothing panics, strangers
/// get little back and make nobody a session, and what is kept stays bounded.
#[expect(
    clippy::missing_panics_doc,
    reason = "a panic is how a fuzz target speaks"
)]
pub fn link_gateway(data: &[u8]) {
    let Some(mut world) = World::new() else {
        panic!("there is no world to fuzz");
    };
    let mut rest = data;
    while let Some((&[step, number], after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(number) * if step & 0x80 == 0 { 1 } else { 8 };
        let (bytes, more) = after.split_at(length.min(after.len()));
        rest = after;
        match step & 0x0f {
            0..4 => {
                rest = more;
                let stranger = place(2 + step % 4);
                let least = bytes.len().saturating_mul(3).max(136);
                for answer in world.datagram(stranger, bytes) {
                    let large = answer.place == stranger && answer.bytes.len() > least;
                    assert!(!large, "a stranger's datagram is amplified");
                }
            }
            4..9 => {
                rest = more;
                world.protected(bytes);
            }
            9 => {
                let ms = u64::from(number) * 1_000;
                world.now.mono += ms;
                world.now.unix += i64::try_from(ms).unwrap_or_default();
                world.turn(|_, broker, out| broker.handle_tick(out));
                world.core.expire(world.now.mono);
                world.poll();
            }
            10 => {
                let payload = vec![number; length];
                world.turn(|_, broker, out| {
                    let _full = broker.publish_from_operator(("m/d/c", &payload), 1, false, out);
                });
                world.poll();
            }
            11 => world.quarantine(number & 1 == 0),
            12 => world.durable = if number & 1 == 0 { u64::MAX } else { 0 },
            13 | 14 => {
                let kind = if step & 1 == 0 {
                    Type::Reset
                } else {
                    Type::Acknowledgement
                };
                let (mut buffer, none) = ([0; 8], Token::default());
                let id = world.told.unwrap_or_default();
                if let Ok(said) = Builder::new(&mut buffer, kind, Code::EMPTY, id, &none).finish() {
                    let said = said.to_vec();
                    world.datagram(place(1), &said);
                }
            }
            _ => {
                world.poll();
            }
        }
        let counters = world.core.counters();
        assert!(counters.sessions <= 1, "somebody got in");
        assert!(counters.active <= 1 && counters.handshakes_under_way <= HANDSHAKES);
        assert!(world.core.bodies <= BODIES, "bodies are not bounded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_link::coap::message::Token;

    #[test]
    fn a_script_speaks_as_the_device_and_is_told_its_commands() {
        let mut world = World::new().unwrap();
        let mut buffer = [0; 64];
        let token = Token::new(b"t").unwrap();
        let mut get = Builder::new(&mut buffer, Type::Confirmable, Code::GET, 1, &token);
        get.option(stockade_link::coap::option::OBSERVE, &[])
            .path("c");
        let get = get.finish().unwrap().to_vec();
        world.protected(&get);
        assert_eq!(world.core.counters().requests, 1);
        world.turn(|_, broker, out| {
            broker
                .publish_from_operator(("m/d/c", b"x"), 1, false, out)
                .unwrap();
        });
        world.poll();
        assert!(world.told.is_some());
    }
}
