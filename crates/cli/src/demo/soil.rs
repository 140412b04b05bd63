//! A soil sensor: a microcontroller's endpoint of the link, on a UDP socket. It says how wet the soil is, and takes commands.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use serde_json::json;
use stockade_gateway::link::crypto::{AwsKey, AwsLc};
use stockade_gateway::link::keys::LinkKeys;
use stockade_gateway::name::DeviceName;
use stockade_gateway::registry::Registry;
use stockade_link::credential::{Credential, ccs, thumbprint};
use stockade_link::crypto::{Crypto as _, Curve, Secret};
use stockade_link::endpoint::{Endpoint, Event, Identity, Kept, Output, PeerId, Place, Record};
use stockade_link::label::Provisioning;
use time::OffsetDateTime;

use crate::args::DemoDevice;
use crate::out::Out;

/// Between two readings.
const EVERY: Duration = Duration::from_secs(5);
/// The longest datagram.
const SIZE: usize = 512;

/// The device has no flash: after a restart it fetches the time anew.
struct NoFlash;

impl Kept for NoFlash {
    fn load(&mut self, _: Record, _: &mut [u8]) -> Option<usize> {
        None
    }

    fn store(&mut self, _: Record, _: &[u8]) {}
}

/// Adds the device by its key, as an operator would with `device add --constrained --new-key`, and writes what it is built with.
pub(super) fn provision(
    registry: &Registry,
    gateway: &LinkKeys,
    name: &DeviceName,
    file: &std::path::Path,
    now: OffsetDateTime,
) -> anyhow::Result<()> {
    if file.exists() && registry.get(&name.id, now).is_some() {
        return Ok(());
    }
    let mut crypto = AwsLc::default();
    let mut key = Secret::new([0; 32]);
    crypto.random(key.expose_mut())?;
    let public = AwsKey::new(Curve::P256, &key)?.public()?;
    if registry.get(&name.id, now).is_some() {
        registry.remove(&name.id, now)?;
    }
    let label = thumbprint(&mut crypto, &public)?;
    let link = registry.add_constrained(name, label, now)?;
    let kid = link.kid.bytes();
    let (text, mut credential, mut buffer) = (name.to_string(), [0; 192], [0; 768]);
    let credential = ccs(&mut credential, Some(&text), Some(&kid), &public)?;
    let theirs = gateway.credential();
    let written = Provisioning {
        name: &text,
        kid: &kid,
        credential: Some(Credential::read(credential)?),
        gateway: Credential::read(&theirs)?,
        authority: *gateway.authority(),
        key: Some(key),
    };
    let mut private = fs_err::OpenOptions::new();
    private.write(true).create(true).truncate(true).mode(0o600);
    let mut file = private.open(file)?;
    Ok(std::io::Write::write_all(
        &mut file,
        written.write(&mut buffer)?,
    )?)
}

/// Works until the process is ended.
pub(super) fn run(out: Out, told: &DemoDevice) -> anyhow::Result<()> {
    let file = zeroize::Zeroizing::new(fs_err::read(&told.keys)?);
    let built = Provisioning::read(&file)?;
    let key = built.key.as_ref().context("there is no key")?;
    let us = Identity {
        name: built.name,
        credential: built.credential.context("there is no credential")?,
        key: AwsKey::new(Curve::P256, key)?,
        gateway: built.gateway,
        authority: built.authority,
    };
    let socket = UdpSocket::bind((told.source, 0))?;
    socket.connect(told.coap)?;
    let started = Instant::now();
    let now = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut endpoint =
        Endpoint::<_, _, 1, SIZE>::new(us, AwsLc::default(), NoFlash, (Place(0), now()));
    let watched = endpoint.observe(PeerId::GATEWAY, "command");
    watched.map_err(|why| anyhow::anyhow!("cannot observe: {why:?}"))?;
    let (mut next, mut buffer) = (started, [0; SIZE]);
    for count in 0_u32.. {
        while Instant::now() < next {
            turn(out, &mut endpoint, &socket, &now, &mut buffer)?;
        }
        next = Instant::now() + EVERY;
        let reading = json!({ "moisture": 30 + count % 7 }).to_string();
        // One at a time: where the one before has no answer yet, this one is left out.
        let _busy = endpoint.post(now(), PeerId::GATEWAY, "moisture", reading.as_bytes());
    }
    Ok(())
}

/// Sends what is to be sent, and waits a little for what comes.
fn turn(
    out: Out,
    endpoint: &mut Endpoint<'_, AwsLc, NoFlash, 1, SIZE>,
    socket: &UdpSocket,
    now: &impl Fn() -> u64,
    buffer: &mut [u8; SIZE],
) -> anyhow::Result<()> {
    while let Some(what) = endpoint.poll(now(), buffer) {
        match what {
            Output::Send(_, length) => {
                // A gateway that is away is tried again.
                let _lost = socket.send(buffer.get(..length).unwrap_or_default());
            }
            Output::Failed(_, why) => out.line(&format!("failed: {why:?}")),
        }
    }
    let wake = endpoint
        .next_wake(now())
        .map_or(500, |at| at.saturating_sub(now()));
    socket.set_read_timeout(Some(Duration::from_millis(wake.clamp(1, 500))))?;
    let Ok(length) = socket.recv(buffer) else {
        return Ok(());
    };
    let datagram = buffer.get_mut(..length).unwrap_or_default();
    match endpoint.received(now(), Place(0), datagram) {
        Some(Event::Response { code, .. }) => out.line(&format!("answered: {code}")),
        Some(Event::Notified { body, .. }) if !body.payload().is_empty() => {
            let text = String::from_utf8_lossy(body.payload());
            out.line(&format!("told: {}", text.escape_debug()));
        }
        Some(_) | None => {}
    }
    Ok(())
}
