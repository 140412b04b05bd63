//! What is affected and what only looks so.

use serde_json::json;
use stockade_advisories::{Component, DAYS, claims, judge, not_run};
use stockade_controls::engine::{Confidence, Severity, Verdict};

use super::{NOW, Place, found, package};

fn osv(id: &str, ecosystem: &str, name: &str, events: &[(&str, &str)]) -> serde_json::Value {
    let events: Vec<_> = events
        .iter()
        .map(|(key, version)| json!({*key: version}))
        .collect();
    json!({
        "id": id, "modified": "2026-11-20T10:00:00Z",
        "affected": [{
            "package": {"ecosystem": ecosystem, "name": name},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }],
    })
}

/// Imports records and says what is found of these components.
fn check(records: &serde_json::Value, components: Vec<Component>, expected: &[&str]) {
    let place = Place::new();
    let path = place.write("all.json", records.to_string());
    let imported = place.import(&path);
    assert_eq!((imported.bad, imported.named), (0, vec![]), "all is read");
    let checked = place.check(components);
    assert_eq!(found(&checked), expected);
}

#[test]
fn a_distributions_package_is_judged_by_its_source_and_by_that_distribution() {
    let mut second = osv(
        "DSA-1-1",
        "Debian:12",
        "perl",
        &[("introduced", "0"), ("fixed", "5.36.0-7+deb12u4")],
    );
    second["upstream"] = json!(["CVE-2026-1000", "CVE-2026-1001"]);
    let other = osv("CVE-2026-2000", "Debian:11", "perl", &[("introduced", "0")]);
    let ubuntu = osv(
        "CVE-2026-2001",
        "Ubuntu:22.04:LTS",
        "perl",
        &[("introduced", "0")],
    );
    let epoch = osv(
        "CVE-2026-2002",
        "Debian:12",
        "samba",
        &[("introduced", "0"), ("fixed", "2:4.17.12+dfsg-0+deb12u1")],
    );
    let kernel = osv(
        "CVE-2026-2003",
        "Debian:12",
        "linux",
        &[("introduced", "0")],
    );
    let records = json!([second, other, ubuntu, epoch, kernel]);
    check(
        &records,
        vec![
            package("debian 12", "perl-base", "5.36.0-7+deb12u3", "perl"),
            package("debian 12", "libperl5.36", "5.36.0-7+deb12u3", "perl"),
            // Backported elsewhere: before the fix; exactly the fix; rebuilt.
            package("debian 12", "perl-doc", "5.36.0-7+deb12u4~bpo11+1", "perl"),
            package("debian 12", "perl-modules", "5.36.0-7+deb12u4", "perl"),
            package("debian 12", "perl", "5.36.0-7+deb12u4+b1", ""),
            // Headers have nothing of the kernel that runs.
            package("debian 12", "linux-libc-dev", "6.1.1-1", "linux"),
            package("debian 12", "linux-image-6.1.0-1-arm64", "6.1.2-1", "linux"),
            // A package of that name which is built from another source.
            package("debian 12", "samba", "1.0", "samba-look-alike"),
            package(
                "debian 12",
                "libldb2",
                "2:2.6.2+samba4.17.12+dfsg-0+deb12u1",
                "samba",
            ),
        ],
        &[
            "linux 6.1.2-1: CVE-2026-2003",
            "perl 5.36.0-7+deb12u3: CVE-2026-1000, CVE-2026-1001",
            "perl 5.36.0-7+deb12u4~bpo11+1: CVE-2026-1000, CVE-2026-1001",
            "samba 2:2.6.2+samba4.17.12+dfsg-0+deb12u1: CVE-2026-2002",
        ],
    );
}

#[test]
fn a_source_with_a_version_of_its_own_is_compared_by_that() {
    // libldb2 2:2.6.2 is built from samba 2:4.17.12: compared by its own it would always be too old.
    let record = osv(
        "CVE-2026-2002",
        "Debian:12",
        "samba",
        &[("introduced", "0"), ("fixed", "2:4.17.12+dfsg-0+deb12u1")],
    );
    let mut ldb = package("debian 12", "libldb2", "2:2.6.2+samba4.17.12", "");
    ldb.source = Some(("samba".to_owned(), "2:4.17.12+dfsg-0+deb12u1".to_owned()));
    check(&json!([record]), vec![ldb], &[]);
}

#[test]
fn alpine_rpm_and_modules_are_compared_as_they_count() {
    let module = "8.0.1-1.module_el9+5";
    let redis = |fixed| {
        osv(
            "CVE-2026-5555",
            "AlmaLinux:9",
            "redis",
            &[("introduced", "0"), ("fixed", fixed)],
        )
    };
    let mut streams = redis("6.2.9-1.module_el9+1");
    let newer = redis("7.2.5-1.module_el9+1")["affected"][0].clone();
    streams["affected"].as_array_mut().unwrap().push(newer);
    let records = json!([
        streams,
        osv(
            "CVE-2026-1",
            "Alpine:v3.23",
            "openssl",
            &[("introduced", "0"), ("fixed", "3.5.4-r0")]
        ),
        osv(
            "ALPINE-CVE-2026-2",
            "Alpine:v3.22",
            "openssl",
            &[("introduced", "0")]
        ),
        osv(
            "CVE-2026-3333",
            "AlmaLinux:9",
            "perl",
            &[("introduced", "0"), ("fixed", "4:5.32.1-481.el9")]
        ),
        osv(
            "CVE-2026-4444",
            "AlmaLinux:9",
            "nodejs",
            &[("introduced", "0"), ("fixed", module)]
        ),
    ]);
    check(
        &records,
        vec![
            package("alpine 3.23.0", "libssl3", "3.5.3-r1", "openssl"),
            package("alpine 3.23.0", "openssl-doc", "3.5.4-r0", "openssl"),
            package("alpine 3.23.0", "openssl", "3.5.4_git20250101-r0", ""),
            package("almalinux 9.6", "perl", "4:5.32.1-480.el9", "perl"),
            // Its own version has no such epoch: it is another package of the same source.
            package("almalinux 9.6", "perl-Errno", "1.30-480.el9", "perl"),
            package("almalinux 9.6", "nodejs", "6.0.0-1.el9", ""),
            // One advisory mends two streams of a module.
            package("almalinux 9.6", "redis", "6.2.8-1.module_el9+1", ""),
            package("almalinux 9.6", "redis", "6.2.9-1.module_el9+1", ""),
            package("almalinux 9.6", "redis", "7.2.4-1.module_el9+1", ""),
            package("almalinux 9.6", "nodejs", "8.0.0-1.module_el9+4", ""),
        ],
        &[
            "nodejs 8.0.0-1.module_el9+4: CVE-2026-4444",
            "openssl 3.5.3-r1: CVE-2026-1",
            "perl 4:5.32.1-480.el9: CVE-2026-3333",
            "redis 6.2.8-1.module_el9+1: CVE-2026-5555",
            "redis 7.2.4-1.module_el9+1: CVE-2026-5555",
        ],
    );
}

#[test]
fn one_vulnerability_told_by_several_is_found_once_and_what_was_taken_back_not_at_all() {
    let row = |id: &str| {
        osv(
            id,
            "Debian:12",
            "curl",
            &[("introduced", "0"), ("fixed", "8-1")],
        )
    };
    let mut dsa = row("DSA-2-1");
    dsa["aliases"] = json!(["CVE-2026-0001"]);
    dsa["severity"] =
        json!([{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]);
    let mut own = row("DEBIAN-CVE-2026-0001");
    own["upstream"] = json!(["CVE-2026-0001"]);
    let mut gone = row("CVE-2026-0002");
    gone["withdrawn"] = json!("2026-11-21T00:00:00Z");
    let mut minor = row("CVE-2026-0003");
    minor["affected"][0]["ecosystem_specific"] = json!({"urgency": "unimportant"});
    let mut named = row("CVE-2026-0004");
    named["affected"][0]["ranges"] = json!([]);
    named["affected"][0]["versions"] = json!(["7-1"]);
    let place = Place::new();
    place.import(&place.write("a.json", json!([dsa, own, gone, minor, named]).to_string()));
    let checked = place.check(vec![package("debian 12", "curl", "7-1", "")]);
    assert_eq!(
        found(&checked),
        ["curl 7-1: CVE-2026-0001, CVE-2026-0003, CVE-2026-0004"]
    );
    let known = &checked.vulnerable[0].known;
    assert_eq!(known[0].advisories.len(), 2);
    assert_eq!(known[0].severity, Severity::Critical);
    assert_eq!(known[1].severity, Severity::Low);
    assert_eq!(
        known[2].severity,
        Severity::Medium,
        "nobody says how bad it is"
    );
    assert_eq!(known[0].fixed.as_deref(), Some("8-1"));
}

#[test]
fn software_known_by_its_version_string_is_told_apart_and_unsure() {
    let cpe = |id: &str, name: &str, end: &str| {
        json!({"cve": {
            "id": id, "lastModified": "2026-11-20T10:00:00.000", "vulnStatus": "Analyzed",
            "descriptions": [{"lang": "en", "value": "It breaks."}],
            "metrics": {"cvssMetricV2": [{"cvssData": {"vectorString": "AV:N/AC:L/Au:N/C:P/I:P/A:P"}}]},
            "configurations": [{"nodes": [{"operator": "OR", "negate": false, "cpeMatch": [
                {"vulnerable": true, "criteria": format!("cpe:2.3:a:{name}:*:*:*:*:*:*:*:*"),
                 "versionStartExcluding": "1.30.0", "versionEndExcluding": end}]}]}]}})
    };
    let mut windows = cpe("CVE-2026-0003", "busybox:busybox", "2");
    let platform = json!({"cpeMatch": [{"vulnerable": false, "criteria": "cpe:2.3:o:microsoft:windows:-:*:*:*:*:*:*:*"}]});
    let nodes = windows["cve"]["configurations"][0]["nodes"].as_array_mut();
    nodes.unwrap().push(platform);
    let feed = json!({"format": "NVD_CVE", "version": "2.0", "vulnerabilities": [
        cpe("CVE-2026-0001", "busybox:busybox", "1.36.1"),
        cpe("CVE-2026-0002", "someone:busybox", "9"),
        windows,
    ]});
    let cve = json!({
        "dataType": "CVE_RECORD", "dataVersion": "5.1",
        "cveMetadata": {"cveId": "CVE-2026-0004", "state": "PUBLISHED", "dateUpdated": "2026-11-01T00:00:00Z"},
        "containers": {"cna": {"affected": [{"vendor": "OpenSSL", "product": "OpenSSL", "defaultStatus": "unaffected", "versions": [
            {"version": "3.0.0", "lessThan": "3.0.2", "status": "affected", "versionType": "semver"},
            {"version": "1.1.1", "lessThan": "1.1.1n", "status": "affected", "versionType": "custom"}]}]}}});
    let place = Place::new();
    place.write("nvd.json", feed.to_string());
    place.write("cve.json", cve.to_string());
    assert_eq!(place.import(&place.input()).named, []);
    let detected =
        |name, version| Component::detected(name, version, format!("/bin/{name}, offset 0x10"));
    let checked = place.check(vec![
        detected("busybox", "1.35.0"),
        detected("busybox", "1.36.1"),
        detected("busybox", "1.30.0"),
        detected("openssl", "1.1.1m"),
        detected("openssl", "1.1.1n"),
        detected("openssl", "3.0.1"),
        detected("strange", "1"),
        package("openwrt 24.10", "libopenssl3", "3.0.1-r2", ""),
    ]);
    assert_eq!(
        found(&checked),
        [
            "busybox 1.35.0: CVE-2026-0001",
            "libopenssl3 3.0.1-r2: CVE-2026-0004",
            "openssl 1.1.1m: CVE-2026-0004",
            "openssl 3.0.1: CVE-2026-0004"
        ]
    );
    let first = &checked.vulnerable[0].known[0];
    assert_eq!(
        (first.confidence, first.severity),
        (Confidence::Low, Severity::High)
    );
    assert_eq!(
        checked.unchecked,
        [(
            "strange".to_owned(),
            "software that no imported data names".to_owned()
        )]
    );
}

#[test]
fn what_has_no_data_is_never_said_to_be_fine() {
    let place = Place::new();
    place.import(&place.write(
        "a.json",
        osv("CVE-2026-0001", "Debian:12", "x", &[("introduced", "0")]).to_string(),
    ));
    let rule = |checked: &_, at: usize| judge(checked, NOW, DAYS).remove(at).verdict;
    // Another release, another distribution, nothing at all, a version that is none.
    for components in [
        vec![package("debian 11", "y", "1", "")],
        vec![package("alpine 3.23", "y", "1", "")],
        vec![],
        vec![package("debian 12", "x", "not a version", "")],
    ] {
        let checked = place.check(components);
        assert!(
            matches!(rule(&checked, 0), Verdict::CannotTell(..)),
            "{checked:?}"
        );
    }
    let fine = place.check(vec![package("debian 12", "y", "1", "")]);
    assert_eq!(
        rule(&fine, 0),
        Verdict::Passed("one component, by Debian:12 of 2026-11-20".to_owned())
    );
    let Verdict::DoesNotApply(why) = rule(&fine, 1) else {
        panic!("there is no KEV")
    };
    assert!(why.contains("not run"), "{why}");
    // Days old, and older than is good.
    assert!(matches!(rule(&fine, 3), Verdict::Passed(_)));
    let later = judge(&fine, NOW + 40 * 86_400, DAYS).remove(3).verdict;
    let Verdict::Broken(findings) = later else {
        panic!("it is old")
    };
    assert_eq!(
        findings[0].what,
        "the data of Debian:12 is 43 days old: what was published since is not found"
    );
    for (wanted, outcome) in [true, false]
        .into_iter()
        .flat_map(|it| not_run("nothing", it).into_iter().map(move |o| (it, o)))
    {
        assert_eq!(matches!(outcome.verdict, Verdict::CannotTell(..)), wanted);
        assert!(!matches!(outcome.verdict, Verdict::Passed(_)));
    }
}

#[test]
fn what_is_exploited_is_critical_and_likely_ones_and_ended_releases_are_told() {
    let place = Place::new();
    let records = json!([
        osv(
            "CVE-2026-0001",
            "Debian:12",
            "x",
            &[("introduced", "0"), ("fixed", "2-1")]
        ),
        osv("CVE-2026-0002", "Debian:12", "x", &[("introduced", "0")]),
    ]);
    place.write("a.json", records.to_string());
    place.write("kev.csv", "cveID,vendorProject,dateAdded,knownRansomwareCampaignUse\nCVE-2026-0002,\"V, Inc\",2026-11-19,Known\n");
    place.write("epss.csv", "#model_version:v1,score_date:2026-11-22T00:00:00Z\ncve,epss,percentile\nCVE-2026-0001,0.01234,0.85\n");
    place.write("debian.csv", "version,codename,series,created,release,eol,eol-lts\n12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11\n13,Trixie,trixie,2023-06-10\n");
    let imported = place.import(&place.input());
    assert_eq!(imported.named, []);
    let checked = place.check(vec![package("debian 12", "x", "1-1", "")]);
    let outcomes = judge(&checked, NOW, DAYS);
    let text = outcomes
        .iter()
        .map(|it| format!("{}: {:#?}", it.rule.id, it.verdict))
        .collect::<Vec<_>>()
        .join("\n");
    insta::assert_snapshot!(text);
}

#[test]
fn a_vex_document_silences_what_it_says_does_no_harm_and_no_more() {
    let place = Place::new();
    let rows: Vec<_> = (1..=4)
        .map(|n| {
            osv(
                &format!("CVE-2026-000{n}"),
                "Debian:12",
                "x",
                &[("introduced", "0")],
            )
        })
        .collect();
    place.import(&place.write("a.json", json!(rows).to_string()));
    let statement = |n: u8, product: &str, status: &str| {
        json!({"vulnerability": {"name": format!("CVE-2026-000{n}")}, "products": [{"@id": product}],
               "status": status, "justification": "vulnerable_code_not_present"})
    };
    let vex = json!({"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-11-01T00:00:00Z", "statements": [
        statement(1, "pkg:deb/debian/x@1-1?arch=source", "not_affected"),
        statement(2, "pkg:deb/debian/x@2-1", "not_affected"),
        statement(3, "pkg:deb/debian/x", "under_investigation"),
        statement(4, "pkg:deb/debian/x", "not_affected"),
        {"vulnerability": {"name": "CVE-2026-0004"}, "products": [{"@id": "a device", "subcomponents": [{"@id": "pkg:deb/debian/x-bin"}]}],
         "status": "affected", "timestamp": "2026-11-02T00:00:00Z"},
    ]});
    let claims = claims(vex.to_string().as_bytes(), "our.vex.json").unwrap();
    let inventory = stockade_advisories::Inventory {
        components: vec![package("debian 12", "x-bin", "1-1", "x")],
        ..Default::default()
    };
    let db = stockade_advisories::Db::open(&place.db).unwrap();
    let checked = stockade_advisories::check(&db, &inventory, &claims).unwrap();
    let silenced: Vec<bool> = checked.vulnerable[0]
        .known
        .iter()
        .map(stockade_advisories::Known::is_silenced)
        .collect();
    assert_eq!(silenced, [true, false, false, false]);
    // Of two claims about one the newer counts; the older and that of another version speak of nothing.
    assert_eq!(checked.unused, 2);
    for wrong in [
        "",
        "{}",
        "[]",
        "{\"@context\": 7}",
        "{\"bomFormat\": \"SPDX\"}",
    ] {
        assert!(
            stockade_advisories::claims(wrong.as_bytes(), "x").is_err(),
            "{wrong}"
        );
    }
}
