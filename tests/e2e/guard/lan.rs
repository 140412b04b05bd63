//! A home with a guard: a gateway with a bridge, devices on its ports, and a world behind it, each in a namespace.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use stockade_e2e::netlab::space::{Space, ip, sysctl};
use stockade_e2e::tools::{eventually, finish, root, stockade, succeed, text};

/// The gateway's address on the LAN.
pub(crate) const GATEWAY: &str = "10.77.0.1";
/// The gateway's address towards the world.
pub(crate) const UPLINK: &str = "93.184.216.1";
/// A server in the world.
pub(crate) const CLOUD: &str = "93.184.216.34";
/// The world's name server.
pub(crate) const RESOLVER: &str = "93.184.216.53";
/// The names it knows.
const NAMES: &str = "/cloud.example.com/93.184.216.34";

/// The home.
pub(crate) struct Lan {
    pub(crate) gateway: Space,
    pub(crate) world: Space,
    pub(crate) devices: Vec<Space>,
    pub(crate) folder: tempfile::TempDir,
    guard: Option<Child>,
    helpers: Vec<Child>,
}

/// A server that runs in a namespace until it is dropped.
pub(crate) struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Lan {
    /// A gateway without a guard yet, and so many devices, none with an address.
    pub(crate) fn new(devices: u8) -> Result<Self> {
        let gateway = Space::new()?;
        ip(
            "link set lo up\nlink add br0 type bridge\nlink set br0 address 02:00:00:00:01:00\n\
            addr add 10.77.0.1/24 dev br0\nlink set br0 up",
        )?;
        sysctl("net/ipv4/ip_forward", "1")?;
        let world = Space::new()?;
        let mut lan = Self {
            devices: Vec::new(),
            folder: tempfile::tempdir()?,
            guard: None,
            helpers: Vec::new(),
            gateway,
            world,
        };
        lan.gateway.enter()?;
        ip(&format!(
            "link add up0 type veth peer name eth0 netns {}\naddr add {UPLINK}/24 dev up0\nlink set up0 up",
            lan.world.process()
        ))?;
        lan.world.enter()?;
        ip(&format!(
            "link set lo up\naddr add {CLOUD}/24 dev eth0\naddr add {RESOLVER}/24 dev eth0\nlink set eth0 up\n\
             route add default via {UPLINK}"
        ))?;
        for number in 1..=devices {
            let device = Space::new()?;
            lan.gateway.enter()?;
            ip(&format!(
                "link add p{number} type veth peer name eth0 netns {}\nlink set p{number} master br0\nlink set p{number} up",
                device.process()
            ))?;
            device.enter()?;
            ip(&format!(
                "link set lo up\nlink set eth0 address {}\nlink set eth0 up",
                mac(number)
            ))?;
            lan.devices.push(device);
        }
        lan.serve_addresses()?;
        Ok(lan)
    }

    /// A real DHCP server on the LAN, a real name server in the world.
    fn serve_addresses(&mut self) -> Result<()> {
        let leases = self.folder.path().join("leases");
        self.gateway.enter()?;
        let dhcp = Command::new("dnsmasq")
            .args([
                "--no-daemon",
                "--conf-file=/dev/null",
                "--port=0",
                "--interface=br0",
                "--bind-dynamic",
            ])
            .args([
                "--dhcp-range=10.77.0.50,10.77.0.99,1h",
                "--dhcp-authoritative",
                "--no-ping",
                "--user=root",
            ])
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start dnsmasq")?;
        self.helpers.push(dhcp);
        self.world.enter()?;
        let names = Command::new("dnsmasq")
            .args([
                "--no-daemon",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .arg(format!("--listen-address={RESOLVER}"))
            .arg("--bind-interfaces")
            .arg(format!("--address={NAMES}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start dnsmasq")?;
        self.helpers.push(names);
        Ok(())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the guard and waits until it answers.
    pub(crate) fn guard(&mut self, settings: &str) -> Result<()> {
        self.start(&["guard", "run"], settings)
    }

    /// Starts the gateway, which starts the guard, and waits until that answers.
    pub(crate) fn up(&mut self) -> Result<()> {
        self.start(&["up"], "")
    }

    fn start(&mut self, command: &[&str], settings: &str) -> Result<()> {
        let config = self.folder.path().join("stockade.toml");
        fs_err::write(
            &config,
            format!("[guard]\ninterface = \"br0\"\nresolvers = [\"{RESOLVER}\"]\n{settings}"),
        )?;
        self.gateway.enter()?;
        // The files of /sys/class/net are those of the namespace that mounted them.
        let script = r#"mount -t sysfs sysfs /sys && mount --bind "$0" /etc/hosts && exec "$@""#;
        let hosts = self.folder.path().join("hosts");
        fs_err::write(
            &hosts,
            format!("127.0.0.1 localhost\n{CLOUD} mud.example.com\n"),
        )?;
        let log = fs_err::File::create(self.folder.path().join("guard.log"))?
            .into_parts()
            .0;
        let guard = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(&hosts)
            .arg(stockade()?)
            .arg("--data")
            .arg(self.data())
            .args(command)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the guard")?;
        self.guard = Some(guard);
        let started = eventually("the guard answers", Duration::from_secs(30), || {
            if let Some(guard) = &mut self.guard {
                ensure!(guard.try_wait()?.is_none(), "the guard ended");
            }
            Ok(self.cli(&["guard", "status"]).ok())
        });
        started.with_context(|| self.said()).map(drop)
    }

    /// What the guard printed.
    pub(crate) fn said(&self) -> String {
        fs_err::read_to_string(self.folder.path().join("guard.log")).unwrap_or_default()
    }

    /// The guard dies without a word.
    pub(crate) fn kill_guard(&mut self) -> Result<()> {
        let mut guard = self.guard.take().context("there is no guard")?;
        guard.kill()?;
        guard.wait()?;
        Ok(())
    }

    /// The guard ended by itself.
    pub(crate) fn guard_ended(&mut self) -> Result<()> {
        let mut guard = self.guard.take().context("there is no guard")?;
        eventually("the guard ends", Duration::from_secs(20), || {
            Ok(guard.try_wait()?.map(drop))
        })
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(stockade()?);
        command.arg("--data").arg(self.data()).args(arguments);
        Ok(command)
    }

    /// What the command prints; it must succeed.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<String> {
        succeed(&mut self.command(arguments)?)
    }

    /// How the command ends, and what it prints.
    pub(crate) fn ends(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let output = finish(&mut self.command(arguments)?, Duration::from_secs(30))?;
        Ok((output.status.code(), text(&output)))
    }

    /// The command's JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        Ok(serde_json::from_str(&self.cli(&arguments)?)?)
    }

    /// Gives the guard a profile of this model.
    pub(crate) fn install(&self, model: &str, version: u32, rules: &str) -> Result<()> {
        let file = self.profile(model, version, rules)?;
        self.cli(&["guard", "install", &file]).map(drop)
    }

    /// A profile of this model, as a file.
    pub(crate) fn profile(&self, model: &str, version: u32, rules: &str) -> Result<String> {
        let file = self.folder.path().join(format!("{model}.toml"));
        fs_err::write(
            &file,
            format!(
                "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"{model}\"\nversion = {version}\n\
                 class = \"agentless\"\n{rules}"
            ),
        )?;
        Ok(file.display().to_string())
    }

    /// A device asks for an address and takes it; `says` are further arguments of the client.
    pub(crate) fn lease(&self, number: u8, says: &[&str]) -> Result<Ipv4Addr> {
        let address = self.ask_lease(number, says)?;
        ip(&format!(
            "addr replace {address}/24 dev eth0\nroute replace default via {GATEWAY}"
        ))?;
        Ok(address)
    }

    /// A device asks for an address; the calling thread is in its namespace afterwards.
    pub(crate) fn ask_lease(&self, number: u8, says: &[&str]) -> Result<Ipv4Addr> {
        self.enter(number)?;
        let script = root().join("tests/clients/dhcp_client.py");
        let mut client = Command::new("python3");
        client.arg(script).arg("eth0").args(says);
        let printed = succeed(&mut client).context("no lease")?;
        Ok(printed.trim().parse()?)
    }

    /// Puts the calling thread into a device.
    pub(crate) fn enter(&self, number: u8) -> Result<()> {
        self.devices
            .get(usize::from(number) - 1)
            .context("no such device")?
            .enter()
    }

    /// Waits until the guard knows an address as the device's.
    pub(crate) fn bound(&self, number: u8, address: IpAddr) -> Result<()> {
        let wanted = address.to_string();
        eventually(
            "the guard knows the address",
            Duration::from_secs(20),
            || {
                let device = self.json(&["guard", "show", &mac(number)]);
                let device = device.unwrap_or_default();
                let found = device["addresses"].as_array().is_some_and(|all| {
                    all.iter()
                        .any(|one| one["address"].as_str() == Some(&wanted))
                });
                Ok(found.then_some(()))
            },
        )
    }

    /// What the guard told of a device.
    pub(crate) fn told(&self, number: u8, what: &str) -> Result<()> {
        eventually(what, Duration::from_secs(20), || {
            let events = self.json(&["guard", "events", "--limit", "1000"])?;
            let events = events["events"].as_array().cloned().unwrap_or_default();
            let found = events.iter().any(|event| {
                event["device"].as_str() == Some(&mac(number))
                    && event["reason"]
                        .as_str()
                        .is_some_and(|reason| reason.contains(what))
            });
            Ok(found.then_some(()))
        })
        .with_context(|| self.cli(&["guard", "events"]).unwrap_or_default())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for mut child in self.helpers.drain(..).chain(self.guard.take()) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The card's address of a device.
pub(crate) fn mac(number: u8) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

/// Whether a TCP connection can be opened from where the calling thread is.
pub(crate) fn reaches(to: &str) -> bool {
    let Ok(to) = to.parse::<SocketAddr>() else {
        return false;
    };
    TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok()
}

/// A TCP server where the calling thread is, which sends back what comes; it lives as long as the test's process.
pub(crate) fn echo(at: &str) -> Result<()> {
    let listener = TcpListener::bind(at).with_context(|| at.to_owned())?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut bytes = [0; 512];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    let Some(got) = bytes.get(..length) else {
                        return;
                    };
                    if stream.write_all(got).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

/// Whether a connection still carries bytes there and back.
pub(crate) fn carries(stream: &mut TcpStream) -> bool {
    let mut back = [0; 4];
    let limit = Some(Duration::from_secs(2));
    stream.set_read_timeout(limit).is_ok()
        && stream.write_all(b"ping").is_ok()
        && stream.read_exact(&mut back).is_ok()
        && back == *b"ping"
}

/// Asks a name server for an address, from where the calling thread is.
pub(crate) fn resolves(server: &str, name: &str) -> Result<Option<Ipv4Addr>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    socket.send_to(&question, (server, 53))?;
    let mut answer = [0; 1500];
    let Ok(length) = socket.recv(&mut answer) else {
        return Ok(None);
    };
    let answer = answer.get(..length).unwrap_or_default();
    // The only address of the answers is their last four bytes; without one there is none.
    let has_answers = answer.get(6..8).is_some_and(|count| count != [0, 0]);
    let last: Option<[u8; 4]> = answer.last_chunk().copied();
    Ok(last.filter(|_| has_answers).map(Ipv4Addr::from))
}

/// An https server in the world, with a certificate of its own authority, that gives the files of `folder`.
pub(crate) fn https(lan: &Lan, name: &str, folder: &Path) -> Result<Served> {
    let authority_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new(Vec::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer_certificate = authority.self_signed(&authority_key)?;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate()?;
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &issuer)?;
    let at = |file: &str| lan.folder.path().join(file);
    fs_err::write(at("https-root.pem"), issuer_certificate.pem())?;
    fs_err::write(at("https.pem"), leaf.pem())?;
    fs_err::write(at("https.key"), key.serialize_pem())?;
    lan.world.enter()?;
    let log = fs_err::File::create(at("https.log"))?.into_parts().0;
    let child = Command::new("python3")
        .arg(root().join("tests/clients/https_file.py"))
        .args([CLOUD, "443"])
        .args([at("https.pem"), at("https.key"), folder.to_owned()])
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the https server")?;
    let served = Served(child);
    eventually("the https server listens", Duration::from_secs(20), || {
        Ok(TcpStream::connect((CLOUD, 443)).ok().map(drop))
    })?;
    Ok(served)
}
