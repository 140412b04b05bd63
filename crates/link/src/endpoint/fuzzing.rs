//! The body of the endpoint's fuzz target: two devices, of which one has a grant for the other, and an attacker between them who has
//! read this file.

use crate::cbor::Writer;
use crate::coap::message::Code;
use crate::credential::{Credential, ccs};
use crate::crypto::rust::{RustCrypto, RustKey};
use crate::crypto::{CryptoError, Curve, Secret};
use crate::grant::{GRANT_MAX, Issue, Scope};

use super::{Endpoint, Event, GRANTS_MAX, Identity, Kept, Output, Place, Record};

/// Steps of a script, at most.
const STEPS: usize = 64;
const SIZE: usize = 512;
/// The attacker is here.
const PLACE: Place = Place(1);
const TIME: u64 = 1_800_000_000;

type Crypto = RustCrypto<fn(&mut [u8]) -> Result<(), CryptoError>>;
type Device<'p> = Endpoint<'p, Crypto, Flash, 2, SIZE>;

/// Not random at all, which tells an attacker nothing that the session's other side would not change.
#[expect(
    clippy::unnecessary_wraps,
    reason = "a source may fail; this one does not"
)]
fn random(out: &mut [u8]) -> Result<(), CryptoError> {
    out.fill(0x42);
    Ok(())
}

/// The grants of a device, and no memory for anything else.
#[derive(Clone, Copy)]
struct Flash([u8; GRANTS_MAX], usize);

impl Kept for Flash {
    fn load(&mut self, record: Record, out: &mut [u8]) -> Option<usize> {
        if record == Record::Clock {
            return None;
        }
        let grants = self.0.get(..self.1)?;
        out.get_mut(..grants.len())?.copy_from_slice(grants);
        Some(self.1)
    }

    fn store(&mut self, _: Record, _: &[u8]) {}
}

struct World {
    credentials: [[u8; 128]; 3],
    lengths: [usize; 3],
    flash: Flash,
}

const NAMES: [&str; 3] = ["camera", "siren", "gateway"];

fn key(who: u8) -> Option<RustKey> {
    RustKey::new(Curve::P256, &Secret::new([who.checked_add(1)?; 32])).ok()
}

impl World {
    fn new() -> Option<Self> {
        let mut world = Self {
            credentials: [[0; 128]; 3],
            lengths: [0; 3],
            flash: Flash([0; GRANTS_MAX], 0),
        };
        let places = world.credentials.iter_mut().zip(&mut world.lengths);
        for ((who, name), (credential, length)) in (0..).zip(NAMES).zip(places) {
            *length = ccs(credential, Some(name), Some(&[who]), &key(who)?.public())
                .ok()?
                .len();
        }
        let [camera, siren, _] = NAMES;
        let issue = Issue {
            subject: camera,
            audience: siren,
            issued: TIME,
            expires: TIME.checked_add(3600)?,
            key: &key(0)?.public(),
            kid: Some(&[0]),
            scope: &Scope::of([("/siren/sound", 2)].into_iter()).ok()?,
            epoch: 0,
        };
        let mut grant = [0; GRANT_MAX];
        let grant = issue
            .sign(&mut RustCrypto::new(random), &key(2)?, b"g", &mut grant)
            .ok()?;
        let (mut grants, mut length) = ([0; GRANTS_MAX], 0);
        let mut writer = Writer::new(&mut grants);
        writer.array(3).uint(TIME).uint(0).array(1).array(3);
        writer
            .bytes(grant)
            .bytes(world.credential(1)?.bytes)
            .text(siren);
        if let Ok(written) = writer.finish() {
            length = written.len();
        }
        world.flash = Flash(grants, length);
        Some(world)
    }

    fn credential(&self, who: usize) -> Option<Credential<'_>> {
        let length = *self.lengths.get(who)?;
        Credential::read(self.credentials.get(who)?.get(..length)?).ok()
    }

    fn device(&self, who: u8, now: u64) -> Option<Device<'_>> {
        let us = Identity {
            name: NAMES.get(usize::from(who))?,
            credential: self.credential(usize::from(who))?,
            key: key(who)?,
            gateway: self.credential(2)?,
            authority: key(2)?.public(),
        };
        let random: fn(&mut [u8]) -> _ = random;
        let flash = if who == 0 {
            self.flash
        } else {
            Flash([0; GRANTS_MAX], 0)
        };
        Some(Endpoint::new(
            us,
            RustCrypto::new(random),
            flash,
            (Place(0), now),
        ))
    }
}

/// A script of what happens between a device with a grant, the device it is for, and an attacker. What the grant does not say is
/// never asked of the firmware.
pub fn link_endpoint(data: &[u8]) {
    let _done = World::new().and_then(|world| run(&world, data));
}

fn run(world: &World, mut script: &[u8]) -> Option<()> {
    let mut now = 1_000;
    let (mut camera, mut siren) = (world.device(0, now)?, world.device(1, now)?);
    let mut peer = camera.call(PLACE, "siren").ok()?;
    for _ in 0..STEPS {
        let (step, rest) = script.split_first()?;
        script = rest;
        match step & 7 {
            0 => drop(camera.post(
                now,
                peer,
                "siren/sound",
                script.get(..4).unwrap_or_default(),
            )),
            1 => drop(camera.get(now, peer, "siren/sound")),
            2 => drop(camera.observe(peer, "siren/state")),
            3 => now = now.saturating_add(u64::from(*step >> 3).saturating_mul(7_000)),
            4 => {
                siren = world.device(1, now)?;
            }
            5 => {
                camera.forget(peer);
                peer = camera.call(PLACE, "siren").ok()?;
            }
            kind => {
                // A datagram of the attacker's own, for one or the other.
                let (length, rest) = script.split_first()?;
                let (bytes, rest) = rest
                    .split_at_checked(usize::from(*length))
                    .unwrap_or((rest, &[]));
                script = rest;
                let mut datagram = [0; 256];
                let datagram = datagram.get_mut(..bytes.len())?;
                datagram.copy_from_slice(bytes);
                let to = if kind == 6 { &mut siren } else { &mut camera };
                deliver(to, now, datagram);
                continue;
            }
        }
        // What they say to each other then; the upper bits of a script's byte damage the first of it.
        let (mut damage, mut out) = (step >> 3, [0; SIZE]);
        for _ in 0..8 {
            let mut quiet = true;
            for way in [true, false] {
                let (from, to) = if way {
                    (&mut camera, &mut siren)
                } else {
                    (&mut siren, &mut camera)
                };
                let Some(Output::Send(place, length)) = from.poll(now, &mut out) else {
                    continue;
                };
                quiet = false;
                let datagram = out.get_mut(..length)?;
                if damage > 16
                    && let Some(byte) = datagram.get_mut(usize::from(damage))
                {
                    *byte ^= damage;
                    damage = 0;
                }
                if place == PLACE {
                    deliver(to, now, datagram);
                }
            }
            if quiet {
                break;
            }
        }
    }
    Some(())
}

fn deliver(device: &mut Device<'_>, now: u64, datagram: &mut [u8]) {
    if let Some(Event::Request { peer, method, body }) = device.received(now, PLACE, datagram) {
        assert!(
            method == Code::POST && body.path_is("siren/sound"),
            "served without a grant"
        );
        let _told = device.respond(now, peer, Code::CHANGED, body.payload());
    }
}
