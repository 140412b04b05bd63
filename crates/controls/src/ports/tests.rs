use std::fmt::Write as _;

use stockade_profile::{Profile, check};

use super::usb::tests::descriptors;
use super::*;
use crate::engine::{InitSystem, MemoryHost, Own, Plan, assess};

fn profile(section: &str) -> Profile {
    let text = format!(
        "schema = 1\n[device]\nmanufacturer = \"A\"\nmodel = \"a\"\nversion = 1\nclass = \"linux\"\n[ports]\n{section}"
    );
    let checked = check(&text);
    checked
        .profile
        .unwrap_or_else(|| panic!("{:?}", checked.faults))
}

/// What the control finds, and the plan that would mend it.
fn told(host: &MemoryHost, section: &str) -> String {
    let profile = profile(section);
    let own = Own::default();
    let case = Case {
        host,
        profile: &profile,
        now: 0,
        own: &own,
    };
    let found = assess(&case, &[&Ports]);
    let mut text = String::new();
    for outcome in &found.outcomes {
        let _written = writeln!(text, "{}: {}", outcome.rule.id, verdict(&outcome.verdict));
    }
    for planned in Plan::of(&found).steps {
        #[expect(clippy::use_debug, reason = "a stage has no other words")]
        let _written = writeln!(text, "{:?}: {}", planned.step.stage, planned.step.says);
    }
    text
}

fn verdict(verdict: &crate::engine::Verdict) -> String {
    use crate::engine::Verdict;
    match verdict {
        Verdict::Passed(what) => format!("passed ({what})"),
        Verdict::Broken(findings) => findings
            .iter()
            .fold(String::new(), |text, it| text + "\n  " + &it.what),
        Verdict::CannotTell(why, findings) => format!("cannot tell ({why}, {})", findings.len()),
        Verdict::DoesNotApply(why) => format!("does not apply ({why})"),
    }
}

fn live() -> MemoryHost {
    let mut host = MemoryHost::new();
    host.processes = Some(Vec::new());
    host.init = Some(InitSystem::Systemd);
    host
}

/// A device at 1-2, in use: a keyboard that is a stick too, with the first interface on and the second as told.
fn with_usb(host: MemoryHost, second: &'static str) -> MemoryHost {
    let bytes = descriptors((0x46d, 0x825), 0, &[(0, 3), (1, 8)]);
    let text = String::from_utf8(bytes).expect("ASCII");
    host.file("/sys/bus/usb/devices/usb1/authorized_default", 0o644, "1\n")
        .file("/sys/bus/usb/devices/1-2/authorized", 0o644, "1\n")
        .file(
            "/sys/bus/usb/devices/1-2/product",
            0o444,
            "Key\u{7f}board\n",
        )
        .file("/sys/bus/usb/devices/1-2/descriptors", 0o444, &text)
        .file("/sys/bus/usb/devices/1-2:1.0/authorized", 0o644, "1\n")
        .file("/sys/bus/usb/devices/1-2:1.1/authorized", 0o644, second)
}

#[test]
fn a_machine_that_is_wide_open_gets_a_plan_for_each_way_in() {
    let host = with_usb(live(), "1\n")
        .file("/proc/cmdline", 0o444, "console=tty0 console=ttyS0,115200n8 iomem=relaxed kgdboc=ttyS0 quiet\n")
        .file("/run/systemd/generator/getty.target.wants/serial-getty@ttyS0.service", 0o644, "")
        .file("/etc/inittab", 0o644, "#ttyS1::respawn:/sbin/getty\nttyS0::respawn:/sbin/getty -L ttyS0\ntty1::respawn:/sbin/getty\nT1:23:respawn:/sbin/getty 9600 /dev/ttyS1\n")
        .file("/proc/sys/kernel/sysrq", 0o644, "438\n")
        .file("/proc/sys/kernel/kptr_restrict", 0o644, "0\n")
        .file("/proc/sys/kernel/dmesg_restrict", 0o644, "1\n")
        .file("/proc/sys/kernel/osrelease", 0o444, "6.1.0\n")
        .file("/boot/config-6.1.0", 0o644, "CONFIG_X=y\n")
        .file("/dev/mem", 0o600, "")
        .file("/dev/kmem", 0o600, "")
        .file("/proc/self/mounts", 0o444, "debugfs /sys/kernel/debug debugfs rw 0 0\n")
        .file("/sys/module/kgdboc/parameters/kgdboc", 0o644, "ttyS0\n")
        .file("/sys/bus/mmc/drivers_autoprobe", 0o644, "1\n")
        .file("/sys/class/net/lo/flags", 0o644, "0x9\n")
        .file("/sys/class/net/eth0/flags", 0o644, "0x1003\n")
        .file("/sys/class/net/eth1/flags", 0o644, "0x1003\n")
        .file("/sys/class/net/eth2/flags", 0o644, "0x1002\n")
        .file("/sys/class/rfkill/rfkill0/type", 0o444, "bluetooth\n")
        .file("/sys/class/rfkill/rfkill0/name", 0o444, "hci0\n")
        .file("/sys/class/rfkill/rfkill0/soft", 0o644, "0\n")
        .file("/sys/class/rfkill/rfkill0/hard", 0o444, "0\n")
        .directory("/sys/class/bluetooth/hci0", 0o755)
        .directory("/sys/class/ieee802154/phy0", 0o755);
    insta::assert_snapshot!(told(&host, "network = [\"eth0\"]"));
}

#[test]
fn a_machine_with_nothing_to_plug_in_is_right() {
    let host = live()
        .file("/proc/cmdline", 0o444, "console=tty0 quiet\n")
        .file("/proc/sys/kernel/sysrq", 0o644, "0\n")
        .file("/sys/class/net/eth0/flags", 0o644, "0x1003\n");
    insta::assert_snapshot!(told(&host, "network = [\"eth0\"]"));
}

#[test]
fn what_the_profile_allows_is_not_judged() {
    let host = with_usb(live(), "1\n")
        .file("/proc/cmdline", 0o444, "console=ttyS0\n")
        .file("/proc/sys/kernel/sysrq", 0o644, "1\n")
        .file("/sys/bus/mmc/drivers_autoprobe", 0o644, "1\n")
        .file("/sys/class/rfkill/rfkill0/type", 0o444, "wlan\n");
    let all = "usb = { default = \"allow\", mode = \"audit\" }\nserial-console = \"on\"\ndebug = \"on\"\nstorage = \"allow\"\nradios = [\"wifi\"]";
    insta::assert_snapshot!(told(&host, all));
}

#[test]
fn a_device_of_which_only_the_allowed_interfaces_work_is_right() {
    let keyboard = "usb = { allow = [\"class:03\"] }";
    let usb = |second| told(&with_usb(live(), second), keyboard);
    assert!(usb("0\n").contains("ports/usb: passed"));
    let both = usb("1\n");
    assert!(both.contains("ports/usb: \n  046d:0825 `Key"), "{both}");
    let audit = "usb = { mode = \"audit\" }";
    let audit = told(&with_usb(live(), "1\n"), audit);
    assert!(
        audit.contains("1-2 works") && !audit.contains("Take the USB"),
        "{audit}"
    );
}

#[test]
fn an_image_shows_only_its_files() {
    let host = MemoryHost::new().file(
        "/etc/inittab",
        0o644,
        "T0:23:respawn:/sbin/getty -L ttyAMA0\n",
    );
    let told = told(&host, "");
    assert_eq!(
        told.matches("cannot tell").count(),
        rules::ALL.len() - 1,
        "{told}"
    );
    assert!(told.contains("init asks for a log-in"), "{told}");
}

#[test]
fn a_terminal_at_a_wire_is_told_from_a_screen() {
    for wire in ["ttyS0", "ttyAMA0", "ttymxc1", "ttyUSB0", "hvc0", "ttyGS0"] {
        assert!(is_serial(wire), "{wire}");
    }
    for other in [
        "tty",
        "tty0",
        "tty12",
        "console",
        "pts/0",
        "null",
        "",
        "hvc",
        "ttyprintk",
    ] {
        assert!(!is_serial(other), "{other}");
    }
}
