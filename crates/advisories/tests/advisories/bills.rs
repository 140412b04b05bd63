//! Bills of materials.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use stockade_advisories::cyclonedx::{Subject, read, write};
use stockade_advisories::{Component, Distribution, Inventory};

use super::{Place, package};

fn inventory() -> Inventory {
    let mut licensed = package("alpine 3.23", "busybox", "1.37.0-r12", "busybox");
    "GPL-2.0-only".clone_into(&mut licensed.licence);
    let mut named = Component::detected("openssl", "1.1.1m", "/lib/libssl.so, offset 0x1234");
    named.cpe = Some(("openssl".to_owned(), "openssl".to_owned()));
    let mut again = named.clone();
    "/lib/libcrypto.so, offset 0x99".clone_into(&mut again.place);
    let mut components = vec![
        licensed,
        named,
        again,
        package("debian 12", "libldb2", "2:2.6.2-1", "samba"),
        package("almalinux 9.6", "perl", "4:5.32.1-480.el9", "perl"),
    ];
    components.sort();
    Inventory {
        distribution: Some(Distribution {
            id: "alpine".to_owned(),
            version: "3.23".to_owned(),
        }),
        components,
        unread: vec![("/db".to_owned(), "it breaks off".to_owned())],
    }
}

fn subject() -> Subject {
    Subject {
        name: "firmware.bin".to_owned(),
        sha256: "00".repeat(32),
        tool: "0.0.0".to_owned(),
        timestamp: None,
    }
}

/// A bill with vulnerabilities in it.
fn bill() -> String {
    let place = Place::new();
    let record = json!({"id": "CVE-2026-0001", "modified": "2026-11-20T00:00:00Z", "summary": "It breaks",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        "affected": [{"package": {"ecosystem": "Debian:12", "name": "samba"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2:4-1"}]}]}]});
    place.import(&place.write("a.json", record.to_string()));
    let vex = json!({"@context": "https://openvex.dev/ns", "statements": [{"vulnerability": {"name": "CVE-2026-0001"},
        "products": [{"@id": "pkg:deb/debian/samba"}], "status": "not_affected", "impact_statement": "not built in"}]});
    let claims = stockade_advisories::claims(vex.to_string().as_bytes(), "vex.json").unwrap();
    let db = stockade_advisories::Db::open(&place.db).unwrap();
    let checked = stockade_advisories::check(&db, &inventory(), &claims).unwrap();
    write(&subject(), &inventory(), Some(&checked))
}

#[test]
fn a_bill_says_what_is_there_where_and_what_is_wrong_with_it() {
    insta::assert_snapshot!(bill());
    assert_eq!(bill(), bill(), "the same input gives the same bytes");
}

#[test]
fn a_bill_that_is_read_back_lists_the_same() {
    let told = |it: &Inventory| -> Vec<_> {
        let each = |it: &Component| {
            let (name, version) = it.spoken();
            (
                it.kind,
                it.name.clone(),
                it.version.clone(),
                name.to_owned(),
                version.to_owned(),
                it.distribution.clone(),
            )
        };
        let mut all: Vec<_> = it.components.iter().map(each).collect();
        all.dedup();
        all
    };
    let back = read(bill().as_bytes(), "bill.json").unwrap();
    assert_eq!(back.unread, []);
    assert_eq!(told(&back), told(&inventory()));
    let detected = back
        .components
        .iter()
        .find(|it| it.name == "openssl")
        .unwrap();
    assert_eq!(
        detected.cpe,
        Some(("openssl".to_owned(), "openssl".to_owned()))
    );
}

#[test]
fn what_others_write_is_read_and_what_cannot_be_asked_for_is_told() {
    // As Syft writes it: the system apart, and a package URL without it.
    let bill = json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": [
        {"type": "operating-system", "name": "debian", "version": "12"},
        {"type": "library", "name": "libc6", "version": "2.36-9", "purl": "pkg:deb/debian/libc6@2.36-9?arch=amd64&upstream=glibc"},
        {"type": "library", "name": "in", "version": "1", "components": [
            {"type": "library", "name": "requests", "purl": "pkg:pypi/requests@2.0", "version": "2.0"}]},
        {"type": "file", "name": "/etc/x"},
    ]});
    let read_back = read(bill.to_string().as_bytes(), "b").unwrap();
    let libc = read_back
        .components
        .iter()
        .find(|it| it.name == "libc6")
        .unwrap();
    assert_eq!(libc.spoken(), ("glibc", "2.36-9"));
    assert_eq!(libc.distribution.as_ref().unwrap().version, "12");
    assert!(read_back.components.iter().any(|it| it.name == "requests"));
    assert_eq!(
        read_back.unread,
        [("b: in 1".to_owned(), "it has no package URL".to_owned())]
    );
    for wrong in [
        "",
        "{}",
        "[]",
        r#"{"bomFormat":"CycloneDX","specVersion":"2.0"}"#,
        r#"{"bomFormat":"SPDX","specVersion":"1.6"}"#,
    ] {
        assert!(read(wrong.as_bytes(), "b").is_err(), "{wrong}");
    }
    let deep = format!(
        "{}{}{}",
        r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":["#,
        r#"{"components":["#.repeat(5_000),
        "]}".repeat(5_001)
    );
    assert!(read(deep.as_bytes(), "b").is_err());
}

#[test]
fn a_bill_is_what_the_schema_demands() {
    structure(&serde_json::from_str(&bill()).unwrap());
    let place = Place::new();
    let path = place.write("bom.json", bill());
    // CycloneDX's own library has the schemas with it.
    let script = "
import sys
try:
    from cyclonedx.validation.json import JsonStrictValidator
    from cyclonedx.schema import SchemaVersion
except ImportError:
    sys.exit(7)
wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(wrong) if wrong else 0)
";
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-venv/bin/python");
    let python = if venv.exists() {
        venv
    } else {
        "python3".into()
    };
    let out = Command::new(python).args(["-c", script]).arg(path).output();
    match out {
        Ok(out) if out.status.code() != Some(7) => {
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
        _ => println!("skipped: no cyclonedx-python-lib with json-validation to ask"),
    }
}

/// What the schema demands of every bill, as far as it can be said shortly: references lead somewhere, and are there once.
fn structure(bill: &Value) {
    let list = |value: &Value| value.as_array().unwrap().clone();
    let mut refs: Vec<String> = list(&bill["components"])
        .iter()
        .map(|it| it["bom-ref"].as_str().unwrap().to_owned())
        .collect();
    let count = refs.len();
    refs.sort();
    refs.dedup();
    assert_eq!(refs.len(), count, "each reference once");
    for vulnerability in list(&bill["vulnerabilities"]) {
        for affected in list(&vulnerability["affects"]) {
            assert!(refs.contains(&affected["ref"].as_str().unwrap().to_owned()));
        }
    }
}
