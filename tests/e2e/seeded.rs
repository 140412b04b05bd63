//! A Debian system with faults planted in it: each is found, what can be mended is mended, and all of it is taken back bit for bit.
//! The same system without faults has no findings.
//!
//! The system is laid down by debootstrap once, and runs in namespaces of its own: processes, network, mounts.
#![expect(
    clippy::expect_used,
    reason = "a helper of a test fails as the test does"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use stockade_e2e::tools::{built, say, stockade, without};

/// What the system is made of, beside Debian's base.
const PACKAGES: &str = "busybox,openssh-server,sudo,procps,iproute2,nftables,tcc,tcpdump,strace,systemd,systemd-sysv,libcap2-bin,cron,openssl,minissdpd,python3-minimal";

/// A fault: what it is, how it is planted (by a shell in the system), and the finding it must lead to.
struct Fault {
    plant: &'static str,
    rule: &'static str,
    about: &'static str,
}

const fn fault(rule: &'static str, about: &'static str, plant: &'static str) -> Fault {
    Fault { plant, rule, about }
}

/// Faults that lie in files, and those of programs that run.
const FAULTS: [Fault; 42] = [
    fault(
        "credentials/default-password",
        "root",
        "echo root:root | chpasswd",
    ),
    fault(
        "credentials/default-password",
        "admin",
        "useradd -m -s /bin/sh admin; echo admin:admin | chpasswd",
    ),
    fault(
        "credentials/default-password",
        "pi",
        "useradd -m -s /bin/sh pi; echo pi:raspberry | chpasswd",
    ),
    fault(
        "credentials/empty-password",
        "guest",
        "useradd -s /bin/sh guest; passwd -q -d guest",
    ),
    fault(
        "credentials/weak-hash",
        "old",
        "useradd -s /bin/sh old; usermod -p 'ab8lO2uIQrGrs' old",
    ),
    fault(
        "credentials/weak-hash",
        "older",
        "useradd -s /bin/sh older; usermod -p '$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/' older",
    ),
    fault(
        "credentials/shared-password",
        "twin",
        "useradd -s /bin/sh twin; usermod -p \"$(getent shadow pi | cut -d: -f2)\" twin",
    ),
    fault(
        "credentials/password-logins",
        "service",
        "useradd -s /bin/sh service; echo service:kD84jsl_20dka | chpasswd",
    ),
    fault(
        "credentials/uid0-twin",
        "toor",
        "useradd -o -u 0 -s /bin/sh toor",
    ),
    fault(
        "credentials/hash-in-passwd",
        "plain",
        "useradd plain; sed -i 's|^plain:x:|plain:$6$abcdefgh$O9v1YPC7rgHzK8Vq0Vp5n0yZ5kHn2m5Qk6m1OQ2dS2bN8r9cVb3p2uW1oYvK5pZl8c6tE0w2uJ7m3n4q5r6s7.:|' /etc/passwd",
    ),
    fault(
        "credentials/ssh-passwords",
        "",
        "echo 'PasswordAuthentication yes' > /etc/ssh/sshd_config.d/00-open.conf",
    ),
    fault(
        "credentials/ssh-algorithms",
        "",
        "printf 'Ciphers 3des-cbc,aes256-ctr\\n' >> /etc/ssh/sshd_config",
    ),
    fault(
        "credentials/authorized-keys",
        "backdoor",
        "useradd -m -s /bin/sh backdoor; mkdir -p /home/backdoor/.ssh; echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRPt0m3kPUV5JxQ0m8q5Yk2l1w9b8a7c6d5e4f3g2h1 x' > /home/backdoor/.ssh/authorized_keys; chmod 666 /home/backdoor/.ssh/authorized_keys",
    ),
    fault(
        "credentials/private-key-mode",
        "device.key",
        "mkdir -p /etc/app; openssl genpkey -quiet -algorithm ed25519 -out /etc/app/device.key 2>/dev/null; chmod 644 /etc/app/device.key",
    ),
    fault(
        "credentials/token-readable",
        "config",
        "mkdir -p /etc/app; echo '{\"aws_secret_access_key\": \"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\", \"api_token\": \"ghp_16C7e42F292c6912E7710c838347Ae178B4a\"}' > /etc/app/config.json",
    ),
    fault(
        "credentials/saved-passwords",
        "netrc",
        "echo 'machine x login y password Zu8kd92kdl' > /root/.netrc; chmod 644 /root/.netrc; chmod 755 /root",
    ),
    fault(
        "credentials/unit-secret",
        "uploader",
        "printf '[Service]\\nUser=nobody\\nEnvironment=API_TOKEN=ghp_16C7e42F292c6912E7710c838347Ae178B4a\\nExecStart=/bin/true\\n' > /etc/systemd/system/uploader.service",
    ),
    fault(
        "privileges/setuid",
        "/usr/local/bin/rootsh",
        "cp /bin/dash /usr/local/bin/rootsh; chmod 4755 /usr/local/bin/rootsh",
    ),
    fault(
        "privileges/setuid",
        "/usr/local/bin/mailer",
        "cp /bin/true /usr/local/bin/mailer; chgrp mail /usr/local/bin/mailer; chmod 2755 /usr/local/bin/mailer",
    ),
    fault(
        "privileges/file-capability",
        "/usr/local/bin/reader",
        "cp /bin/cat /usr/local/bin/reader; setcap cap_dac_override+ep /usr/local/bin/reader",
    ),
    fault(
        "privileges/root-service",
        "camweb",
        "printf '[Service]\\nExecStart=/usr/local/bin/camweb\\n[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/camweb.service; cp /bin/sleep /usr/local/bin/camweb; ln -s ../camweb.service /etc/systemd/system/multi-user.target.wants/camweb.service",
    ),
    fault(
        "privileges/service-file",
        "open.service",
        "printf '[Service]\\nUser=nobody\\nExecStart=/bin/true\\n' > /etc/systemd/system/open.service; chmod 666 /etc/systemd/system/open.service",
    ),
    fault(
        "privileges/root-path",
        "/usr/local/sbin",
        "chmod 777 /usr/local/sbin",
    ),
    fault(
        "privileges/cron",
        "backup",
        "echo '* * * * * root /usr/local/bin/backup.sh' > /etc/cron.d/backup; echo 'true' > /usr/local/bin/backup.sh; chmod 777 /usr/local/bin/backup.sh",
    ),
    fault(
        "privileges/login-script",
        "profile.d",
        "echo true > /etc/profile.d/extra.sh; chmod 666 /etc/profile.d/extra.sh",
    ),
    fault(
        "privileges/preload",
        "ld.so.preload",
        "echo /usr/local/lib/x.so > /etc/ld.so.preload.new; cp /lib/x86_64-linux-gnu/libm.so.6 /usr/local/lib/x.so; mv /etc/ld.so.preload.new /etc/ld.so.preload",
    ),
    fault(
        "privileges/sudo-no-password",
        "admin",
        "echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin; chmod 440 /etc/sudoers.d/admin",
    ),
    fault(
        "privileges/sudo-file",
        "sudoers.d",
        "echo '# x' > /etc/sudoers.d/open; chmod 666 /etc/sudoers.d/open",
    ),
    fault(
        "privileges/sudo-everybody",
        "",
        "echo 'ALL ALL=(ALL) ALL' > /etc/sudoers.d/all; chmod 440 /etc/sudoers.d/all",
    ),
    fault(
        "privileges/open-file",
        "/etc/app/settings",
        "mkdir -p /etc/app; echo x=1 > /etc/app/settings; chmod 666 /etc/app/settings",
    ),
    fault("programs/compiler", "tcc", "true"),
    fault("programs/debugger", "strace", "true"),
    fault("programs/sniffer", "tcpdump", "true"),
    fault(
        "programs/service",
        "leftover",
        "printf '[Service]\\nUser=nobody\\nExecStart=/bin/sleep 1\\n[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/leftover.service; ln -s ../leftover.service /etc/systemd/system/multi-user.target.wants/leftover.service",
    ),
    fault(
        "programs/plain-server",
        "telnetd",
        "ln -sf /bin/busybox /usr/local/bin/telnetd",
    ),
    fault(
        "programs/process",
        "busybox",
        "@/bin/busybox nc -ll -p 4444 -e /bin/cat",
    ),
    fault("upnp/installed", "minissdpd", "true"),
    fault(
        "upnp/settings",
        "transmission",
        "mkdir -p /etc/transmission-daemon; printf '{\\n    \"port-forwarding-enabled\": true\\n}\\n' > /etc/transmission-daemon/settings.json",
    ),
    fault(
        "upnp/listener",
        "1900",
        "@python3 -c 'import socket,time;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind((\"0.0.0.0\",1900));time.sleep(9999)'",
    ),
    fault(
        "protocols/plain",
        "8080",
        "@/bin/busybox httpd -f -p 8080 -h /etc/ssl",
    ),
    fault(
        "protocols/old-tls",
        "8443",
        "@sh -c 'openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout /run/k -out /run/c 2>/dev/null; exec openssl s_server -quiet -www -accept 8443 -key /run/k -cert /run/c -tls1 -cipher ALL:@SECLEVEL=0'",
    ),
    fault("firewall/in-force", "kernel", "true"),
];

/// What the system is for, in both tests: nothing of what is planted.
const PROFILE: &str = r#"schema = 1

[device]
manufacturer = "Acme"
model = "seeded-1"
version = 1
class = "linux"

[protocols]
tls = ["1.3"]

[credentials]
ssh = "keys-only"

[privileges]
root-services = ["cron", "procps", "ssh"]
setuid = [
  "/usr/bin/chage", "/usr/bin/chfn", "/usr/bin/chsh", "/usr/bin/crontab", "/usr/bin/expiry", "/usr/bin/gpasswd", "/usr/bin/mount",
  "/usr/bin/newgrp", "/usr/bin/passwd", "/usr/bin/ssh-agent", "/usr/bin/su", "/usr/bin/sudo", "/usr/bin/umount",
  "/usr/lib/dbus-1.0/dbus-daemon-launch-helper", "/usr/lib/openssh/ssh-keysign", "/usr/sbin/unix_chkpwd",
]

[programs]
packages = [
  "base", "busybox", "openssh-server", "sudo", "procps", "iproute2", "nftables", "systemd", "systemd-sysv", "libcap2-bin", "cron",
  "openssl", "python3-minimal", "libdbus-1-3", "libnfnetlink0", "libpcap0.8", "libunwind8",
]
services = ["cron", "ssh"]

# The kernel is this machine's, and nothing is planted there.
[ports]
serial-console = "on"
debug = "on"
"#;

/// Debian as debootstrap lays it down; made once and kept beside what cargo builds. None: it can not be had here.
fn debian() -> Option<PathBuf> {
    if without(&["debootstrap", "nft"]) {
        return None;
    }
    if !nix::unistd::geteuid().is_root() {
        say("skipped: only root can lay down a system");
        return None;
    }
    let labs = built().expect("a target folder").join("../labs");
    fs_err::create_dir_all(&labs).expect("a folder");
    let name = format!("bookworm-{:08x}", sum(PACKAGES));
    let (done, part) = (labs.join(&name), labs.join(format!("{name}.part")));
    if done.is_dir() {
        return Some(done);
    }
    // The tests run at the same time, and one of them lays it down.
    let lock = std::fs::File::create(labs.join("lock")).expect("a lock");
    lock.lock().expect("locked");
    if done.is_dir() {
        return Some(done);
    }
    let _left = fs_err::remove_dir_all(&part);
    let made = Command::new("debootstrap")
        .args([
            "--variant=minbase",
            &format!("--include={PACKAGES}"),
            "bookworm",
        ])
        .arg(&part)
        .arg("http://deb.debian.org/debian")
        .output()
        .expect("debootstrap runs");
    if !made.status.success() {
        let last = String::from_utf8_lossy(&made.stdout)
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned();
        say(&format!(
            "skipped: debootstrap can not lay down a system: {last}"
        ));
        return None;
    }
    fs_err::rename(&part, &done).expect("renamed");
    Some(done)
}

/// A short name for a text.
fn sum(text: &str) -> u32 {
    text.bytes().fold(17, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    })
}

/// A copy of the system, gone when the test is over, with a folder for what goes in and comes out.
struct System {
    root: PathBuf,
    folder: tempfile::TempDir,
}

impl System {
    fn new() -> Option<Self> {
        let debian = debian()?;
        let labs = debian.parent()?.to_owned();
        let folder = tempfile::Builder::new()
            .prefix("seeded-")
            .tempdir_in(labs)
            .expect("a folder");
        let root = folder.path().join("root");
        must(Command::new("cp").arg("-a").arg(&debian).arg(&root));
        let lab = folder.path().join("lab");
        fs_err::create_dir(&lab).expect("a folder");
        fs_err::copy(stockade().expect("built"), lab.join("stockade")).expect("copied");
        fs_err::write(lab.join("profile.toml"), PROFILE).expect("written");
        fs_err::write(root.join("usr/local/bin/stockade"), "").expect("a place for the program");
        // These very keys are in everybody's copy of the image.
        let system = Self { root, folder };
        system.inside("rm -f /etc/ssh/ssh_host_*; ssh-keygen -q -A; passwd -q -l root; printf 'PasswordAuthentication no\\nKbdInteractiveAuthentication no\\n' > /etc/ssh/sshd_config.d/own.conf");
        Some(system)
    }

    /// Runs a shell script in the system, alone with its processes and its network; `/lab` is the folder of the test.
    fn inside(&self, script: &str) -> Output {
        let lab = self.folder.path().join("lab");
        fs_err::write(lab.join("script"), script).expect("written");
        // The kernel is this machine's: nothing in here may set it.
        let start = "mount -t proc proc \"$1/proc\" && mount --bind \"$1/proc/sys/kernel\" \"$1/proc/sys/kernel\" && \
                     mount -o remount,bind,ro \"$1/proc/sys/kernel\" && mount -t sysfs -o ro sysfs \"$1/sys\" && mount -t tmpfs tmpfs \"$1/run\" && \
                     mkdir \"$1/run/lab\" && mount --bind \"$2\" \"$1/run/lab\" && mount --bind \"$2/stockade\" \"$1/usr/local/bin/stockade\" && ip link set lo up && \
                     exec chroot \"$1\" /bin/sh -u /run/lab/script";
        let output = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--net",
                "--fork",
                "--kill-child",
                "/bin/sh",
                "-c",
                start,
                "sh",
            ])
            .arg(&self.root)
            .arg(&lab)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("unshare runs");
        assert!(
            output.status.success(),
            "{script}\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// What a run left in the test's folder.
    fn left(&self, name: &str) -> String {
        fs_err::read_to_string(self.folder.path().join("lab").join(name)).expect("it was written")
    }

    /// Every file with its content and what is known about it. Folders' times follow what is done in them, and are left out.
    fn everything(&self) -> BTreeMap<String, String> {
        let list = "find . -xdev \\( -type d -printf '%p\\t%y %m %U %G\\n' \\) -o -printf '%p\\t%y %m %U %G %T@ %l\\n'; \
                    find . -xdev -type f -print0 | xargs -0 sha256sum | sed 's/^\\([0-9a-f]*\\)  \\(.*\\)/\\2\\tsum \\1/'; \
                    getcap -r . | sed 's/^\\([^ ]*\\) \\(.*\\)/\\1\\tcap \\2/'";
        let output = Command::new("sh")
            .args(["-c", list])
            .current_dir(&self.root)
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (path, about) in text.lines().filter_map(|line| line.split_once('\t')) {
            let known = all.entry(path.to_owned()).or_default();
            known.push_str(about);
            known.push(';');
        }
        all
    }
}

fn must(command: &mut Command) {
    let status = command.status().expect("it runs");
    assert!(status.success(), "{command:?}");
}

/// The findings of a report: rule, subject, sentence, and whether a plan mends it.
fn findings(report: &str) -> Vec<(String, String, bool)> {
    let report: Value = serde_json::from_str(report).expect("a report");
    let rules = report["rules"].as_array().expect("rules");
    let mut found = Vec::new();
    for rule in rules {
        for finding in rule["findings"].as_array().expect("findings") {
            let text = format!(
                "{} {} {}",
                finding["subject"], finding["what"], finding["evidence"]
            );
            found.push((
                rule["id"].as_str().expect("an id").to_owned(),
                text,
                finding["mendable"] == true,
            ));
        }
    }
    found
}

fn is_there(found: &[(String, String, bool)], fault: &Fault) -> bool {
    found
        .iter()
        .any(|(rule, text, _)| rule == fault.rule && text.contains(fault.about))
}

const STATUS: &str = "/usr/local/bin/stockade --json device status --profile /run/lab/profile.toml";

#[test]
fn every_planted_fault_is_found_what_can_be_is_mended_and_all_of_it_is_undone_bit_for_bit() {
    let Some(system) = System::new() else { return };
    let (programs, files): (Vec<&Fault>, Vec<&Fault>) = FAULTS
        .iter()
        .partition(|fault| fault.plant.starts_with('@'));
    let planted: Vec<&str> = files.iter().map(|fault| fault.plant).collect();
    system.inside(&format!("set -e\n{}\n", planted.join("\n")));
    let before = system.everything();
    let started: Vec<String> = programs
        .iter()
        .map(|fault| format!("{} >/dev/null 2>&1 &", fault.plant.trim_start_matches('@')))
        .collect();
    // The faults that are programs run while it is judged and mended; exit 1 means findings.
    let script = format!(
        "{}\nsleep 3\n{STATUS} > /run/lab/found.json\n\
         /usr/local/bin/stockade device plan --profile /run/lab/profile.toml > /run/lab/plan.txt\n\
         /usr/local/bin/stockade device apply --yes --profile /run/lab/profile.toml > /run/lab/applied.txt 2>&1\n\
         {STATUS} > /run/lab/mended.json\n\
         /usr/local/bin/stockade device apply --yes --profile /run/lab/profile.toml > /run/lab/again.txt 2>&1\n\
         true",
        started.join("\n")
    );
    system.inside(&script);
    let (found, mended) = (
        findings(&system.left("found.json")),
        findings(&system.left("mended.json")),
    );
    let missed: Vec<String> = FAULTS
        .iter()
        .filter(|fault| !is_there(&found, fault))
        .map(|fault| format!("{} {}", fault.rule, fault.about))
        .collect();
    assert!(
        missed.is_empty(),
        "not found: {missed:#?}\nfound: {found:#?}"
    );
    let left: Vec<&(String, String, bool)> = mended
        .iter()
        .filter(|(rule, _, mendable)| *mendable && rule != "firewall/in-force")
        .collect();
    assert!(
        left.is_empty(),
        "not mended: {left:#?}\n{}",
        system.left("applied.txt")
    );
    let gone = FAULTS
        .iter()
        .filter(|fault| !is_there(&mended, fault))
        .count();
    say(&format!(
        "{} faults planted, {} findings, {gone} faults mended",
        FAULTS.len(),
        found.len()
    ));
    assert!(gone >= 30, "{gone} mended: {mended:#?}");
    assert_ne!(system.everything(), before);
    // 3: something was left as it is, and said. dpkg's own log, which several removals of one plan wrote to, may be
    // (docs/known-issues.md).
    system.inside(
        "/usr/local/bin/stockade device undo --all --profile /run/lab/profile.toml || [ $? = 3 ]",
    );
    let after = system.everything();
    // What the packages' own scripts did elsewhere does not come back (docs/known-issues.md): tcc's alternatives.
    let elsewhere = [
        "./var/log/dpkg.log",
        "./usr/bin/cc",
        "./usr/share/man/man1/cc.1.gz",
    ];
    let kept = |path: &str| path.starts_with("./var/lib/stockade") || elsewhere.contains(&path);
    let differs: Vec<(&String, Option<&String>, Option<&String>)> = before
        .keys()
        .chain(after.keys())
        .filter(|path| before.get(*path) != after.get(*path) && !kept(path))
        .map(|path| (path, before.get(path), after.get(path)))
        .collect();
    assert!(differs.is_empty(), "{differs:#?}");
}

#[test]
fn a_clean_system_has_no_findings() {
    let Some(system) = System::new() else { return };
    system.inside(&format!(
        "apt-get -qq -y purge tcc tcpdump strace minissdpd >/dev/null 2>&1; apt-get -qq -y autoremove --purge >/dev/null 2>&1\n\
         /usr/local/bin/stockade firewall apply --now /run/lab/profile.toml >/dev/null || exit 1\n\
         /usr/local/bin/stockade device status --profile /run/lab/profile.toml > /run/lab/clean.txt\n{STATUS} > /run/lab/clean.json; true"
    ));
    let found = findings(&system.left("clean.json"));
    assert!(found.is_empty(), "{found:#?}\n{}", system.left("clean.txt"));
}
