//! Resolvers that anyone can use, by name and by address: how a program would get past the forwarder.
//!
//! Everything that the profile does not name is refused anyway. The list is for profiles that open whole networks: there, these
//! addresses stay shut unless a rule names the address itself; and it lets an event say what was tried.

use std::sync::LazyLock;

use stockade_profile::Network;

use super::address::is_under;

/// A public resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownResolver {
    /// Who runs it.
    pub operator: &'static str,
    /// The names at which it offers DNS over HTTPS, TLS or QUIC; names below them count too.
    pub names: &'static [&'static str],
    /// Its addresses and networks.
    pub networks: &'static [&'static str],
}

// The pages named are where each operator says so; written from memory, not checked against them. Short rather than complete, see
// docs/names.md.
const KNOWN: &[KnownResolver] = &[
    // developers.cloudflare.com/1.1.1.1/ip-addresses and /encryption/dns-over-https
    KnownResolver {
        operator: "Cloudflare",
        names: &[
            "cloudflare-dns.com",
            "one.one.one.one",
            "1dot1dot1dot1.com",
            "cloudflare-gateway.com",
        ],
        networks: &[
            "1.1.1.0/24",
            "1.0.0.0/24",
            "162.159.36.1/32",
            "162.159.46.1/32",
            "2606:4700:4700::/48",
        ],
    },
    // developers.google.com/speed/public-dns/docs/using
    KnownResolver {
        operator: "Google",
        names: &[
            "dns.google",
            "dns.google.com",
            "google-public-dns-a.google.com",
            "google-public-dns-b.google.com",
        ],
        networks: &["8.8.8.0/24", "8.8.4.0/24", "2001:4860:4860::/48"],
    },
    // quad9.net/service/service-addresses-and-features
    KnownResolver {
        operator: "Quad9",
        names: &["quad9.net"],
        networks: &["9.9.9.0/24", "149.112.112.0/24", "2620:fe::/48"],
    },
    // opendns.com/setupguide; support.opendns.com: DNS over HTTPS
    KnownResolver {
        operator: "OpenDNS",
        names: &[
            "doh.opendns.com",
            "dns.opendns.com",
            "doh.familyshield.opendns.com",
            "doh.umbrella.com",
            "dns.umbrella.com",
        ],
        networks: &[
            "208.67.222.0/24",
            "208.67.220.0/24",
            "146.112.41.0/24",
            "2620:119:35::/48",
            "2620:119:53::/48",
        ],
    },
    // adguard-dns.io/en/public-dns.html
    KnownResolver {
        operator: "AdGuard",
        names: &[
            "adguard-dns.com",
            "dns.adguard.com",
            "dns-family.adguard.com",
            "dns-unfiltered.adguard.com",
        ],
        networks: &["94.140.14.0/24", "94.140.15.0/24", "2a10:50c0::/32"],
    },
    // nextdns.io: set-up guide
    KnownResolver {
        operator: "NextDNS",
        names: &[
            "dns.nextdns.io",
            "dns1.nextdns.io",
            "dns2.nextdns.io",
            "doh.nextdns.io",
            "anycast.dns.nextdns.io",
        ],
        networks: &[
            "45.90.28.0/24",
            "45.90.30.0/24",
            "2a07:a8c0::/32",
            "2a07:a8c1::/32",
        ],
    },
    // controld.com/free-dns
    KnownResolver {
        operator: "Control D",
        names: &["dns.controld.com", "freedns.controld.com"],
        networks: &[
            "76.76.2.0/24",
            "76.76.10.0/24",
            "2606:1a40::/48",
            "2606:1a40:1::/48",
        ],
    },
    // mullvad.net/help/dns-over-https-and-dns-over-tls
    KnownResolver {
        operator: "Mullvad",
        names: &["dns.mullvad.net", "doh.mullvad.net"],
        networks: &["194.242.2.0/24", "2a07:e340::/64"],
    },
    // cleanbrowsing.org/filters
    KnownResolver {
        operator: "CleanBrowsing",
        names: &[
            "doh.cleanbrowsing.org",
            "family-filter-dns.cleanbrowsing.org",
            "adult-filter-dns.cleanbrowsing.org",
            "security-filter-dns.cleanbrowsing.org",
        ],
        networks: &[
            "185.228.168.0/24",
            "185.228.169.0/24",
            "2a0d:2a00:1::/48",
            "2a0d:2a00:2::/48",
        ],
    },
    // dns.yandex.com
    KnownResolver {
        operator: "Yandex",
        names: &["dot.dns.yandex.net", "dns.yandex.ru", "dns.yandex.com"],
        networks: &["77.88.8.0/24", "2a02:6b8::feed:0/112"],
    },
    // alidns.com; docs.dnspod.cn; 114dns.com; sdns.360.net: common in devices' firmware
    KnownResolver {
        operator: "AliDNS",
        names: &["dns.alidns.com"],
        networks: &[
            "223.5.5.5/32",
            "223.6.6.6/32",
            "2400:3200::1/128",
            "2400:3200:baba::1/128",
        ],
    },
    KnownResolver {
        operator: "DNSPod",
        names: &["doh.pub", "dot.pub", "dns.pub"],
        networks: &[
            "119.29.29.29/32",
            "1.12.12.12/32",
            "120.53.53.53/32",
            "2402:4e00::/64",
        ],
    },
    KnownResolver {
        operator: "114DNS",
        names: &[],
        networks: &["114.114.114.114/32", "114.114.115.115/32"],
    },
    KnownResolver {
        operator: "360",
        names: &["doh.360.cn", "dot.360.cn"],
        networks: &["101.226.4.6/32", "218.30.118.6/32"],
    },
    // dns.sb; dns.he.net; nic.ad.jp and twnic.tw
    KnownResolver {
        operator: "DNS.SB",
        names: &["doh.dns.sb", "doh.sb", "dot.sb"],
        networks: &[
            "185.222.222.222/32",
            "45.11.45.11/32",
            "2a09::/128",
            "2a11::/128",
        ],
    },
    KnownResolver {
        operator: "Hurricane Electric",
        names: &["ordns.he.net"],
        networks: &["74.82.42.42/32", "2001:470:20::2/128"],
    },
    KnownResolver {
        operator: "TWNIC",
        names: &["dns.twnic.tw"],
        networks: &["101.101.101.101/32", "101.102.103.104/32"],
    },
    // Plain DNS, old and everywhere in firmware.
    KnownResolver {
        operator: "Level 3",
        names: &[],
        networks: &["4.2.2.0/29", "209.244.0.3/32", "209.244.0.4/32"],
    },
    KnownResolver {
        operator: "UltraDNS",
        names: &[],
        networks: &[
            "64.6.64.6/32",
            "64.6.65.6/32",
            "156.154.70.0/24",
            "156.154.71.0/24",
        ],
    },
    KnownResolver {
        operator: "Comodo",
        names: &[],
        networks: &["8.26.56.26/32", "8.20.247.20/32"],
    },
    KnownResolver {
        operator: "DNS.WATCH",
        names: &["resolver1.dns.watch", "resolver2.dns.watch"],
        networks: &["84.200.69.80/32", "84.200.70.40/32"],
    },
    // joindns4.eu
    KnownResolver {
        operator: "DNS4EU",
        names: &["joindns4.eu"],
        networks: &["86.54.11.0/24"],
    },
    // support.apple.com: prepare your network for iCloud Private Relay; the relay carries DNS as well.
    KnownResolver {
        operator: "Apple",
        names: &["doh.dns.apple.com", "mask.icloud.com", "mask-h2.icloud.com"],
        networks: &[],
    },
];

/// The list.
pub fn known_resolvers() -> &'static [KnownResolver] {
    KNOWN
}

/// Every network of the list.
pub fn known_networks() -> impl Iterator<Item = Network> {
    // Asked for at each packet of a comparison: millions of times.
    static NETWORKS: LazyLock<Vec<Network>> = LazyLock::new(|| {
        let networks = KNOWN.iter().flat_map(|resolver| resolver.networks);
        networks
            .filter_map(|network| network.parse().ok())
            .collect()
    });
    NETWORKS.iter().copied()
}

/// Whether a name, in lower case, is one at which a public resolver is reached.
pub fn is_known_resolver(name: &str) -> bool {
    KNOWN
        .iter()
        .flat_map(|resolver| resolver.names)
        .any(|known| name == *known || is_under(name, known))
}
