//! nft run for real, and nft that fails in every way it can.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{listed, namespace};
use stockade_controls::firewall::nft::Family;
use stockade_host::nft::{Nft, NftError};

const GOOD: &str = "table inet stockade {\n\tchain a {\n\t\taccept\n\t}\n}\n";

/// A program of ours in the place of nft.
fn fake(script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("nft");
    fs_err::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("its mode");
    (folder, program)
}

#[test]
fn a_ruleset_is_loaded_and_listed_and_an_absent_table_is_none() {
    if !namespace() {
        return;
    }
    let nft = Nft::find().expect("nft");
    assert!(nft.version().expect("a version").starts_with("nftables v"));
    assert!(
        nft.list(Family::Inet, "stockade")
            .expect("an answer")
            .is_none()
    );
    nft.check(GOOD).expect("it is sound");
    assert!(
        nft.list(Family::Inet, "stockade")
            .expect("an answer")
            .is_none()
    );
    nft.apply(GOOD).expect("it is loaded");
    let json = nft.list(Family::Inet, "stockade").expect("an answer");
    let json: serde_json::Value = serde_json::from_slice(&json.expect("the table")).expect("JSON");
    assert!(json["nftables"].is_array());
}

#[test]
fn this_kernel_lacks_nothing_that_the_rules_need() {
    if !namespace() {
        return;
    }
    let nft = Nft::find().expect("nft");
    assert_eq!(nft.missing_features(), Vec::<String>::new());
    assert_eq!(listed("list ruleset"), "", "looking leaves nothing behind");
}

#[test]
fn a_refused_ruleset_changes_nothing_and_its_line_is_named() {
    if !namespace() {
        return;
    }
    let nft = Nft::find().expect("nft");
    nft.apply(GOOD).expect("it is loaded");
    let before = listed("list ruleset");
    let bad = "table inet stockade {\n\tchain b {\n\t\tjump nowhere\n\t}\n}\n";
    let error = nft.apply(bad).expect_err("there is no such chain");
    assert!(matches!(error, NftError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("jump nowhere") || error.to_string().contains("chain b"),
        "{error}"
    );
    assert_eq!(listed("list ruleset"), before);
}

#[test]
fn a_missing_nft_is_told_with_the_package_that_has_it() {
    let error = Nft::at("/nonexistent/nft".as_ref())
        .check(GOOD)
        .expect_err("it is not there");
    assert_eq!(
        error.to_string(),
        "there is no `nft` on this machine: install the package nftables"
    );
}

#[test]
fn an_nft_that_hangs_is_stopped_in_time_and_so_are_its_pipes() {
    let (_folder, program) = fake("sleep 60 & exec sleep 60");
    let nft = Nft::at(&program).within(Duration::from_millis(300));
    let start = Instant::now();
    let error = nft.check(GOOD).expect_err("it hangs");
    assert!(matches!(error, NftError::TooSlow { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_nft_that_dies_or_fails_in_silence_is_no_success() {
    for (script, word) in [
        ("kill -9 $$", "signal: 9"),
        ("exit 3", "exit status: 3"),
        ("echo nonsense >&2; exit 1", "nonsense"),
        (
            "echo 'Operation not permitted (you must be root)' >&2; exit 1",
            "run this as root",
        ),
        (
            "printf '\\033[2Jx: Error: \\033]0;title\\007\\n' >&2; exit 1",
            "Error",
        ),
    ] {
        let (_folder, program) = fake(script);
        let error = Nft::at(&program)
            .check(GOOD)
            .expect_err("it failed")
            .to_string();
        assert!(error.contains(word) || word == "Error", "{script}: {error}");
        assert!(
            !error.contains('\u{1b}') && !error.contains('\u{7}'),
            "{error:?}"
        );
    }
}

#[test]
fn an_nft_that_floods_is_cut_off() {
    let (_folder, program) = fake("yes no >&2 & yes");
    let nft = Nft::at(&program)
        .within(Duration::from_secs(20))
        .printing_at_most(1_000_000);
    let error = nft.version().expect_err("it never ends");
    assert!(matches!(error, NftError::TooMuch { .. }), "{error}");
}

#[test]
fn nft_gets_no_environment_and_the_whole_ruleset_at_once() {
    // The file is complete before nft starts: it can neither grow nor shrink, and can be read from its start again.
    let (folder, program) = fake(
        "env | grep -v '^PWD=\\|^SHLVL=\\|^_=\\|^OLDPWD=' > ${0%/nft}/env; cat /dev/stdin > ${0%/nft}/first; cat /dev/stdin > ${0%/nft}/second; (echo x >> /dev/stdin) 2>/dev/null && touch ${0%/nft}/written; exit 0",
    );
    let text = "x".repeat(300_000);
    Nft::at(&program).check(&text).expect("it says yes");
    let read = |name: &str| fs_err::read_to_string(folder.path().join(name)).expect("a file");
    assert_eq!(read("env"), "LC_ALL=C\n");
    assert_eq!(
        (read("first").len(), read("second").len()),
        (300_000, 300_000)
    );
    assert!(!folder.path().join("written").exists());
}
