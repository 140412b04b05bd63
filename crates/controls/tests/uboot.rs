//! U-Boot's own tools read the environment that was written here, and the other way round.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of a test fails as the test does, and says when it is skipped"
)]

use std::path::Path;
use std::process::Command;

use stockade_controls::boot::uboot::Environment;

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        eprintln!("skipped: {program} is not here (Debian: libubootenv-tool, u-boot-tools)");
        return None;
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {error}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_mkenvimage_makes_is_read_and_what_is_written_fw_printenv_reads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs_err::write(at("text"), "BOOT_A_LEFT=3\nBOOT_ORDER=A B\nbootdelay=-2\n").unwrap();
    for redundant in [false, true] {
        let (first, second) = (at("first"), at("second"));
        let mut arguments = vec!["-s", "0x4000", "-o", text(&first)];
        arguments.extend(redundant.then_some("-r"));
        let source = at("text");
        arguments.push(text(&source));
        if run("mkenvimage", &arguments).is_none() {
            return;
        }
        let mut copies = vec![fs_err::read(&first).unwrap()];
        if redundant {
            copies.push(vec![0xff; 0x4000]);
        }
        let both: Vec<&[u8]> = copies.iter().map(Vec::as_slice).collect();
        let mut environment = Environment::read(&both).unwrap();
        assert_eq!(environment.variables["BOOT_ORDER"], "A B");
        assert_eq!(environment.variables.len(), 3);

        let order = environment.variables.get_mut("BOOT_ORDER").unwrap();
        "B A".clone_into(order);
        let (place, copy) = environment.write(0x4000).unwrap();
        copies[place] = copy;
        let mut config = String::new();
        for (path, copy) in [&first, &second].iter().zip(&copies) {
            fs_err::write(path, copy).unwrap();
            config.push_str(text(path));
            config.push_str(" 0x0 0x4000\n");
        }
        let list = at("fw_env.config");
        fs_err::write(&list, config).unwrap();
        let arguments = ["-c", text(&list), "BOOT_ORDER", "BOOT_A_LEFT"];
        if let Some(printed) = run("fw_printenv", &arguments) {
            assert_eq!(printed, "BOOT_ORDER=B A\nBOOT_A_LEFT=3\n", "{redundant}");
        }
    }
}
