//! What comes in, whole or not at all.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::json;
use stockade_advisories::{Db, import};

use super::{NOW, Place, found, package};

fn record(id: &str, modified: &str, fixed: &str) -> String {
    json!({"id": id, "modified": modified, "affected": [{"package": {"ecosystem": "Debian:12", "name": "x"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]}]})
    .to_string()
}

const OLD: &str = "2026-11-01T00:00:00Z";
const NEW: &str = "2026-11-02T00:00:00Z";

fn sources(place: &Place) -> Vec<(String, u64, String)> {
    let all = Db::open(&place.db).unwrap().sources().unwrap();
    all.into_iter()
        .map(|it| (it.form, it.records, it.newest))
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Packs with the system's own program; none if it is not there.
fn packed(place: &Place, program: &str, arguments: &[&str], name: &str) -> Option<PathBuf> {
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .arg(name)
        .arg("in")
        .current_dir(place.folder.path());
    let out = command.output();
    if !out.is_ok_and(|it| it.status.success()) {
        println!("skipped: no {program} to pack with");
        return None;
    }
    Some(place.folder.path().join(name))
}

#[test]
fn the_same_records_come_in_from_a_directory_a_zip_a_tar_and_by_themselves() {
    let ask = |place: &Place| found(&place.check(vec![package("debian 12", "x", "1", "")]));
    let fill = |place: &Place| {
        place.write("CVE-2026-0001.json", record("CVE-2026-0001", OLD, "2"));
        let long = format!("{}.json", "n".repeat(150));
        place.write(&long, record("CVE-2026-0002", OLD, "3"));
        place.write(
            "c.json.gz",
            gzip(record("CVE-2026-0003", OLD, "3").as_bytes()),
        );
        place.write("README.md", "no data");
    };
    let expected = ["x 1: CVE-2026-0001, CVE-2026-0002, CVE-2026-0003"];
    let place = Place::new();
    fill(&place);
    let imported = place.import(&place.input());
    assert_eq!(
        (imported.records, imported.bad, imported.ignored),
        (3, 0, 1)
    );
    assert_eq!(ask(&place), expected);
    for (program, arguments, name) in [
        ("zip", ["-qr"].as_slice(), "all.zip"),
        ("tar", ["-cf"].as_slice(), "all.tar"),
        ("tar", ["--format=pax", "-czf"].as_slice(), "all.tar.gz"),
        ("tar", ["--format=gnu", "-czf"].as_slice(), "gnu.tgz"),
    ] {
        let place = Place::new();
        fill(&place);
        // A document that is packed by itself is looked for in directories only.
        fs_err::remove_file(place.input().join("c.json.gz")).unwrap();
        place.write("c.json", record("CVE-2026-0003", OLD, "3"));
        let Some(path) = packed(&place, program, arguments, name) else {
            continue;
        };
        assert_eq!(place.import(&path).named, [], "{name}");
        assert_eq!(ask(&place), expected, "{name}");
        // Cut off anywhere, it is told.
        let whole = fs_err::read(&path).unwrap();
        let cut = place.write("cut.zip", &whole[..whole.len() / 2]);
        let other = Place::new();
        assert!(other.import(&cut).bad > 0, "{name}");
    }
}

#[test]
fn a_bad_record_is_told_and_the_others_come_in() {
    let place = Place::new();
    let good = record("CVE-2026-0001", OLD, "2");
    place.write("a.json", format!("[{good}, {{\"id\": \"CVE-2026-0002\", \"modified\": 7}}, {{\"id\":\"CVE-2026-0003\",\"modified\":\"soon\"}}]"));
    place.write(
        "b.json",
        "{\"vulnerabilities\": [{\"cve\": {\"id\": \"CVE-2026-0004\"}}], \"format\": \"NVD_CVE\"}",
    );
    place.write(
        "c.json",
        "{\"id\": \"CVE-2026-0005\", \"modified\": \"2026-01",
    );
    place.write("d.json", "{\"something\": \"else\"}");
    place.write("kev.csv", "cveID,dateAdded\nnonsense,2026-01-01\n");
    let imported = place.import(&place.input());
    assert_eq!(imported.records, 1);
    let names: Vec<String> = imported
        .named
        .iter()
        .map(|(at, why)| format!("{}: {why}", at.rsplit('/').next().unwrap()))
        .collect();
    insta::assert_snapshot!(names.join("\n"));
    assert_eq!(imported.bad, 7);
    assert_eq!(
        found(&place.check(vec![package("debian 12", "x", "1", "")])),
        ["x 1: CVE-2026-0001"]
    );
    assert_eq!(
        sources(&place),
        [("osv".to_owned(), 1, "2026-11-01".to_owned())]
    );
}

#[test]
fn what_is_newer_counts_whichever_comes_first_and_twice_is_once() {
    let old = format!(
        "[{},{}]",
        record("CVE-2026-0001", OLD, "2"),
        record("CVE-2026-0002", OLD, "2")
    );
    let new = format!(
        "[{},{}]",
        record("CVE-2026-0001", NEW, "1"),
        record("CVE-2026-0002", NEW, "1")
    );
    let ask = |place: &Place| found(&place.check(vec![package("debian 12", "x", "1", "")]));
    let place = Place::new();
    let (old, new) = (place.write("old.json", old), place.write("new.json", new));
    place.import(&old);
    let first = Db::open(&place.db).unwrap().sources().unwrap();
    place.import(&old);
    assert_eq!(
        Db::open(&place.db).unwrap().sources().unwrap(),
        first,
        "twice is once"
    );
    assert_eq!(ask(&place), ["x 1: CVE-2026-0001, CVE-2026-0002"]);
    place.import(&new);
    assert_eq!(ask(&place), [""; 0]);
    assert_eq!(
        sources(&place),
        [("osv".to_owned(), 2, "2026-11-02".to_owned())],
        "nothing of the old is left"
    );
    let imported = place.import(&old);
    assert_eq!(imported.older, 2);
    assert_eq!(ask(&place), [""; 0]);
    assert_eq!(sources(&place).len(), 1);
    assert_eq!(
        Db::remove(&place.db, &new.display().to_string()).unwrap(),
        1
    );
    assert_eq!(sources(&place), []);
}

#[test]
fn a_list_takes_the_place_of_the_one_before_unless_that_is_newer() {
    let place = Place::new();
    let kev = |day: &str| format!("cveID,dateAdded\nCVE-2026-0001,{day}\n");
    let (new, old) = (
        place.write("new.csv", kev("2026-11-20")),
        place.write("old.csv", kev("2026-10-20")),
    );
    assert_eq!(place.import(&old).records, 1);
    assert_eq!(place.import(&new).older, 0);
    assert_eq!(place.import(&old).older, 1);
    assert_eq!(
        sources(&place),
        [("kev".to_owned(), 1, "2026-11-20".to_owned())]
    );
    let releases = "version,series,eol\n12,bookworm,2026-07-11\n";
    let releases = place.write("debian.csv", releases);
    place.import(&releases);
    place.import(&releases);
    assert_eq!(sources(&place).len(), 2);
    assert_eq!(Db::remove(&place.db, "support").unwrap(), 1);
    assert_eq!(Db::remove(&place.db, "kev").unwrap(), 1);
    assert_eq!(sources(&place), []);
}

#[test]
fn a_day_to_come_does_not_make_old_data_new() {
    let place = Place::new();
    place.import(&place.write(
        "a.json",
        record("CVE-2026-0001", "2999-01-01T00:00:00Z", "2"),
    ));
    assert_eq!(
        sources(&place),
        [("osv".to_owned(), 1, "2026-11-23".to_owned())]
    );
}

#[test]
fn what_is_no_database_of_ours_is_left_alone() {
    let place = Place::new();
    assert!(Db::open(&place.db).is_err(), "nothing was imported");
    let data = place.write("a.json", record("CVE-2026-0001", OLD, "2"));
    fs_err::create_dir_all(place.db.parent().unwrap()).unwrap();
    fs_err::write(
        &place.db,
        "not a database, and longer than a header of one would be",
    )
    .unwrap();
    assert!(import(&place.db, std::slice::from_ref(&data), NOW, &|_| ()).is_err());
    assert!(Db::open(&place.db).is_err());
    fs_err::remove_file(&place.db).unwrap();
    let other = rusqlite::Connection::open(&place.db).unwrap();
    other
        .execute_batch("CREATE TABLE a (b); PRAGMA user_version=7;")
        .unwrap();
    assert!(import(&place.db, &[data], NOW, &|_| ()).is_err());
    // A path that is not there takes everything back.
    let place = Place::new();
    let data = place.write("a.json", record("CVE-2026-0001", OLD, "2"));
    assert!(import(&place.db, &[data, place.input().join("none")], NOW, &|_| ()).is_err());
    assert_eq!(sources(&place), []);
}

/// Not a test: what the next one kills.
#[test]
#[ignore = "the other side of the next test"]
fn an_import_that_is_killed() {
    let Ok(folder) = std::env::var("STOCKADE_KILLED") else {
        return;
    };
    let folder = PathBuf::from(folder);
    let db = folder.join("db/advisories.db");
    let inputs = [folder.join("in/big.json"), folder.join("in/wait")];
    drop(import(&db, &inputs, NOW, &|what| println!("READ {what}")));
}

#[test]
fn a_killed_import_leaves_what_was_there() {
    use std::io::BufRead as _;
    let place = Place::new();
    place.import(&place.write("a.json", record("CVE-2026-0001", OLD, "2")));
    let before = sources(&place);
    let rows: Vec<String> = (0..5_000)
        .map(|n| record(&format!("CVE-2027-{n:05}"), OLD, "2"))
        .collect();
    place.write("big.json", format!("[{}]", rows.join(",")));
    // It waits for the other end of a pipe, with everything before it written and not kept.
    let pipe = place.input().join("wait");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "importing::an_import_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env("STOCKADE_KILLED", place.folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().ends_with("wait")),
        "it got that far"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(sources(&place), before);
    assert_eq!(
        found(&place.check(vec![package("debian 12", "x", "1", "")])),
        ["x 1: CVE-2026-0001"]
    );
}
