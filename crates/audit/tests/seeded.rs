//! A root directory with faults planted in it, and one without: every fault is found, and nothing else. A mended copy has those that
//! a plan mends no longer.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails, and tells, as the test does"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use stockade_audit::harden::{harden, plan};
use stockade_audit::image::{Options, image};
use stockade_audit::{AuditError, Audited};
use stockade_controls::engine::{Finding, Remedy, Verdict};
use stockade_image::Limits;

/// In January 2027.
const NOW: u64 = 1_800_000_000;

const OPTIONS: fn() -> Options = || Options {
    now: NOW,
    limits: Limits::default(),
};

/// A file of the clean root: path, mode, content.
type File = (&'static str, u32, &'static [u8]);

/// A system that is as it should be, with what looks like a fault and is none.
#[rustfmt::skip] // A table: one file a line.
const CLEAN: &[File] = &[
    ("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nwww-data:x:33:33::/www:/bin/false\n"),
    ("etc/shadow", 0o600, b"root:*:19000:0:99999:7:::\ndaemon:*:19000::::::\nwww-data:!:19000::::::\n"),
    ("etc/group", 0o644, b"root:x:0:\nwww-data:x:33:\n"),
    ("etc/inittab", 0o644, b"# no console\n::sysinit:/etc/init.d/rcS\n::respawn:/usr/bin/camera --passwd-file /etc/camera.pw\n"),
    ("etc/init.d/rcS", 0o755, b"#!/bin/sh\n# telnetd is gone\nkillall telnetd 2>/dev/null\nfor i in /etc/init.d/S??*; do $i start; done\n"),
    ("etc/init.d/S10firewall", 0o755, b"#!/bin/sh\niptables -F\niptables -P INPUT DROP\niptables -A INPUT -i lo -j ACCEPT\n"),
    ("etc/init.d/S20camera", 0o755, b"#!/bin/sh\nDAEMON=/usr/bin/camera\nstart-stop-daemon -S -c camera -x $DAEMON\nnc -z 127.0.0.1 80\n"),
    ("etc/init.d/S40nginx", 0o755, b"#!/bin/sh\n/usr/sbin/nginx\n"),
    ("etc/nginx/nginx.conf", 0o644, b"user www-data;\nhttp { ssl_protocols TLSv1.2 TLSv1.3;\n  ssl_certificate_key /var/lib/device/key.pem; }\n"),
    ("etc/mosquitto/mosquitto.conf", 0o644, b"listener 8883\nallow_anonymous false\npassword_file /etc/mosquitto/passwords\ntls_version tlsv1.3\n"),
    ("etc/camera.conf", 0o644, b"token_file = /var/lib/device/token\npassword = ${CAMERA_PASSWORD}\nurl = https://cloud.acme.io/api\nid = 3f2504e0-4f89-11d3-9a0c-0305e82c3301\nkeyboard = us\n"),
    ("etc/pam.d/login", 0o644, b"auth required pam_unix.so\npassword required pam_unix.so sha512\n"),
    ("etc/nsswitch.conf", 0o644, b"passwd: files\nshadow: files\n"),
    ("etc/rauc/ca.cert.pem", 0o644, include_bytes!("seeded/good.pem")),
    ("etc/opkg.conf", 0o644, b"option check_signature\nsrc/gz base http://feeds.acme.io/base\n"),
    ("www/index.html", 0o644, b"<label for=\"password\">Password:</label><input type=password id=\"password\">\n"),
    ("www/app.js", 0o644, b"var password = document.getElementById('password').value;\nlet token = getToken();\nconst label = {password: \"Password\"};\n"),
    ("usr/bin/update", 0o755, b"#!/bin/sh\ncurl -fsS https://updates.acme.io/cam-2 -o /tmp/firmware.bin\nopenssl dgst -verify /etc/key.pub /tmp/firmware.bin\n"),
    ("usr/bin/camera", 0o755, b"\x7fCAM\0\0-----BEGIN RSA PRIVATE KEY-----\0%s\0-----BEGIN PRIVATE KEY-----\0http://%s:%s@%s/\0$1$\0$6$\0eyJ\0"),
    ("usr/share/doc/x/example.key", 0o644, include_bytes!("seeded/server.key")),
    ("usr/lib/python3/x/defaults.py", 0o644, b"password = 'hunter22x'\n"),
    ("bin/busybox", 0o755, b"\x7fBB\0telnetd\0-l\0/bin/sh\0"),
    ("boot/extlinux/extlinux.conf", 0o644, b"LABEL l\n  KERNEL /Image\n  APPEND root=/dev/mmcblk0p2 ro quiet lockdown=integrity\n"),
];

/// How a fault is planted.
enum Plant {
    File(u32, &'static [u8]),
    Append(&'static str),
    Mode(u32),
    Capability,
}
use Plant::{Append, Capability, File as Put, Mode};

/// Where it is, what tells of it, how it is planted. The place is what a finding names as its subject or evidence.
type Fault = (&'static str, &'static str, &'static str, Plant);

#[rustfmt::skip] // A table: one fault a line.
fn faults() -> Vec<Fault> {
    vec![
        ("etc/shadow", "credentials/empty-password", "account guest", Append("guest::19000::::::\n")),
        ("etc/shadow", "credentials/default-password", "account maker", Append("maker:absxcfbgXtb3o:19000::::::\n")),
        ("etc/shadow", "credentials/default-password", "account support", Append("support:$1$abcdefgh$/ehdsgh6T85pypwniuldr1:19000::::::\n")),
        ("etc/shadow", "credentials/default-password", "account service", Append("service:$6$rounds=1000$saltsalt$NbJeEVBNOGYgZoHbENKGzEXyTfhZ/lpX.ewJMh9fAx0b0VR1NqzCLhrqh9OjDkdUveWID08X5vXgB/g.58ClX.:19000::::::\n")),
        ("etc/shadow", "credentials/default-password", "account xc3511", Append("xc3511:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$poDxgCYtMC2UhoNctCcgvUwnFPU1ix2e68k6RYsqqZB:19000::::::\n")),
        ("etc/shadow", "credentials/weak-hash", "account support", Append("")),
        ("etc/shadow", "credentials/shared-password", "account twin", Append("twin:absxcfbgXtb3o:19000::::::\ntoor:*:19000::::::\n")),
        ("etc/passwd", "credentials/uid0-twin", "account toor", Append("guest:x:1001:1001::/:/bin/sh\nmaker:x:1002:1002::/:/bin/sh\nsupport:x:1003:1003::/:/bin/sh\nservice:x:1004:1004::/:/bin/sh\nxc3511:x:1005:1005::/:/bin/sh\ntwin:x:1006:1006::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\n")),
        ("etc/passwd", "credentials/hash-in-passwd", "account open", Append("open:$6$abcdefgh$kWaKAmOMy.OHYH8Mb/BBLv8oPNQJZWEuDH7rc0sUo2vB6yVpmNwEr1y2k0dGhjlXkPUE.Yx8mp1HWnUwWnW0V0:1007:1007::/:/bin/sh\n")),
        ("usr/sbin/sshd", "credentials/ssh-passwords", "sshd_config", Put(0o755, b"\x7fSSH\0OpenSSH_9.2")),
        ("etc/ssh/sshd_config", "credentials/ssh-passwords", "sshd_config", Put(0o644, b"PasswordAuthentication yes\nPermitRootLogin yes\n")),
        ("etc/ssh/ssh_host_rsa_key", "credentials/host-key", "/etc/ssh/ssh_host_rsa_key", Put(0o600, include_bytes!("seeded/server.key"))),
        ("root/.ssh/authorized_keys", "credentials/known-key", "/root/.ssh/authorized_keys", Put(0o600, b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN1YdxBpNlzxDqfJyw/QKow1F+wvG9hXGoqiysfJOn5Y v\n")),
        ("root/.ssh/authorized_keys", "credentials/authorized-in-image", "/root/.ssh/authorized_keys", Append("")),
        ("etc/ssl/private/server.key", "credentials/private-key", "/etc/ssl/private/server.key", Put(0o644, include_bytes!("seeded/server.key"))),
        ("etc/ssl/private/server.key", "credentials/private-key-mode", "/etc/ssl/private/server.key", Append("")),
        ("usr/bin/cloud", "credentials/private-key", "/usr/bin/cloud", Put(0o755, include_bytes!("seeded/cloud.der"))),
        ("etc/ssl/server.pem", "credentials/certificate", "/etc/ssl/server.pem", Put(0o644, include_bytes!("seeded/expired.pem"))),
        ("etc/pki/ca.key", "credentials/private-key", "/etc/pki/ca.key", Put(0o600, include_bytes!("seeded/ca.key"))),
        ("etc/pki/ca.pem", "credentials/certificate", "/etc/pki/ca.pem", Put(0o644, include_bytes!("seeded/ca.pem"))),
        ("opt/app/config.json", "credentials/secret", "/opt/app/config.json", Put(0o600, b"{\"github\": \"ghp_0123456789abcdefghijABCDEFGHIJ012345\"}\n")),
        ("www/login.php", "credentials/secret", "/www/login.php", Put(0o644, b"<?php\n$db_password = 'Xk29fj';\n")),
        ("etc/wpa_supplicant.conf", "credentials/secret", "/etc/wpa_supplicant.conf", Put(0o644, b"network={\n  ssid=\"Acme\"\n  psk=\"lab-wifi-77\"\n}\n")),
        ("etc/wpa_supplicant.conf", "credentials/saved-passwords", "/etc/wpa_supplicant.conf", Append("")),
        ("usr/bin/telemetry", "credentials/secret", "/usr/bin/telemetry", Put(0o755, b"\x7fTEL\0mqtt://cam:h4ckme@broker.acme.io:1883\0")),
        ("usr/bin/webd", "credentials/hard-coded-hash", "/usr/bin/webd", Put(0o755, b"\x7fWEB\0$1$Xy12abcd$Ycm3xBzX2jGDp8SDa091t.\0")),
        ("etc/vsftpd.conf", "credentials/open-service", "/etc/vsftpd.conf", Put(0o644, b"anonymous_enable=YES\n")),
        ("default.prop", "credentials/open-service", "/default.prop", Put(0o644, b"ro.secure=0\n")),
        ("etc/systemd/system/c.service", "credentials/unit-secret", "/etc/systemd/system/c.service", Put(0o644, b"[Service]\nEnvironment=API_TOKEN=abcd1234\n")),
        ("etc/inetd.conf", "programs/plain-server", "/etc/inetd.conf", Put(0o644, b"telnet stream tcp nowait root /usr/sbin/telnetd telnetd -i\n")),
        ("etc/init.d/S99x", "programs/backdoor", "/etc/init.d/S99x", Put(0o755, b"#!/bin/sh\nnc -ll -p 4444 -e /bin/sh &\n")),
        ("etc/rc.local", "programs/backdoor", "/etc/rc.local", Put(0o755, b"#!/bin/sh\ndropbear -p 2222\n")),
        ("etc/init.d/S98y", "programs/backdoor", "/etc/init.d/S98y", Put(0o755, b"#!/bin/sh\ntelnetd -l /bin/sh -p 9999\n")),
        ("usr/bin/gdb", "programs/debugger", "/usr/bin/gdb", Put(0o755, b"\x7fGDB\0")),
        ("usr/sbin/tcpdump", "programs/sniffer", "/usr/sbin/tcpdump", Put(0o755, b"\x7fTCP\0")),
        ("usr/bin/gcc", "programs/compiler", "/usr/bin/gcc", Put(0o755, b"\x7fGCC\0")),
        ("usr/local/bin/fix", "privileges/setuid", "/usr/local/bin/fix", Put(0o4755, b"\x7fFIX\0")),
        ("usr/bin/net-tool", "privileges/file-capability", "/usr/bin/net-tool", Capability),
        ("etc/init.d/S20camera", "privileges/service-file", "/etc/init.d/S20camera", Mode(0o777)),
        ("etc/crontabs/root", "privileges/cron", "/etc/crontabs/root", Put(0o666, b"0 3 * * * /usr/bin/update\n")),
        ("etc/sudoers", "privileges/sudo-no-password", "/etc/sudoers", Put(0o440, b"maker ALL=(ALL) NOPASSWD: ALL\n")),
        ("etc/ld.so.preload", "privileges/preload", "/etc/ld.so.preload", Put(0o644, b"/opt/x.so\n")),
        ("opt/app/state", "privileges/open-file", "/opt/app/state", Put(0o666, b"x\n")),
        ("etc/boa/boa.conf", "privileges/web-server-root", "/etc/boa/boa.conf", Put(0o644, b"Port 80\nUser 0\n")),
        ("etc/inittab", "ports/console-shell", "/etc/inittab", Append("::askfirst:-/bin/sh\n")),
        ("etc/inittab", "ports/serial-console", "/etc/inittab", Append("ttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100\n")),
        ("etc/init.d/S50miniupnpd", "upnp/program", "miniupnpd", Put(0o755, b"#!/bin/sh\n/usr/sbin/miniupnpd -f /etc/miniupnpd.conf\n")),
        ("usr/sbin/miniupnpd", "upnp/installed", "/usr/sbin/miniupnpd", Put(0o755, b"\x7fUPN\0")),
        ("etc/miniupnpd.conf", "upnp/settings", "/etc/miniupnpd.conf", Put(0o644, b"secure_mode=no\n")),
        ("etc/nginx/old.conf", "protocols/tls-settings", "/etc/nginx/old.conf", Put(0o644, b"ssl_protocols TLSv1 TLSv1.1;\n")),
        ("etc/rauc/keyring.pem", "updates/test-key", "/etc/rauc/keyring.pem", Put(0o644, include_bytes!("seeded/update.pem"))),
        ("etc/apt/sources.list", "updates/source", "/etc/apt/sources.list", Put(0o644, b"deb [trusted=yes] http://deb.acme.io/ stable main\n")),
        ("usr/bin/fetch.sh", "updates/unchecked-download", "/usr/bin/fetch.sh", Put(0o755, b"#!/bin/sh\ncurl -k https://acme.io/firmware.bin -o /tmp/f && sh /tmp/f\n")),
        ("boot/extlinux/old.d/extlinux.conf", "boot/command-line", "/boot/extlinux/old.d/extlinux.conf", Put(0o644, b"APPEND root=/dev/sda1 init=/bin/sh\n")),
        ("boot/uEnv.txt", "boot/bootloader-locked", "/boot/uEnv.txt", Put(0o644, b"bootdelay=3\n")),
        ("etc/lighttpd/.htpasswd", "credentials/default-password", "/etc/lighttpd/.htpasswd", Put(0o600, b"admin:$apr1$abcdefgh$mMZnMi5KMcUTRCidnJ3Px0\n")),
        ("usr/bin/cgi", "credentials/default-password", "/usr/bin/cgi", Put(0o755, b"\x7fCGI\0$2b$05$abcdefghijklmnopqrstuu/ETYr/khvH.poOJBsjjZk.DM9FaNihe\0")),
        ("etc/xinetd.d/telnet", "programs/plain-server", "/etc/xinetd.d/telnet", Put(0o644, b"service telnet\n{\n disable = no\n server = /usr/sbin/in.telnetd\n user = root\n}\n")),
        ("boot/config-6.1.0", "boot/kernel-doors", "/boot/config-6.1.0", Put(0o644, b"#\n# Automatically generated file; DO NOT EDIT.\n# Linux/arm64 6.1.0 Kernel Configuration\n#\nCONFIG_ARM64=y\nCONFIG_MODULES=y\nCONFIG_DEVMEM=y\nCONFIG_DEVKMEM=y\nCONFIG_KEXEC=y\n")),
        ("etc/init.d/S11open", "firewall/opened-at-start", "/etc/init.d/S11open", Put(0o755, b"#!/bin/sh\niptables -P INPUT ACCEPT\n")),
    ]
}

fn put(root: &Path, path: &str, mode: u32, content: &[u8]) {
    let path = root.join(path);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, content).unwrap();
    fs_err::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
}

fn clean(root: &Path) {
    for (path, mode, content) in CLEAN {
        put(root, path, *mode, content);
    }
    for (link, to) in [
        ("sbin/init", "../bin/busybox"),
        ("bin/sh", "busybox"),
        ("bin/false", "busybox"),
    ] {
        fs_err::create_dir_all(root.join(link).parent().unwrap()).unwrap();
        fs_err::os::unix::fs::symlink(to, root.join(link)).unwrap();
    }
}

fn plant(root: &Path) {
    for (path, _, _, how) in faults() {
        let place = root.join(path);
        match how {
            Put(mode, content) => put(root, path, mode, content),
            Append(line) => {
                let mut content = fs_err::read(&place).unwrap();
                content.extend_from_slice(line.as_bytes());
                fs_err::write(&place, content).unwrap();
            }
            Mode(mode) => fs_err::set_permissions(&place, Permissions::from_mode(mode)).unwrap(),
            Capability => {
                put(root, path, 0o755, b"\x7fNET\0");
                // Version 2, effective, CAP_NET_RAW (capabilities(7)).
                let value = [
                    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ];
                rustix::fs::setxattr(
                    &place,
                    "security.capability",
                    &value,
                    rustix::fs::XattrFlags::empty(),
                )
                .unwrap();
            }
        }
    }
}

fn audit(root: &Path) -> Audited {
    image(root, None, &OPTIONS(), &|_| ()).unwrap()
}

fn findings(audited: &Audited) -> Vec<&Finding> {
    let all = audited
        .outcomes
        .iter()
        .flat_map(|outcome| match &outcome.verdict {
            Verdict::Broken(found) | Verdict::CannotTell(_, found) => found.as_slice(),
            Verdict::Passed(_) | Verdict::DoesNotApply(_) => &[],
        });
    all.collect()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: only root can plant owners and capabilities");
    }
    root
}

fn about(finding: &Finding, place: &str) -> bool {
    finding.subject.contains(place) || finding.evidence.iter().any(|it| it.place.contains(place))
}

#[test]
fn every_planted_fault_is_found_and_a_clean_root_has_none() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
    clean(&good);
    clean(&bad);
    plant(&bad);

    let audited = audit(&good);
    let alarms: Vec<String> = findings(&audited)
        .iter()
        .map(|it| format!("{}: {}", it.rule.id, it.what))
        .collect();
    let audited_bad = audit(&bad);
    let found = findings(&audited_bad);
    let all = faults();
    let missed: Vec<String> = all
        .iter()
        .filter(|(_, rule, place, _)| {
            !found
                .iter()
                .any(|it| it.rule.id == *rule && about(it, place))
        })
        .map(|(path, rule, ..)| format!("{rule} at {path}"))
        .collect();
    let rules: BTreeSet<&str> = all.iter().map(|(_, rule, ..)| *rule).collect();
    println!(
        "{} of {} planted faults found, by {} rules; {} false alarms on a clean root",
        all.len() - missed.len(),
        all.len(),
        rules.len(),
        alarms.len()
    );
    assert_eq!(missed, [""; 0]);
    assert_eq!(alarms, [""; 0]);
    assert!(all.len() >= 40);

    // Some faults are that something is missing.
    fs_err::remove_file(good.join("etc/init.d/S10firewall")).unwrap();
    let bare = audit(&good);
    let ids: Vec<&str> = findings(&bare).iter().map(|it| it.rule.id).collect();
    assert_eq!(ids, ["firewall/set-up"]);

    // Nothing in a root that can be read whole is left open, and nothing secret is told.
    let open = audited.outcomes.iter().filter_map(|it| match &it.verdict {
        Verdict::CannotTell(why, _) => Some(format!("{}: {why}", it.rule.id)),
        _ => None,
    });
    assert_eq!(open.collect::<Vec<_>>(), [""; 0]);
    let told = format!("{found:?}");
    for secret in [
        "Xk29fj",
        "lab-wifi-77",
        "h4ckme",
        "ghp_0123",
        "xc3511B",
        "Ycm3xBzX2jGDp",
        "abcd1234",
    ] {
        assert!(!told.contains(secret), "{secret}");
    }
}

/// All files of a root, as they are.
fn listing(root: &Path) -> Vec<u8> {
    let script = "cd \"$1\" && find . -printf '%p %m %U %G %l\\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum && getfattr -dm- -R . 2>/dev/null";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(root)
        .output()
        .unwrap();
    assert!(output.stdout.len() > 100, "a listing");
    output.stdout
}

fn mendable(audited: &Audited) -> BTreeSet<(String, String)> {
    let steps = findings(audited)
        .into_iter()
        .filter(|it| matches!(it.remedy, Remedy::Steps(_)));
    steps
        .map(|it| (it.rule.id.to_owned(), it.subject.clone()))
        .collect()
}

#[test]
fn a_mended_copy_has_what_a_plan_mends_no_longer_and_the_input_is_as_it_was() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    clean(&root);
    plant(&root);
    let before = listing(&root);
    let wanted = mendable(&audit(&root));
    assert!(!plan(&audit(&root)).is_empty());

    let out = folder.path().join("mended");
    let hardened = harden(&root, &out, None, &OPTIONS(), &|_| ()).unwrap();
    assert_eq!(listing(&root), before, "the input is as it was");
    let left: BTreeSet<_> = mendable(&audit(&out))
        .intersection(&wanted)
        .cloned()
        .collect();
    println!(
        "{} steps; of {} findings with a plan {} are left",
        hardened.done,
        wanted.len(),
        left.len()
    );
    assert_eq!(left, BTreeSet::new());
    assert!(hardened.left.is_empty(), "{:?}", hardened.left);
    assert_eq!(hardened.after.target.name, out.display().to_string());
    assert_eq!(
        findings(&hardened.after).len(),
        findings(&audit(&out)).len()
    );

    let again = harden(&root, &out, None, &OPTIONS(), &|_| ());
    assert!(
        matches!(again, Err(AuditError::Usage(_))),
        "what is there stays"
    );
    assert!(!folder.path().join(".mended.unfinished").exists());

    // The same of a tar.
    let tar = |action: &str, file: &PathBuf, at: &Path| {
        let mut command = Command::new("tar");
        command
            .args([
                action,
                "--xattrs",
                "--xattrs-include=*",
                "--numeric-owner",
                "-pf",
            ])
            .arg(file);
        if action == "-c" {
            command.arg("-C").arg(at).arg(".");
        } else {
            command.arg("-C").arg(at);
        }
        assert!(command.status().unwrap().success());
    };
    let (given, made) = (
        folder.path().join("given.tar"),
        folder.path().join("made.tar"),
    );
    tar("-c", &given, &root);
    harden(&given, &made, None, &OPTIONS(), &|_| ()).unwrap();
    let unpacked = folder.path().join("unpacked");
    fs_err::create_dir(&unpacked).unwrap();
    tar("-x", &made, &unpacked);
    assert_eq!(listing(&unpacked), listing(&out), "the same copy");
}

#[test]
fn what_u_boot_starts_is_signed_and_whole_or_it_is_told() {
    const ITS: &str = r#"/dts-v1/; / { description = "d"; #address-cells = <1>;
        images { kernel-1 { description = "k"; data = /incbin/("kernel"); type = "kernel"; arch = "arm64"; os = "linux";
            compression = "none"; load = <0x80000>; entry = <0x80000>; hash-1 { algo = "sha256"; }; }; };
        configurations { default = "conf-1"; conf-1 { kernel = "kernel-1"; SIGNATURE }; }; };"#;
    const SIGNATURE: &str = r#"signature-1 { algo = "sha256,rsa2048"; key-name-hint = "maker"; sign-images = "kernel"; };"#;
    let folder = tempfile::tempdir().unwrap();
    put(
        folder.path(),
        "kernel",
        0o644,
        &b"what is started ".repeat(999),
    );
    put(
        folder.path(),
        "open.its",
        0o644,
        ITS.replace("SIGNATURE", "").as_bytes(),
    );
    put(
        folder.path(),
        "signed.its",
        0o644,
        ITS.replace("SIGNATURE", SIGNATURE).as_bytes(),
    );
    put(
        folder.path(),
        "u.dts",
        0o644,
        b"/dts-v1/; / { model = \"board\"; };",
    );
    let script = "set -e; mkdir keys; dtc -q u.dts -o lax.dtb; cp lax.dtb strict.dtb
        openssl req -batch -new -x509 -newkey rsa:2048 -nodes -keyout keys/maker.key -out keys/maker.crt -days 9 2>/dev/null
        mkimage -f open.its open.itb; mkimage -f signed.its -k keys -K strict.dtb -r signed.itb
        mkimage -f signed.its -k keys -K lax.dtb other.itb; mkimage -A arm -T kernel -C none -d kernel old.uimage";
    let mut made = Command::new("sh");
    made.args(["-c", script]).current_dir(folder.path());
    if !made.output().unwrap().status.success() {
        return println!("skipped: there is no mkimage or no dtc");
    }
    let mut changed = fs_err::read(folder.path().join("signed.itb")).unwrap();
    let at = changed.windows(4).position(|it| it == b"what").unwrap();
    changed[at] = b'W';
    put(folder.path(), "changed.itb", 0o644, &changed);

    let told = |name: &str| {
        let audited = image(&folder.path().join(name), None, &OPTIONS(), &|_| ()).unwrap();
        let found = findings(&audited).into_iter();
        let found = found.filter(|it| it.rule.id.starts_with("boot/image-"));
        found
            .map(|it| format!("{} {}", it.rule.id, it.severity))
            .collect::<Vec<_>>()
    };
    assert_eq!(told("open.itb"), ["boot/image-signature high"]);
    assert_eq!(told("signed.itb"), [""; 0]);
    assert_eq!(told("changed.itb"), ["boot/image-hash critical"]);
    assert_eq!(told("strict.dtb"), [""; 0]);
    assert_eq!(told("lax.dtb"), ["boot/image-signature high"]);
    assert_eq!(told("old.uimage"), ["boot/image-signature medium"]);
}

/// Debian as debootstrap lays it down, which tests of whole devices keep beside what cargo builds.
fn debian() -> Option<PathBuf> {
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/labs");
    let mut roots = fs_err::read_dir(labs).ok()?.filter_map(Result::ok);
    let root = roots.find(|it| it.file_name().to_string_lossy().starts_with("bookworm-"))?;
    Some(root.path()).filter(|it| it.join("etc/debian_version").exists())
}

#[test]
fn a_distribution_is_judged_whole_and_has_nothing_that_is_let_in() {
    let Some(root) = debian() else {
        return println!("skipped: there is no target/labs/bookworm-*, which the e2e tests make");
    };
    let audited = audit(&root);
    let mut by_rule: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings(&audited) {
        by_rule.entry(finding.rule.id).or_default().push(finding);
    }
    for (rule, found) in &by_rule {
        println!("{rule}: {}, {}", found.len(), found[0].what);
    }
    println!(
        "{:?} for {} files; {} not audited",
        audited.took,
        audited.parts[0].files.unwrap_or(0),
        audited.not_audited.len()
    );
    for part in audited.parts.iter().filter(|it| it.files.is_some()) {
        println!("{}: {}, {:?} files", part.place, part.format, part.files);
    }
    for (place, why) in &audited.not_audited {
        println!("not audited: {place}: {why}");
    }
    for outcome in &audited.outcomes {
        if let Verdict::CannotTell(why, _) = &outcome.verdict {
            println!("cannot tell: {}: {why}", outcome.rule.id);
        }
    }
    let quiet = [
        "credentials/private-key",
        "credentials/known-key",
        "credentials/secret",
        "credentials/hard-coded-hash",
        "credentials/default-password",
        "credentials/empty-password",
        "credentials/open-service",
        "credentials/certificate",
        "programs/backdoor",
        "privileges/setuid",
        "updates/test-key",
        "updates/unchecked-download",
        "protocols/tls-settings",
        "firewall/opened-at-start",
    ];
    for rule in quiet {
        let found = by_rule
            .get(rule)
            .map(|it| it.iter().map(|it| &it.what).collect::<Vec<_>>());
        assert_eq!(found, None, "{rule}");
    }
}
