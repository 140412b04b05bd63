//! Counters and lasting memory of a TPM, with swtpm.

use std::io::Write as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use stockade_host::tpm::{Tpm, TpmError};

const COUNTER: u32 = 0x0180_5707;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _over = self.0.kill();
        let _over = self.0.wait();
    }
}

/// A TPM whose state is in `dir`; none where swtpm is not installed. It serves one connection.
fn swtpm(dir: &std::path::Path) -> Option<(Running, Tpm)> {
    let socket = dir.join("tpm.sock");
    let _absent = fs_err::remove_file(&socket);
    let child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init", "--server"])
        .arg(format!("type=unixio,path={}", socket.display()))
        .arg("--tpmstate")
        .arg(format!("dir={}", dir.display()))
        .spawn();
    let Ok(child) = child else {
        drop(writeln!(
            std::io::stdout(),
            "skipped: swtpm is not installed (cargo xtask prepare)"
        ));
        return None;
    };
    let running = Running(child);
    let until = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        assert!(Instant::now() < until, "waiting for swtpm");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Some((running, Tpm::open(&socket).expect("a TPM")))
}

#[test]
fn a_counter_never_goes_back_over_a_restart_nor_by_being_made_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some((running, mut tpm)) = swtpm(dir.path()) else {
        return;
    };
    assert_eq!(tpm.counter(COUNTER).expect("readable"), None, "none so far");
    assert_eq!(tpm.nv_read(COUNTER).expect("readable"), None);
    tpm.make_counter(COUNTER).expect("made");
    assert_eq!(
        tpm.counter(COUNTER).expect("readable"),
        None,
        "never counted"
    );
    tpm.count(COUNTER).expect("counted");
    let first = tpm.counter(COUNTER).expect("readable").expect("a number");
    tpm.count(COUNTER).expect("counted");
    assert_eq!(tpm.counter(COUNTER).expect("readable"), Some(first + 1));
    assert!(matches!(
        tpm.make_counter(COUNTER),
        Err(TpmError::Code(0x14c)), // Part 2 §6.6.3: TPM_RC_NV_DEFINED
    ));
    drop((tpm, running));
    let (_running, mut tpm) = swtpm(dir.path()).expect("as before");
    let again = tpm.counter(COUNTER).expect("readable").expect("a number");
    assert!(again > first, "{again}");
    tpm.nv_remove(COUNTER).expect("removed");
    assert_eq!(tpm.counter(COUNTER).expect("readable"), None);
    tpm.make_counter(COUNTER).expect("made anew");
    tpm.count(COUNTER).expect("counted");
    let anew = tpm.counter(COUNTER).expect("readable").expect("a number");
    assert!(anew > again, "{anew}");
}

#[test]
fn all_registers_are_read_in_as_many_answers_as_it_takes() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some((_running, mut tpm)) = swtpm(dir.path()) else {
        return;
    };
    let wanted: Vec<u8> = (0..24).collect();
    let read = tpm.registers(&wanted).expect("readable");
    assert_eq!(read.len(), 24);
    assert_eq!(read[&0], [0; 32], "nothing was measured");
    // TCG PC Client Platform TPM Profile §4.6: the registers of a late launch that never was.
    assert_eq!(read[&20], [0xff; 32]);
}
