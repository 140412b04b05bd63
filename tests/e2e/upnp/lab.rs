//! The device, a client of its LAN and a stranger outside, each in a network namespace.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use stockade_e2e::netlab::space::{Space, ip, run, sysctl};
use stockade_e2e::tools::{eventually, finish, text};
use stockade_host::firewall::{Applied, Firewall, How, Wanted};
use stockade_host::netlink::flows::{Ends, Flow, Flows};
use stockade_host::surroundings::Told;
use stockade_host::upnp::{State, Upnp, Wish, daemon};

/// Addresses of one side.
pub(crate) struct Side {
    pub(crate) device: &'static str,
    pub(crate) client: &'static str,
}

pub(crate) const LAN: Side = Side {
    device: "192.168.7.1",
    client: "192.168.7.20",
};
/// Public addresses, which miniupnpd insists on; nothing leaves the lab.
pub(crate) const OUTSIDE: Side = Side {
    device: "9.9.9.1",
    client: STRANGER,
};
pub(crate) const STRANGER: &str = "9.9.9.9";
/// The user of the daemon: each test has its own, for ending one ends all processes of its user.
pub(crate) fn daemon_user() -> u32 {
    60_000 + std::process::id() % 5_000
}

const SOON: Duration = Duration::from_millis(500);

pub(crate) const ALLOWED: &str = "allow-enable = true\nmax-duration = \"1h\"\n[[upnp.mapping]]\nprotocol = \"tcp\"\n\
    external-ports = \"40000-40003\"\ninternal-port = 443\n";

pub(crate) fn profile(upnp: &str) -> String {
    format!(
        "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"box-1\"\nversion = 1\nclass = \"linux\"\n\
         [[firewall.out]]\nto = \"any\"\nprotocol = \"tcp\"\nport = \"8000-9999\"\n[upnp]\n{upnp}\n"
    )
}

pub(crate) fn wish(lan: &str, seconds: u64) -> Wish {
    Wish {
        lan: lan.parse().expect("a name"),
        time: Duration::from_secs(seconds),
        address: None,
    }
}

/// All rules of the device, without what counts up.
pub(crate) fn ruleset() -> Result<String> {
    let all = run("nft", &["-s", "list", "ruleset"], "")?;
    Ok(String::from_utf8(all)?)
}

pub(crate) fn control(upnp: &Upnp) -> Result<u16> {
    match upnp.state()? {
        State::On { place, .. } => Ok(place.control),
        State::Off => anyhow::bail!("it is off"),
    }
}

pub(crate) struct Lab {
    device: Space,
    lan: Space,
    outside: Space,
    folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Result<Self> {
        let lan = Space::new()?;
        let outside = Space::new()?;
        let device = Space::new()?;
        ip(&format!(
            "link set lo up\n\
             link add lan0 type veth peer name far netns {}\n\
             link add ext0 type veth peer name far netns {}\n\
             addr add {}/24 dev lan0\naddr add {}/24 dev ext0\n\
             link set lan0 up\nlink set ext0 up\nroute add default via {STRANGER}\n",
            lan.process(),
            outside.process(),
            LAN.device,
            OUTSIDE.device,
        ))?;
        sysctl("net/ipv4/ip_forward", "1")?;
        for (space, side) in [(&lan, &LAN), (&outside, &OUTSIDE)] {
            space.enter()?;
            ip(&format!(
                "link set lo up\naddr add {}/24 dev far\nlink set far up\nroute add default via {}\n",
                side.client, side.device
            ))?;
        }
        device.enter()?;
        let lab = Self {
            device,
            lan,
            outside,
            folder: tempfile::tempdir()?,
        };
        lab.apply(&profile(ALLOWED), How::AtOnce)?;
        Ok(lab)
    }

    pub(crate) fn enter(&self) -> Result<()> {
        self.device.enter()
    }

    /// Does something on one side.
    pub(crate) fn at<T>(&self, inside: bool, what: impl FnOnce() -> Result<T>) -> Result<T> {
        let side = if inside { &self.lan } else { &self.outside };
        side.enter()?;
        let done = what();
        self.device.enter()?;
        done
    }

    pub(crate) fn firewall(&self) -> Result<Firewall> {
        Ok(Firewall::at(&self.folder.path().join("firewall"))?.trusting())
    }

    pub(crate) fn apply(&self, text: &str, how: How) -> Result<Applied> {
        let wanted = Wanted {
            profile: stockade_profile::parse(text)
                .ok()
                .context("a sound profile")?,
            text: text.to_owned(),
            told: Told::default(),
            session: None,
        };
        Ok(self.firewall()?.apply(&wanted, how)?)
    }

    pub(crate) fn upnp(&self) -> Result<Upnp> {
        Ok(Upnp::new(self.firewall()?, (daemon_user(), daemon_user()))?)
    }

    pub(crate) fn open(&self, upnp: &Upnp, seconds: u64) -> Result<Child> {
        let mut child = None;
        upnp.open(&wish("lan0", seconds), &mut |start| {
            child = Some(daemon::spawn(start)?);
            Ok(())
        })?;
        child.context("nothing was started")
    }

    /// miniupnpd as a distribution starts it, with no rules around it.
    pub(crate) fn plain_daemon(&self) -> Result<Child> {
        self.firewall()?.off()?;
        let file = self.folder.path().join("plain.conf");
        let text = "ext_ifname=ext0\nlistening_ip=lan0\nhttp_port=61999\nenable_upnp=yes\nipv6_disable=yes\n\
            uuid=11111111-2222-3333-4444-555555555555\n";
        fs_err::write(&file, text)?;
        let child = Command::new("miniupnpd")
            .args(["-d", "-P", "/dev/null", "-f"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.at(true, || {
            eventually("it listens", Duration::from_secs(20), || {
                Ok(TcpStream::connect((LAN.device, 61_999)).ok())
            })
        })?;
        Ok(child)
    }

    /// The independent client, on the LAN; what it said.
    pub(crate) fn upnpc(&self, port: Option<u16>, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("upnpc");
        if let Some(port) = port {
            let place = format!("http://{}:{port}/rootDesc.xml", LAN.device);
            command.args(["-u", &place]);
        }
        command.args(arguments);
        self.at(true, || {
            Ok(text(&finish(&mut command, Duration::from_secs(20))?))
        })
    }

    /// Asks the daemon for events to a place, from the LAN; the first line of its answer.
    pub(crate) fn subscribe(&self, port: u16, callback: &str) -> Result<String> {
        let mut command = Command::new("curl");
        command.args([
            "-s",
            "-i",
            "-m",
            "10",
            "-X",
            "SUBSCRIBE",
            "-H",
            "NT: upnp:event",
        ]);
        command.args(["-H", "TIMEOUT: Second-300", "-H"]);
        command.arg(format!("CALLBACK: <{callback}>"));
        command.arg(format!("http://{}:{port}/evt/IPConn", LAN.device));
        self.at(true, || {
            let said = text(&finish(&mut command, Duration::from_secs(20))?);
            Ok(said.lines().next().unwrap_or_default().to_owned())
        })
    }

    /// Somebody who listens on one side.
    pub(crate) fn ear(&self, inside: bool, port: u16) -> Result<TcpListener> {
        self.at(inside, || Ok(TcpListener::bind(("0.0.0.0", port))?))
    }

    /// The stranger calls a port of the outside; the two ends, if the client of the LAN is reached.
    pub(crate) fn through(&self, port: u16) -> Result<Option<(TcpStream, TcpStream)>> {
        let server = self.ear(true, 443)?;
        let to = format!("{}:{port}", OUTSIDE.device).parse()?;
        let caller = self.at(false, || Ok(TcpStream::connect_timeout(&to, SOON).ok()))?;
        let Some(caller) = caller else {
            return Ok(None);
        };
        Ok(Some((server.accept()?.0, caller)))
    }

    /// The same by UDP; whether anything arrives.
    pub(crate) fn udp_through(&self, port: u16) -> Result<bool> {
        let server = self.at(true, || Ok(UdpSocket::bind("0.0.0.0:443")?))?;
        server.set_read_timeout(Some(SOON))?;
        self.at(false, || {
            let caller = UdpSocket::bind("0.0.0.0:0")?;
            Ok(caller.send_to(b"hello", (OUTSIDE.device, port))?)
        })?;
        Ok(server.recv_from(&mut [0; 8]).is_ok())
    }

    /// The stranger calls the client by its own address, for the device routes.
    pub(crate) fn straight(&self) -> Result<bool> {
        let _server = self.ear(true, 443)?;
        let to = format!("{}:443", LAN.client).parse()?;
        self.at(false, || Ok(TcpStream::connect_timeout(&to, SOON).is_ok()))
    }

    /// Whether a program of this user on the device can open a connection.
    pub(crate) fn connects_as(&self, user: u32, to: &str) -> Result<bool> {
        let (host, port) = to.rsplit_once(':').context("a port")?;
        let script = format!("exec 3<>/dev/tcp/{host}/{port}");
        let mut command = Command::new("setpriv");
        let user = user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.args(["timeout", "1", "bash", "-c", &script]);
        Ok(finish(&mut command, Duration::from_secs(20))?
            .status
            .success())
    }

    /// The flows that the kernel tracks to a port of the outside.
    pub(crate) fn flows(&self, port: u16) -> Result<Vec<Flow>> {
        let all = Flows::open()?.list()?;
        let to = |flow: &Flow| matches!(flow.original.ends, Ends::Ports { destination, .. } if destination == port);
        Ok(all.into_iter().filter(to).collect())
    }
}
