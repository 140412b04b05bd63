//! The installer is killed at any moment: what the boot loader starts then is whole, and it is the old system or the new one.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stockade_api::update::{Errand, Phase};

use crate::world::World;

fn start(world: &World, errand: Errand) -> std::process::Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stockade-update"))
        .arg("work")
        .arg("--root")
        .arg(world.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let job = serde_json::to_string(&world.job(errand)).unwrap();
    writeln!(child.stdin.take().unwrap(), "{job}").unwrap();
    child
}

#[test]
fn killed_at_any_moment_the_device_starts_the_old_system_or_the_new_one() {
    let mut world = World::new();
    world.publish(2);
    world.fetched();
    let install = || Errand::Install {
        version: None,
        bundle: None,
    };
    let began = Instant::now();
    assert!(start(&world, install()).wait().unwrap().success());
    let long = began.elapsed();
    world.boot();
    world.phase();
    world.does(Errand::Confirm).unwrap();
    let (mut runs, mut between) = (2, 0);
    for round in 0..30_u32 {
        let next = runs + 1;
        world.publish(next);
        world.fetched();
        let mut child = start(&world, install());
        std::thread::park_timeout(long * (round % 30) / 24 + Duration::from_millis(1));
        child.kill().unwrap();
        child.wait().unwrap();
        // Before anything of ours looks at it.
        let boots = world.boot();
        assert!(boots == runs || boots == next, "round {round}: {boots}");
        match world.phase() {
            Phase::Trying { version, .. } => {
                assert_eq!(version, boots);
                // Killed in the middle of that too: it is done again.
                let mut child = start(&world, Errand::Confirm);
                std::thread::park_timeout(Duration::from_millis(u64::from(round)));
                child.kill().unwrap();
                child.wait().unwrap();
                if matches!(world.phase(), Phase::Trying { .. }) {
                    world.does(Errand::Confirm).unwrap();
                }
            }
            // The system was there, and the switch was done late.
            Phase::Ready { .. } => {
                world.boot();
                world.phase();
                world.does(Errand::Confirm).unwrap();
                between += 1;
            }
            Phase::Idle => {
                world.install().unwrap();
                assert_eq!(world.boot(), next, "and it is installed the next time");
                world.phase();
                world.does(Errand::Confirm).unwrap();
                between += 1;
            }
            Phase::Writing { .. } => unreachable!("settled"),
        }
        runs = next;
        assert_eq!(world.boot(), runs);
        world.phase();
    }
    assert!(between > 0, "some were killed before the switch");
}
