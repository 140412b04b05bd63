use std::fmt::Write as _;

use stockade_attest::Algorithm;

use super::*;
use crate::engine::{MemoryHost, Unseen};
use crate::engine::{Own, Plan, Verdict, assess};

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 7
class = "linux"
[boot]
secure-boot = "required"
measured = ["0-7", 10]
verity = "required"
lockdown = "required"
module-signatures = "required"
bootloader-locked = "required"
"#;

const NAME: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

fn assessed(host: &MemoryHost, profile: &str, now: u64) -> crate::engine::Assessment {
    let profile = stockade_profile::parse(profile).expect("a profile");
    let case = Case {
        host,
        profile: &profile,
        now,
        own: &Own::default(),
    };
    assess(&case, &[&Boot])
}

fn told(host: &MemoryHost, profile: &str, now: u64) -> String {
    let assessment = assessed(host, profile, now);
    let mut out = String::new();
    for outcome in &assessment.outcomes {
        let id = outcome.rule.id;
        match &outcome.verdict {
            Verdict::Passed(says) => writeln!(out, "+ {id}: {says}"),
            Verdict::DoesNotApply(why) => writeln!(out, "  {id}: {why}"),
            Verdict::CannotTell(why, _) => writeln!(out, "? {id}: {why}"),
            Verdict::Broken(_) => writeln!(out, "! {id}"),
        }
        .expect("written");
        if let Verdict::Broken(findings) | Verdict::CannotTell(_, findings) = &outcome.verdict {
            for finding in findings {
                writeln!(out, "    {}: {}", finding.subject, finding.what).expect("written");
            }
        }
    }
    for step in Plan::of(&assessment).steps {
        writeln!(out, "> {}", step.step.says).expect("written");
    }
    out
}

/// A path made of text that lives as long as the test.
fn leaked(path: String) -> &'static str {
    Box::leak(path.into_boxed_str())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02X}").expect("written");
        out
    })
}

/// An event log in which each of the registers 0 to 7 was extended once.
fn event_log() -> Vec<u8> {
    let mut log = [
        [0, 0, 0, 0, 3, 0, 0, 0].as_slice(),
        &[0; 20],
        &[33, 0, 0, 0],
    ]
    .concat();
    log.extend(b"Spec ID Event03\0");
    log.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    for pcr in 0..8_u8 {
        log.extend([pcr, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0]);
        log.extend(Algorithm::Sha256.digest(&[0, 0, 0, 0]));
        log.extend([4, 0, 0, 0, 0, 0, 0, 0]);
    }
    log
}

/// A list of one file, and what register 10 holds by it.
fn files() -> (Vec<u8>, Vec<u8>) {
    let field = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).expect("short").to_le_bytes();
        [&length, bytes].concat()
    };
    let digest = [b"sha256:\0".as_slice(), &[7; 32]].concat();
    let data = [field(&digest), field(b"boot_aggregate\0")].concat();
    let list = [
        [10, 0, 0, 0].as_slice(),
        &Algorithm::Sha1.digest(&data),
        &field(b"ima-ng"),
        &field(&data),
    ]
    .concat();
    let measured = Algorithm::Sha256.digest(&data);
    (list, Algorithm::Sha256.extend(&[0; 32], &measured))
}

/// A device on which everything is as it should be.
fn good() -> MemoryHost {
    let mut host = MemoryHost::new()
        .bytes(
            leaked(format!("/sys/firmware/efi/efivars/SecureBoot-{NAME}")),
            &[6, 0, 0, 0, 1],
        )
        .bytes(
            leaked(format!("/sys/firmware/efi/efivars/SetupMode-{NAME}")),
            &[6, 0, 0, 0, 0],
        )
        .bytes(
            "/sys/firmware/efi/efivars/StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
            b"stub",
        )
        .file("/sys/class/tpm/tpm0/tpm_version_major", 0o444, "2\n")
        .bytes(
            "/sys/kernel/security/tpm0/binary_bios_measurements",
            &event_log(),
        )
        .bytes(
            "/sys/kernel/security/ima/binary_runtime_measurements",
            &files().0,
        )
        .file(
            "/sys/kernel/security/lockdown",
            0o600,
            "none [integrity] confidentiality\n",
        )
        .file("/sys/kernel/security/lsm", 0o444, "lockdown,capability")
        .file("/sys/module/module/parameters/sig_enforce", 0o444, "Y\n")
        .file("/proc/sys/kernel/modules_disabled", 0o644, "0\n")
        .file("/proc/sys/kernel/kexec_load_disabled", 0o644, "0\n")
        .file(
            "/proc/cmdline",
            0o444,
            "root=/dev/mapper/root ro quiet -- single\n",
        )
        .file(
            "/proc/self/mountinfo",
            0o444,
            "1 0 0:1 / / rw - tmpfs none rw\n22 1 254:0 / / ro - squashfs /dev/dm-0 ro\n",
        )
        .file(
            "/sys/dev/block/254:0/dm/uuid",
            0o444,
            "CRYPT-VERITY-01-root\n",
        )
        .file("/sys/block/dm-0/dm/uuid", 0o444, "CRYPT-VERITY-01-root\n")
        .file("/sys/block/dm-0/dm/name", 0o444, "root\n")
        .file("/sys/block/dm-0/size", 0o444, "16\n")
        .file("/sys/block/dm-1/dm/uuid", 0o444, "CRYPT-LUKS2-02-data\n")
        .directory("/sys/block/vda", 0o755);
    let register = Algorithm::Sha256.extend(&[0; 32], &Algorithm::Sha256.digest(&[0; 4]));
    for pcr in 0..24 {
        let value = match pcr {
            0..8 => register.clone(),
            10 => files().1,
            17..23 => vec![0xff; 32],
            _ => vec![0; 32],
        };
        host = host.file(
            leaked(format!("/sys/class/tpm/tpm0/pcr-sha256/{pcr}")),
            0o444,
            &hex(&value),
        );
    }
    host.processes = Some(Vec::new());
    host.devices
        .insert(HostPath::of("/dev/dm-0"), Ok(vec![1; 8192]));
    host
}

#[test]
fn a_device_that_starts_as_it_should_breaks_no_rule() {
    insta::assert_snapshot!(told(&good(), PROFILE, 0));
}

#[test]
fn a_device_that_protects_nothing_breaks_every_rule_that_can_be_judged() {
    let (mut list, _) = files();
    *list.last_mut().expect("not empty") = b'!';
    let mut host = good()
        .bytes(
            leaked(format!("/sys/firmware/efi/efivars/SecureBoot-{NAME}")),
            &[6, 0, 0, 0, 0],
        )
        .bytes(
            leaked(format!("/sys/firmware/efi/efivars/SetupMode-{NAME}")),
            &[6, 0, 0, 0, 1],
        )
        .file("/sys/class/tpm/tpm0/pcr-sha256/4", 0o444, &"AB".repeat(32))
        .file("/sys/class/tpm/tpm0/pcr-sha256/7", 0o444, &"00".repeat(32))
        .bytes(
            "/sys/kernel/security/ima/binary_runtime_measurements",
            &list,
        )
        .file(
            "/sys/kernel/security/lockdown",
            0o600,
            "[none] integrity confidentiality\n",
        )
        .file("/sys/module/module/parameters/sig_enforce", 0o444, "N\n")
        .file(
            "/proc/cmdline",
            0o444,
            "ro init=/bin/sh rd.break mitigations=off systemd.debug_shell\n",
        )
        .file(
            "/proc/self/mountinfo",
            0o444,
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
        )
        .file(
            "/boot/grub/grub.cfg",
            0o600,
            "set timeout=5\nlinux /vmlinuz\n",
        );
    host.devices.insert(
        HostPath::of("/dev/dm-0"),
        Err(Unseen::Damaged("Input/output error".to_owned())),
    );
    insta::assert_snapshot!(told(&host, PROFILE, 0));
}

#[test]
fn what_only_is_to_be_reported_breaks_nothing() {
    let host = good()
        .bytes(
            leaked(format!("/sys/firmware/efi/efivars/SecureBoot-{NAME}")),
            &[6, 0, 0, 0, 0],
        )
        .file(
            "/sys/kernel/security/lockdown",
            0o600,
            "[none] integrity confidentiality\n",
        );
    let told = told(&host, &PROFILE.replace("required", "reported"), 0);
    assert!(told.contains("+ boot/secure-boot: Secure Boot is off; the profile asks to be told"));
    assert!(told.contains("+ boot/lockdown: lockdown is off"));
}

#[test]
fn without_tpm_uefi_or_security_framework_nothing_is_fine() {
    let mut host = MemoryHost::new()
        .file("/proc/cmdline", 0o444, "ro\n")
        .file(
            "/proc/self/mountinfo",
            0o444,
            "1 0 0:2 / / rw - overlay none rw\n",
        )
        .directory("/sys/block", 0o755);
    host.processes = Some(Vec::new());
    insta::assert_snapshot!(told(&host, PROFILE, 0));
}

#[test]
fn an_image_is_judged_by_what_can_be_seen_in_it() {
    let host = MemoryHost::new()
        .file("/boot/firmware/cmdline.txt", 0o644, "console=tty1 single\n")
        .file(
            "/boot/efi/loader/loader.conf",
            0o644,
            "timeout 3\neditor no\n",
        );
    insta::assert_snapshot!(told(&host, PROFILE, 0));
}

#[test]
fn a_volume_larger_than_one_look_is_read_part_by_part() {
    // 40 MiB by its own word, whose last block is not there.
    let held = (40 << 20) - 4096;
    let mut host = good().file("/sys/block/dm-0/size", 0o444, "81920\n");
    let device = HostPath::of("/dev/dm-0");
    host.devices.insert(device, Ok(vec![0; held]));
    let profile = stockade_profile::parse(PROFILE).expect("a profile");
    let looks: Vec<bool> = (0..3_u64)
        .map(|look| {
            let case = Case {
                host: &host,
                profile: &profile,
                now: 1_800_000_000 + look * 300,
                own: &Own::default(),
            };
            let assessment = assess(&case, &[&Boot]);
            let findings: Vec<_> = assessment
                .findings()
                .filter(|it| it.rule.id == "boot/verity-intact")
                .map(|it| it.what.clone())
                .collect();
            if let [one] = findings.as_slice() {
                assert!(one.contains(&format!("the block at byte {held}")), "{one}");
            }
            !findings.is_empty()
        })
        .collect();
    assert_eq!(looks.iter().filter(|it| **it).count(), 1, "{looks:?}");
}

#[test]
fn the_environment_of_u_boot_is_judged() {
    let copy = |text: &str| {
        let mut data = text.replace('\n', "\0").into_bytes();
        data.resize(508, 0);
        [crc32fast::hash(&data).to_le_bytes().as_slice(), &data].concat()
    };
    let told = |env: &[u8]| {
        let mut host = good()
            .file("/etc/fw_env.config", 0o644, "/dev/mmcblk0 0x400 0x200\n")
            .directory("/dev/mmcblk0", 0o600);
        let device = [vec![0; 0x400], env.to_vec()].concat();
        host.devices
            .insert(HostPath::of("/dev/mmcblk0"), Ok(device));
        let told = told(&host, PROFILE, 0);
        let lines = told.lines();
        let of_it: Vec<_> = lines
            .skip_while(|it| !it.contains("boot/bootloader-locked"))
            .take_while(|it| !it.contains("boot/ima"))
            .map(str::to_owned)
            .collect();
        of_it
    };
    assert_eq!(
        told(&copy("bootdelay=-2\nbootargs=ro")),
        [
            "+ boot/bootloader-locked: U-Boot starts without a delay",
            "+ boot/u-boot-environment: 2 variables"
        ]
    );
    assert_eq!(
        told(&copy("bootdelay=3\nverify=no\nbootargs=ro init=/bin/sh")),
        [
            "! boot/bootloader-locked",
            "    boot loader: `bootdelay=3`: a key on the serial line stops U-Boot and takes commands",
            "! boot/u-boot-environment",
            "    verify: `verify=no`: U-Boot starts images that are not what they say",
            "    init=/bin/sh: `init=/bin/sh` in `bootargs` starts another program instead of the system",
        ]
    );
    assert_eq!(
        told(&[0xff; 512]),
        [
            "? boot/bootloader-locked: the environment of U-Boot: it is not what it should be: the environment of U-Boot is damaged: its checksum is wrong",
            "! boot/u-boot-environment",
            "    environment: the environment of U-Boot is damaged: its checksum is wrong",
        ]
    );
}

#[test]
fn a_profile_without_the_section_asks_nothing() {
    let silent = PROFILE.split("[boot]").next().expect("the head");
    let told = told(&good(), silent, 0);
    assert!(told.lines().all(|line| line.starts_with("  ")), "{told}");
}
