//! Firewalls: whether anything sets one up, and whether a start script opens it.

use stockade_controls::engine::{Control, Rule, Severity};

use super::scripts::{Hit, Kind, base, code, kind, words};

/// What a start script does to the firewall.
pub(super) static FIREWALL: Rule = Rule {
    id: "firewall/opened-at-start",
    control: Control::Firewall,
    title: "No start script opens the firewall",
    why: "Every port of the device can be reached then, also those of services that only it should use itself.",
    severity: Severity::High,
    advice: "Have the script load rules that refuse what nobody needs.",
    standards: &[
        "EN 303 645 5.6-1",
        "CRA I.I(2)(j)",
        "NISTIR 8425 interface access control",
    ],
};
/// Whether there is a firewall at all.
pub(super) static NO_FIREWALL: Rule = Rule {
    id: "firewall/set-up",
    control: Control::Firewall,
    title: "Something sets a firewall up at start",
    why: "Every service that listens, by mistake too, can be reached from everywhere.",
    severity: Severity::Medium,
    advice: "Load rules at start that refuse what nobody needs: `stockade firewall`, nftables, or iptables.",
    standards: &[
        "EN 303 645 5.6-1",
        "CRA I.I(2)(j)",
        "NISTIR 8425 interface access control",
    ],
};
/// A firewall that a start script opens, and does not close again.
pub(super) fn opened(number: usize, line: &str, closes: bool) -> Option<Hit> {
    let words = words(line);
    let tables = words
        .iter()
        .position(|it| matches!(base(it), "iptables" | "ip6tables"));
    let rest = tables
        .and_then(|at| words.get(at.saturating_add(1)..))
        .unwrap_or_default();
    let accepts = rest == ["-P", "INPUT", "ACCEPT"];
    let flushes = matches!(rest, ["-F" | "--flush"] | ["-F", "INPUT"]);
    let nft = words
        .windows(3)
        .any(|it| matches!(it, [nft, "flush", "ruleset"] if base(nft) == "nft"));
    let ufw = words
        .windows(2)
        .any(|it| matches!(it, [ufw, "disable"] if base(ufw) == "ufw"));
    let stops = words.windows(2).any(|it| {
        matches!(
            it,
            ["/etc/init.d/firewall" | "/etc/init.d/iptables", "stop"]
        )
    });
    let opens = ufw || stops || (!closes && (accepts || flushes || nft));
    opens.then(|| Hit::of(number, &FIREWALL, "opens the firewall"))
}

/// Whether a file has rules of a firewall that refuse something, or has such rules loaded.
pub(super) fn sets_firewall(path: &str, text: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let says = |what: &[&str]| {
        let lines = text.lines().map(|line| code(line.trim()));
        lines
            .filter(|line| !line.starts_with('#'))
            .any(|line| what.iter().all(|it| line.contains(it)))
    };
    let own = |it: &str| name.starts_with(it) && kind(path, text) == Some(Kind::Unit);
    if own("stockade-helper") || own("stockade-firewall") {
        return true;
    }
    match name {
        "ufw.conf" => says(&["ENABLED=yes"]),
        "firewall" if path.ends_with("/config/firewall") => {
            says(&["input", "REJECT"]) || says(&["input", "DROP"])
        }
        "firewalld.conf" => says(&["DefaultZone="]),
        _ if !path.contains("/etc") && kind(path, text) != Some(Kind::Start) => false,
        _ if name.contains("nft") => says(&["policy drop"]) || says(&["drop"]) || says(&["reject"]),
        _ if name.starts_with("rules.v")
            || name.contains("iptables")
            || name.contains("firewall") =>
        {
            says(&["INPUT", "DROP"]) || says(&["INPUT", "REJECT"]) || says(&["nft", "-f"])
        }
        _ if kind(path, text) == Some(Kind::Start) => {
            says(&["iptables", "DROP"])
                || says(&["iptables", "REJECT"])
                || says(&["iptables-restore"])
                || says(&["nft", "-f"])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_is_set_up_by_rules_that_refuse() {
        for (path, text) in [
            (
                "/etc/nftables.conf",
                "chain input { type filter hook input priority 0; policy drop; }",
            ),
            ("/etc/config/firewall", "\toption input 'REJECT'"),
            ("/etc/ufw/ufw.conf", "ENABLED=yes"),
            (
                "/etc/iptables/rules.v4",
                ":INPUT DROP [0:0]\n-A INPUT -j DROP",
            ),
            ("/etc/init.d/rcS", "iptables -P INPUT DROP"),
        ] {
            assert!(sets_firewall(path, text), "{path}");
        }
        for (path, text) in [
            (
                "/etc/nftables.conf",
                "chain input { type filter hook input priority 0; }",
            ),
            ("/etc/ufw/ufw.conf", "ENABLED=no"),
            ("/etc/init.d/rcS", "# iptables -P INPUT DROP\niptables -F"),
            ("/usr/share/iptables/x", "-A INPUT -j DROP"),
        ] {
            assert!(!sets_firewall(path, text), "{path}");
        }
    }
}
