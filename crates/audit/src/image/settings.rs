//! Settings of services that let everybody in, speak what is broken, or have rights that they need not have.

use stockade_controls::engine::{Confidence, Rule, Severity, rules};

use super::generic::rule;
use super::keys::{OPEN_SERVICE, SECRET};
use super::scripts::{Hit, WEB_ROOT};
use super::updates;

rules! {
    Protocols "protocols";
    TLS_SETTINGS = "tls-settings", High, "No service is set up to accept SSL or TLS below 1.2",
        "Whoever is on the way can have both ends fall back to them, and break what protects them (RFC 8996, RFC 7568).",
        "Set the lowest version to TLS 1.3, or to TLS 1.2 where a client needs it.",
        ["EN 303 645 5.5-1", "EN 303 645 5.5-3", "CRA I.I(2)(e)", "ISVS 4.2"];
}

/// What a value has to be to break the rule.
enum Bad {
    /// One of these, as a whole.
    Is(&'static [&'static str]),
    /// It names a version of TLS below 1.2.
    OldTls,
}
use Bad::{Is, OldTls};

/// One setting of one program: the end of its file's path, the key in small letters, what is bad, what a line says that is right,
/// the rule, and what the file does by it.
type Setting = (
    &'static str,
    &'static str,
    Bad,
    Option<&'static str>,
    fn() -> &'static Rule,
    &'static str,
);

fn open() -> &'static Rule {
    &OPEN_SERVICE
}
fn tls() -> &'static Rule {
    &TLS_SETTINGS
}
fn web() -> &'static Rule {
    &WEB_ROOT
}
fn upnp() -> &'static Rule {
    rule("upnp/settings")
}
fn source() -> &'static Rule {
    rule("updates/source")
}

const YES: Bad = Is(&["yes", "true", "1", "on", "enable", "enabled"]);
const NO: Bad = Is(&["no", "false", "0", "off", "disable", "disabled"]);
const ROOT: Bad = Is(&["root", "0"]);

#[rustfmt::skip] // A table: one setting a line.
const SETTINGS: [Setting; 38] = [
    ("vsftpd.conf", "anonymous_enable", YES, Some("anonymous_enable=NO"), open, "lets everybody in by FTP"),
    ("vsftpd.conf", "ssl_sslv3", YES, Some("ssl_sslv3=NO"), tls, "accepts SSL 3.0"),
    ("vsftpd.conf", "ssl_sslv2", YES, Some("ssl_sslv2=NO"), tls, "accepts SSL 2.0"),
    ("smb.conf", "guest ok", YES, Some("guest ok = no"), open, "shares files with everybody"),
    ("smb.conf", "public", YES, Some("public = no"), open, "shares files with everybody"),
    ("smb.conf", "server min protocol", Is(&["core", "lanman1", "lanman2", "nt1"]), Some("server min protocol = SMB3"), open, "speaks SMB 1, which worms use"),
    ("mosquitto.conf", "allow_anonymous", YES, Some("allow_anonymous false"), open, "lets everybody publish and subscribe"),
    ("mosquitto.conf", "tls_version", OldTls, Some("tls_version tlsv1.3"), tls, "accepts TLS below 1.2"),
    ("redis.conf", "protected-mode", NO, Some("protected-mode yes"), open, "lets everybody read and write the database"),
    ("mongod.conf", "authorization", Is(&["disabled"]), Some("  authorization: enabled"), open, "lets everybody read and write the database"),
    ("snmpd.conf", "rwcommunity", Is(&["public", "private"]), None, open, "lets everybody change the device by SNMP"),
    ("snmpd.conf", "rocommunity", Is(&["public", "private"]), None, open, "tells everybody about the device by SNMP"),
    ("rsyncd.conf", "read only", NO, Some("read only = yes"), open, "lets everybody write files by rsync"),
    ("proftpd.conf", "requirevalidshell", NO, None, open, "lets accounts in that have no shell"),
    ("telnetd.conf", "nologin", YES, None, open, "asks for no log-in"),
    ("httpd.conf", "user", ROOT, None, web, "has a web server run as root"),
    ("boa.conf", "user", ROOT, Some("User www-data"), web, "has a web server run as root"),
    ("thttpd.conf", "user", ROOT, Some("user=www-data"), web, "has a web server run as root"),
    ("mini_httpd.conf", "user", ROOT, Some("user=www-data"), web, "has a web server run as root"),
    ("nginx.conf", "user", ROOT, Some("user www-data;"), web, "has a web server run as root"),
    ("lighttpd.conf", "server.username", ROOT, Some("server.username = \"www-data\""), web, "has a web server run as root"),
    ("apache2.conf", "user", ROOT, None, web, "has a web server run as root"),
    (".conf", "ssl_protocols", OldTls, Some("ssl_protocols TLSv1.2 TLSv1.3;"), tls, "accepts TLS below 1.2"),
    (".conf", "sslprotocol", OldTls, Some("SSLProtocol -all +TLSv1.2 +TLSv1.3"), tls, "accepts TLS below 1.2"),
    (".conf", "ssl.use-sslv3", YES, Some("ssl.use-sslv3 = \"disable\""), tls, "accepts SSL 3.0"),
    (".conf", "ssl.use-sslv2", YES, Some("ssl.use-sslv2 = \"disable\""), tls, "accepts SSL 2.0"),
    (".conf", "ssl.openssl.ssl-conf-cmd", OldTls, None, tls, "accepts TLS below 1.2"),
    (".conf", "sslversion", OldTls, Some("sslVersionMin = TLSv1.2"), tls, "accepts TLS below 1.2"),
    (".conf", "sslversionmin", OldTls, Some("sslVersionMin = TLSv1.2"), tls, "accepts TLS below 1.2"),
    ("openssl.cnf", "minprotocol", OldTls, Some("MinProtocol = TLSv1.2"), tls, "accepts TLS below 1.2"),
    ("miniupnpd.conf", "secure_mode", NO, Some("secure_mode=yes"), upnp, "opens ports to devices that did not ask"),
    ("miniupnpd.conf", "enable_upnp", YES, Some("enable_upnp=no"), upnp, "opens ports to whoever asks by UPnP"),
    ("miniupnpd.conf", "enable_natpmp", YES, Some("enable_natpmp=no"), upnp, "opens ports to whoever asks by NAT-PMP"),
    (".repo", "gpgcheck", NO, Some("gpgcheck=1"), source, "installs packages that nobody signed"),
    ("yum.conf", "gpgcheck", NO, Some("gpgcheck=1"), source, "installs packages that nobody signed"),
    ("dnf.conf", "gpgcheck", NO, Some("gpgcheck=1"), source, "installs packages that nobody signed"),
    ("pacman.conf", "siglevel", Is(&["never"]), Some("SigLevel = Required"), source, "installs packages that nobody signed"),
    ("opkg.conf", "checksignature", NO, None, source, "installs packages that nobody signed"),
];

/// Properties of Android that give whoever connects a shell of root, with the value that does.
const PROPERTIES: [(&str, &str, &str); 4] = [
    (
        "ro.secure",
        "0",
        "gives whoever connects by adb a shell of root",
    ),
    ("ro.adb.secure", "0", "lets everybody in by adb"),
    ("ro.debuggable", "1", "lets everybody debug programs by adb"),
    (
        "service.adb.tcp.port",
        "5555",
        "listens for adb on the network",
    ),
];

/// The settings in a file that break a rule, and whether any says which versions of TLS are accepted.
pub(super) fn judge(path: &str, text: &str) -> (Vec<Hit>, bool) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let of_file: Vec<&Setting> = SETTINGS.iter().filter(|it| name.ends_with(it.0)).collect();
    let (mut hits, mut tls) = (Vec::new(), false);
    for (number, line) in (1_usize..).zip(text.lines()) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) || trimmed.len() > 4096 {
            continue;
        }
        if path.contains("/etc/") {
            hits.extend(updates::setting(number, trimmed));
        }
        hits.extend(special(name, number, trimmed));
        for (_, key, bad, instead, rule, what) in &of_file {
            let Some(value) = value_of(trimmed, key) else {
                continue;
            };
            tls |= matches!(bad, OldTls);
            let broken = match bad {
                Is(values) => {
                    let first = value
                        .split(|c: char| c.is_whitespace() || ";,".contains(c))
                        .next();
                    first.is_some_and(|it| values.contains(&it.trim_matches(['"', '\''])))
                }
                OldTls => old_tls(&value),
            };
            if broken {
                let mut hit = Hit::of(number, rule(), *what);
                let indent = line.len().saturating_sub(line.trim_start().len());
                hit.instead =
                    instead.map(|it| format!("{}{it}", line.get(..indent).unwrap_or_default()));
                hits.push(hit);
            }
        }
    }
    hits.extend(whole(path, name, text));
    (hits, tls)
}

/// The value of a key, in small letters: `key = value`, `key: value`, `key value`, `"key" => "value"`.
fn value_of(line: &str, key: &str) -> Option<String> {
    let lower = line.to_ascii_lowercase();
    let rest = lower.trim_start_matches(['"', '\'']).strip_prefix(key)?;
    let rest = rest.trim_start_matches(['"', '\'']);
    if !rest.starts_with(|c: char| c.is_whitespace() || "=:+".contains(c)) {
        return None;
    }
    let value = rest.trim_start_matches(|c: char| c.is_whitespace() || "=:+>(".contains(c));
    Some(value.to_owned())
}

/// Whether a value names SSL or TLS below 1.2 as something that is accepted.
fn old_tls(value: &str) -> bool {
    const OLD: [&str; 9] = [
        "sslv2", "sslv3", "ssl3", "tlsv1", "tlsv1.0", "tlsv1.1", "tls1.0", "tls1.1", "tlsv1_1",
    ];
    let words = value.split(|c: char| c.is_whitespace() || "\"',;()=>".contains(c));
    let mut words = words
        .map(|word| word.strip_prefix('+').unwrap_or(word))
        .peekable();
    // Apache's `all` takes in TLS 1.0 and 1.1, unless they are taken out.
    let all = value.split_whitespace().next() == Some("all") && !value.contains("-tlsv1.1");
    all || words.any(|word| OLD.contains(&word.trim_end_matches(';')))
}

/// Lines of files that are no keys and values.
fn special(name: &str, number: usize, line: &str) -> Option<Hit> {
    match name {
        "exports" if line.contains("no_root_squash") => Some(Hit::of(
            number,
            &OPEN_SERVICE,
            "lets root of other machines be root here by NFS",
        )),
        // httpd.conf of BusyBox: `/path:user:password`.
        "httpd.conf" if line.starts_with('/') && !line.contains(' ') => {
            let password = line.splitn(3, ':').nth(2)?;
            (!password.is_empty() && !password.starts_with('$'))
                .then(|| Hit::of(number, &SECRET, "has a password of the web page in it"))
        }
        "com2sec" | "snmpd.conf" if line.starts_with("com2sec") => {
            let community = line.split_whitespace().last()?;
            matches!(community, "public" | "private").then(|| {
                Hit::of(
                    number,
                    &OPEN_SERVICE,
                    "tells everybody about the device by SNMP",
                )
            })
        }
        "default.prop" | "build.prop" | "prop.default" | "system.prop" => {
            let (key, value) = line.split_once('=')?;
            if key == "ro.build.tags" && value.contains("test-keys") {
                return Some(Hit::of(
                    number,
                    &updates::TEST_KEY,
                    "says that the system is signed with the keys of tests",
                ));
            }
            let (_, _, what) = PROPERTIES
                .iter()
                .find(|(it, bad, _)| *it == key && *bad == value)?;
            let mut hit = Hit::of(number, &OPEN_SERVICE, *what);
            hit.severity = if key == "ro.debuggable" {
                Severity::Medium
            } else {
                Severity::Critical
            };
            Some(hit)
        }
        _ => None,
    }
}

/// What a file does not say.
fn whole(path: &str, name: &str, text: &str) -> Option<Hit> {
    let says = |what: &str| {
        text.lines()
            .any(|line| !line.trim_start().starts_with('#') && line.contains(what))
    };
    let silent = match name {
        "lighttpd.conf" => says("server.document-root") && !says("server.username"),
        "uhttpd" => path.ends_with("/config/uhttpd") && says("listen_http"),
        _ => false,
    };
    let mut hit = Hit::of(
        1,
        &WEB_ROOT,
        "names no user for the web server: it runs as root",
    );
    hit.sure = Confidence::Medium;
    silent.then_some(hit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip] // A table: one setting a line.
    const BAD: [(&str, &str, &str); 18] = [
        ("/etc/vsftpd.conf", "anonymous_enable=YES", "credentials/open-service"),
        ("/etc/samba/smb.conf", "   guest ok = yes", "credentials/open-service"),
        ("/etc/mosquitto/mosquitto.conf", "allow_anonymous true", "credentials/open-service"),
        ("/etc/snmp/snmpd.conf", "rocommunity public  default", "credentials/open-service"),
        ("/etc/exports", "/data *(rw,no_root_squash)", "credentials/open-service"),
        ("/default.prop", "ro.secure=0", "credentials/open-service"),
        ("/etc/httpd.conf", "/cgi-bin:admin:admin", "credentials/secret"),
        ("/etc/nginx/nginx.conf", "user root;", "privileges/web-server-root"),
        ("/etc/boa/boa.conf", "User 0", "privileges/web-server-root"),
        ("/etc/lighttpd/lighttpd.conf", "server.document-root = \"/www\"", "privileges/web-server-root"),
        ("/etc/nginx/nginx.conf", "  ssl_protocols TLSv1 TLSv1.2;", "protocols/tls-settings"),
        ("/etc/apache2/ssl.conf", "SSLProtocol all -SSLv3", "protocols/tls-settings"),
        ("/etc/lighttpd/tls.conf", "ssl.openssl.ssl-conf-cmd = (\"MinProtocol\" => \"TLSv1\")", "protocols/tls-settings"),
        ("/etc/ssl/openssl.cnf", "MinProtocol = TLSv1.0", "protocols/tls-settings"),
        ("/etc/miniupnpd/miniupnpd.conf", "secure_mode=no", "upnp/settings"),
        ("/etc/yum.repos.d/x.repo", "gpgcheck=0", "updates/source"),
        ("/system/build.prop", "ro.build.tags=test-keys", "updates/test-key"),
        ("/etc/mender/mender.conf", "\"ServerURL\": \"http://ota.acme.io\"", "updates/unchecked-download"),
    ];

    #[test]
    fn each_setting_is_found_and_what_is_right_is_not() {
        let ids = |path: &str, text: &str| {
            judge(path, text)
                .0
                .iter()
                .map(|hit| hit.rule.id)
                .collect::<Vec<_>>()
        };
        for (path, text, id) in BAD {
            assert_eq!(ids(path, text), [id], "{path}: {text}");
        }
        for (path, text) in [
            ("/etc/vsftpd.conf", "anonymous_enable=NO"),
            ("/etc/vsftpd.conf", "#anonymous_enable=YES"),
            ("/etc/nginx/nginx.conf", "user www-data;"),
            ("/etc/nginx/nginx.conf", "ssl_protocols TLSv1.2 TLSv1.3;"),
            (
                "/etc/apache2/ssl.conf",
                "SSLProtocol -all +TLSv1.2 +TLSv1.3",
            ),
            (
                "/etc/apache2/ssl.conf",
                "SSLProtocol all -SSLv3 -TLSv1 -TLSv1.1",
            ),
            ("/etc/mosquitto/mosquitto.conf", "allow_anonymous_x true"),
            ("/default.prop", "ro.secure=1"),
            ("/etc/httpd.conf", "A:192.168."),
        ] {
            assert_eq!(ids(path, text), [""; 0], "{path}: {text}");
        }
    }
}
