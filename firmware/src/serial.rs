//! The board's serial lines (CMSDK APB UART): what arrives goes by interrupt into a ring; sending waits.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::board::Register;

/// A datagram as slipmux carries it in the worst case, and some of the next.
const RING: usize = 2560;
const LINES: [u32; 3] = [0x4000_4000, 0x4000_5000, 0x4000_6000];
// Arm Cortex-M System Design Kit, 4.3: registers of the UART.
const DATA: u32 = 0x00;
const STATE: u32 = 0x04;
const CONTROL: u32 = 0x08;
const INTERRUPT: u32 = 0x0C;
const DIVIDER: u32 = 0x10;
const SEND_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 2;
const SEND: u32 = 1;
const RECEIVE: u32 = 2;
const INTERRUPT_ON_RECEIVE: u32 = 8;
/// 115,200 baud of the board's 25 MHz.
const BAUD: u32 = 217;

/// A serial line.
#[derive(Clone, Copy)]
pub struct Serial(usize);

/// Bytes between an interrupt, which writes, and the main loop, which reads.
struct Ring {
    bytes: [AtomicU8; RING],
    read: AtomicUsize,
    written: AtomicUsize,
}

static RINGS: [Ring; 2] = [const {
    Ring {
        bytes: [const { AtomicU8::new(0) }; RING],
        read: AtomicUsize::new(0),
        written: AtomicUsize::new(0),
    }
}; 2];

impl Serial {
    /// Line 0 or 1, receiving and sending.
    pub fn open(line: usize) -> Self {
        let serial = Self(line.min(1));
        serial.register(DIVIDER).write(BAUD);
        serial
            .register(CONTROL)
            .write(SEND | RECEIVE | INTERRUPT_ON_RECEIVE);
        serial
    }

    /// Line 2, sending alone: for people to read.
    pub fn console() -> Self {
        let serial = Self(2);
        serial.register(DIVIDER).write(BAUD);
        serial.register(CONTROL).write(SEND);
        serial
    }

    /// Sends all of it, waiting for the line.
    pub fn write(self, bytes: &[u8]) {
        for byte in bytes {
            while self.register(STATE).read() & SEND_FULL != 0 {}
            self.register(DATA).write(u32::from(*byte));
        }
    }

    /// The next byte that arrived.
    pub fn read(self) -> Option<u8> {
        let ring = RINGS.get(self.0)?;
        let read = ring.read.load(Ordering::Relaxed);
        if read == ring.written.load(Ordering::Acquire) {
            return None;
        }
        let byte = ring.bytes[read].load(Ordering::Relaxed);
        ring.read.store((read + 1) % RING, Ordering::Release);
        // It was off if the ring was full.
        self.register(CONTROL)
            .write(SEND | RECEIVE | INTERRUPT_ON_RECEIVE);
        Some(byte)
    }

    fn register(self, offset: u32) -> Register {
        Register(LINES[self.0] + offset)
    }

    fn received(self) {
        let ring = &RINGS[self.0];
        self.register(INTERRUPT).write(RECEIVE);
        while self.register(STATE).read() & RECEIVE_FULL != 0 {
            let written = ring.written.load(Ordering::Relaxed);
            let next = (written + 1) % RING;
            if next == ring.read.load(Ordering::Acquire) {
                // Full: what comes now waits in the hardware, or is lost there, until the main loop has read.
                self.register(CONTROL).write(SEND | RECEIVE);
                return;
            }
            let byte = self.register(DATA).read() as u8;
            ring.bytes[written].store(byte, Ordering::Relaxed);
            ring.written.store(next, Ordering::Release);
        }
    }
}

pub(crate) extern "C" fn received_0() {
    Serial(0).received();
}

pub(crate) extern "C" fn received_1() {
    Serial(1).received();
}
