//! MUD files as an operator and a maker use them: in, out, signed, and from a stranger who means harm.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stockade_e2e::tools::{finish, stockade, succeed, text, without};

const PATIENCE: Duration = Duration::from_secs(20);

/// A lamp: its cloud and its answers, a switch in the house, and one rule nobody can follow.
const LAMP: &str = r#"{
  "ietf-mud:mud": {
    "mud-version": 1,
    "mud-url": "https://lamps.example/lamp-1.json",
    "last-update": "2026-01-02T03:04:05+00:00",
    "cache-validity": 48,
    "is-supported": true,
    "systeminfo": "A lamp",
    "mfg-name": "Lamps",
    "model-name": "lamp-1",
    "from-device-policy": { "access-lists": { "access-list": [ { "name": "from" } ] } },
    "to-device-policy": { "access-lists": { "access-list": [ { "name": "to" } ] } }
  },
  "ietf-access-control-list:acls": {
    "acl": [
      {
        "name": "from",
        "type": "ipv4-acl-type",
        "aces": { "ace": [
          { "name": "cloud", "matches": {
              "ipv4": { "ietf-acldns:dst-dnsname": "cloud.lamps.example", "protocol": 6 },
              "tcp": { "ietf-mud:direction-initiated": "from-device", "destination-port": { "operator": "eq", "port": 443 } } },
            "actions": { "forwarding": "accept" } },
          { "name": "time", "matches": {
              "ipv4": { "ietf-acldns:dst-dnsname": "ntp.example", "protocol": 17 },
              "udp": { "destination-port": { "operator": "eq", "port": 123 } } },
            "actions": { "forwarding": "accept" } }
        ] }
      },
      {
        "name": "to",
        "type": "ipv4-acl-type",
        "aces": { "ace": [
          { "name": "cloud-answers", "matches": {
              "ipv4": { "ietf-acldns:src-dnsname": "cloud.lamps.example", "protocol": 6 },
              "tcp": { "ietf-mud:direction-initiated": "from-device", "source-port": { "operator": "eq", "port": 443 } } },
            "actions": { "forwarding": "accept" } },
          { "name": "switch", "matches": {
              "ietf-mud:mud": { "local-networks": [ null ] },
              "ipv4": { "protocol": 6 },
              "tcp": { "ietf-mud:direction-initiated": "to-device", "destination-port": { "operator": "eq", "port": 80 } } },
            "actions": { "forwarding": "accept" } }
        ] }
      }
    ]
  }
}"#;

/// The rule that nobody can follow.
const ODD: &str = r#"{ "name": "odd", "matches": {
              "ipv4": { "protocol": 6, "dscp": 46 },
              "tcp": { "destination-port": { "operator": "eq", "port": 80 } } },
            "actions": { "forwarding": "accept" } },"#;

fn odd() -> String {
    LAMP.replacen(
        r#"{ "name": "cloud","#,
        &format!("{ODD}\n          {{ \"name\": \"cloud\","),
        1,
    )
}

/// What a command prints on its two streams, and the code it ends with.
fn run(folder: &Path, arguments: &[&str]) -> Result<(i32, String, String)> {
    let mut command = Command::new(stockade()?);
    command.current_dir(folder).args(arguments);
    let output = finish(&mut command, PATIENCE)?;
    let code = output.status.code().context("ended by a signal")?;
    Ok((
        code,
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}

fn from_mud(folder: &Path, more: &[&str]) -> Result<(i32, String, String)> {
    run(
        folder,
        &[&["profile", "from-mud", "lamp.json"], more].concat(),
    )
}

fn folder_with(name: &str, content: impl AsRef<[u8]>) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs_err::write(folder.path().join(name), content)?;
    Ok(folder)
}

#[test]
fn a_mud_file_becomes_a_profile_and_every_rule_is_accounted_for() -> Result<()> {
    let folder = folder_with("lamp.json", LAMP)?;
    let (code, profile, report) = from_mud(folder.path(), &[])?;
    assert_eq!(code, 0, "{report}");
    insta::assert_snapshot!(format!("{report}---\n{profile}"));
    // What was printed is a sound profile, and --output writes the same.
    let (code, said, _) = from_mud(folder.path(), &["--output", "lamp.toml", "--full"])?;
    assert_eq!(code, 0);
    insta::assert_snapshot!(said);
    assert_eq!(
        fs_err::read_to_string(folder.path().join("lamp.toml"))?,
        profile
    );
    let (code, said, _) = run(folder.path(), &["profile", "check", "lamp.toml"])?;
    assert!(
        code == 0 && said.contains("lamp-1 version 1 is sound"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_rule_that_can_not_be_kept_is_refused_by_name() -> Result<()> {
    let folder = folder_with("lamp.json", odd())?;
    let (code, _, report) = from_mud(folder.path(), &[])?;
    assert_eq!(code, 1, "{report}");
    insta::assert_snapshot!(report);
    let (code, told, _) = from_mud(folder.path(), &["--json"])?;
    let told: Value = serde_json::from_str(&told)?;
    assert_eq!(
        (
            code,
            &told["rules"],
            &told["represented"],
            &told["covered"],
            &told["refused"]
        ),
        (1, &5.into(), &3.into(), &1.into(), &1.into()),
        "{told}"
    );
    assert_eq!(
        (&told["each"][0]["ace"], &told["each"][0]["outcome"]),
        (&"odd".into(), &"refused".into())
    );
    Ok(())
}

#[test]
fn what_is_imported_and_exported_means_the_same() -> Result<()> {
    let folder = folder_with("lamp.json", LAMP)?;
    from_mud(folder.path(), &["--output", "lamp.toml"])?;
    let (code, said, wrong) = run(
        folder.path(),
        &["profile", "to-mud", "lamp.toml", "--output", "again.json"],
    )?;
    assert_eq!(code, 0, "{said}{wrong}");
    insta::assert_snapshot!(said);
    let (code, again, report) = run(folder.path(), &["profile", "from-mud", "again.json"])?;
    assert_eq!(code, 0, "{report}");
    let profile = fs_err::read_to_string(folder.path().join("lamp.toml"))?;
    // Only the time at which the file was made is another one.
    let timeless = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("last-update"));
        lines.map(ToOwned::to_owned).collect()
    };
    assert_eq!(timeless(&again), timeless(&profile));
    Ok(())
}

#[test]
fn a_profile_without_an_address_for_its_mud_file_needs_one() -> Result<()> {
    let folder = folder_with(
        "plug.toml",
        "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"plug\"\nversion = 1\nclass = \"agentless\"\n\
         [[firewall.out]]\nto = \"cloud.acme.example\"\nprotocol = \"tcp\"\nport = 443\nrate = \"2/s\"\n",
    )?;
    let (code, _, wrong) = run(folder.path(), &["profile", "to-mud", "plug.toml"])?;
    assert_eq!(code, 2);
    assert_eq!(
        wrong,
        "error: plug.toml names no address for its MUD file: --url https://…/plug.json\n"
    );
    let url = "https://acme.example/plug.json";
    let (code, said, wrong) = run(
        folder.path(),
        &["profile", "to-mud", "plug.toml", "--url", url],
    )?;
    assert_eq!(code, 0, "{said}{wrong}");
    // What MUD can not say is told.
    insta::assert_snapshot!(said);
    let file: Value = serde_json::from_slice(&fs_err::read(folder.path().join("plug.json"))?)?;
    assert_eq!(file["ietf-mud:mud"]["mud-url"], url);
    Ok(())
}

/// An authority and a signer by openssl: `ca.pem`, `maker.key`, `maker.pem`.
fn maker(folder: &Path) -> Result<()> {
    let openssl = |words: &str| {
        let mut command = Command::new("openssl");
        succeed(command.current_dir(folder).args(words.split(' '))).map(drop)
    };
    fs_err::write(folder.join("ext"), "keyUsage=critical,digitalSignature")?;
    for (key, subject) in [("ca", "authority"), ("maker", "Lamps")] {
        openssl(&format!(
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out {key}.key"
        ))?;
        openssl(&format!(
            "req -new -key {key}.key -subj /CN={subject} -out {key}.csr"
        ))?;
    }
    openssl("req -x509 -new -key ca.key -subj /CN=authority -days 30 -out ca.pem")?;
    openssl(
        "x509 -req -in maker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out maker.pem",
    )
}

/// The lamp's file again, as `signed.json`, with its signature.
fn signed(folder: &Path) -> Result<()> {
    maker(folder)?;
    from_mud(folder, &["--output", "lamp.toml"])?;
    let (code, said, wrong) = run(
        folder,
        &[
            "profile",
            "to-mud",
            "lamp.toml",
            "--output",
            "signed.json",
            "--key",
            "maker.key",
            "--certificate",
            "maker.pem",
        ],
    )?;
    assert_eq!(code, 0, "{said}{wrong}");
    assert!(
        said.ends_with("signed.json is the MUD file\nsigned.p7s is the signature\n"),
        "{said}"
    );
    let file: Value = serde_json::from_slice(&fs_err::read(folder.join("signed.json"))?)?;
    assert_eq!(
        file["ietf-mud:mud"]["mud-signature"],
        "https://lamps.example/lamp-1.p7s"
    );
    // Others read it.
    succeed(Command::new("openssl").current_dir(folder).args([
        "cms",
        "-verify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        "signed.p7s",
        "-content",
        "signed.json",
        "-CAfile",
        "ca.pem",
        "-out",
        "content",
    ]))?;
    Ok(())
}

#[test]
fn a_signature_is_made_checked_and_demanded() -> Result<()> {
    if without(&["openssl"]) {
        return Ok(());
    }
    let folder = folder_with("lamp.json", LAMP)?;
    let folder = folder.path();
    signed(folder)?;
    let import = |more: &[&str]| {
        run(
            folder,
            &[&["profile", "from-mud", "signed.json"], more].concat(),
        )
    };
    let (code, _, report) = import(&["--trust", "ca.pem", "--require-signature"])?;
    assert!(
        code == 0 && report.contains("signed by CN=Lamps\n"),
        "{report}"
    );
    let (code, told, _) = import(&["--trust", "ca.pem", "--signature", "signed.p7s", "--json"])?;
    let told: Value = serde_json::from_str(&told)?;
    assert_eq!((code, &told["signer"]), (0, &"CN=Lamps".into()));
    // Nobody looked: that is said.
    let (code, _, report) = import(&[])?;
    assert!(
        code == 0 && report.contains("names a signature, which was not checked"),
        "{report}"
    );

    let (code, _, wrong) = from_mud(folder, &["--trust", "ca.pem", "--require-signature"])?;
    assert_eq!(
        (code, wrong.as_str()),
        (
            2,
            "error: lamp.json has no signature: name it with --signature P7S\n"
        )
    );
    let (code, profile, wrong) =
        from_mud(folder, &["--trust", "ca.pem", "--signature", "signed.p7s"])?;
    assert_eq!(
        (code, profile.as_str(), wrong.as_str()),
        (
            2,
            "",
            "error: lamp.json is refused: signed.p7s: the signature is that of another file, or the file was changed\n"
        )
    );
    let (code, _, wrong) = import(&["--trust", "maker.pem"])?;
    assert!(
        code == 2 && wrong.contains("leads to no authority that is trusted"),
        "{code} {wrong}"
    );
    let (code, _, wrong) = import(&["--require-signature"])?;
    assert!(code == 2 && wrong.contains("--trust"), "{code} {wrong}");
    Ok(())
}

/// Ends soon and in little memory (512 MiB of addresses, most of which a thread's stacks take and never touch).
fn bounded(folder: &Path, words: &str) -> Result<(i32, String)> {
    let begun = Instant::now();
    let mut command = Command::new("sh");
    command
        .current_dir(folder)
        .args(["-c", &format!("ulimit -v 524288; {words}")])
        .env("STOCKADE", stockade()?);
    let output = finish(&mut command, PATIENCE)?;
    let code = output.status.code().context("ended by a signal")?;
    ensure!(
        begun.elapsed() < PATIENCE,
        "{words} took {:?}",
        begun.elapsed()
    );
    let said = text(&output);
    ensure!(said.len() < 200_000, "{words} said {} bytes", said.len());
    Ok((code, said))
}

#[test]
fn a_hostile_file_ends_soon_with_a_clear_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let nested = format!(
        "{}{}",
        r#"{"ietf-mud:mud":"#.repeat(60_000),
        "}".repeat(60_000)
    );
    let lists = "[".repeat(1_000_000);
    let mut many = String::from(
        r#"{"ietf-mud:mud":{"from-device-policy":{"access-lists":{"access-list":[{"name":"a"}]}}},"ietf-access-control-list:acls":{"acl":[{"name":"a","aces":{"ace":["#,
    );
    while many.len() < 1_000_000 {
        write!(many, "{{}},")?;
    }
    many.push_str("{}]}}]}}");
    let long = LAMP.replace("A lamp", &"x".repeat(1_000_000));
    let name = LAMP.replace("cloud-answers", &"\\u0007".repeat(100_000));
    for (file, content, code, words) in [
        (
            "nested",
            nested.as_bytes(),
            3,
            "error: nested: this is not JSON: it is nested too deeply",
        ),
        (
            "lists",
            lists.as_bytes(),
            3,
            "error: lists: this is not JSON: it is nested too deeply",
        ),
        (
            "many",
            many.as_bytes(),
            3,
            "error: many: a MUD file has at most 4096 rules",
        ),
        (
            "utf-8",
            b"{\"ietf-mud:mud\": \"\xff\"}",
            3,
            "error: utf-8: a MUD file is UTF-8",
        ),
        ("empty", b"", 3, "error: empty: this is not JSON"),
        ("null", b"null", 3, "error: null: this is no MUD file"),
        (
            "two",
            &[LAMP, LAMP].concat().into_bytes(),
            3,
            "error: two: this is not JSON: something follows its end",
        ),
        ("long", long.as_bytes(), 0, ""),
        ("name", name.as_bytes(), 0, ""),
    ] {
        fs_err::write(folder.join(file), content)?;
        let (ended, said) = bounded(folder, &format!("\"$STOCKADE\" profile from-mud {file}"))?;
        ensure!(
            ended == code && said.contains(words),
            "{file}: {ended}: {}",
            said.chars().take(500).collect::<String>()
        );
        ensure!(
            !said.contains(|c: char| c.is_control() && c != '\n'),
            "{file} reaches the terminal"
        );
    }
    Ok(())
}

#[test]
fn more_than_a_mud_file_may_have_is_not_even_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    fs_err::File::create(folder.join("sparse.json"))?.set_len(100 << 30)?;
    let (code, said) = bounded(folder, "\"$STOCKADE\" profile from-mud sparse.json")?;
    assert_eq!(
        (code, said.as_str()),
        (
            3,
            "error: sparse.json: a MUD file has at most 1048576 bytes, this has 107374182400\n"
        )
    );
    let (code, said) = bounded(folder, "\"$STOCKADE\" profile from-mud - < /dev/zero")?;
    assert_eq!(
        (code, said.as_str()),
        (
            3,
            "error: standard input: a MUD file has at most 1048576 bytes, this has 1048577\n"
        )
    );
    fs_err::write(folder.join("lamp.json"), LAMP)?;
    let import = "\"$STOCKADE\" profile from-mud lamp.json";
    let (code, said) = bounded(
        folder,
        &format!("{import} --trust /dev/zero --signature lamp.json"),
    )?;
    assert!(
        code == 2 && said.contains("error: cannot use /dev/zero"),
        "{said}"
    );
    Ok(())
}
