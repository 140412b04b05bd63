//! Names as destinations, from outside: the program runs on a device, dnsmasq is the world's resolver, the C library the client.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use stockade_e2e::netlab::space::{Space, ip, run, unable};
use stockade_e2e::tools::{eventually, finish, stockade, text};

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "clock-1"
version = 1
class = "linux"

[[firewall.out]]
to = "pool.example.com"
protocol = "tcp"
port = 443
"#;

const COMES_IN: &str = r#"
[[firewall.in]]
from = "pool.example.com"
protocol = "tcp"
port = 8443
"#;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Lab {
    device: Space,
    world: Space,
    folder: tempfile::TempDir,
    resolver: Option<Running>,
}

impl Lab {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let world = Space::new()?;
        let device = Space::new()?;
        ip(&format!(
            "link set lo up\n\
             link add dev0 type veth peer name wor0 netns {}\n\
             addr add 192.0.2.10/24 dev dev0\n\
             addr add 2001:db8:1::10/64 dev dev0 nodad\n\
             link set dev0 up\n\
             route add default via 192.0.2.1\n\
             route add default via 2001:db8:1::1\n",
            world.process()
        ))?;
        world.enter()?;
        ip("link set lo up\n\
            addr add 192.0.2.1/24 dev wor0\n\
            addr add 2001:db8:1::1/64 dev wor0 nodad\n\
            link set wor0 up\n\
            route add local 45.0.0.0/8 dev lo\n\
            route add local 2a00::/16 dev lo\n")?;
        for host in ["[::]", "0.0.0.0"] {
            let listener = TcpListener::bind(format!("{host}:443"));
            // The one for IPv6 takes both where the system says so.
            let Ok(listener) = listener else { continue };
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    std::thread::spawn(move || {
                        let mut buffer = [0; 64];
                        while let Ok(length @ 1..) = stream.read(&mut buffer) {
                            if stream.write_all(&buffer[..length]).is_err() {
                                return;
                            }
                        }
                    });
                }
            });
        }
        let mut lab = Self {
            device,
            world,
            folder,
            resolver: None,
        };
        lab.resolve("45.1.1.1", "2a00::1")?;
        fs_err::write(lab.path("profile.toml"), PROFILE)?;
        fs_err::write(
            lab.path("resolv.conf"),
            "nameserver 192.0.2.1\noptions timeout:2\n",
        )?;
        lab.device.enter()?;
        Ok(lab)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The world's dnsmasq, with these addresses for the name; the one before ends.
    fn resolve(&mut self, v4: &str, v6: &str) -> Result<()> {
        self.resolver = None;
        self.world.enter()?;
        let child = Command::new("dnsmasq")
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
            ])
            .args([
                "--user=root",
                "--pid-file=",
                "--local-ttl=1",
                "--bind-interfaces",
            ])
            .args([
                "--listen-address=192.0.2.1",
                "--log-facility=-",
                "--log-queries",
            ])
            .arg(format!("--host-record=pool.example.com,{v4},{v6}"))
            .args([
                "--host-record=evil.example,45.6.6.6",
                "--host-record=inside.example,192.168.1.1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(
                fs_err::File::options()
                    .create(true)
                    .append(true)
                    .open(self.path("dnsmasq.log"))?
                    .into_parts()
                    .0,
            )
            .spawn()
            .context("cannot start dnsmasq")?;
        self.resolver = Some(Running(child));
        let end = Instant::now() + Duration::from_secs(10);
        while run("ss", &["-Hlun", "sport = :53"], "")?.is_empty() {
            ensure!(Instant::now() < end, "dnsmasq does not listen");
            std::thread::yield_now();
        }
        self.device.enter()
    }

    /// Starts the program on the device and waits until it answers; what it prints is kept.
    fn start(&self) -> Result<(Running, Arc<Mutex<String>>)> {
        self.device.enter()?;
        let mut child = Command::new(stockade()?)
            .args([
                "firewall",
                "run",
                "--gateway",
                "192.0.2.1",
                "--resolver",
                "192.0.2.1",
            ])
            .arg("--state")
            .arg(self.path("state"))
            .arg(self.path("profile.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start stockade")?;
        let printed = Arc::new(Mutex::new(String::new()));
        let (stdout, kept) = (
            child.stdout.take().context("no output")?,
            Arc::clone(&printed),
        );
        let mut running = Running(child);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut kept = kept.lock().expect("a lock");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let end = Instant::now() + Duration::from_mins(1);
        while run("ss", &["-Hlun", "sport = :5053"], "")?.is_empty() {
            let ended = running.0.try_wait()?;
            ensure!(ended.is_none(), "the program has ended: {}", said(&printed));
            ensure!(
                Instant::now() < end,
                "the forwarder does not listen: {}",
                said(&printed)
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok((running, printed))
    }

    /// A Python program on the device, with the C library's own resolver.
    fn client(&self, program: &str) -> Result<Output> {
        let path = self.path("client.py");
        fs_err::write(&path, format!("import socket, sys\n{program}\n"))?;
        let script = format!(
            "mount --bind {} /etc/resolv.conf && exec python3 {}",
            self.path("resolv.conf").display(),
            path.display()
        );
        let mut command = Command::new("unshare");
        finish(
            command.args(["-m", "sh", "-c", &script]),
            Duration::from_mins(1),
        )
    }

    fn asked(&self, name: &str) -> Result<bool> {
        let log: PathBuf = self.path("dnsmasq.log");
        Ok(fs_err::read_to_string::<&Path>(&log)?.contains(name))
    }
}

fn said(printed: &Arc<Mutex<String>>) -> String {
    printed.lock().expect("a lock").clone()
}

/// Waits until all these words were printed: what the client gets and what the program says are on different ways.
fn tells(printed: &Arc<Mutex<String>>, words: &[&str]) -> Result<()> {
    eventually(&words.join(", "), Duration::from_secs(20), || {
        let said = said(printed);
        Ok(words.iter().all(|word| said.contains(word)).then_some(()))
    })
    .with_context(|| said(printed))
}

/// Connects by each family; the second packet of a connection would be sent after a second.
const REACH: &str = "
def reach(family):
    found = socket.getaddrinfo('pool.example.com', 443, family, socket.SOCK_STREAM)
    s = socket.socket(family, socket.SOCK_STREAM); s.settimeout(0.9)
    s.connect(found[0][4]); s.sendall(b'hello'); assert s.recv(5) == b'hello'
    return found[0][4][0]
print(reach(socket.AF_INET), reach(socket.AF_INET6))
";

#[test]
fn a_name_is_reached_as_its_addresses_change_and_nothing_else_is() -> Result<()> {
    if unable(&["nft", "dnsmasq"]) {
        return Ok(());
    }
    let mut lab = Lab::new()?;
    let (running, printed) = lab.start()?;
    // Before anyone asked, the address is shut.
    let shut = "s = socket.create_connection(('45.1.1.1', 443), 2)";
    ensure!(
        !lab.client(shut)?.status.success(),
        "open before anyone asked"
    );
    let reached = lab.client(REACH)?;
    ensure!(
        reached.status.success(),
        "{} {}",
        text(&reached),
        said(&printed)
    );
    assert_eq!(
        String::from_utf8_lossy(&reached.stdout).trim(),
        "45.1.1.1 2a00::1"
    );

    let refused = lab.client(
        "for name in ('evil.example', 'inside.example', 'dns.google'):\n    try: socket.getaddrinfo(name, 443); sys.exit(name)\n    except socket.gaierror: pass",
    )?;
    ensure!(refused.status.success(), "{}", text(&refused));
    ensure!(!lab.asked("evil.example")?, "the name left the device");
    tells(&printed, &["evil.example", "dns.google"])?;

    // Other addresses: the old ones stay for a while, the new ones are open at once.
    lab.resolve("45.2.2.2", "2a00::2")?;
    let reached = lab.client(REACH)?;
    ensure!(reached.status.success(), "{}", text(&reached));
    assert_eq!(
        String::from_utf8_lossy(&reached.stdout).trim(),
        "45.2.2.2 2a00::2"
    );

    // Killed, it leaves the firewall shut for what was not admitted, and no name is answered.
    drop(running);
    let silent = lab.client("socket.getaddrinfo('pool.example.com', 443)")?;
    ensure!(!silent.status.success(), "somebody answered");
    ensure!(
        !lab.client("socket.create_connection(('45.3.3.3', 443), 2)")?
            .status
            .success()
    );
    // Started again, it goes on with what the kernel holds.
    let live = "socket.create_connection(('45.2.2.2', 443), 2)";
    ensure!(
        lab.client(live)?.status.success(),
        "what was admitted is gone"
    );
    let (_again, _) = lab.start()?;
    ensure!(
        lab.client(live)?.status.success(),
        "the restart closed what was admitted"
    );
    let reached = lab.client(REACH)?;
    ensure!(reached.status.success(), "{}", text(&reached));
    Ok(())
}

#[test]
fn a_resolver_that_is_gone_is_told_in_time() -> Result<()> {
    if unable(&["nft", "dnsmasq"]) {
        return Ok(());
    }
    let mut lab = Lab::new()?;
    let (_running, printed) = lab.start()?;
    lab.resolver = None;
    let before = Instant::now();
    let answer = lab.client("socket.getaddrinfo('pool.example.com', 443)")?;
    ensure!(!answer.status.success(), "an address from nowhere");
    ensure!(
        before.elapsed() < Duration::from_secs(20),
        "{:?}",
        before.elapsed()
    );
    tells(&printed, &["pool.example.com"])
}

#[test]
fn a_host_comes_in_by_its_name_though_the_device_never_asks_for_it() -> Result<()> {
    if unable(&["nft", "dnsmasq"]) {
        return Ok(());
    }
    let mut lab = Lab::new()?;
    let (device, _) = PROFILE.split_once("\n\n").context("a section")?;
    fs_err::write(lab.path("profile.toml"), format!("{device}\n{COMES_IN}"))?;
    let listener = TcpListener::bind("192.0.2.10:8443")?;
    let (_running, printed) = lab.start()?;
    // From the address of the name, from another one, and by the port that nothing is said about.
    let knock = |from: &str, port: u16| -> Result<bool> {
        lab.world.enter()?;
        let program = format!(
            "import socket\nsocket.create_connection(('192.0.2.10', {port}), 2, ('{from}', 0))"
        );
        let mut command = Command::new("python3");
        let done = finish(command.args(["-c", &program]), Duration::from_secs(20))?;
        Ok(done.status.success())
    };
    let end = Instant::now() + Duration::from_secs(20);
    while !knock("45.1.1.1", 8443)? {
        ensure!(Instant::now() < end, "never let in: {}", said(&printed));
    }
    ensure!(!knock("45.1.1.9", 8443)?, "a stranger is let in");
    ensure!(!knock("45.1.1.1", 8444)?, "by a port of nobody");
    drop(listener);
    lab.resolver = None;
    Ok(())
}
