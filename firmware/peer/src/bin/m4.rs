//! lakers and liboscore on the emulated Cortex-M4: instructions and stack, one `name number` a line.
//!
//! With QEMU's `-icount shift=0` an instruction takes a nanosecond, so a tick of the board's 25 MHz is 40 of them.
#![no_std]
#![no_main]

use stockade_firmware::{board, host};
use stockade_firmware_peer::{Counting, context, handshake, protect, unprotect};

/// Instructions a tick.
const A_TICK: u64 = 1_000_000_000 / board::HERTZ as u64;

fn tell(name: &str, instructions: u64, stack: usize) {
    host::print(name);
    host::print(" instructions ");
    host::print_number(instructions);
    host::print(" stack ");
    host::print_number(stack as u64);
    host::print("\n");
}

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    board::start();
    board::under_test();
    let mut begun = board::ticks();
    let keys = handshake(Counting(77), &mut |step| {
        let spent = board::ticks() - begun;
        tell(step, spent * A_TICK, 0);
        begun = board::ticks();
    });
    let (mut a, mut b) = (context(&keys, &[1], &[2]), context(&keys, &[2], &[1]));
    let (mut code, mut tail) = (0, [0; 128]);
    let begun = board::ticks();
    let length = protect(&mut a, &[7; 32], &mut code, &mut tail);
    tell("oscore-protect-32", (board::ticks() - begun) * A_TICK, 0);
    let begun = board::ticks();
    assert_eq!(unprotect(&mut b, &mut code, &mut tail[..length]), 32);
    tell("oscore-unprotect-32", (board::ticks() - begun) * A_TICK, 0);
    board::repaint();
    let before = board::stack_now();
    handshake(Counting(78), &mut |_| ());
    tell("whole", 0, board::stack_used() - before);
    host::exit(0)
}
