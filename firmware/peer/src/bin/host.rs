//! Rates of lakers and liboscore on this machine, as one line of JSON.

use std::time::{Duration, Instant};

use stockade_firmware_peer::{Counting, context, handshake, protect, unprotect};

/// How long each is done.
const LONG: Duration = Duration::from_secs(3);

fn main() {
    let mut responder = Duration::ZERO;
    let (mut rounds, begun) = (0_u32, Instant::now());
    let mut keys = ([0; 16], [0; 8]);
    while begun.elapsed() < LONG {
        rounds += 1;
        let mut last = Instant::now();
        keys = handshake(Counting(u64::from(rounds)), &mut |step| {
            if step.starts_with("responder") {
                responder += last.elapsed();
            }
            last = Instant::now();
        });
    }
    let (mut a, mut b) = (context(&keys, &[1], &[2]), context(&keys, &[2], &[1]));
    let (mut messages, begun) = (0_u32, Instant::now());
    while begun.elapsed() < LONG {
        let (mut code, mut tail) = (0, [0; 128]);
        let length = protect(&mut a, &[7; 32], &mut code, &mut tail);
        assert_eq!(unprotect(&mut b, &mut code, &mut tail[..length]), 32);
        messages += 1;
    }
    println!(
        "{{\"handshakes\":{:.0},\"messages\":{:.0}}}",
        f64::from(rounds) / responder.as_secs_f64(),
        f64::from(messages) / begun.elapsed().as_secs_f64()
    );
}
