//! Whole files: the report of one, and the MUD file of a profile.

use std::path::Path;

use stockade_profile::mud::export;
use stockade_profile::parse;

use crate::imported;
use crate::there_and_back::options;

pub(crate) fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mud/files");
    fs_err::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn a_plug_is_reported_rule_by_rule() {
    let imported = imported(&fixture("plug.json"));
    insta::assert_snapshot!("plug_report", imported.report(false).join("\n"));
    insta::assert_snapshot!("plug_report_in_full", imported.report(true).join("\n"));
    insta::assert_snapshot!("plug_profile", imported.profile.to_toml());
}

#[test]
fn a_profile_becomes_a_mud_file() {
    let profile = parse(include_str!("files/wide.toml")).unwrap();
    let exported = export(&profile, &options());
    insta::assert_snapshot!("wide_report", exported.report().join("\n"));
    insta::assert_snapshot!("wide_mud", String::from_utf8(exported.bytes).unwrap());
}
