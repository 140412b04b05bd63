//! Which bytes a component has in it, written from the sources of each.

use super::How::{Alone, Before, Begins, Behind};
use super::{Known, PLAIN};

const fn known(
    name: &'static str,
    cpe: (&'static str, &'static str),
    anchor: &'static [u8],
    how: super::How,
) -> Known {
    Known {
        name,
        cpe,
        anchor,
        how,
        witness: b"",
    }
}

/// Right behind the anchor, which begins a text, and then what mostly follows.
const fn begins(
    name: &'static str,
    cpe: (&'static str, &'static str),
    anchor: &'static [u8],
) -> Known {
    known(name, cpe, anchor, Begins)
}

/// Right behind the anchor, wherever that stands.
const fn behind(
    name: &'static str,
    cpe: (&'static str, &'static str),
    anchor: &'static [u8],
) -> Known {
    known(name, cpe, anchor, Behind(PLAIN))
}

/// The only text of the file that is a version with so many dots and begins so.
const fn alone(
    name: &'static str,
    cpe: (&'static str, &'static str),
    anchor: &'static [u8],
    dots: usize,
    starts: &'static [&'static str],
) -> Known {
    known(name, cpe, anchor, Alone { dots, starts })
}

/// Behind the anchor, but only where something else says that it is the component and not who was built with it.
const fn witnessed(
    name: &'static str,
    cpe: (&'static str, &'static str),
    anchor: &'static [u8],
    witness: &'static [u8],
) -> Known {
    Known {
        name,
        cpe,
        anchor,
        how: Behind(PLAIN),
        witness,
    }
}

const OPENSSH: Known = known(
    "openssh",
    ("openbsd", "openssh"),
    b"OpenSSH_",
    // Its list of others' faults has `OpenSSH_6.6*`.
    Behind(b"\0 "),
);

pub(super) static TABLE: &[Known] = &[
    begins("apache", ("apache", "http_server"), b"Apache/"),
    begins("avahi", ("avahi", "avahi"), b"avahi "),
    begins("barebox", ("pengutronix", "barebox"), b"barebox "),
    behind("bash", ("gnu", "bash"), b"@(#)Bash version "),
    behind("bind", ("isc", "bind"), b"version: BIND "),
    behind("boa", ("boa", "boa_webserver"), b"Boa/"),
    begins("busybox", ("busybox", "busybox"), b"BusyBox v"),
    known("bzip2", ("bzip", "bzip2"), b", 13-Jul-2019\0", Before),
    known("bzip2", ("bzip", "bzip2"), b", 6-Sept-2010\0", Before),
    alone(
        "c-ares",
        ("c-ares", "c-ares"),
        b"c-ares library initialization not yet performed",
        2,
        &["1."],
    ),
    behind("cups", ("openprinting", "cups"), b"CUPS/"),
    behind("curl", ("haxx", "curl"), b"curl/"),
    behind("dnsmasq", ("thekelleys", "dnsmasq"), b"dnsmasq-"),
    behind(
        "dropbear",
        ("dropbear_ssh_project", "dropbear_ssh"),
        b"SSH-2.0-dropbear_",
    ),
    behind("expat", ("libexpat_project", "libexpat"), b"expat_"),
    begins("ffmpeg", ("ffmpeg", "ffmpeg"), b"FFmpeg version "),
    begins("gawk", ("gnu", "gawk"), b"GNU Awk "),
    witnessed(
        "glibc",
        ("gnu", "glibc"),
        b"stable release version ",
        b"GNU C Library (",
    ),
    behind("gnutls", ("gnu", "gnutls"), b"Enabled GnuTLS "),
    behind("gsoap", ("genivia", "gsoap"), b"gSOAP/"),
    alone(
        "hostapd",
        ("w1.fi", "hostapd"),
        b"hostapd v%s\n",
        1,
        &["0.", "1.", "2."],
    ),
    behind("hostapd", ("w1.fi", "hostapd"), b"hostapd v"),
    known(
        "iptables",
        ("netfilter", "iptables"),
        b" (legacy)\0",
        Before,
    ),
    known(
        "iptables",
        ("netfilter", "iptables"),
        b" (nf_tables)\0",
        Before,
    ),
    alone(
        "isc-dhcp",
        ("isc", "dhcp"),
        b"Internet Systems Consortium DHCP ",
        2,
        &["3.", "4."],
    ),
    behind("krb5", ("mit", "kerberos_5"), b"KRB5_BRAND: krb5-"),
    begins("libarchive", ("libarchive", "libarchive"), b"libarchive "),
    behind("libcurl", ("haxx", "libcurl"), b"libcurl/"),
    behind("libgcrypt", ("gnupg", "libgcrypt"), b"This is Libgcrypt "),
    behind(
        "libgpg-error",
        ("gnupg", "libgpg-error"),
        b"This is Libgpg-error ",
    ),
    begins(
        "libjpeg-turbo",
        ("libjpeg-turbo", "libjpeg-turbo"),
        b"libjpeg-turbo version ",
    ),
    begins("libpcap", ("tcpdump", "libpcap"), b"libpcap version "),
    begins("libpng", ("libpng", "libpng"), b"libpng version "),
    witnessed(
        "libressl",
        ("openbsd", "libressl"),
        b"LibreSSL ",
        b"OPENSSLDIR: ",
    ),
    behind("libssh", ("libssh", "libssh"), b"SSH-2.0-libssh_"),
    behind("libssh2", ("libssh2", "libssh2"), b"SSH-2.0-libssh2_"),
    begins("libtiff", ("libtiff", "libtiff"), b"LIBTIFF, Version "),
    behind(
        "libupnp",
        ("libupnp_project", "libupnp"),
        b"Portable SDK for UPnP devices/",
    ),
    behind(
        "libupnp",
        ("libupnp_project", "libupnp"),
        b"Intel SDK for UPnP devices /",
    ),
    behind("lighttpd", ("lighttpd", "lighttpd"), b"lighttpd/"),
    known(
        "linux",
        ("linux", "linux_kernel"),
        b"Linux version ",
        super::How::Kernel,
    ),
    behind(
        "live555",
        ("live555", "streaming_media"),
        b"Streaming Media v",
    ),
    begins("lldpd", ("lldpd_project", "lldpd"), b"lldpd "),
    behind("lua", ("lua", "lua"), b"$LuaVersion: Lua "),
    behind("lua", ("lua", "lua"), b"$Lua: Lua "),
    behind("lwip", ("lwip_project", "lwip"), b"lwIP/"),
    begins("mbedtls", ("arm", "mbed_tls"), b"mbed TLS "),
    begins("mbedtls", ("arm", "mbed_tls"), b"Mbed TLS "),
    begins("mbedtls", ("polarssl", "polarssl"), b"PolarSSL "),
    behind("mini_httpd", ("acme", "mini_httpd"), b"mini_httpd/"),
    behind(
        "minidlna",
        ("readymedia_project", "readymedia"),
        b"MiniDLNA/",
    ),
    behind(
        "miniupnpc",
        ("miniupnp_project", "miniupnpc"),
        b"MiniUPnPc/",
    ),
    behind(
        "miniupnpd",
        ("miniupnp_project", "miniupnpd"),
        b"MiniUPnPd/",
    ),
    alone(
        "mosquitto",
        ("eclipse", "mosquitto"),
        b"mosquitto version %s starting",
        2,
        &["0.", "1.", "2."],
    ),
    alone(
        "musl",
        ("musl-libc", "musl"),
        b"musl libc (",
        2,
        &["0.", "1."],
    ),
    begins("ncurses", ("gnu", "ncurses"), b"ncurses "),
    alone(
        "net-snmp",
        ("net-snmp", "net-snmp"),
        b"NET-SNMP version",
        2,
        &["5."],
    ),
    behind("nginx", ("f5", "nginx"), b"nginx version: nginx/"),
    behind("nss", ("mozilla", "nss"), b"Version: NSS "),
    known("ntp", ("ntp", "ntp"), b"ntpd ", Behind(b"@")),
    OPENSSH,
    behind("openssl", ("openssl", "openssl"), b" part of OpenSSL "),
    witnessed(
        "openssl",
        ("openssl", "openssl"),
        b"OpenSSL ",
        b"OPENSSLDIR: ",
    ),
    begins("openvpn", ("openvpn", "openvpn"), b"OpenVPN "),
    alone("perl", ("perl", "perl"), b"PERL5LIB\0", 2, &["5."]),
    behind("php", ("php", "php"), b"X-Powered-By: PHP/"),
    alone("ppp", ("samba", "ppp"), b"pppd_version\0", 2, &["2."]),
    Known {
        witness: b"ProFTPD ",
        ..known("proftpd", ("proftpd", "proftpd"), b" (stable)", Before)
    },
    Known {
        witness: b"ProFTPD ",
        ..known("proftpd", ("proftpd", "proftpd"), b" (maint)", Before)
    },
    alone(
        "python",
        ("python", "python"),
        b"PYTHONHOME",
        2,
        &[
            "2.7.", "3.1", "3.4.", "3.5.", "3.6.", "3.7.", "3.8.", "3.9.",
        ],
    ),
    behind("rompager", ("allegrosoft", "rompager"), b"RomPager/"),
    alone(
        "samba",
        ("samba", "samba"),
        b"smbd version %s started",
        2,
        &["3.", "4."],
    ),
    alone(
        "sqlite",
        ("sqlite", "sqlite"),
        b"SQLite format 3\0",
        2,
        &["3."],
    ),
    behind("squid", ("squid-cache", "squid"), b"squid/"),
    begins("stunnel", ("stunnel", "stunnel"), b"stunnel "),
    alone(
        "sudo",
        ("sudo_project", "sudo"),
        b"Sudo version %s",
        2,
        &["1.8.", "1.9."],
    ),
    behind("thttpd", ("acme", "thttpd"), b"thttpd/"),
    behind(
        "tinyproxy",
        ("tinyproxy_project", "tinyproxy"),
        b"Server: tinyproxy/",
    ),
    begins("u-boot", ("denx", "u-boot"), b"U-Boot "),
    begins("u-boot", ("denx", "u-boot"), b"U-Boot SPL "),
    begins("unbound", ("nlnetlabs", "unbound"), b"unbound "),
    behind("vsftpd", ("vsftpd_project", "vsftpd"), b"(vsFTPd "),
    begins("wolfssl", ("wolfssl", "wolfssl"), b"wolfSSL "),
    behind(
        "wpa_supplicant",
        ("w1.fi", "wpa_supplicant"),
        b"wpa_supplicant v",
    ),
    begins("xl2tpd", ("xelerance", "xl2tpd"), b"xl2tpd-"),
    behind(
        "zephyr",
        ("zephyrproject", "zephyr"),
        b"Booting Zephyr OS build v",
    ),
    behind(
        "zephyr",
        ("zephyrproject", "zephyr"),
        b"Booting Zephyr OS build zephyr-v",
    ),
    known("zlib", ("zlib", "zlib"), b" deflate ", Behind(b" ")),
    known("zlib", ("zlib", "zlib"), b" inflate ", Behind(b" ")),
];
