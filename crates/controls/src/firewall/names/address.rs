//! Which addresses a name may stand for: the guard against rebinding.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stockade_profile::{HostName, Network};

/// What kind of address this is, for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address of the internet.
    Public,
    /// An address of somebody's own network: a public name has no business there.
    Private,
    /// No name stands for it, whatever the profile says: the device itself, everyone, nobody.
    Never,
}

/// What kind of address this is (IANA's special-purpose registries, RFC 6890).
pub fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        // RFC 1122 §3.2.1.3: this network, loopback; RFC 3927: link-local, where clouds keep their metadata;
        // RFC 1112 §4: multicast, reserved, and the broadcast address.
        [0 | 127 | 224..=255, ..] | [169, 254, ..] => Kind::Never,
        // RFC 1918 §3; RFC 6598 §7: behind a carrier's translator.
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..]
        // RFC 6890: protocol assignments; RFC 2544: benchmarks.
        | [192, 0, 0, _] | [198, 18..=19, ..] => Kind::Private,
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        kind_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // RFC 4291 §2.5.2, §2.5.3, §2.5.5: unspecified, loopback, IPv4-compatible and IPv4-mapped. A mapped address in an AAAA
        // record would be spoken to over IPv4, past the rules of the other family.
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _]
        // RFC 6666: discarded. RFC 4380: Teredo hides an IPv4 address; gone since long.
        | [0x0100, 0, 0, 0, ..] | [0x2001, 0, ..]
        // RFC 4291 §2.5.6, §2.7: link-local, multicast.
        | [0xfe80..=0xfebf | 0xff00..=0xffff, ..] => Kind::Never,
        // RFC 6052 §2.1: an IPv4 address behind a translator's well-known prefix. RFC 3056 §2: in a 6to4 address.
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // RFC 8215: a local translator, what is behind is not known; RFC 4193 §3.1: unique local; RFC 3879: site-local.
        [0x0064, 0xff9b, 1, ..] | [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Kind::Private,
        _ => Kind::Public,
    }
}

/// Whether a name may open the firewall for an address: a public name for public ones, a local one for private ones too.
pub fn may_stand_for(name: &HostName, address: IpAddr) -> bool {
    match kind(address) {
        Kind::Public => true,
        Kind::Private => is_local_name(name),
        Kind::Never => false,
    }
}

/// Whether a network is somebody's own from its first address to its last; `any` and wide networks are not.
pub(super) fn is_inside(network: Network) -> bool {
    let last = match network.address() {
        IpAddr::V4(v4) => {
            let rest = u32::MAX.checked_shr(network.prefix().into());
            IpAddr::V4((v4.to_bits() | rest.unwrap_or_default()).into())
        }
        IpAddr::V6(v6) => {
            let rest = u128::MAX.checked_shr(network.prefix().into());
            IpAddr::V6((v6.to_bits() | rest.unwrap_or_default()).into())
        }
    };
    // All special networks are wider than one address and none surrounds a public one on both sides.
    kind(network.address()) == Kind::Private && kind(last) == Kind::Private
}

/// Whether a name is of a network's own making, so that private addresses are what one expects of it.
pub(super) fn is_local_name(name: &HostName) -> bool {
    // RFC 8375: home.arpa; ICANN 2024-07-29: internal; RFC 6762 §3 and appendix G: what people use.
    const LOCAL: [&str; 9] = [
        "home.arpa",
        "internal",
        "local",
        "lan",
        "home",
        "private",
        "intranet",
        "corp",
        "localdomain",
    ];
    LOCAL.iter().any(|domain| is_under(name.as_str(), domain))
}

/// Whether `name` is below `domain`, label by label.
pub(super) fn is_under(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.'))
}
