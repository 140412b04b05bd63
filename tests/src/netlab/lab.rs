//! The lab: one host under test, a LAN cable and a WAN cable whose far ends are raw.
//!
//! ```text
//!   devices, spoofers ── lan ─[ host: 192.168.7.1, fd07::1 ]─ wan ── the world
//!        (raw)                    the ruleset under test               (raw)
//! ```
//!
//! The far ends have no IP stack, so nothing answers and nothing is hidden: a packet is put on one cable and either comes out
//! of another one, reaches the host itself, or is gone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::packet::{Mac, Packet};
use super::port::{Ears, Port, mac};
use super::space::{Space, ip, run, sysctl};

/// Where a packet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// On the LAN's cable.
    Lan,
    /// On the WAN's cable.
    Wan,
    /// In the host itself, behind its input hook.
    Host,
}

/// Where a packet starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// On the LAN's cable.
    Lan,
    /// On the WAN's cable.
    Wan,
}

/// The host's addresses on the LAN.
pub const HOST: [&str; 2] = ["192.168.7.1", "fd07::1"];
/// The host's addresses on the WAN.
pub const UPLINK: [&str; 2] = ["100.64.0.2", "fd64::2"];
/// The link-layer address of the router on the WAN.
pub const ROUTER: Mac = [0x02, 0, 0, 0, 0xee, 0x01];
/// IP protocols the host listens for.
const HEARD: [u8; 10] = [1, 2, 6, 17, 44, 47, 50, 58, 132, 253];

/// Two namespaces, two cables.
#[derive(Debug)]
pub struct Lab {
    host: Space,
    _outside: Space,
    /// The far end of the LAN's cable.
    pub lan: Port,
    /// The far end of the WAN's cable.
    pub wan: Port,
    ears: Ears,
    /// The host's link-layer address on the LAN.
    pub lan_mac: Mac,
    /// The host's link-layer address on the WAN.
    pub wan_mac: Mac,
}

impl Lab {
    /// Builds it; the calling thread is in the host's namespace afterwards.
    pub fn new() -> Result<Self> {
        let outside = Space::new()?;
        quiet()?;
        let host = Space::new()?;
        quiet()?;
        let far = outside.process();
        ip(&format!(
            "link set lo up\n\
             link add lan type veth peer name lanfar netns {far}\n\
             link add wan type veth peer name wanfar netns {far}\n\
             link set lan up\n\
             link set wan up\n\
             addr add {lan4}/24 dev lan\n\
             addr add {lan6}/64 dev lan nodad\n\
             addr add {wan4}/24 dev wan\n\
             addr add {wan6}/64 dev wan nodad\n\
             neigh add 100.64.0.1 lladdr {router} nud permanent dev wan\n\
             neigh add fd64::1 lladdr {router} nud permanent dev wan\n\
             route add default via 100.64.0.1 dev wan\n\
             route add ::/0 via fd64::1 dev wan\n",
            lan4 = HOST[0],
            lan6 = HOST[1],
            wan4 = UPLINK[0],
            wan6 = UPLINK[1],
            router = spelled(ROUTER),
        ))?;
        let lan_mac = mac("lan")?;
        let wan_mac = mac("wan")?;
        let ears = Ears::open(&HEARD)?;
        outside.enter()?;
        ip("link set lanfar up\nlink set wanfar up\n")?;
        let lan = Port::open("lanfar")?;
        let wan = Port::open("wanfar")?;
        host.enter()?;
        let lab = Self {
            host,
            _outside: outside,
            lan,
            wan,
            ears,
            lan_mac,
            wan_mac,
        };
        lab.warm()?;
        Ok(lab)
    }

    /// Waits until the cables carry frames: a link comes up a moment after it is told to.
    fn warm(&self) -> Result<()> {
        let probe = Packet {
            from_mac: [2, 0, 0, 0, 0, 0xfe],
            to_mac: self.lan_mac,
            source: "192.168.7.254".parse()?,
            destination: HOST[0].parse()?,
            transport: super::packet::Transport::Other(253),
            number: u32::MAX,
        };
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            self.lan.put(&probe)?;
            if self
                .settle(Duration::from_millis(5))?
                .contains_key(&u32::MAX)
            {
                return Ok(());
            }
        }
        anyhow::bail!("the LAN's cable carries nothing")
    }

    /// Puts the calling thread into the host's namespace.
    pub fn enter(&self) -> Result<()> {
        self.host.enter()
    }

    /// Loads rules by the real `nft`.
    pub fn load(&self, rules: &str) -> Result<()> {
        self.enter()?;
        run("nft", &["-f", "-"], rules).map(drop)
    }

    /// Tells the host the link-layer address of a neighbour, so that no packet waits for an answer nobody gives.
    pub fn neighbours(&self, interface: &str, neighbours: &[(IpAddr, Mac)]) -> Result<()> {
        self.enter()?;
        let line = |(address, mac): &(IpAddr, Mac)| {
            format!(
                "neigh replace {address} lladdr {} nud permanent dev {interface}\n",
                spelled(*mac)
            )
        };
        ip(&neighbours.iter().map(line).collect::<String>())
    }

    /// Forgets every flow.
    pub fn forget(&self) -> Result<()> {
        self.enter()?;
        run("conntrack", &["-F"], "").map(drop)
    }

    /// Sends packets and says where each ended; those that ended nowhere are not in the map.
    pub fn send(&self, packets: &[(Start, Packet)]) -> Result<BTreeMap<u32, Seen>> {
        let mut seen = BTreeMap::new();
        for batch in packets.chunks(128) {
            for (start, packet) in batch {
                match start {
                    Start::Lan => self.lan.put(packet)?,
                    Start::Wan => self.wan.put(packet)?,
                }
            }
            self.listen(&mut seen)?;
        }
        // What is on its way waits for the kernel's own threads, on a busy machine.
        seen.extend(self.settle(Duration::from_millis(100))?);
        Ok(seen)
    }

    fn listen(&self, seen: &mut BTreeMap<u32, Seen>) -> Result<bool> {
        let before = seen.len();
        seen.extend(
            self.lan
                .heard()?
                .into_iter()
                .map(|number| (number, Seen::Lan)),
        );
        seen.extend(
            self.wan
                .heard()?
                .into_iter()
                .map(|number| (number, Seen::Wan)),
        );
        seen.extend(
            self.ears
                .heard()?
                .into_iter()
                .map(|number| (number, Seen::Host)),
        );
        Ok(seen.len() > before)
    }

    /// Listens until nothing has come for a while.
    fn settle(&self, quiet: Duration) -> Result<BTreeMap<u32, Seen>> {
        let mut seen = BTreeMap::new();
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            if self.listen(&mut seen)? {
                last = Instant::now();
            }
            std::thread::yield_now();
        }
        Ok(seen)
    }

    /// What `nft` says of a table, as JSON.
    pub fn list(&self, family: &str, table: &str) -> Result<Vec<u8>> {
        self.enter()?;
        let listed = run("nft", &["-j", "list", "table", family, table], "")?;
        ensure!(!listed.is_empty(), "nft lists nothing of {family} {table}");
        Ok(listed)
    }
}

/// A host that forwards and says nothing of its own accord.
fn quiet() -> Result<()> {
    for (path, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        ("net/ipv4/icmp_ratelimit", "0"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/router_solicitations", "0"),
    ] {
        sysctl(path, value)?;
    }
    Ok(())
}

/// A link-layer address as programs write it.
pub fn spelled(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
