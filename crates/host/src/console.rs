//! What whoever is logged in works with: a change of it is made on trial.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use stockade_controls::engine::{Action, ServiceChange};

use crate::netlink::routes::Routes;
use crate::process::address_of;
use crate::view::terminal;

/// Who waits for a log-in: what they hold is not in use.
const WAITING: [&str; 7] = [
    "agetty", "getty", "mgetty", "mingetty", "fgetty", "login", "sulogin",
];
/// Screens (`Documentation/admin-guide/devices.txt`): 4:0 to 4:63. The console is 5:1; 136 to 143 come by the network.
const SCREENS: (u32, u32) = (4, 63);
const CONSOLE: (u32, u32) = (5, 1);
/// `TCP_ESTABLISHED`, as `/proc/net/tcp` has it.
const ESTABLISHED: &str = "01";

/// The devices in use, by their places below `/sys/devices`: keyboards if somebody is logged in at a screen, serial lines with a
/// log-in, and network interfaces with the default route or a connection.
pub fn in_use() -> io::Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    let mut screen = false;
    for (major, minor) in terminals()? {
        let name = match (major, minor) {
            CONSOLE => {
                // Where it can not be seen, it is a screen: that is on the safe side.
                let active = fs_err::read_to_string("/sys/class/tty/console/active");
                let active = active.unwrap_or_else(|_| "tty0".to_owned());
                active
                    .split_whitespace()
                    .last()
                    .unwrap_or_default()
                    .to_owned()
            }
            (major, minor) => {
                let link = format!("/sys/dev/char/{major}:{minor}");
                let place = fs_err::read_link(link).unwrap_or_default();
                place
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            }
        };
        if (major == SCREENS.0 && minor <= SCREENS.1) || name == "tty0" {
            screen = true;
        } else {
            all.extend(place(&format!("/sys/class/tty/{name}")));
        }
    }
    if screen {
        for entry in std::fs::read_dir("/sys/class/input").into_iter().flatten() {
            all.extend(fs_err::canonicalize(entry?.path()).ok());
        }
    }
    for name in interfaces()? {
        all.extend(place(&format!("/sys/class/net/{name}")));
    }
    Ok(all)
}

/// Whether an action takes away something of that.
pub fn touches(action: &Action, in_use: &BTreeSet<PathBuf>) -> bool {
    let below = |path: &Path| in_use.iter().any(|it| it.starts_with(path));
    match action {
        Action::Setting { path, .. } => {
            let text = path.to_string();
            let Some((device, name)) = text.rsplit_once('/') else {
                return false;
            };
            let Some(place) = place(device) else {
                return false;
            };
            match name {
                "authorized" | "flags" => below(&place),
                // DEVICE/ieee80211/phy0/rfkill0
                "soft" => place.ancestors().nth(3).is_some_and(below),
                _ => false,
            }
        }
        Action::Service {
            name,
            change: ServiceChange::Mask | ServiceChange::Stop,
        } => {
            let terminal = name.as_str().split_once('@').map(|(_, terminal)| terminal);
            let place = terminal.and_then(|it| place(&format!("/sys/class/tty/{it}")));
            place.is_some_and(|it| in_use.contains(&it))
        }
        _ => false,
    }
}

fn place(path: &str) -> Option<PathBuf> {
    fs_err::canonicalize(path).ok()
}

/// The controlling terminals of whoever does not only wait there.
fn terminals() -> io::Result<BTreeSet<(u32, u32)>> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path().join("stat");
        // Not a process, or gone meanwhile.
        let Ok(content) = fs_err::read(path) else {
            continue;
        };
        match terminal(&content) {
            Some((name, number)) if number != 0 && !WAITING.contains(&&*name) => {
                // proc(5): the minor number is in bits 31 to 20 and 7 to 0, the major in 15 to 8.
                let minor = (number & 0xff) | ((number >> 12) & 0xfff00);
                let major = (number >> 8) & 0xff;
                if !(136..=143).contains(&major) {
                    all.insert((major, minor));
                }
            }
            _ => (),
        }
    }
    Ok(all)
}

/// The network interfaces with the default route, or with an address that a connection has.
fn interfaces() -> io::Result<BTreeSet<String>> {
    let mut routes = Routes::open().map_err(io::Error::other)?;
    let all = routes.routes().map_err(io::Error::other)?;
    let mut used: BTreeSet<u32> = all
        .into_iter()
        .filter(|it| it.destination.is_none())
        .filter_map(|it| it.index)
        .collect();
    let connected = connected();
    let addresses = routes.addresses().map_err(io::Error::other)?;
    used.extend(
        addresses
            .iter()
            .filter(|it| connected.contains(&it.address))
            .map(|it| it.index),
    );
    let links = routes.links().map_err(io::Error::other)?;
    let links = links
        .into_iter()
        .filter(|it| !it.loopback && used.contains(&it.index));
    Ok(links.map(|it| it.name).collect())
}

/// This machine's addresses that connections have.
fn connected() -> BTreeSet<IpAddr> {
    let mut all = BTreeSet::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs_err::read_to_string(path).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_whitespace().skip(1);
            let (local, state) = (words.next(), words.nth(1));
            let address = local.and_then(|it| address_of(it.split(':').next()?));
            if state == Some(ESTABLISHED) {
                all.extend(address.map(|it| it.to_canonical()));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use stockade_controls::engine::HostPath;

    use super::*;

    #[test]
    fn only_what_is_in_use_is_touched() {
        let lo = place("/sys/class/net/lo").expect("each network has it");
        let in_use = BTreeSet::from([lo]);
        let set = |path| Action::Setting {
            path: HostPath::of(path),
            value: "0".to_owned(),
        };
        assert!(touches(&set("/sys/class/net/lo/flags"), &in_use));
        assert!(!touches(&set("/sys/class/net/lo/flags"), &BTreeSet::new()));
        assert!(!touches(&set("/proc/sys/kernel/sysrq"), &in_use));
        assert!(!touches(&Action::Firewall, &in_use));
    }

    #[test]
    fn an_interface_with_a_connection_is_in_use() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(connected().contains(&"127.0.0.1".parse().unwrap()));
        assert!(!interfaces().unwrap().contains("lo"), "it leads nowhere");
    }
}
