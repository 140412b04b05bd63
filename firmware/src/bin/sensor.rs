//! A sensor: tells the gateway a temperature, takes a new interval from it, and may sound the siren at its other line when it is too
//! hot, gateway or not. The same image is the siren's: what a device is, its block says.
//!
//! Line 0 goes to the gateway, line 1 to the other device, both in slipmux; line 2 tells people what happens.
#![no_std]
#![no_main]

use stockade_firmware::board;
use stockade_firmware::entropy::Entropy;
use stockade_firmware::flash::Flash;
use stockade_firmware::host::decimal;
use stockade_firmware::provisioning;
use stockade_firmware::serial::Serial;
use stockade_link::bearer::slipmux::{Decoder, FRAME_MAX, Kind, encode};
use stockade_link::coap::message::Code;
use stockade_link::crypto::rust::RustCrypto;
use stockade_link::endpoint::{Endpoint, Event, Output, PeerId, Place};

/// Datagrams of this length carry a grant and a reading.
const SIZE: usize = 640;
/// Milliseconds between readings, until the gateway says otherwise.
const INTERVAL: u64 = 2_000;
/// From this temperature on, the siren is sounded.
const HOT: u64 = 40;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    board::start();
    let console = Serial::console();
    let Some((us, mut entropy)) = provisioning::identity().zip(Entropy::start()) else {
        console.write(b"this image was never provisioned\n");
        loop {
            board::sleep();
        }
    };
    let crypto = RustCrypto::new(move |out: &mut [u8]| entropy.fill(out));
    let mut endpoint = Endpoint::<_, _, 3, SIZE>::new(us, crypto, Flash, (Place(0), board::now()));
    let lines = [Serial::open(0), Serial::open(1)];
    let mut frames = [[0; FRAME_MAX]; 2];
    let mut decoders = frames.each_mut().map(|frame| Decoder::new(frame));
    let mut out = [0; SIZE];
    let mut datagram = [0; SIZE];
    let mut state = State {
        interval: INTERVAL,
        reading: 20,
        due: 0,
        siren: None,
        alarm: false,
    };
    // It is not too long.
    let _watched = endpoint.observe(PeerId::GATEWAY, "command");
    console.write(b"started\n");
    // What is counted from here on is what the link takes while it runs.
    board::repaint();
    let before = board::stack_now();
    loop {
        for ((line, decoder), place) in lines.iter().zip(&mut decoders).zip(0..) {
            while let Some(byte) = line.read() {
                let Some(frame) = decoder.push(byte) else {
                    continue;
                };
                let Some(copy) = datagram.get_mut(..frame.bytes.len()) else {
                    continue;
                };
                copy.copy_from_slice(frame.bytes);
                if frame.kind != Kind::Message {
                    continue;
                }
                let now = board::now();
                match endpoint.received(now, Place(place), copy) {
                    Some(Event::Response { peer, code, .. }) => state.answered(peer, code, console),
                    Some(Event::Notified { body, .. }) => state.commanded(body.payload(), console),
                    Some(Event::Request { peer, method, body }) => {
                        let known = method == Code::POST && body.path_is("siren/sound");
                        let code = if known {
                            Code::CHANGED
                        } else {
                            Code::NOT_FOUND
                        };
                        if known {
                            say(console, "siren ", body.payload());
                        }
                        // There is a request, and an empty answer fits.
                        let _answered = endpoint.respond(now, peer, code, &[]);
                    }
                    None => continue,
                }
                let mut digits = [0; 20];
                let used = board::stack_used().saturating_sub(before);
                say(
                    console,
                    "stack ",
                    decimal(used as u64, &mut digits).as_bytes(),
                );
            }
        }
        let now = board::now();
        if state.siren.is_none() && state.reading >= HOT {
            state.siren = endpoint.call_any(Place(1)).ok();
        }
        if now >= state.due {
            state.due = now + state.interval;
            state.reading += 1;
            let mut report = [0; 40];
            let report = report_of(state.reading, &mut report);
            if endpoint
                .post(now, PeerId::GATEWAY, "temperature", report)
                .is_err()
            {
                say(console, "reading ", b"left out");
            }
        }
        if let Some(siren) = state.siren
            && !state.alarm
            && endpoint.post(now, siren, "siren/sound", b"on").is_ok()
        {
            state.alarm = true;
        }
        while let Some(output) = endpoint.poll(now, &mut out) {
            match output {
                Output::Send(Place(line), length) => {
                    let frame = encode(Kind::Message, out.get(..length).unwrap_or_default());
                    for byte in frame {
                        lines[usize::from(line) % 2].write(&[byte]);
                    }
                }
                Output::Failed(peer, _) => state.failed(peer, console),
            }
        }
        board::sleep();
    }
}

struct State {
    interval: u64,
    /// The temperature: it rises by one with each reading, for want of a real one.
    reading: u64,
    due: u64,
    siren: Option<PeerId>,
    /// The siren was told.
    alarm: bool,
}

impl State {
    fn answered(&mut self, peer: PeerId, code: Code, console: Serial) {
        let what = if peer == PeerId::GATEWAY {
            "reading "
        } else {
            "alarm "
        };
        say(
            console,
            what,
            if code.is_success() {
                b"taken"
            } else {
                b"refused"
            },
        );
    }

    fn failed(&mut self, peer: PeerId, console: Serial) {
        if peer == PeerId::GATEWAY {
            say(console, "reading ", b"lost");
        } else {
            say(console, "alarm ", b"lost");
            self.alarm = false;
        }
    }

    /// A command is the new interval, in milliseconds.
    fn commanded(&mut self, command: &[u8], console: Serial) {
        let interval = core::str::from_utf8(command)
            .ok()
            .and_then(|text| text.parse().ok());
        match interval {
            Some(interval @ 100..=3_600_000) => {
                self.interval = interval;
                self.due = 0;
                say(console, "interval ", command);
            }
            _ => say(console, "command ", b"not understood"),
        }
    }
}

/// `{"celsius":21}`
fn report_of(reading: u64, out: &mut [u8; 40]) -> &[u8] {
    let mut digits = [0; 20];
    let parts = ["{\"celsius\":", decimal(reading, &mut digits), "}"];
    let mut length = 0;
    for byte in parts.iter().flat_map(|part| part.bytes()) {
        out[length] = byte;
        length += 1;
    }
    &out[..length]
}

fn say(console: Serial, what: &str, how: &[u8]) {
    console.write(what.as_bytes());
    for byte in how
        .iter()
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
    {
        console.write(&[*byte]);
    }
    console.write(b"\n");
}
