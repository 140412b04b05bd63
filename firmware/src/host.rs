//! Semihosting (ARM's "Semihosting for AArch32 and AArch64"): how a firmware under test speaks to the emulator.

use core::arch::asm;

const WRITE: u32 = 0x03;
const EXIT_EXTENDED: u32 = 0x20;
/// `ADP_Stopped_ApplicationExit`.
const APPLICATION_EXIT: u32 = 0x2_0026;

fn call(operation: u32, argument: *const u32) {
    // SAFETY: under an emulator with semihosting, which is where this is called, it reads what `argument` points to.
    unsafe {
        asm!("bkpt 0xAB", inlateout("r0") operation => _, in("r1") argument, options(nostack));
    }
}

/// Ends the emulator with this exit code.
pub fn exit(code: u32) -> ! {
    let block = [APPLICATION_EXIT, code];
    loop {
        call(EXIT_EXTENDED, block.as_ptr());
    }
}

/// Writes `text` to the emulator's error output.
pub fn print(text: &str) {
    for byte in text.bytes() {
        let letter = u32::from(byte);
        call(WRITE, &raw const letter);
    }
}

/// Writes a number to the emulator's error output.
pub fn print_number(number: u64) {
    let mut digits = [0_u8; 20];
    print(decimal(number, &mut digits));
}

/// `number` in decimal.
pub fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    core::str::from_utf8(&digits[at..]).unwrap_or("")
}
