use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;
use crate::Limits;

fn meter() -> Meter {
    Meter::new(Limits::default())
}

/// What a program makes of bytes; nothing, with a line, where it is not installed.
fn made_by(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::piped());
    let Ok(mut child) = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
        eprintln!("skipped: {program} is not installed");
        return None;
    };
    let input = input.to_vec();
    let stdin = child.stdin.take();
    let writer = std::thread::spawn(move || stdin.map(|mut to| to.write_all(&input)));
    let output = child.wait_with_output().ok()?;
    let written = writer
        .join()
        .is_ok_and(|it| it.is_some_and(|it| it.is_ok()));
    assert!(written && output.status.success(), "{program}");
    Some(output.stdout)
}

/// Text that compresses, runs, and noise that does not.
fn sample() -> Vec<u8> {
    let mut sample = Vec::new();
    for number in 0..6000_u32 {
        sample.extend(format!("line {number} of {}\n", number % 7).bytes());
    }
    sample.extend([b'a'; 3000].repeat(10));
    sample.extend((0..4000).map(|_| 0).chain(1..=255_u8));
    let mut noise = crate::fuzzing::Random(7);
    sample.extend((0..20_000).map(|_| u8::try_from(noise.below(256)).unwrap()));
    sample
}

const PROGRAMS: &[(Method, &str, &[&str])] = &[
    (Method::Gzip, "gzip", &["-c"]),
    (Method::Bzip2, "bzip2", &["-c"]),
    (Method::Bzip2, "bzip2", &["-1", "-c"]),
    (Method::Xz, "xz", &["-c"]),
    (
        Method::Xz,
        "xz",
        &["--x86", "--lzma2", "--check=sha256", "-c"],
    ),
    (
        Method::Xz,
        "xz",
        &["--arm", "--lzma2", "--check=crc32", "-c"],
    ),
    (Method::Lzma, "xz", &["--format=lzma", "-c"]),
    (Method::Zstd, "zstd", &["-c"]),
    (Method::Zstd, "zstd", &["--check", "-19", "-c"]),
    (Method::Lz4Frame, "lz4", &["-c"]),
    (Method::Lz4Frame, "lz4", &["-9", "-BD", "-c"]),
    (Method::Lz4Legacy, "lz4", &["-l", "-c"]),
];

#[test]
fn what_the_usual_programs_compress_comes_out_again() {
    let sample = sample();
    for (method, program, arguments) in PROGRAMS {
        let Some(packed) = made_by(program, arguments, &sample) else {
            continue;
        };
        let made = expand(*method, &packed, sample.len(), &meter());
        assert!(made == Ok(sample.clone()), "{program} {arguments:?}");
        let less = expand(*method, &packed, sample.len() - 1, &meter());
        let bound = Err(Unseen::TooMuch(sample.len() - 1));
        assert!(less == bound, "{program} {arguments:?}");
        // Something else behind it is not taken for a part of it.
        let mut longer = packed.clone();
        longer.extend(b"\0\0\0something else");
        let (made, taken) =
            stream(*method, &Bytes::memory(longer), sample.len(), &meter()).unwrap();
        assert!(made == sample, "{program} {arguments:?}");
        assert_eq!(taken, wide(packed.len()), "{program} {arguments:?}");
        for length in [0, 1, 5, 17, packed.len() / 2, packed.len() - 1] {
            let short = expand(*method, &packed[..length], sample.len(), &meter());
            assert!(short.is_err(), "{program} {arguments:?}: {length}");
        }
    }
}

#[test]
fn a_block_of_xz_is_the_same_whoever_reads_it() {
    let sample = sample();
    let Some(packed) = made_by("xz", &["--check=crc32", "-c"], &sample) else {
        return;
    };
    let mut out = Sink {
        made: Vec::new(),
        most: sample.len(),
        meter: &meter(),
    };
    assert_eq!(xz::block(&packed, &mut out), Ok(true));
    assert!(out.made == sample);
    let mut random = crate::fuzzing::Random(0x5eed);
    for _ in 0..1000 {
        let broken = random.mutated(&packed);
        let made = expand(Method::XzBlock, &broken, sample.len(), &meter());
        let same = expand(Method::Xz, &broken, sample.len(), &meter());
        // What stands behind the check is not looked at.
        assert!(made == same || made == Ok(sample.clone()));
    }
    // What is of another shape is read, too.
    let other = made_by("xz", &["--check=sha256", "-c"], &sample).unwrap_or_default();
    let made = expand(Method::XzBlock, &other, sample.len(), &meter());
    assert!(made == Ok(sample));
}

#[test]
fn two_streams_in_a_row_are_one() {
    for (method, program, arguments) in PROGRAMS {
        if matches!(method, Method::Lzma | Method::Lz4Legacy) {
            continue;
        }
        let (Some(one), Some(two)) = (
            made_by(program, arguments, b"one "),
            made_by(program, arguments, b"two"),
        ) else {
            continue;
        };
        let made = expand(*method, &[one, two].concat(), 99, &meter());
        assert_eq!(made, Ok(b"one two".to_vec()), "{program}");
    }
}

#[test]
fn a_bomb_ends_where_the_bound_is() {
    let zeros = vec![0; 8 << 20];
    for (method, program, arguments) in PROGRAMS {
        let Some(packed) = made_by(program, arguments, &zeros) else {
            continue;
        };
        let held = expand(*method, &packed, 1 << 20, &meter());
        assert!(matches!(held, Err(Unseen::TooMuch(_))), "{program}");
        let limits = Limits {
            expanded: 1 << 20,
            ..Limits::default()
        };
        let held = expand(*method, &packed, 8 << 20, &Meter::new(limits));
        assert!(matches!(held, Err(Unseen::TooMuch(_))), "{program}");
    }
}

#[test]
fn broken_streams_end_soon_and_never_panic() {
    let sample = &sample()[..20_000];
    let mut random = crate::fuzzing::Random(0x5eed);
    let (mut read, mut refused) = (0, 0);
    for (method, program, arguments) in PROGRAMS {
        let Some(packed) = made_by(program, arguments, sample) else {
            continue;
        };
        for _ in 0..150 {
            let broken = random.mutated(&packed);
            match expand(*method, &broken, 1 << 20, &meter()) {
                Ok(made) => {
                    assert!(made.len() <= 1 << 20);
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    let block = lzokay::compress::compress(sample).unwrap();
    let lz4 = lz4_flex::block::compress(sample);
    let whole = expand(Method::Lzo1x, &block, sample.len(), &meter());
    assert!(whole.as_deref() == Ok(sample));
    let whole = expand(Method::Lz4Block, &lz4, sample.len(), &meter());
    assert!(whole.as_deref() == Ok(sample));
    for _ in 0..300 {
        for (method, packed) in [(Method::Lzo1x, &block), (Method::Lz4Block, &lz4)] {
            match expand(method, &random.mutated(packed), 1 << 16, &meter()) {
                Ok(made) => assert!(made.len() <= 1 << 16),
                Err(_) => refused += 1,
            }
        }
    }
    eprintln!("{read} read, {refused} refused");
    assert!(refused > 0, "mutations break things");
}
