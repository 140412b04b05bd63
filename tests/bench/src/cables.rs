//! A gateway with a LAN of 65,534 addresses on one cable and the world on another.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use stockade_e2e::netlab::port::mac;
use stockade_e2e::netlab::space::{Space, ip, sysctl};

use crate::flood::Sender;

pub(crate) type Mac = [u8; 6];

/// The gateway on the LAN.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The router of the world, as the gateway's neighbour.
const ROUTER: Mac = [0x02, 0, 0, 0, 0xee, 0x01];

/// Two namespaces, two cables.
pub(crate) struct Cables {
    gateway: Space,
    outside: Space,
    pub(crate) lan: Sender,
    pub(crate) world: Sender,
    /// The gateway's link-layer address on the LAN.
    pub(crate) lan_mac: Mac,
    /// The gateway's link-layer address to the world.
    pub(crate) world_mac: Mac,
}

impl Cables {
    /// Builds them; the calling thread is in the gateway's namespace afterwards.
    pub(crate) fn new() -> Result<Self> {
        let outside = Space::new()?;
        quiet()?;
        let gateway = Space::new()?;
        quiet()?;
        let far = outside.process();
        let router = ROUTER.map(|byte| format!("{byte:02x}")).join(":");
        ip(&format!(
            "link set lo up\n\
             link add lan type veth peer name lanfar netns {far}\n\
             link add wan type veth peer name wanfar netns {far}\n\
             link set lan up\n\
             link set wan up\n\
             addr add {GATEWAY}/16 dev lan\n\
             addr add 100.64.0.2/24 dev wan\n\
             neigh add 100.64.0.1 lladdr {router} dev wan nud permanent\n\
             route add default via 100.64.0.1\n"
        ))?;
        sysctl("net/ipv4/ip_forward", "1")?;
        let (lan_mac, world_mac) = (mac("lan")?, mac("wan")?);
        outside.enter()?;
        ip("link set lanfar up\nlink set wanfar up\n")?;
        let (lan, world) = (Sender::open("lanfar")?, Sender::open("wanfar")?);
        gateway.enter()?;
        Ok(Self {
            gateway,
            outside,
            lan,
            world,
            lan_mac,
            world_mac,
        })
    }

    /// Tells the gateway where devices are, so that answers need no question.
    pub(crate) fn neighbours(devices: impl Iterator<Item = (Ipv4Addr, Mac)>) -> Result<()> {
        let mut commands = String::new();
        for (address, mac) in devices {
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            writeln!(
                commands,
                "neigh replace {address} lladdr {mac} dev lan nud permanent"
            )?;
        }
        ip(&commands)
    }

    /// Packets that came out of the LAN's and the world's cable so far.
    pub(crate) fn came_out(&self) -> Result<(u64, u64)> {
        self.outside.enter()?;
        let counted = fs_err::read_to_string("/proc/thread-self/net/dev");
        self.gateway.enter()?;
        let counted = counted?;
        let received = |interface: &str| {
            counted
                .lines()
                .find_map(|line| line.trim_start().strip_prefix(interface))
                .and_then(|rest| rest.strip_prefix(':'))
                .and_then(|rest| rest.split_whitespace().nth(1))
                .and_then(|packets| packets.parse().ok())
                .with_context(|| format!("{interface} is not counted"))
        };
        Ok((received("lanfar")?, received("wanfar")?))
    }

    pub(crate) const ROUTER: Mac = ROUTER;
}

fn quiet() -> Result<()> {
    sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
    sysctl("net/ipv6/conf/default/disable_ipv6", "1")
}
