//! The profiles that we ship.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::path::Path;

use stockade_profile::{Control, Profile, Sentence, check, render};

fn shipped(name: &str) -> Profile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../profiles")
        .join(name);
    let source = fs_err::read_to_string(path).unwrap();
    let checked = check(&source);
    assert_eq!(
        render(&source, name, &checked.faults),
        "",
        "no error and no warning"
    );
    checked.profile.unwrap()
}

fn said(profile: &Profile, device: Option<&str>) -> String {
    let mut said = String::new();
    for Sentence { control, text } in profile.words(device) {
        said.extend([control.as_str(), ": ", &text, "\n"]);
    }
    said
}

#[test]
fn the_camera_is_said_in_words() {
    insta::assert_snapshot!(said(&shipped("cam-2.toml"), Some("porch")));
}

#[test]
fn the_thermostat_is_said_in_words() {
    insta::assert_snapshot!(said(&shipped("thermo-1.toml"), Some("hall")));
}

#[test]
fn the_siren_is_said_in_words() {
    insta::assert_snapshot!(said(&shipped("siren-1.toml"), None));
}

#[test]
fn the_plug_is_said_in_words() {
    insta::assert_snapshot!(said(&shipped("plug-9.toml"), Some("lamp")));
}

#[test]
fn every_control_is_spoken_of_even_where_the_profile_is_silent() {
    let source = "schema = 1\n[device]\nmanufacturer = \"A\"\nmodel = \"m\"\nversion = 1\nclass = \"linux\"\n";
    let profile = check(source).profile.unwrap();
    for &control in Control::ALL {
        assert!(
            profile
                .words(None)
                .iter()
                .any(|sentence| sentence.control == control),
            "{control}"
        );
    }
    insta::assert_snapshot!(said(&profile, None));
}

#[test]
fn every_profile_in_the_folder_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
    let mut count = 0;
    for file in fs_err::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let profile = shipped(&name);
        assert_eq!(
            name,
            format!("{}.toml", profile.device.model),
            "named after its model"
        );
        count += 1;
    }
    assert!(count >= 4);
}

#[test]
fn slots_and_their_health_are_said_in_words() {
    let source = "schema = 1\n[device]\nmanufacturer = \"A\"\nmodel = \"m\"\nversion = 1\nclass = \"linux\"\n\
        [updates]\nsource = \"https://a.example\"\nmax-age = \"1d\"\nsecurity-within = \"2h\"\n\
        slots = { kind = \"uboot-env\", a = \"/dev/a\", b = \"/dev/b\" }\nhealth = { services = [\"camera\"], tcp = [80, 443] }\n";
    let said = said(&check(source).profile.unwrap(), None);
    let updates: Vec<&str> = said
        .lines()
        .filter(|it| it.starts_with("updates"))
        .collect();
    insta::assert_snapshot!(updates.join("\n"), @"
    updates: takes updates from `https://a.example` only
    updates: must look for updates at least every 1 day
    updates: must apply a security update within 2 hours
    updates: takes whole systems, into `/dev/a` and `/dev/b` in turn
    updates: keeps a new system if `camera` runs, TCP answers on port 80 and 443 and the gateway is reached within 5 minutes, and goes back to the old one otherwise
    ");
}
