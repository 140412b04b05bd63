//! The kernel's lists of measured files are read, and lead to the registers that the kernel has.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fmt::Write as _;
use std::path::Path;

use stockade_attest::Algorithm;
use stockade_attest::ima::{ImaError, REGISTER, is_whole, read, read_text, replay};

/// An entry of the binary list, template `ima-ng`, and its line of text.
fn entry(path: &str, digest: [u8; 32]) -> (Vec<u8>, String) {
    let field = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [&length, bytes].concat()
    };
    let data = [
        field(&[b"sha256:\0".as_slice(), &digest].concat()),
        field(format!("{path}\0").as_bytes()),
    ]
    .concat();
    let template_digest = Algorithm::Sha1.digest(&data);
    let bytes = [
        10_u32.to_le_bytes().as_slice(),
        &template_digest,
        &field(b"ima-ng"),
        &field(&data),
    ]
    .concat();
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut out, byte| {
            write!(out, "{byte:02x}").unwrap();
            out
        })
    };
    let (named, digest) = (hex(&template_digest), hex(&digest));
    (bytes, format!("10 {named} ima-ng sha256:{digest} {path}\n"))
}

#[test]
fn both_lists_lead_to_the_same_registers() {
    let (first, first_line) = entry("boot_aggregate", [1; 32]);
    let (second, second_line) = entry("/usr/bin/with a space", [2; 32]);
    let list = [first, second].concat();
    let text = first_line + &second_line;
    let (binary, ascii) = (read(&list).unwrap(), read_text(&text).unwrap());
    assert_eq!(binary, ascii);
    assert_eq!(binary[1].path, "/usr/bin/with a space");
    assert_eq!(binary[1].digest, [2; 32]);
    for algorithm in Algorithm::ALL {
        let register = replay(&binary, REGISTER, algorithm);
        assert_eq!(register, replay(&ascii, REGISTER, algorithm));
        assert_ne!(register, vec![0; algorithm.size()]);
    }
    // An entry that was changed after it was measured.
    let mut changed = list;
    *changed.last_mut().unwrap() = b'!';
    assert!(!read(&changed).unwrap().iter().all(is_whole));
    assert_eq!(
        read_text(&text.replace("a space", "A space")),
        Err(ImaError::Untold(2))
    );
}

#[test]
fn a_file_written_while_it_is_measured_is_a_violation() {
    let list = "10 0000000000000000000000000000000000000000 ima-ng sha1:0000000000000000000000000000000000000000 /var/log/x\n";
    let entries = read_text(list).unwrap();
    assert!(entries[0].is_violation());
    let expected = Algorithm::Sha256.extend(&[0; 32], &[0xff; 32]);
    assert_eq!(replay(&entries, REGISTER, Algorithm::Sha256), expected);
}

#[test]
fn a_real_list_is_read_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/eventlog/ima/keylime-ascii_runtime_measurements");
    let Ok(text) = fs_err::read_to_string(&path) else {
        eprintln!("skipped: there is no list in ../shared/data/eventlog/ima");
        return;
    };
    let entries = read_text(&text).unwrap();
    assert_eq!(entries.len(), text.lines().count());
    assert_eq!(entries[0].path, "boot_aggregate");
    assert!(entries.iter().all(is_whole));
}

#[test]
fn what_is_no_list_is_refused() {
    assert_eq!(read(&[1; 30]), Err(ImaError::Wrong(1)));
    // A name of 4 GiB.
    assert_eq!(
        read(&[[0; 24].as_slice(), &[0xff; 4]].concat()),
        Err(ImaError::Wrong(1))
    );
    assert_eq!(read_text("10 abc"), Err(ImaError::Wrong(1)));
}
