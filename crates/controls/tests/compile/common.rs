//! nft in a network namespace of its own.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use stockade_controls::firewall::nft::{Family, Ruleset};
use stockade_controls::firewall::readback;

const NFT: &str = "/usr/sbin/nft";

/// Whether nft can be run here in a namespace of its own; says so if not.
pub(crate) fn can_run_nft() -> bool {
    let ran = Command::new("unshare")
        .args(["-n", NFT, "list", "ruleset"])
        .output();
    let can = ran.is_ok_and(|ran| ran.status.success());
    if !can {
        #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
        {
            println!("skipped: needs root, unshare and {NFT}");
        }
    }
    can
}

/// Runs a script of sh in a new network namespace, with text on its input.
fn inside(script: &str, input: &str) -> Output {
    let mut child = Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let mut stdin = child.stdin.take().expect("its input is ours");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer
        .join()
        .expect("the writer ends")
        .expect("it reads all of it");
    output
}

/// Loads a ruleset into an empty kernel and reads it back.
pub(crate) fn through_the_kernel(ruleset: &Ruleset) -> Ruleset {
    loaded(ruleset, &ruleset.replacing(&Ruleset::default()))
}

fn loaded(ruleset: &Ruleset, text: &str) -> Ruleset {
    let script = format!(
        "{NFT} -f - && {NFT} --json --numeric-protocol list ruleset && echo && {NFT} list ruleset"
    );
    let output = inside(&script, text);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft refuses: {said}\n{ruleset}");
    let (json, text) = String::from_utf8(output.stdout)
        .expect("nft prints UTF-8")
        .split_once("\n\n")
        .map(|(json, text)| (json.to_owned(), text.to_owned()))
        .expect("both listings");
    let mut read = readback::from_json(json.as_bytes())
        .unwrap_or_else(|wrong| panic!("{wrong}\n{text}\n{json}"));
    readback::devices(&mut read, &text).expect("every interface is told");
    read
}

/// The ruleset as a comparison sees it: what nft leaves out of its JSON is left out, and time has passed.
pub(crate) fn comparable(mut ruleset: Ruleset) -> Ruleset {
    ruleset
        .tables
        .sort_by_key(|table| (table.family, table.name.clone()));
    for table in &mut ruleset.tables {
        table.sets.sort_by(|a, b| a.name.cmp(&b.name));
        table.chains.sort_by(|a, b| a.name.cmp(&b.name));
        for set in &mut table.sets {
            set.dynamic = false;
            set.elements.sort();
        }
    }
    ruleset
}

/// That the kernel holds what was written.
pub(crate) fn comes_back(ruleset: &Ruleset) {
    let read = comparable(through_the_kernel(ruleset));
    let written = comparable(ruleset.clone());
    let lines = |ruleset: &Ruleset| ruleset.to_string().lines().map(str::to_owned).collect();
    let (ours, theirs): (Vec<String>, Vec<String>) = (lines(&written), lines(&read));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(written, read);
    let families = [Family::Inet, Family::Arp, Family::Netdev];
    assert!(
        read.tables
            .iter()
            .all(|table| families.contains(&table.family))
    );
}
