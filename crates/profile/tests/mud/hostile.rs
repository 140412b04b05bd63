//! Files that are no MUD files, or want to be more than one can read.

use std::fmt::Write as _;

use stockade_profile::mud::{ImportOptions, MAX_BYTES, MAX_RULES, MudError, import, read};

use crate::{file, imported};

fn refused(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn what_is_no_mud_file_is_refused_in_words() {
    let good = file(&["\"ipv4\": {}"], &[]);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: [&[u8]; 12] = [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe{}",
        b"{\"ietf-mud:mud\": 7}",
        b"{\"ietf-mud:mud\": {}}",
        b"{\"ietf-mud:mud\": {\"mud-url\": \"a\", \"mud-url\": \"b\"}}",
        b"{\"ietf-mud:mud\": {\"from-device-policy\": {\"access-lists\": {\"access-list\": [{\"name\": \"x\"}]}}}}",
        &[good.as_bytes(), b" {}"].concat(),
        deep.as_bytes(),
        &good.as_bytes()[..good.len() / 2],
    ];
    let shown: Vec<String> = cases.iter().map(|bytes| refused(bytes)).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_file_cut_anywhere_is_refused_and_one_bent_anywhere_never_panics() {
    let good = crate::files::fixture("plug.json");
    for end in 0..good.trim_end().len() {
        assert!(read(&good.as_bytes()[..end]).is_err(), "{end}");
    }
    for at in (0..good.len()).step_by(7) {
        for byte in [b'"', b'7', b'}', 0xc3] {
            let mut bent = good.clone().into_bytes();
            bent[at] = byte;
            if let Ok(file) = read(&bent) {
                let imported = import(&file, &ImportOptions::default());
                assert_eq!(imported.rules.len(), file.rules());
            }
        }
    }
}

#[test]
fn gigantic_files_end_soon() {
    let huge = " ".repeat(MAX_BYTES + 1);
    assert_eq!(
        read(huge.as_bytes()),
        Err(MudError::TooLarge(MAX_BYTES + 1))
    );
    let many = vec!["\"udp\": {}"; MAX_RULES + 1];
    assert_eq!(read(file(&many, &[]).as_bytes()), Err(MudError::TooMany));
    let name = "a".repeat(900_000);
    let long = file(
        &[&format!(
            r#""ipv4": {{"ietf-acldns:dst-dnsname": "{name}"}}"#
        )],
        &[],
    );
    let report = imported(&long).report(true).join("\n");
    assert!(
        report.contains("REFUSED") && report.len() < 1_000,
        "{}",
        report.len()
    );
}

#[test]
fn drops_without_end_are_cut_short() {
    let drops = (0..2_000).map(|index| {
        format!(
            "drop! \"ipv4\": {{\"destination-ipv4-network\": \"10.{}.{}.0/24\"}}",
            index / 250,
            index % 250
        )
    });
    let accepts = (0..2_000).map(|index| format!(r#""ipv4": {{"protocol": 6, "destination-ipv4-network": "10.0.0.0/8"}}, "tcp": {{"destination-port": {{"port": {}}}}}"#, index + 1));
    let rules: Vec<String> = drops.chain(accepts).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let count = imported(&file(&rules, &[])).count();
    assert_eq!(count.total(), 4_000);
    assert!(count.refused > 1_900, "{count:?}");
}

#[test]
fn more_rules_than_a_profile_has_are_refused_by_name() {
    let rules: Vec<String> = (0..400)
        .map(|index| {
            format!(r#""ipv4": {{"ietf-acldns:dst-dnsname": "h{index}.example"}}, "udp": {{}}"#)
        })
        .collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let imported = imported(&file(&rules, &[]));
    let count = imported.count();
    assert_eq!((count.represented, count.refused), (256, 144));
    let report = imported.report(false);
    assert!(
        report.iter().any(|line| line.starts_with(
            "from/rule-257 (from the device): REFUSED: the profile would be too large"
        )),
        "{report:#?}"
    );
}

#[test]
fn the_profile_of_the_largest_rules_still_has_canonical_bytes() {
    let mut rules = String::new();
    for index in 0..1_000 {
        let path = format!("{index:0>900}");
        write!(rules, r#"{{"name": "r{index}", "matches": {{"ietf-mud:mud": {{"model": "https://a.example/{path}"}}}}, "actions": {{"forwarding": "accept"}}}},"#).unwrap();
    }
    let text = file(&["marker"], &[]);
    let whole = r#"{"name": "rule-1", "matches": {marker}, "actions": {"forwarding": "accept"}}"#;
    let text = text.replace(whole, rules.trim_end_matches(','));
    let imported = imported(&text);
    assert!(imported.count().refused > 0);
    let bytes = imported.profile.canonical();
    assert_eq!(
        stockade_profile::Profile::from_canonical(&bytes).as_ref(),
        Ok(&imported.profile)
    );
}

#[test]
fn names_from_a_file_move_no_cursor() {
    let evil = file(&["\"udp\": {}"], &[]).replace("rule-1", "\\u001b[2Jx\\n$(reboot)");
    let shown = imported(&evil).report(true).join("\n");
    assert!(
        !shown.contains('\u{1b}') && shown.lines().count() <= 4,
        "{shown}"
    );
    assert!(shown.contains("$(reboot)"), "shown, and only shown");
}

#[test]
fn an_empty_policy_is_not_a_wide_one() {
    let profile = imported(&file(&[], &["\"udp\": {}"])).profile;
    assert!(profile.firewall.outward.is_empty());
    assert_eq!(profile.firewall.inward.len(), 1);
}
