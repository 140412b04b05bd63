//! Feeds itself what broke others: the corpus of every fuzz target of the link, as it is and damaged, built to end at any panic.
#![no_std]
#![no_main]

use stockade_firmware::{board, host};

/// A fuzz target: its name, its body, its inputs.
type Target = (&'static str, fn(&[u8]), &'static [&'static [u8]]);

static CORPUS: &[Target] = include!(concat!(env!("OUT_DIR"), "/corpus.rs"));

/// Longer inputs are for bigger machines.
const LONGEST: usize = 4096;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    board::start();
    board::under_test();
    let mut chance = 0x5EED_u32;
    let (mut inputs, mut damaged) = (0_u64, [0; LONGEST]);
    for (_, target, corpus) in CORPUS {
        for input in corpus.iter().filter(|input| input.len() <= LONGEST) {
            target(input);
            inputs += 1;
            let copy = &mut damaged[..input.len()];
            copy.copy_from_slice(input);
            target(damage(copy, &mut chance));
            inputs += 1;
        }
    }
    host::print_number(inputs);
    host::print(" inputs, no panic\n");
    host::exit(if inputs == 0 { 1 } else { 0 })
}

/// Turns some bits, or cuts.
fn damage<'b>(bytes: &'b mut [u8], chance: &mut u32) -> &'b [u8] {
    for _ in 0..3 {
        *chance ^= *chance << 13;
        *chance ^= *chance >> 17;
        *chance ^= *chance << 5;
        let at = *chance as usize % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (*chance >> 29);
        }
    }
    let kept = if *chance & 0x300 == 0 {
        *chance as usize % bytes.len().max(1)
    } else {
        bytes.len()
    };
    &bytes[..kept]
}
