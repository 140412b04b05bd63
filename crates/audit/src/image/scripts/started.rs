//! What a command starts: servers, shells, consoles.

use stockade_controls::engine::{Confidence, Severity};

use super::{BACKDOOR, CONSOLE, Hit, Kind, SHELLS, WEB_ROOT, base, words};

/// Shells that connect to somebody, or wait for him, by more than one command.
pub(super) fn reverse(line: &str) -> Option<&'static str> {
    let lower = line.to_ascii_lowercase();
    let has = |what: &str| lower.contains(what);
    let shell =
        has("sh -i") || has("/sh") || has("/bash") || has("/ash") || has("| sh") || has("|sh");
    let netcat = || {
        let words = words(&lower);
        words
            .iter()
            .any(|it| matches!(base(it), "nc" | "ncat" | "netcat"))
    };
    if (has("/dev/tcp/") || has("/dev/udp/")) && (shell || has(">&") || has("exec ")) {
        Some("connects a shell to the network through /dev/tcp")
    } else if has("socat")
        && (has("exec:") || has("system:"))
        && (has("tcp") || has("udp") || has("openssl") || has("vsock"))
    {
        Some("connects a program to the network by socat")
    } else if netcat() && has("mkfifo") && shell
        || netcat() && (has("|/bin/sh") || has("| /bin/sh") || has("sh -i"))
    {
        Some("connects a shell to the network by netcat")
    } else if has("socket")
        && (has("pty.spawn")
            || has("os.dup2")
            || has("subprocess.call([\"/bin")
            || has("exec \"/bin/sh"))
    {
        Some("connects a shell to the network by a script in one line")
    } else {
        None
    }
}

/// Servers that send passwords in plain text, or ask for none.
pub(in crate::image) const PLAIN: [&str; 20] = [
    "telnetd",
    "in.telnetd",
    "utelnetd",
    "ftpd",
    "in.ftpd",
    "vsftpd",
    "proftpd",
    "pure-ftpd",
    "bftpd",
    "tcpsvd",
    "tftpd",
    "in.tftpd",
    "rshd",
    "in.rshd",
    "rlogind",
    "in.rlogind",
    "rexecd",
    "in.rexecd",
    "gdbserver",
    "adbd",
];
/// Web servers that run as whoever starts them unless `-u` says otherwise.
const WEB: [&str; 3] = ["httpd", "mini_httpd", "thttpd"];
/// Web servers that have no user of their own.
pub(in crate::image) const ALWAYS_ROOT: [&str; 6] =
    ["boa", "goahead", "webs", "alphapd", "appweb", "uhttpd"];
/// Commands that name programs and do not start them.
const NAMING: [&str; 30] = [
    "echo",
    "printf",
    "killall",
    "kill",
    "pkill",
    "pidof",
    "pgrep",
    "grep",
    "egrep",
    "ps",
    "which",
    "type",
    "command",
    "rm",
    "test",
    "[",
    "[[",
    "chmod",
    "chown",
    "cp",
    "mv",
    "ln",
    "ls",
    "cat",
    "sed",
    "awk",
    "logger",
    "log",
    "update-rc.d",
    "local",
];
pub(super) const HIDDEN: &str = "an SSH server";

pub(super) fn plain(number: usize, name: &str) -> Hit {
    let what = format!("starts {name}, which asks for passwords in plain text or for none");
    Hit {
        service: stem(&PLAIN, name),
        ..Hit::of(number, stockade_controls::programs::PLAIN_SERVER, what)
    }
}

/// The name of a server as that of its service is written.
fn stem(names: &[&'static str], name: &str) -> Option<&'static str> {
    let known = names.iter().find(|it| **it == name)?;
    let bare = known.strip_prefix("in.").unwrap_or(known);
    Some(bare.strip_suffix('d').unwrap_or(bare))
}

/// What the simple commands of a line start.
pub(super) fn commands(number: usize, line: &str, kind: Kind) -> Vec<Hit> {
    let mut hits = Vec::new();
    for command in simple(line) {
        let words = words(command);
        let first = words
            .iter()
            .map(|it| base(it))
            .find(|it| !matches!(*it, "if" | "then" | "else" | "do" | "!" | "while" | "elif"));
        let stops = words
            .iter()
            .any(|it| matches!(*it, "-K" | "--stop" | "stop" | "disable" | "mask"));
        if first.is_none_or(|it| NAMING.contains(&it)) || stops {
            continue;
        }
        for (at, word) in words.iter().enumerate() {
            let arguments = words.get(at.saturating_add(1)..).unwrap_or_default();
            hits.extend(started(number, base(word), arguments, kind));
        }
    }
    hits
}

/// What it means that this program is started with these arguments.
fn started(number: usize, name: &str, arguments: &[&str], kind: Kind) -> Option<Hit> {
    let after = |flag: &str| {
        let mut all = arguments.iter();
        let whole = all.find_map(|it| it.strip_prefix(flag))?;
        Some(if whole.is_empty() {
            all.next().copied().unwrap_or_default()
        } else {
            whole
        })
    };
    let has = |flag: &str| arguments.contains(&flag);
    let shell = |word: &str| SHELLS.contains(&base(word));
    match name {
        "telnetd" | "in.telnetd" | "utelnetd" if after("-l").is_some_and(shell) => Some(Hit::of(
            number,
            &BACKDOOR,
            format!("starts {name} with a shell in place of the log-in"),
        )),
        "nc" | "ncat" | "netcat" => {
            let runs = arguments.iter().any(|it| {
                let short =
                    it.starts_with('-') && !it.starts_with("--") && it.ends_with(['e', 'c']);
                short || matches!(*it, "--exec" | "--sh-exec")
            });
            let shell = arguments.iter().any(|it| shell(it)) || (kind == Kind::Start && has("-l"));
            (runs && shell).then(|| {
                Hit::of(
                    number,
                    &BACKDOOR,
                    "connects a shell to the network by netcat",
                )
            })
        }
        "dropbear" if kind == Kind::Start => Some(hidden(number, after("-p"), has("-B"))),
        "getty" | "agetty" | "mgetty" => {
            let given = after("-l").is_some_and(shell)
                || has("--autologin")
                || (name == "agetty" && has("-a"));
            given.then(|| {
                Hit::of(
                    number,
                    &CONSOLE,
                    "lets whoever is at a console in without a password",
                )
            })
        }
        "login" if has("-f") && kind != Kind::Script => Some(Hit::of(
            number,
            &CONSOLE,
            "logs somebody in at a console without a password",
        )),
        _ if kind == Kind::Script => None,
        _ if PLAIN.contains(&name) => Some(plain(number, name)),
        _ => {
            let as_other = WEB.contains(&name) && arguments.iter().any(|it| it.starts_with("-u"));
            let web = WEB.contains(&name) || ALWAYS_ROOT.contains(&name);
            let what = format!("starts the web server {name} as root");
            (web && !as_other).then(|| Hit {
                service: stem(&ALWAYS_ROOT, name),
                ..Hit::of(number, &WEB_ROOT, what)
            })
        }
    }
}

/// An SSH server that is started where nobody looks for one.
fn hidden(number: usize, port: Option<&str>, blank: bool) -> Hit {
    let port = port.map_or("22", |it| it.rsplit(':').next().unwrap_or(it));
    let what = match (blank, port) {
        (true, _) => "starts an SSH server that lets in who has no password".to_owned(),
        (_, "22") => format!("starts {HIDDEN}, and is no service of its name"),
        _ => format!("starts {HIDDEN} on port {port}"),
    };
    let usual = port == "22" && !blank;
    Hit {
        severity: if usual {
            Severity::Medium
        } else {
            Severity::High
        },
        sure: Confidence::Medium,
        ..Hit::of(number, &BACKDOOR, what)
    }
}

/// The simple commands of a line, as far as a look tells them apart.
fn simple(line: &str) -> impl Iterator<Item = &str> {
    let parts = line.split([';', '|', '`', '{', '}']);
    parts
        .flat_map(|part| part.split("&&"))
        .flat_map(|part| part.split("$("))
}
