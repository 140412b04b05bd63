//! A whole device, its endpoint and all, at the far end of each bearer of short range, and the core at the near one.

mod ble;

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stockade_link::bearer::MESSAGE_MAX;
use stockade_link::bearer::fragment::{Assembler, Cutter};
use stockade_link::bearer::slipmux::{Decoder, FRAME_MAX, Kind, encode};
use stockade_link::coap::message::Code;
use stockade_link::credential::Credential;
use stockade_link::endpoint::{self, Endpoint, Event, Identity, Kept, PeerId, Record};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, channel};

use super::world::World;
use crate::link::bearer::bench::random::Random;
use crate::link::bearer::bench::{Running, WAIT};
use crate::link::crypto::AwsLc;
use crate::link::nfc::tests as cards;
use crate::link::serial::{Ends as LineEnds, tests as lines};

/// How much faster the devices' clocks are: what CoAP repeats, it repeats sooner.
const HASTE: u32 = 5;
/// What the operator tells the device.
const COMMAND: &[u8] = b"water the roses";

/// A device's flash that is always empty.
struct Nothing;

impl Kept for Nothing {
    fn load(&mut self, _: Record, _: &mut [u8]) -> Option<usize> {
        None
    }

    fn store(&mut self, _: Record, _: &[u8]) {}
}

/// A device's radio, seen from its processor: datagrams to it and from it.
struct Ends {
    to_device: SyncSender<Vec<u8>>,
    from_device: Receiver<Vec<u8>>,
}

/// A device that enrols, says two readings, hears a command and says so.
fn device(world: &mut World) -> (Ends, JoinHandle<()>) {
    let added = world.add("rose-1");
    let keys = world.core.grants.keys();
    let (gateway, authority) = (keys.credential(), *keys.authority());
    let (to_device, received) = sync_channel::<Vec<u8>>(16);
    let (send, from_device) = channel(16);
    let run = move || {
        let us = Identity {
            name: "rose-1",
            credential: Credential::read(&added.credential).unwrap(),
            key: added.key,
            gateway: Credential::read(&gateway).unwrap(),
            authority,
        };
        let place = endpoint::Place(0);
        let mut endpoint: Endpoint<'_, _, _, 2, 512> =
            Endpoint::new(us, AwsLc::default(), Nothing, (place, 0));
        let started = Instant::now();
        let (mut said, mut heard) = (0, false);
        endpoint.observe(PeerId::GATEWAY, "command").unwrap();
        while said < 3 {
            assert!(
                started.elapsed() < WAIT,
                "{said} said, the command: {heard}"
            );
            let now = u64::try_from((started.elapsed() * HASTE).as_millis()).unwrap();
            let text = if heard { "done" } else { "{\"percent\":40}" };
            if said < 2 || heard {
                // Busy while the one before is under way.
                let _busy = endpoint.post(now, PeerId::GATEWAY, "moisture", text.as_bytes());
            }
            let mut buffer = [0; 512];
            while let Some(output) = endpoint.poll(now, &mut buffer) {
                if let endpoint::Output::Send(_, length) = output {
                    drop(send.try_send(buffer[..length].to_vec()));
                }
            }
            let mut datagram = match received.recv_timeout(Duration::from_millis(10)) {
                Ok(datagram) => datagram,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match endpoint.received(now, place, &mut datagram) {
                Some(Event::Response { code, .. }) => {
                    assert_eq!(code, Code::CHANGED);
                    said += 1;
                }
                Some(Event::Notified { body, .. }) => heard |= body.payload() == COMMAND,
                Some(Event::Request { .. }) => panic!("nobody asks it"),
                None => {}
            }
        }
    };
    let ends = Ends {
        to_device,
        from_device,
    };
    (ends, std::thread::spawn(run))
}

/// Runs the core at the near end until the device is done.
async fn serve(mut world: World, mut running: Running, device: JoinHandle<()>) {
    let mut told = false;
    while !device.is_finished() {
        let out = tokio::select! {
            datagram = running.next() => world.datagram(datagram.place, &datagram.bytes),
            () = tokio::time::sleep(Duration::from_millis(20)) => world.pass(20 * u64::from(HASTE)),
        };
        for datagram in out {
            running.send(datagram.place, &datagram.bytes).await;
        }
        if !told && world.telemetry().len() == 2 {
            told = world.command("soil-1/rose-1/command", COMMAND) == 1;
        }
    }
    device.join().unwrap();
    let readings = world.telemetry();
    assert_eq!(readings.len(), 3, "each once, whatever was lost on the way");
    assert_eq!(readings[2], b"done");
    assert_eq!(world.violations(), Vec::<&str>::new());
    running.end().await;
}

/// The far end of a line. With a radio behind it: that of one peer, which loses a frame in ten each way.
fn far_end((mut read, mut write): LineEnds, ends: Ends, radio: Option<[u8; 8]>) {
    let Ends {
        to_device,
        mut from_device,
    } = ends;
    let mut heard = Random(3);
    tokio::spawn(async move {
        let mut frame = [0; FRAME_MAX];
        let mut decoder = Decoder::new(&mut frame);
        let mut assembler = Assembler::new([0; MESSAGE_MAX]);
        while let Ok(byte) = read.read_u8().await {
            let Some(frame) = decoder.push(byte) else {
                continue;
            };
            let message = match radio {
                None => Some(frame.bytes),
                Some(_) if heard.below(10) == 0 => None,
                Some(_) => assembler.push(&frame.bytes[8..], 0),
            };
            if let Some(message) = message {
                drop(to_device.try_send(message.to_vec()));
            }
        }
    });
    let mut said = Random(4);
    tokio::spawn(async move {
        let mut cutter = Cutter::new();
        while let Some(message) = from_device.recv().await {
            let mut frames: Vec<u8> = Vec::new();
            match radio {
                None => frames.extend(encode(Kind::Message, &message)),
                Some(address) => {
                    for (header, piece) in cutter.cut(&message, 60).unwrap() {
                        if said.below(10) != 0 {
                            let frame = [&address, &[header][..], piece].concat();
                            frames.extend(encode(Kind::Radio, &frame));
                        }
                    }
                }
            }
            if write.write_all(&frames).await.is_err() {
                return;
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_works_over_a_serial_line() {
    let mut world = World::new();
    let (ends, device) = device(&mut world);
    let (path, line) = lines::pair();
    far_end(line, ends, None);
    serve(world, lines::start(&path), device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_works_over_a_radio_that_loses_small_frames() {
    let mut world = World::new();
    let (ends, device) = device(&mut world);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let running = lines::start(&format!("tcp:{},frames=60", listener.local_addr().unwrap()));
    let (stream, _) = listener.accept().await.unwrap();
    let (read, write) = stream.into_split();
    far_end(
        (Box::new(read), Box::new(write)),
        ends,
        Some(*b"\x02rose--1"),
    );
    serve(world, running, device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_works_as_a_card() {
    let Some(pcscd) = cards::Pcscd::start() else {
        return;
    };
    let mut world = World::new();
    let (ends, device) = device(&mut world);
    let Ends {
        to_device,
        mut from_device,
    } = ends;
    let answer = move |message: &[u8]| {
        if !message.is_empty() {
            drop(to_device.try_send(message.to_vec()));
        }
        from_device.try_recv().unwrap_or_default()
    };
    let _card = pcscd.insert(0, answer, true);
    serve(world, cards::start(pcscd.socket()), device).await;
}
