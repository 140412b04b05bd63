//! Reference values: computed from an image as systemd computes them, recorded from a log, and what differs told by name.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of a test fails as the test does, and says when it is skipped"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use stockade_attest::Algorithm;
use stockade_attest::log::EventLog;
use stockade_attest::reference::{Difference, Reference, compare};
use stockade_attest::uki::UkiError;

/// What was measured: register, kind, what is told, what is digested.
type Step<'a> = (u32, u32, &'a [u8], &'a [u8]);

const IPL: u32 = 0x0d;

/// A log with SHA-256 alone.
fn log(steps: &[Step<'_>]) -> Vec<u8> {
    let header = [
        b"Spec ID Event03\0".as_slice(),
        &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0],
    ]
    .concat();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut out = [
        [0, 0, 0, 0, 3, 0, 0, 0].as_slice(),
        &[0; 20],
        &length(&header),
        &header,
    ]
    .concat();
    for (pcr, kind, told, measured) in steps {
        out.extend(pcr.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend([1, 0, 0, 0, 0x0b, 0]);
        out.extend(Algorithm::Sha256.digest(measured));
        out.extend(length(told));
        out.extend(*told);
    }
    out
}

fn wide(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]);
    units.flat_map(u16::to_le_bytes).collect()
}

/// The registers that a log leads to.
fn registers(log: &EventLog<'_>) -> BTreeMap<u8, [u8; 32]> {
    let all = log.replay(Algorithm::Sha256).into_iter();
    all.map(|(pcr, value)| (pcr, value.try_into().unwrap()))
        .collect()
}

fn extended(value: [u8; 32], phases: &[&str]) -> [u8; 32] {
    phases.iter().fold(value, |value, phase| {
        let digest = Algorithm::Sha256.digest(phase.as_bytes());
        Algorithm::Sha256
            .extend(&value, &digest)
            .try_into()
            .unwrap()
    })
}

fn told(differences: &[Difference]) -> Vec<String> {
    let lines = differences.iter();
    lines
        .map(|it| format!("{} | {} | {}", it.pcr, it.component, it.says))
        .collect()
}

/// What systemd-stub measures of an image with this command line and initrd.
fn stub_log(command_line: &str, initrd: &str) -> Vec<u8> {
    let sections = [
        (".linux", "a kernel"),
        (".cmdline", command_line),
        (".initrd", initrd),
    ];
    let mut kept = Vec::new();
    for (name, content) in sections {
        kept.push((wide(name), format!("{name}\0")));
        kept.push((wide(name), content.to_owned()));
    }
    let steps: Vec<Step<'_>> = kept
        .iter()
        .map(|(told, measured)| (11, IPL, told.as_slice(), measured.as_bytes()))
        .collect();
    log(&steps)
}

#[test]
fn what_was_changed_is_told_by_name() {
    let good = stub_log("root=/dev/vda ro", "an initrd");
    let good = EventLog::read(&good).unwrap();
    let reference = Reference::of_log("cam-2", "1.0", &good, &registers(&good), [11]).unwrap();
    let judged = |bytes: &[u8], phases: &[&str]| {
        let log = EventLog::read(bytes).unwrap();
        let mut values = registers(&log);
        values.insert(11, extended(values[&11], phases));
        told(&compare(&reference, &log, &values, [11]))
    };
    let nothing: [&str; 0] = [];
    let same = stub_log("root=/dev/vda ro", "an initrd");
    assert_eq!(judged(&same, &[]), nothing);
    assert_eq!(judged(&same, &["enter-initrd", "leave-initrd"]), nothing);
    assert_eq!(
        judged(&same, &["something else"]),
        [
            "11 | register 11 | register 11 is not what the reference says, and the event log does not explain it"
        ]
    );
    assert_eq!(
        judged(
            &stub_log("root=/dev/vda ro init=/bin/sh", "an initrd"),
            &["sysinit"]
        ),
        ["11 | kernel command line (.cmdline) | kernel command line (.cmdline) was changed"]
    );
    assert_eq!(
        judged(&stub_log("root=/dev/vda ro", "another"), &[]),
        ["11 | initrd (.initrd) | initrd (.initrd) was changed"]
    );
    // A log that tells of the good image does not explain what another led to.
    let other = stub_log("root=/dev/vda rw", "an initrd");
    let values = registers(&EventLog::read(&other).unwrap());
    let differences = compare(&reference, &good, &values, [11]);
    assert_eq!(differences.len(), 1);
    assert!(
        differences[0]
            .says
            .ends_with("the event log does not explain it")
    );
}

#[test]
fn what_grub_started_is_told_with_what_it_should_be() {
    let grub = |line: &str, order: [&str; 2]| {
        let line = format!("kernel_cmdline: {line}\0");
        let both = order.map(|name| format!("{name}\0"));
        log(&[
            (8, IPL, line.as_bytes(), line.as_bytes()),
            (9, IPL, both[0].as_bytes(), order[0].as_bytes()),
            (9, IPL, both[1].as_bytes(), order[1].as_bytes()),
        ])
    };
    let good = grub("/vmlinuz ro", ["/vmlinuz", "/initrd.img"]);
    let good = EventLog::read(&good).unwrap();
    let reference = Reference::of_log("cam-2", "1", &good, &registers(&good), [8, 9]).unwrap();
    let json = serde_json::to_string(&reference).unwrap();
    assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
    let changed = grub("/vmlinuz rw", ["/initrd.img", "/vmlinuz"]);
    let changed = EventLog::read(&changed).unwrap();
    let differences = compare(&reference, &changed, &registers(&changed), [7, 8, 9, 10]);
    assert_eq!(
        told(&differences),
        [
            "7 | register 7 | register 7 has no reference value",
            "8 | kernel command line | kernel command line `/vmlinuz rw`, and should be: kernel command line `/vmlinuz ro`",
            "9 | register 9 | its parts were measured in another order",
            "10 | register 10 | register 10 has no reference value",
        ]
    );
    assert!(Reference::of_log("cam-2", "1", &good, &registers(&good), [11]).is_err());
}

/// A unified kernel image of these contents, built as systemd-stub(7) says, or none where its tools are not here.
fn image(folder: &Path, contents: &[(&str, &str, &str)]) -> Option<Vec<u8>> {
    let stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    let mut objcopy = Command::new("objcopy");
    for (name, content, address) in contents {
        let file = folder.join(name.trim_start_matches('.'));
        fs_err::write(&file, content).unwrap();
        objcopy
            .arg("--add-section")
            .arg(format!("{name}={}", file.display()));
        objcopy
            .arg("--change-section-vma")
            .arg(format!("{name}={address}"));
    }
    let out = folder.join("image.efi");
    let built = objcopy.arg(stub).arg(&out).output();
    if built.is_ok_and(|it| it.status.success()) {
        Some(fs_err::read(out).unwrap())
    } else {
        eprintln!(
            "skipped: objcopy or systemd's stub is not here (Debian: binutils, systemd-boot-efi)"
        );
        None
    }
}

#[test]
fn an_image_leads_to_what_systemd_measure_says() {
    let folder = tempfile::tempdir().unwrap();
    let contents = [
        (".osrel", "ID=test\nVERSION_ID=7\n", "0x20000"),
        (".cmdline", "root=/dev/vda ro\0", "0x30000"),
        (".linux", "not a kernel, but measured like one", "0x2000000"),
        (".initrd", "an initrd", "0x3000000"),
    ];
    let Some(image) = image(folder.path(), &contents) else {
        return;
    };
    let reference = Reference::of_uki("cam-2", "7", &image).unwrap();
    assert_eq!(reference.registers[&11].events.len(), 8);
    let value = reference.registers[&11].value.0;
    for phases in [
        "",
        "enter-initrd",
        "enter-initrd:leave-initrd:sysinit:ready",
    ] {
        let mut measure = Command::new("/lib/systemd/systemd-measure");
        measure.args(["calculate", "--bank=sha256"]);
        measure.arg(format!(
            "--phase={}",
            if phases.is_empty() { ":" } else { phases }
        ));
        for (name, _, _) in contents {
            let name = name.trim_start_matches('.');
            measure.arg(format!("--{name}={}", folder.path().join(name).display()));
        }
        let Ok(output) = measure.output() else {
            eprintln!("skipped: systemd-measure is not here");
            return;
        };
        let said = String::from_utf8(output.stdout).unwrap();
        let phases: Vec<_> = phases.split(':').filter(|it| !it.is_empty()).collect();
        let ours = stockade_attest::reference::Digest(extended(value, &phases));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("11:sha256={ours}")), "{said}{error}");
    }
}

#[test]
fn what_is_no_unified_kernel_image_has_no_reference() {
    let of = |image: &[u8]| Reference::of_uki("cam-2", "7", image).unwrap_err();
    assert_eq!(of(b""), UkiError::NotPe);
    assert_eq!(of(b"MZ and nothing more"), UkiError::NotPe);
    let folder = tempfile::tempdir().unwrap();
    if let Some(image) = image(folder.path(), &[(".osrel", "ID=test", "0x20000")]) {
        assert_eq!(of(&image), UkiError::NoKernel);
        assert_eq!(of(&image[..image.len() / 2]), UkiError::NotPe);
    }
    let sections = [
        (".linux", "kernel", "0x2000000"),
        (".profile", "ID=a", "0x20000"),
    ];
    if let Some(image) = image(folder.path(), &sections) {
        assert_eq!(of(&image), UkiError::Untold(".profile".to_owned()));
    }
}
