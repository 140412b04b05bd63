//! Devices in network namespaces of their own, with programs of others on them, and the place they are audited from.

use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use stockade_controls::engine::{Finding, Outcome, Verdict};
use stockade_e2e::netlab::space::{Space, ip, run, sysctl};
use stockade_e2e::tools::{eventually, root, say};
use stockade_probe::{HostFacts, Options, Target, judge, probe};

/// The device, and the auditor on its network.
pub(crate) const DEVICE: &str = "10.77.0.1";
pub(crate) const AUDITOR: &str = "10.77.0.2";
/// The device and the auditor on another network, which may not be sent events.
pub(crate) const OUTSIDE: [&str; 2] = ["9.9.9.1", "9.9.9.9"];
/// A third host.
pub(crate) const THIRD: &str = "10.78.0.3";

/// A device, an auditor, and a third host.
pub(crate) struct Lab {
    device: Space,
    auditor: Space,
    third: Space,
    programs: Vec<Child>,
    folder: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        for program in &mut self.programs {
            // The whole group: some have started others.
            let group = nix::unistd::Pid::from_raw(program.id().cast_signed());
            drop(run("kill", &["-KILL", "--", &format!("-{group}")], ""));
            drop(program.wait());
        }
    }
}

impl Lab {
    pub(crate) fn new() -> Result<Self> {
        let (auditor, third, device) = (Space::new()?, Space::new()?, Space::new()?);
        ip(&format!(
            "link set lo up\n\
             link add lan0 type veth peer name lan0 netns {near}\n\
             link add ext0 type veth peer name ext0 netns {near}\n\
             addr add {DEVICE}/24 dev lan0\naddr add {}/24 dev ext0\naddr add fd77::1/64 dev lan0 nodad\n\
             link set lan0 up\nlink set ext0 up\nroute add default via {}\n",
            OUTSIDE[0],
            OUTSIDE[1],
            near = auditor.process(),
        ))?;
        sysctl("net/ipv4/ip_forward", "1")?;
        // All that is closed says so: by itself a kernel says it a few times a second only.
        sysctl("net/ipv4/icmp_ratelimit", "0")?;
        auditor.enter()?;
        ip(&format!(
            "link set lo up\naddr add {AUDITOR}/24 dev lan0\naddr add {}/24 dev ext0\naddr add fd77::2/64 dev lan0 nodad\n\
             link set lan0 up\nlink set ext0 up\n\
             link add far0 type veth peer name far0 netns {far}\naddr add 10.78.0.2/24 dev far0\nlink set far0 up\n",
            OUTSIDE[1],
            far = third.process(),
        ))?;
        third.enter()?;
        ip(&format!(
            "link set lo up\naddr add {THIRD}/24 dev far0\nlink set far0 up\n"
        ))?;
        device.enter()?;
        let folder = tempfile::tempdir()?;
        // Servers that give up their rights still read their files.
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(folder.path(), everybody)?;
        Ok(Self {
            device,
            auditor,
            third,
            programs: Vec::new(),
            folder,
        })
    }

    /// Does something on the device.
    pub(crate) fn on_device<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        self.device.enter()?;
        what()
    }

    /// Does something on the third host.
    pub(crate) fn on_third<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        self.third.enter()?;
        what()
    }

    /// Does something where the auditor is.
    pub(crate) fn on_auditor<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        self.auditor.enter()?;
        what()
    }

    /// A file on the device.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.path(name);
        fs_err::write(&path, text)?;
        Ok(path.to_str().context("a path")?.to_owned())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a program on the device; it ends with the lab.
    pub(crate) fn start(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.command(command)
    }

    fn command(&mut self, mut command: Command) -> Result<()> {
        self.device.enter()?;
        let log = fs_err::File::create(self.path(&format!("log{}", self.programs.len())))?;
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.file().try_clone()?)
            .stderr(log.into_parts().0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        self.programs.push(child);
        Ok(())
    }

    /// Starts a server written in Python on the device.
    pub(crate) fn python(
        &mut self,
        libraries: &Path,
        name: &str,
        arguments: &[&str],
    ) -> Result<()> {
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", libraries)
            .env("HOME", self.folder.path())
            .arg(root().join("tests/clients").join(name))
            .args(arguments);
        self.command(command)
    }

    /// Waits until something listens on each of these ports of the device: `tcp:22`.
    pub(crate) fn wait(&self, ports: &[&str]) -> Result<()> {
        self.device.enter()?;
        eventually(
            "the device's programs listen",
            Duration::from_secs(20),
            || {
                let all = String::from_utf8(run("ss", &["-Htuln"], "")?)?;
                let listens = |port: &&str| {
                    let (transport, port) = port.split_once(':').unwrap_or_default();
                    let end = format!(":{port}");
                    all.lines().any(|line| {
                        let mut words = line.split_whitespace();
                        words.next() == Some(transport)
                            && words.nth(3).is_some_and(|it| it.ends_with(&end))
                    })
                };
                let missing: Vec<_> = ports.iter().filter(|it| !listens(it)).collect();
                Ok(missing.is_empty().then_some(()))
            },
        )
        .with_context(|| self.logs())
    }

    /// Waits until one of the device's programs has said this.
    pub(crate) fn wait_for_word(&self, word: &str) -> Result<()> {
        eventually(word, Duration::from_secs(20), || {
            Ok(self.said().any(|text| text.contains(word)).then_some(()))
        })
        .with_context(|| self.logs())
    }

    /// What each of the device's programs has said.
    fn said(&self) -> impl Iterator<Item = String> {
        (0..self.programs.len()).map(|number| {
            fs_err::read_to_string(self.path(&format!("log{number}"))).unwrap_or_default()
        })
    }

    fn logs(&self) -> String {
        let firsts = self
            .said()
            .map(|text| text.lines().take(5).collect::<Vec<_>>().join("\n"));
        firsts.collect::<Vec<_>>().join("\n--\n")
    }

    /// Asks the device as an auditor does.
    pub(crate) fn audit(&self, target: &str, options: &Options) -> Result<HostFacts> {
        self.auditor.enter()?;
        let target = Target::read(target).ok().context("a target")?;
        let host = *target.hosts.first().context("a host")?;
        Ok(probe(host, target.port, options, None, &|_| ())?)
    }

    /// How many packets have come to the third host.
    pub(crate) fn ears_of_third(&self) -> Result<u64> {
        self.third.enter()?;
        let text = fs_err::read_to_string("/proc/thread-self/net/snmp")?;
        // The second line of `Ip` has the numbers, the third of them is `InReceives`.
        let line = text.lines().filter(|line| line.starts_with("Ip:")).nth(1);
        let packets = line.and_then(|line| line.split_whitespace().nth(3));
        packets.context("what came in")?.parse().context("a number")
    }
}

/// The servers written in Python, fetched once; from outside the lab, which leads nowhere.
pub(crate) fn libraries() -> Result<PathBuf> {
    stockade_e2e::real::python_libraries("python-servers-1", &root().join("tests/servers.txt"))
}

/// What options a test starts from: quick, for everything is near.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.line.timeout = Duration::from_secs(2);
    options.ports = "1-200,30020".parse().unwrap_or_default();
    options.second = Some(OUTSIDE[1].parse::<IpAddr>().expect("an address"));
    options
}

/// The findings of a rule.
pub(crate) fn findings<'a>(outcomes: &'a [Outcome], rule: &str) -> &'a [Finding] {
    let found = outcomes.iter().find(|it| it.rule.id == rule);
    match found.map(|it| &it.verdict) {
        Some(Verdict::Broken(findings) | Verdict::CannotTell(_, findings)) => findings,
        _ => &[],
    }
}

/// What was found of a host, as a table for whoever reads the report of the tests.
pub(crate) fn print(title: &str, facts: &HostFacts) {
    say(title);
    for port in &facts.tcp {
        match &port.service {
            Ok(it) => say(&format!(
                "  tcp {:5} {:12} {}",
                port.port,
                it.kind.as_str(),
                it.says
            )),
            Err(why) => say(&format!("  tcp {:5} {why}", port.port)),
        }
    }
    for port in &facts.udp {
        let (kind, state) = (port.kind.as_str(), port.state.as_str());
        say(&format!(
            "  udp {:5} {kind:12} {state} {}",
            port.port, port.says
        ));
    }
    for outcome in judge(facts, None) {
        if let Verdict::Broken(findings) | Verdict::CannotTell(_, findings) = &outcome.verdict {
            for finding in findings {
                say(&format!(
                    "  {} {}: {}",
                    finding.severity, outcome.rule.id, finding.what
                ));
            }
        }
    }
    let spent = facts.spent;
    say(&format!(
        "  {} connections, {} segments, {} datagrams, {} bytes",
        spent.connections, spent.segments, spent.datagrams, spent.bytes
    ));
}
