//! From reset to `main`, the clock, and what happens when nothing else can.

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::host;

/// Ticks of the processor's clock a second.
pub const HERTZ: u32 = 25_000_000;
/// Ticks a millisecond.
pub const TICKS: u32 = HERTZ / 1000;
/// Bytes at the end of the flash that are a device's own.
pub const PROVISIONING: usize = 2048;
/// Words that no section of the program is in, which therefore a reset leaves as they are: the board's stand-in for data
/// flash (board.ld keeps them free).
const KEPT: u32 = 0x2008_0000;
/// How many of them there are.
pub const KEPT_WORDS: u32 = 1024;

// The core's own registers (ARMv7-M Architecture Reference Manual, B3).
const SYSTICK_CONTROL: Register = Register(0xE000_E010);
const SYSTICK_RELOAD: Register = Register(0xE000_E014);
const SYSTICK_CURRENT: Register = Register(0xE000_E018);
const INTERRUPT_ENABLE: Register = Register(0xE000_E100);
const RESET_CONTROL: Register = Register(0xE000_ED0C);
const STACK_PAINT: u32 = 0x5AA5_5AA5;

/// A register of the hardware, by its address.
#[derive(Clone, Copy)]
pub struct Register(pub u32);

impl Register {
    /// What is in it now.
    pub fn read(self) -> u32 {
        // SAFETY: the addresses in this crate are registers of the board or words of its memory; reading one harms nothing.
        unsafe { core::ptr::with_exposed_provenance::<u32>(self.0 as usize).read_volatile() }
    }

    /// Puts `value` into it.
    pub fn write(self, value: u32) {
        // SAFETY: as above; what is written is hardware's, or memory that no Rust object lives in.
        unsafe {
            core::ptr::with_exposed_provenance_mut::<u32>(self.0 as usize).write_volatile(value);
        }
    }
}

// Reset: floating point on (the ABI passes floats in its registers), the stack painted so that its use can be measured,
// `.data` copied, `.bss` zeroed, then `main`, which never returns.
global_asm!(
    ".section .text.reset",
    ".global reset",
    ".type reset, %function",
    ".thumb_func",
    "reset:",
    "ldr r0, =0xE000ED88",
    "ldr r1, [r0]",
    "orr r1, r1, #0xF00000",
    "str r1, [r0]",
    "dsb",
    "isb",
    "ldr r0, =_stack_bottom",
    "mov r1, sp",
    "ldr r2, ={paint}",
    "1: cmp r0, r1",
    "bhs 2f",
    "str r2, [r0], #4",
    "b 1b",
    "2: ldr r0, =_data_start",
    "ldr r1, =_data_end",
    "ldr r2, =_data_load",
    "3: cmp r0, r1",
    "bhs 4f",
    "ldr r3, [r2], #4",
    "str r3, [r0], #4",
    "b 3b",
    "4: ldr r0, =_bss_start",
    "ldr r1, =_bss_end",
    "movs r2, #0",
    "5: cmp r0, r1",
    "bhs 6f",
    "str r2, [r0], #4",
    "b 5b",
    "6: bl main",
    "udf #0",
    ".pool",
    paint = const STACK_PAINT,
);

unsafe extern "C" {
    fn reset();
    static _stack_bottom: u32;
    static _stack_top: u32;
}

/// One entry of the vector table.
type Vector = Option<unsafe extern "C" fn()>;

/// Exceptions 1 to 15, then the interrupts of the three serial lines: for each one that received and one that sent.
#[used]
#[unsafe(link_section = ".vectors")]
static VECTORS: [Vector; 21] = {
    let mut table: [Vector; 21] = [None; 21];
    table[0] = Some(reset);
    let mut fault = 1;
    while fault <= 5 {
        table[fault] = Some(faulted);
        fault += 1;
    }
    table[14] = Some(tick);
    table[15] = Some(crate::serial::received_0);
    table[17] = Some(crate::serial::received_1);
    table
};

/// A device's own block, empty (all ones, as erased flash is) until `cargo xtask firmware --provision` fills it.
#[used]
#[unsafe(link_section = ".provisioning")]
static BLOCK: [u8; PROVISIONING] = [0xFF; PROVISIONING];

static MILLISECONDS: AtomicU32 = AtomicU32::new(0);
static WRAPS: AtomicU32 = AtomicU32::new(0);
static UNDER_TEST: AtomicBool = AtomicBool::new(false);

/// The block that makes this device an individual.
pub fn provisioning() -> &'static [u8] {
    // What is in the file is not what the compiler saw: it is patched after linking.
    core::hint::black_box(&BLOCK)
}

/// A word which a reset leaves as it is, counted around after the last. It is any bits after power came.
pub fn kept(index: u32) -> Register {
    Register(KEPT + index % KEPT_WORDS * 4)
}

/// Starts the clock, and lets the serial lines interrupt.
pub fn start() {
    SYSTICK_RELOAD.write(TICKS - 1);
    SYSTICK_CURRENT.write(0);
    // Enabled, interrupting, by the processor's clock.
    SYSTICK_CONTROL.write(0b111);
    INTERRUPT_ENABLE.write(0b101);
}

extern "C" fn tick() {
    if MILLISECONDS.fetch_add(1, Ordering::Relaxed) == u32::MAX {
        WRAPS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Milliseconds since the start.
pub fn now() -> u64 {
    loop {
        let high = WRAPS.load(Ordering::Relaxed);
        let low = MILLISECONDS.load(Ordering::Relaxed);
        if WRAPS.load(Ordering::Relaxed) == high {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

/// Ticks of the processor's clock since the start, for measurements of less than an hour.
pub fn ticks() -> u64 {
    loop {
        let before = now();
        let current = SYSTICK_CURRENT.read();
        if now() == before {
            return before * u64::from(TICKS) + u64::from(TICKS - 1 - current);
        }
    }
}

/// Sleeps until something interrupts: a millisecond at most.
pub fn sleep() {
    // SAFETY: waiting for an interrupt touches no memory.
    unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) }
}

/// Most bytes of stack in use since the start: those whose paint is gone.
pub fn stack_used() -> usize {
    let (bottom, top) = (
        (&raw const _stack_bottom).expose_provenance(),
        (&raw const _stack_top).expose_provenance(),
    );
    let clean = (bottom..top)
        .step_by(4)
        .take_while(|address| Register(*address as u32).read() == STACK_PAINT)
        .count();
    top - bottom - clean * 4
}

/// Bytes of stack in use at this moment, by who asks and those who called it.
#[inline(never)]
pub fn stack_now() -> usize {
    let here = 0_u32;
    (&raw const _stack_top).expose_provenance() - (&raw const here).expose_provenance()
}

/// Paints the unused stack again, so that [`stack_used`] tells what happens from here on.
#[inline(never)]
pub fn repaint() {
    let here = 0_u32;
    let mut address = (&raw const _stack_bottom).expose_provenance();
    // Some room for this function's own frame.
    let end = (&raw const here).expose_provenance() - 128;
    while address < end {
        Register(address as u32).write(STACK_PAINT);
        address += 4;
    }
}

/// From here on a fault or a panic ends the emulator with an error instead of starting the board again.
pub fn under_test() {
    UNDER_TEST.store(true, Ordering::Relaxed);
}

/// Starts the board again, as a watchdog would; under test it ends the emulator with an error.
pub fn give_up() -> ! {
    if UNDER_TEST.load(Ordering::Relaxed) {
        host::exit(1);
    }
    // The key, and SYSRESETREQ.
    RESET_CONTROL.write(0x05FA_0004);
    loop {
        sleep();
    }
}

extern "C" fn faulted() {
    if UNDER_TEST.load(Ordering::Relaxed) {
        host::print("faulted: the stack is too small, or the program is wrong\n");
    }
    give_up();
}

#[panic_handler]
fn panicked(why: &PanicInfo<'_>) -> ! {
    if UNDER_TEST.load(Ordering::Relaxed)
        && let Some(place) = why.location()
    {
        host::print("panicked at ");
        host::print(place.file());
        host::print(":");
        host::print_number(u64::from(place.line()));
        host::print("\n");
    }
    give_up();
}
