//! `stockade audit` as a maker's build server and a person meet it: what is on standard output, what the exit code says, what becomes of
//! files, baselines and waivers.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stockade_e2e::tools::{say, stockade, text};
use tempfile::TempDir;

/// What starts in a system that has no fault.
const INITTAB: &str = "::sysinit:/etc/init.d/rcS\n";

/// A place with a root directory that has no fault, and room beside it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Result<Self> {
        let place = Self {
            folder: tempfile::tempdir()?,
        };
        place.file(
            "root/etc/passwd",
            "root:x:0:0:root:/root:/sbin/nologin\n",
            0o644,
        )?;
        place.file("root/etc/shadow", "root:!:19000::::::\n", 0o600)?;
        place.file("root/etc/group", "root:x:0:\n", 0o644)?;
        place.file("root/etc/inittab", INITTAB, 0o644)?;
        place.file("root/sbin/init", "#!/bin/sh\n", 0o755)?;
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: &str, mode: u32) -> Result<()> {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().context("a folder")?)?;
        fs_err::write(&path, content)?;
        fs_err::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Two faults: a setuid program where none should be, and a telnet server that starts.
    fn break_it(&self) -> Result<()> {
        self.file("root/opt/vendor/helper", "#!/bin/sh\n", 0o4755)?;
        self.file(
            "root/etc/inittab",
            "::respawn:/usr/sbin/telnetd -F\n",
            0o644,
        )?;
        self.file("root/usr/sbin/telnetd", "#!/bin/sh\n", 0o755)
    }

    fn audit(&self, words: &[&str]) -> Result<Output> {
        let output = Command::new(stockade()?)
            .arg("audit")
            .args(words)
            .current_dir(self.folder.path())
            .env_remove("SOURCE_DATE_EPOCH")
            .output()?;
        Ok(output)
    }

    /// Audits the root directory; not against advisories, of which there are none.
    fn image(&self, words: &[&str]) -> Result<Output> {
        self.audit(&[&["image", "root", "--no-vulnerabilities"], words].concat())
    }
}

fn ends(output: &Output, code: i32) -> Result<()> {
    ensure!(
        output.status.code() == Some(code),
        "{}: {}",
        output.status,
        text(output)
    );
    Ok(())
}

fn json(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).context(text(output))
}

fn broken(report: &Value) -> BTreeSet<String> {
    let rules = report["rules"].as_array().into_iter().flatten();
    let broken = rules.filter(|rule| rule["findings"] != serde_json::json!([]));
    let ids = broken.filter_map(|rule| rule["id"].as_str());
    ids.map(str::to_owned).collect()
}

#[test]
fn the_exit_code_says_how_it_ended() -> Result<()> {
    let place = Place::new()?;
    ends(&place.image(&[])?, 0)?;
    place.break_it()?;
    let output = place.image(&["-o", "json"])?;
    ends(&output, 1)?;
    let found = broken(&json(&output)?);
    ensure!(found.contains("privileges/setuid"), "{found:?}");
    ensure!(found.contains("programs/plain-server"), "{found:?}");
    ends(&place.image(&["--fail-on", "critical"])?, 0)?;
    ends(&place.image(&["--fail-on", "none"])?, 0)?;
    for wrong in [
        &["image", "nowhere"][..],
        &["image", "root", "-o", "json", "-o", "sarif"],
        &["image", "root", "-o", "pdf"],
        &["image", "root", "-o", "json", "--plan"],
        &["--json", "image", "root", "-o", "term"],
        &["image", "root", "-o", "json=nowhere/report.json"],
        &["image", "root", "--fail-on", "bad"],
        &["image", "root", "--baseline", "root/etc/passwd"],
        &["image", "root", "--waivers", "root/etc/passwd"],
        &["image", "root", "--profile", "root/etc/passwd"],
        &["image", "root", "--baseline", "/dev/zero"],
        &["recheck", "/dev/zero"],
        &["rules", "no/such"],
        &["diff", "root/etc/passwd", "root/etc/passwd"],
    ] {
        let output = place.audit(wrong)?;
        ends(&output, 2).context(wrong.join(" "))?;
        ensure!(output.stdout.is_empty(), "{wrong:?}: {}", text(&output));
    }
    // Of what nobody knows, nothing is said to be fine.
    let noise: Vec<u8> = (0..20_000_u32)
        .map(|it| it.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    fs_err::write(place.path("noise.bin"), noise)?;
    let output = place.audit(&["image", "noise.bin", "--no-vulnerabilities"])?;
    ends(&output, 3)?;
    // Neither without advisories, unless that was asked for.
    let clean = Place::new()?;
    let output = Command::new(stockade()?)
        .args(["audit", "image", "root", "--db", "none.db"])
        .current_dir(clean.folder.path())
        .output()?;
    ends(&output, 3)?;
    ensure!(text(&output).contains("not run"), "{}", text(&output));
    Ok(())
}

#[test]
fn standard_output_holds_the_report_and_nothing_else() -> Result<()> {
    let place = Place::new()?;
    place.break_it()?;
    // A name that would paint, in a file that is told of.
    place.file("root/opt/\u{1b}[31m\u{202e}red", "x", 0o4755)?;
    for format in ["json", "sarif"] {
        json(&place.image(&["-o", format])?).context(format)?;
    }
    json(&place.image(&[])?).expect_err("a table is no JSON");
    let output = place.image(&[])?;
    let told = String::from_utf8(output.stdout.clone())?;
    ensure!(told.starts_with("root\n"), "{told}");
    ensure!(
        !told.contains('\u{1b}') && !told.contains('\u{202e}'),
        "{told}"
    );
    ensure!(told.contains("UPnP"), "all seven: {told}");
    let aside = String::from_utf8(output.stderr)?;
    ensure!(
        aside.contains("exit code 1") && aside.lines().count() == 1,
        "{aside}"
    );
    // Into files only: nothing is left to print.
    let output = place.image(&[
        "-o",
        "junit=report.xml",
        "-o",
        "html=report.html",
        "-o",
        "term=report.txt",
    ])?;
    ends(&output, 1)?;
    ensure!(output.stdout.is_empty(), "{}", text(&output));
    let read = |name: &str| fs_err::read_to_string(place.path(name));
    ensure!(read("report.xml")?.starts_with("<?xml"));
    ensure!(read("report.html")?.ends_with("</html>\n"));
    ensure!(read("report.txt")? == told, "the same on paper");
    Ok(())
}

#[test]
fn the_same_input_gives_the_same_bytes() -> Result<()> {
    let place = Place::new()?;
    place.break_it()?;
    for format in ["term", "json", "sarif", "junit", "html", "cyclonedx"] {
        let (first, second) = (place.image(&["-o", format])?, place.image(&["-o", format])?);
        ends(&first, 1)?;
        ensure!(
            !first.stdout.is_empty() && first.stdout == second.stdout,
            "{format}"
        );
    }
    Ok(())
}

#[test]
fn a_build_fails_for_what_is_new_only() -> Result<()> {
    let place = Place::new()?;
    place.break_it()?;
    ends(&place.image(&["-o", "json=old.json"])?, 1)?;
    ends(&place.image(&["--baseline", "old.json"])?, 0)?;
    place.file("root/opt/vendor/second", "#!/bin/sh\n", 0o4755)?;
    let output = place.image(&["--baseline", "old.json", "-o", "json"])?;
    ends(&output, 1)?;
    ensure!(json(&output)?["baseline"]["new"] == 1, "{}", text(&output));

    place.file("root/etc/inittab", INITTAB, 0o644)?;
    fs_err::remove_file(place.path("root/usr/sbin/telnetd"))?;
    ends(&place.image(&["-o", "json=new.json"])?, 1)?;
    let output = place.audit(&["diff", "old.json", "new.json"])?;
    ends(&output, 1)?;
    let told = text(&output);
    let (worse, better) = told.split_once("\nBetter\n").context(told.clone())?;
    ensure!(worse.contains("/opt/vendor/second"), "{told}");
    ensure!(!worse.contains("/opt/vendor/helper"), "{told}");
    ensure!(better.contains("programs/plain-server"), "{told}");
    let output = place.audit(&["--json", "diff", "new.json", "new.json"])?;
    ends(&output, 0)?;
    ensure!(json(&output)?["worse"] == serde_json::json!([]));
    Ok(())
}

#[test]
fn what_is_waived_does_not_count_and_is_told() -> Result<()> {
    let place = Place::new()?;
    place.break_it()?;
    let waivers = |expires: &str| {
        let waiver = |rule: &str, what: &str| {
            format!(
                "[[waiver]]\nrule = \"{rule}\"\n{what} = \"*\"\nreason = \"until 2.0\"\nexpires = {expires}\n"
            )
        };
        let both = [
            waiver("privileges/setuid", "path"),
            waiver("programs/plain-server", "subject"),
        ];
        place.file(
            "waivers.toml",
            &format!("form = 1\n{}", both.concat()),
            0o644,
        )
    };
    waivers("2999-01-31")?;
    let output = place.image(&["--waivers", "waivers.toml"])?;
    ends(&output, 0)?;
    ensure!(
        text(&output).contains("(until 2999-01-31: until 2.0)"),
        "{}",
        text(&output)
    );
    waivers("2001-01-31")?;
    let output = place.image(&["--waivers", "waivers.toml"])?;
    ends(&output, 1)?;
    ensure!(
        text(&output).contains("over since 2001-01-31"),
        "{}",
        text(&output)
    );
    // The day is that of the build, if it says one.
    let output = Command::new(stockade()?)
        .args([
            "audit",
            "image",
            "root",
            "--no-vulnerabilities",
            "--waivers",
            "waivers.toml",
        ])
        .current_dir(place.folder.path())
        .env("SOURCE_DATE_EPOCH", "980000000")
        .output()?;
    ends(&output, 0)?;
    let before = Command::new(stockade()?)
        .args(["audit", "image", "root"])
        .current_dir(place.folder.path())
        .env("SOURCE_DATE_EPOCH", "-1")
        .output()?;
    ends(&before, 2)
}

#[test]
fn who_lives_with_a_file_that_cannot_be_read_is_told_of_the_others() -> Result<()> {
    let place = Place::new()?;
    place.file("root/opt/calibration.bin", "", 0o644)?;
    let large = fs_err::OpenOptions::new()
        .write(true)
        .open(place.path("root/opt/calibration.bin"))?;
    large.set_len(4 << 30)?;
    let about = "rule = \"not-audited\"\npath = \"*/calibration.bin\"";
    let rest = "reason = \"the vendor's, encrypted\"\nexpires = 2999-01-31\n";
    place.file(
        "waivers.toml",
        &format!("form = 1\n[[waiver]]\n{about}\n{rest}"),
        0o644,
    )?;
    let state = |report: &Value| -> Result<Value> {
        let rules = report["rules"].as_array().context("rules")?;
        let rule = rules
            .iter()
            .find(|it| it["id"] == "credentials/private-key");
        Ok(rule.context("the rule was asked")?["state"].clone())
    };
    let output = place.image(&["--json"])?;
    ends(&output, 3)?;
    ensure!(state(&json(&output)?)? == "cannot-tell");
    let output = place.image(&["--json", "--waivers", "waivers.toml"])?;
    ends(&output, 0)?;
    ensure!(state(&json(&output)?)? == "passed");
    place.file(
        "root/opt/key.pem",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n",
        0o600,
    )?;
    let output = place.image(&["--json", "--waivers", "waivers.toml"])?;
    ends(&output, 1)?;
    ensure!(state(&json(&output)?)? == "broken");
    Ok(())
}

#[test]
fn nothing_that_was_read_is_nothing_that_holds() -> Result<()> {
    let place = Place::new()?;
    place.file("text", "hello\n", 0o644)?;
    fs_err::write(place.path("empty.tar"), [0; 10240])?;
    fs_err::create_dir(place.path("nothing"))?;
    for name in ["text", "empty.tar", "nothing"] {
        let output = place.audit(&["image", name, "--json"])?;
        ends(&output, 3)?;
        let report = json(&output)?;
        let rules = report["rules"].as_array().context("rules")?;
        ensure!(
            rules.iter().all(|it| it["state"] != "passed"),
            "{name}: {report}"
        );
    }
    Ok(())
}

#[test]
fn an_import_reads_files_and_says_what_is_wrong_with_which() -> Result<()> {
    let place = Place::new()?;
    place.file("bad.json", "{\"id\":", 0o644)?;
    let output = place.audit(&["db", "import", "--db", "db", "/dev/zero"])?;
    ends(&output, 2)?;
    ensure!(text(&output).contains("/dev/zero: it is no file"));
    let output = place.audit(&["db", "import", "--db", "db", "bad.json"])?;
    ends(&output, 3)?;
    ensure!(
        text(&output).contains("not read: bad.json: EOF"),
        "{}",
        text(&output)
    );
    place.file(
        "no.db",
        "this is no database, but a text that is long enough",
        0o644,
    )?;
    let output = place.audit(&["db", "status", "--db", "no.db"])?;
    ends(&output, 2)?;
    ensure!(
        text(&output).contains("error: no.db: file is not a database\n"),
        "{}",
        text(&output)
    );
    Ok(())
}

#[test]
fn a_report_goes_where_it_was_sent_and_no_two_to_one_file() -> Result<()> {
    let place = Place::new()?;
    place.file("kept/report.json", "earlier", 0o644)?;
    std::os::unix::fs::symlink("kept/report.json", place.path("link"))?;
    ends(&place.image(&["-o", "json=link"])?, 0)?;
    ensure!(fs_err::symlink_metadata(place.path("link"))?.is_symlink());
    let kept = fs_err::read_to_string(place.path("kept/report.json"))?;
    serde_json::from_str::<Value>(&kept)?;
    let output = place.image(&["-o", "json=report", "-o", "html=report"])?;
    ends(&output, 2)?;
    ensure!(!place.path("report").exists(), "{}", text(&output));
    Ok(())
}

#[test]
fn a_full_disk_leaves_the_earlier_report_as_it_was() -> Result<()> {
    let place = Place::new()?;
    place.break_it()?;
    let output = place.image(&["-o", "json=/dev/full"])?;
    ends(&output, 2)?;
    ensure!(
        text(&output).contains("cannot write /dev/full"),
        "{}",
        text(&output)
    );
    let output = Command::new("sh")
        .args([
            "-c",
            "\"$0\" audit image root --no-vulnerabilities > /dev/full",
        ])
        .arg(stockade()?)
        .current_dir(place.folder.path())
        .output()?;
    ends(&output, 2).context("standard output is full")?;
    if !nix::unistd::geteuid().is_root() {
        say("not root: a full file system is left out");
        return Ok(());
    }
    fs_err::create_dir(place.path("full"))?;
    let script = "set -e; mount -t tmpfs -o size=12k none full; echo earlier > full/report.json
        \"$0\" audit image root --no-vulnerabilities -o json=full/report.json && exit 9
        ls -A full; cat full/report.json";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(stockade()?)
        .current_dir(place.folder.path())
        .output()?;
    ends(&output, 0)?;
    let told = String::from_utf8(output.stdout)?;
    ensure!(told == "report.json\nearlier\n", "{told}");
    Ok(())
}

#[test]
fn a_rule_is_explained() -> Result<()> {
    let place = Place::new()?;
    let output = place.audit(&["rules", "credentials/default-password"])?;
    ends(&output, 0)?;
    let told = text(&output);
    ensure!(
        told.contains("EN 303 645 5.1-1: passwords are unique per device"),
        "{told}"
    );
    let all = json(&place.audit(&["--json", "rules"])?)?;
    let all = all.as_array().context("a list")?;
    ensure!(all.len() > 80, "{}", all.len());
    Ok(())
}

#[test]
fn advisories_are_brought_in_and_software_is_held_against_them() -> Result<()> {
    let place = Place::new()?;
    let status =
        "Package: openssl\nStatus: install ok installed\nVersion: 3.0.1-1\nArchitecture: amd64\n\n";
    place.file("root/var/lib/dpkg/status", status, 0o644)?;
    place.file("root/etc/os-release", "ID=debian\nVERSION_ID=12\n", 0o644)?;
    let advisory = r#"{"schema_version": "1.6.0", "id": "DEBIAN-CVE-2099-0001", "modified": "2026-11-01T00:00:00Z", "aliases": ["CVE-2099-0001"],
        "affected": [{"package": {"ecosystem": "Debian:12", "name": "openssl"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0.2-1"}]}]}]}"#;
    place.file("osv.json", advisory, 0o644)?;
    ends(&place.audit(&["db", "status", "--db", "a.db"])?, 2)?;
    ends(
        &place.audit(&["db", "import", "root/etc", "--db", "a.db"])?,
        3,
    )
    .context("nothing")?;
    ends(
        &place.audit(&["db", "import", "osv.json", "--db", "a.db"])?,
        0,
    )?;
    let output = place.audit(&["image", "root", "--db", "a.db", "-o", "json"])?;
    let report = json(&output)?;
    let found = broken(&report);
    ensure!(found.contains("updates/known-vulnerability"), "{found:?}");
    ensure!(
        report["data"]["sources"][0]["name"] == "osv.json",
        "{}",
        report["data"]
    );
    place.image(&["-o", "cyclonedx=sbom.json"])?;
    let output = place.audit(&["recheck", "sbom.json", "--db", "a.db", "-o", "json"])?;
    let found = broken(&json(&output)?);
    ensure!(found.contains("updates/known-vulnerability"), "{found:?}");
    ends(
        &place.audit(&["db", "remove", "osv.json", "--db", "a.db"])?,
        0,
    )?;
    ends(&place.audit(&["recheck", "sbom.json", "--db", "a.db"])?, 3)
}

#[test]
fn a_mended_copy_leaves_the_input_as_it_was() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        say("not root: a mended copy is left out");
        return Ok(());
    }
    let place = Place::new()?;
    place.break_it()?;
    let before = listing(&place.path("root"))?;
    place.image(&["--harden", "mended", "--plan"])?;
    ensure!(listing(&place.path("root"))? == before);
    let output = place.audit(&["image", "mended", "--no-vulnerabilities", "-o", "json"])?;
    let left = broken(&json(&output)?);
    ensure!(!left.contains("privileges/setuid"), "{left:?}");
    ends(&place.image(&["--harden", "mended"])?, 2).context("it is there already")
}

/// Every file with its mode.
fn listing(root: &Path) -> Result<String> {
    let output = Command::new("find")
        .arg(root)
        .args(["-printf", "%p %m %s %T@\n"])
        .output()?;
    Ok(String::from_utf8(output.stdout)?)
}
