//! Programs that speak `UPnP`, NAT-PMP or PCP and do little else.

/// One of them.
#[derive(Debug)]
pub(super) struct Known {
    /// Its file name.
    pub(super) name: &'static str,
    /// What it is.
    pub(super) what: &'static str,
    /// Whether it waits for others to ask.
    pub(super) serves: bool,
    /// Services of another name that start it.
    pub(super) services: &'static [&'static str],
}

/// The one that Stockade starts itself when the owner wants it.
pub(super) const DAEMON: &str = "miniupnpd";

const fn server(name: &'static str, what: &'static str) -> Known {
    started(name, what, &[])
}

const fn started(
    name: &'static str,
    what: &'static str,
    services: &'static [&'static str],
) -> Known {
    Known {
        name,
        what,
        serves: true,
        services,
    }
}

const fn client(name: &'static str, what: &'static str) -> Known {
    Known {
        name,
        what,
        serves: false,
        services: &[],
    }
}

const GATEWAY: &str = "a UPnP gateway daemon";
const MEDIA: &str = "a UPnP media server";
const RENDERER: &str = "a UPnP renderer";

pub(super) static KNOWN: [Known; 22] = [
    server(DAEMON, GATEWAY),
    started("upnpd", GATEWAY, &["linux-igd"]),
    server("natpmpd", "a NAT-PMP daemon"),
    server("minissdpd", "a daemon of SSDP"),
    started("minidlnad", MEDIA, &["minidlna", "readymedia"]),
    server("rygel", MEDIA),
    server("gerbera", MEDIA),
    server("mediatomb", MEDIA),
    server("ushare", MEDIA),
    server("fuppesd", MEDIA),
    server("ums", MEDIA),
    server("dleyna-server-service", MEDIA),
    server("dleyna-renderer-service", RENDERER),
    started("gmediarender", RENDERER, &["gmediarender-resurrect"]),
    server("upmpdcli", RENDERER),
    server("gupnp-network-light", "a UPnP device for tests"),
    client("upnpc", "a UPnP client that opens ports"),
    client("natpmpc", "a NAT-PMP client that opens ports"),
    client("external-ip", "a UPnP client"),
    client("gupnp-universal-cp", "a UPnP control point"),
    client("gupnp-av-cp", "a UPnP control point"),
    client("gssdp-discover", "a client of SSDP"),
];
