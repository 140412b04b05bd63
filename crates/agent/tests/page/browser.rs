//! The page in Chromium, with script and without.

use std::process::{Command, Stdio};

use crate::Device;
use crate::helper::FIRST;

/// The whole story, driven by `tests/clients/device_page.py`.
fn story(mode: &str) {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !["chromium", "chromedriver", "python3"]
        .into_iter()
        .all(there)
    {
        println!("skipped: no chromium, chromedriver or python3");
        return;
    }
    let device = Device::start();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/clients/device_page.py"
    );
    let folder = match std::env::var_os("STOCKADE_PICTURES") {
        Some(folder) => folder.into(),
        None => device.folder.path().to_owned(),
    };
    let output = Command::new("python3")
        .arg(script)
        .arg(format!("https://127.0.0.1:{}", device.port))
        .arg(FIRST)
        .arg(&folder)
        .args(["eth0", mode])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success() && said.ends_with("ok\n"), "{said}");
}

#[test]
fn chromium_logs_in_switches_upnp_on_sees_it_count_down_and_end_and_mends() {
    story("script");
}

#[test]
fn the_whole_story_works_with_script_switched_off() {
    story("plain");
}
