//! Names of software that its makers give it, where only they are known.

use std::collections::BTreeSet;

/// Names, and how the CPE dictionary calls what has them: vendor and product. Where a name is not here, vendor and product are taken to
/// be called as it is.
const PRODUCTS: &[(&str, &[&str])] = &[
    ("avahi", &["avahi:avahi"]),
    ("bind", &["isc:bind"]),
    ("bluez", &["bluez:bluez"]),
    ("busybox", &["busybox:busybox"]),
    ("bzip2", &["bzip:bzip2"]),
    ("c-ares", &["c-ares:c-ares", "c-ares_project:c-ares"]),
    ("coap", &["libcoap:libcoap"]),
    ("curl", &["haxx:curl", "haxx:libcurl", "curl:curl"]),
    ("dbus", &["freedesktop:dbus", "d-bus_project:d-bus"]),
    ("dhcpcd", &["dhcpcd_project:dhcpcd"]),
    ("dnsmasq", &["thekelleys:dnsmasq"]),
    (
        "dropbear",
        &[
            "dropbear_ssh_project:dropbear_ssh",
            "matt_johnston:dropbear_ssh_server",
        ],
    ),
    ("expat", &["libexpat_project:libexpat"]),
    ("ffmpeg", &["ffmpeg:ffmpeg"]),
    ("freetype", &["freetype:freetype"]),
    ("glibc", &["gnu:glibc"]),
    ("gnutls", &["gnu:gnutls"]),
    ("goahead", &["embedthis:goahead"]),
    ("hostapd", &["w1.fi:hostapd"]),
    ("iptables", &["netfilter:iptables"]),
    ("json-c", &["json-c:json-c", "json-c_project:json-c"]),
    ("libjpeg-turbo", &["libjpeg-turbo:libjpeg-turbo"]),
    ("libpcap", &["tcpdump:libpcap"]),
    ("libpng", &["libpng:libpng"]),
    ("libssh2", &["libssh2:libssh2"]),
    ("libxml2", &["xmlsoft:libxml2"]),
    ("lighttpd", &["lighttpd:lighttpd"]),
    ("linux", &["linux:linux_kernel", "linux:linux"]),
    ("lua", &["lua:lua"]),
    ("lwip", &["lwip_project:lwip"]),
    (
        "mbedtls",
        &["arm:mbed_tls", "mbed:mbedtls", "trustedfirmware:mbed_tls"],
    ),
    ("mini_httpd", &["acme:mini_httpd"]),
    ("minidlna", &["readymedia_project:readymedia"]),
    (
        "miniupnpd",
        &["miniupnp_project:miniupnpd", "miniupnp.free:miniupnpd"],
    ),
    ("mosquitto", &["eclipse:mosquitto"]),
    ("musl", &["musl-libc:musl"]),
    ("ncurses", &["gnu:ncurses"]),
    ("net-snmp", &["net-snmp:net-snmp"]),
    (
        "nginx",
        &["f5:nginx", "nginx:nginx", "f5:nginx_open_source"],
    ),
    ("nss", &["mozilla:nss", "mozilla:network_security_services"]),
    ("ntp", &["ntp:ntp"]),
    ("openssh", &["openbsd:openssh"]),
    ("openssl", &["openssl:openssl"]),
    ("openvpn", &["openvpn:openvpn"]),
    ("pcre", &["pcre:pcre"]),
    ("perl", &["perl:perl"]),
    ("php", &["php:php"]),
    (
        "pppd",
        &[
            "point-to-point_protocol_project:point-to-point_protocol",
            "samba:ppp",
        ],
    ),
    ("proftpd", &["proftpd:proftpd"]),
    (
        "python",
        &["python:python", "python_software_foundation:cpython"],
    ),
    ("qt", &["qt:qt"]),
    ("samba", &["samba:samba"]),
    ("sqlite", &["sqlite:sqlite"]),
    ("squid", &["squid-cache:squid"]),
    ("strongswan", &["strongswan:strongswan"]),
    ("sudo", &["sudo_project:sudo"]),
    ("systemd", &["systemd_project:systemd"]),
    ("tcpdump", &["tcpdump:tcpdump"]),
    ("u-boot", &["denx:u-boot"]),
    ("uclibc", &["uclibc:uclibc", "uclibc-ng_project:uclibc-ng"]),
    ("uclibc-ng", &["uclibc-ng_project:uclibc-ng"]),
    ("vsftpd", &["vsftpd_project:vsftpd", "beasts:vsftpd"]),
    ("wget", &["gnu:wget"]),
    ("wolfssl", &["wolfssl:wolfssl"]),
    ("wpa_supplicant", &["w1.fi:wpa_supplicant"]),
    ("xz", &["tukaani:xz"]),
    ("zlib", &["zlib:zlib", "gnu:zlib"]),
    ("zstd", &["facebook:zstandard"]),
];

/// How packages of `OpenWrt` that are called otherwise than what is in them begin.
const PACKAGES: &[(&str, &str)] = &[
    ("dropbear", "dropbear"),
    ("dnsmasq", "dnsmasq"),
    ("hostapd", "hostapd"),
    ("iptables", "iptables"),
    ("kernel", "linux"),
    ("libcurl", "curl"),
    ("libexpat", "expat"),
    ("libmbed", "mbedtls"),
    ("libopenssl", "openssl"),
    ("libpcre", "pcre"),
    ("libpython", "python"),
    ("libsqlite", "sqlite"),
    ("libgnutls", "gnutls"),
    ("libwolfssl", "wolfssl"),
    ("libmosquitto", "mosquitto"),
    ("lighttpd", "lighttpd"),
    ("minidlna", "minidlna"),
    ("miniupnpd", "miniupnpd"),
    ("mosquitto", "mosquitto"),
    ("nginx", "nginx"),
    ("openssh", "openssh"),
    ("openvpn", "openvpn"),
    ("php", "php"),
    ("ppp", "pppd"),
    ("python", "python"),
    ("samba", "samba"),
    ("strongswan", "strongswan"),
    ("wpa-supplicant", "wpa_supplicant"),
    ("wpad", "hostapd"),
];

/// Each `vendor:product` that a name goes by, with the one that is known already; the vendor is empty where CVE records name none.
pub(crate) fn products(name: &str, own: Option<String>) -> BTreeSet<String> {
    let name = name.to_lowercase();
    let listed = PRODUCTS.iter().find(|(it, _)| *it == name);
    let listed = listed.map(|(_, all)| all.iter().map(|it| (*it).to_owned()));
    match (listed, own) {
        (Some(listed), own) => listed.chain(own).collect(),
        (None, Some(own)) => BTreeSet::from([own]),
        (None, None) => BTreeSet::from([
            format!("{name}:{name}"),
            format!("{name}_project:{name}"),
            format!(":{name}"),
        ]),
    }
}

/// The name that its maker gives to what is in a package of `OpenWrt`.
pub(crate) fn packaged(package: &str) -> &str {
    let found = PACKAGES.iter().find(|(it, _)| package.starts_with(it));
    found.map_or(package, |(_, name)| name)
}

/// The maker's version in a package's: `1.36.1-r2`, `2023.05-1` without what is behind the last `-`.
pub(crate) fn unpacked(version: &str) -> &str {
    match version.rsplit_once('-') {
        Some((upstream, release))
            if release
                .trim_start_matches('r')
                .bytes()
                .all(|it| it.is_ascii_digit()) =>
        {
            upstream
        }
        _ => version,
    }
}
