//! What a step of a program costs, told to the emulator: instructions and stack.
//!
//! With `-icount shift=0` the emulator takes a nanosecond for an instruction, and 40 of them for a tick of the clock.

use crate::{board, host};

/// Instructions for one tick.
const INSTRUCTIONS: u64 = 1_000_000_000 / board::HERTZ as u64;

/// A step that has begun.
#[derive(Debug)]
pub struct Step {
    stack: usize,
    ticks: u64,
}

impl Step {
    /// Begins one, with the stack below here painted anew.
    #[inline(never)]
    pub fn begin() -> Self {
        board::repaint();
        let stack = board::stack_now();
        let ticks = board::ticks();
        Self { stack, ticks }
    }

    /// Ends it, and tells what it took.
    #[inline(never)]
    pub fn end(self, name: &str) {
        let ticks = board::ticks() - self.ticks;
        let stack = board::stack_used() - self.stack;
        host::print(name);
        host::print(" instructions ");
        host::print_number(ticks * INSTRUCTIONS);
        host::print(" stack ");
        host::print_number(stack as u64);
        host::print("\n");
    }
}
