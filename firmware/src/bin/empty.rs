//! Nothing but what a measurement takes: what the other firmwares' sizes are compared with.
#![no_std]
#![no_main]

use stockade_firmware::step::Step;
use stockade_firmware::{board, host};

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    board::start();
    board::under_test();
    Step::begin().end("nothing");
    host::exit(0)
}
