//! `UPnP` while its owner has it on: miniupnpd with a configuration of ours and a table of its own, within rules of the
//! firewall that end by themselves.
//!
//! Three things end it, each enough alone: the kernel goes back to the rules from before, the table's own clock runs out, and
//! an alarm ends the daemon (`docs/decisions/0160-upnp-window.md`).

mod configuration;
pub mod daemon;
mod table;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use stockade_controls::firewall::surroundings::UpnpWindow;
use stockade_profile::InterfaceName;

use crate::firewall::{Applied, Cut, Firewall, FirewallError, Plan, Settled};
use crate::netlink::NetlinkError;
use crate::netlink::routes::Routes;
use crate::nft::{Nft, NftError};
use crate::surroundings::UpnpPlace;

pub use daemon::Start;
pub use table::Mapped;

/// The ports that one for control is chosen from: above those that the kernel gives to clients.
const CONTROL: std::ops::RangeInclusive<u16> = 61_000..=65_000;
/// How many ports of the outside may be asked for in all.
const MOST_PORTS: usize = 256;
/// How long the daemon may take to listen.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why `UPnP` is not on, or not off.
#[derive(Debug, thiserror::Error)]
pub enum UpnpError {
    /// The rules.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// The daemon's table.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The kernel, asked how this machine is connected.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Starting or ending the daemon.
    #[error("cannot {doing} miniupnpd")]
    Daemon {
        /// `start` or `end`.
        doing: &'static str,
        /// Why not.
        #[source]
        why: io::Error,
    },
    /// It can not be on as this machine stands: a sentence that says why, and what to do.
    #[error("{0}")]
    NotHere(String),
}

/// `UPnP` as the owner wants it.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The interface of those who may ask for mappings.
    pub lan: InterfaceName,
    /// For how long.
    pub time: Duration,
    /// The public address of this machine, where its interface has another.
    pub address: Option<Ipv4Addr>,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Off.
    Off,
    /// On.
    On {
        /// For how long still.
        left: Duration,
        /// Where.
        place: UpnpPlace,
        /// Whether the daemon is there.
        running: bool,
        /// What was asked for and given.
        mappings: Vec<Mapped>,
    },
}

/// Switches it on and off.
#[derive(Debug)]
pub struct Upnp {
    firewall: Firewall,
    nft: Nft,
    user: u32,
    group: u32,
}

impl Upnp {
    /// With the rules of this firewall; the daemon runs as this user, which nothing else may run as, and group.
    pub fn new(firewall: Firewall, (user, group): (u32, u32)) -> Result<Self, UpnpError> {
        if user == 0 {
            let why =
                "miniupnpd needs a user of its own, not root: `stockade-agent install` makes it";
            return Err(UpnpError::NotHere(why.to_owned()));
        }
        Ok(Self {
            firewall,
            nft: Nft::find()?,
            user,
            group,
        })
    }

    /// Switches it on. `start` is to do what [`daemon::spawn`] does, in a process that may.
    pub fn open(
        &self,
        wish: &Wish,
        start: &mut dyn FnMut(&Start) -> io::Result<()>,
    ) -> Result<Applied, UpnpError> {
        daemon::program()?;
        // Whatever is left of an earlier time.
        self.close()?;
        let (outside, address) = way_out(wish)?;
        let place = UpnpPlace {
            lan: wish.lan.to_string(),
            outside,
            control: random_port()?,
            user: self.user,
        };
        // The rules first: the daemon never runs without them.
        let applied = self.firewall.open_window(&place, wish.time)?;
        let ready = self.run(wish, address, start);
        if let Err(error) = ready {
            self.close()?;
            return Err(error);
        }
        Ok(applied)
    }

    fn run(
        &self,
        wish: &Wish,
        address: Option<Ipv4Addr>,
        start: &mut dyn FnMut(&Start) -> io::Result<()>,
    ) -> Result<(), UpnpError> {
        let Some((Plan { policy, around, .. }, _)) = self.firewall.in_force()? else {
            return Err(not_here("the rules are gone"));
        };
        let window = policy
            .window
            .ok_or_else(|| not_here("the rules are gone"))?;
        let ports =
            |range: stockade_profile::PortRange| usize::from(range.last() - range.first()) + 1;
        let asked: usize = window
            .mappings
            .iter()
            .map(|it| ports(it.external_ports))
            .sum();
        if asked > MOST_PORTS {
            return Err(UpnpError::NotHere(format!(
                "the profile's mappings have {asked} ports, and {MOST_PORTS} are the most"
            )));
        }
        let seconds = u32::try_from(wish.time.as_secs()).unwrap_or(u32::MAX);
        self.nft.apply(&table::text(&window, seconds))?;
        let start_it = Start {
            configuration: configuration::text(&window, address, &uuid()?),
            seconds,
            user: self.user,
            group: self.group,
        };
        let daemon = |why| UpnpError::Daemon {
            doing: "start",
            why,
        };
        start(&start_it).map_err(daemon)?;
        let own = own_address(&around.own, &window.place);
        daemon::wait(own, window.place.control, PATIENCE).map_err(daemon)
    }

    /// Switches it off: the daemon ends, its table goes, the rules from before are back, and every flow that came in by a
    /// mapping is cut. Also what makes sure after a death or a restart that nothing of it is left.
    pub fn close(&self) -> Result<Option<Cut>, UpnpError> {
        let ended = daemon::stop(self.user).map_err(|why| UpnpError::Daemon { doing: "end", why });
        // Each of them, whether the one before worked or not.
        let gone = self.nft.apply(&table::gone());
        let cut = self.firewall.close_window();
        ended?;
        gone?;
        Ok(cut?)
    }

    /// How it stands. When its time is over, what is left of it is tidied up.
    pub fn state(&self) -> Result<State, UpnpError> {
        let status = self.firewall.status()?;
        let place = status.pending.and_then(|pending| pending.told.upnp);
        let daemon = |why| UpnpError::Daemon {
            doing: "look for",
            why,
        };
        let running = !daemon::running(self.user).map_err(daemon)?.is_empty();
        let (Settled::Trial { left }, Some(place)) = (status.settled, place) else {
            if running || table::is_there()? {
                self.close()?;
            }
            return Ok(State::Off);
        };
        Ok(State::On {
            left,
            place,
            running,
            mappings: table::mappings(&self.nft)?,
        })
    }
}

fn not_here(why: &str) -> UpnpError {
    UpnpError::NotHere(why.to_owned())
}

/// The interface of the default route, and the public address to be told where its own is none.
fn way_out(wish: &Wish) -> Result<(String, Option<Ipv4Addr>), UpnpError> {
    let mut routes = Routes::open()?;
    let default = routes
        .routes()?
        .into_iter()
        .find(|route| route.ipv4 && route.prefix == 0)
        .and_then(|route| route.index);
    let links = routes.links()?;
    let outside = links.iter().find(|link| Some(link.index) == default);
    let outside =
        outside.ok_or_else(|| not_here("this machine has no way out: no default route"))?;
    if outside.name == wish.lan.as_str() {
        return Err(UpnpError::NotHere(format!(
            "`{}` is this machine's way out: choose the interface of the local network",
            wish.lan
        )));
    }
    for name in [wish.lan.as_str(), &outside.name] {
        let setting = format!("/proc/sys/net/ipv4/conf/{name}/forwarding");
        let forwards = fs_err::read_to_string(&setting).is_ok_and(|it| it.trim() == "1");
        if !forwards {
            return Err(UpnpError::NotHere(format!(
                "this machine passes nothing on, so nobody could use a mapping: {setting} is not 1"
            )));
        }
    }
    let addresses = routes.addresses()?;
    let public = addresses.iter().any(|found| {
        let v4 = match found.address {
            IpAddr::V4(address) => is_public(address),
            IpAddr::V6(_) => false,
        };
        found.index == outside.index && v4
    });
    match wish.address {
        Some(address) if is_public(address) => Ok((outside.name.clone(), Some(address))),
        None if public => Ok((outside.name.clone(), None)),
        _ => Err(UpnpError::NotHere(format!(
            "`{}` has no public address, so a mapping would lead nowhere: give the public one, if mappings are passed on to this machine",
            outside.name
        ))),
    }
}

/// Whether it can be reached from anywhere (the IANA registry of RFC 6890), as miniupnpd sees it too.
fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 175, 48)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (169, 254, _)
    );
    !special
}

fn own_address(own: &[IpAddr], place: &UpnpWindow) -> IpAddr {
    let of_lan = |address: &&IpAddr| place.networks.iter().any(|it| it.contains(**address));
    own.iter()
        .find(of_lan)
        .copied()
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn random<const N: usize>() -> Result<[u8; N], UpnpError> {
    let mut bytes = [0; N];
    let flags = rustix::rand::GetRandomFlags::empty();
    match rustix::rand::getrandom(&mut bytes, flags) {
        Ok(filled) if filled == N => Ok(bytes),
        Ok(_) => Err(not_here("the kernel gave no random numbers")),
        Err(why) => Err(UpnpError::Daemon {
            doing: "choose numbers for",
            why: why.into(),
        }),
    }
}

fn random_port() -> Result<u16, UpnpError> {
    let ports = CONTROL.end() - CONTROL.start();
    Ok(CONTROL.start() + u16::from_be_bytes(random()?) % ports)
}

/// A version 4 UUID (RFC 9562 §5.4): the device is another one each time.
fn uuid() -> Result<String, UpnpError> {
    let number = u128::from_be_bytes(random()?);
    let number = (number & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let part = |range| hex.get(range).unwrap_or_default();
    Ok(format!(
        "{}-{}-{}-{}-{}",
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_random_and_says_so() {
        let (one, other) = (uuid().expect("random"), uuid().expect("random"));
        assert_ne!(one, other);
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(matches!(one.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }

    #[test]
    fn addresses_that_nobody_elsewhere_reaches_are_not_public() {
        for text in [
            "192.168.1.1",
            "10.0.0.1",
            "172.20.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "203.0.113.7",
            "0.0.0.0",
            "240.0.0.1",
        ] {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
        for text in ["9.9.9.9", "100.128.0.1", "172.32.0.1", "192.169.0.1"] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
    }
}
