use std::fmt::Write as _;

use super::*;
use crate::engine::{Assessment, InitSystem, MemoryHost, Own, Plan, Verdict, assess};

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 7
class = "linux"
[upnp]
allow-enable = true
max-duration = "1h"
[[upnp.mapping]]
protocol = "tcp"
external-ports = "40000-40010"
internal-port = 443
"#;

fn judge(host: &MemoryHost, own: &Own, profile: &str) -> Assessment {
    let profile = stockade_profile::check(profile).profile.expect("a profile");
    let case = Case {
        host,
        profile: &profile,
        now: 0,
        own,
    };
    assess(&case, &[&Upnp])
}

fn process(pid: u32, program: &'static str, user: u32) -> Process {
    let path = HostPath::of(program);
    Process {
        pid,
        started: 1,
        name: String::from_utf8_lossy(path.name())
            .chars()
            .take(15)
            .collect(),
        program: Some(path),
        arguments: Vec::new(),
        user,
        capabilities: 0,
        no_new_privileges: false,
        seccomp: 0,
        cgroup: (program == "/usr/sbin/minidlnad")
            .then(|| "/system.slice/minidlna.service".to_owned()),
    }
}

fn listener(transport: Transport, address: &str, user: u32, pid: u32) -> Listener {
    Listener {
        transport,
        address: address.parse().expect("an address"),
        user,
        processes: vec![pid],
    }
}

/// A running system with nothing of the kind.
fn clean() -> MemoryHost {
    let mut host = MemoryHost::new()
        .file("/usr/sbin/miniupnpd", 0o755, "")
        .file(
            "/etc/transmission-daemon/settings.json",
            0o600,
            "{\n    \"port-forwarding-enabled\": false,\n}\n",
        )
        .file(
            "/lib/systemd/system/ssh.service",
            0o644,
            "[Service]\nExecStart=/usr/sbin/sshd -D\n[Install]\nWantedBy=multi-user.target\n",
        );
    host.init = Some(InitSystem::Systemd);
    host.processes = Some(vec![process(7, "/usr/sbin/sshd", 0)]);
    host.listeners = Some(vec![listener(Transport::Tcp, "0.0.0.0:22", 0, 7)]);
    host
}

/// Everything that it looks for.
fn bad() -> MemoryHost {
    let mut host = clean()
        .file("/usr/bin/upnpc", 0o755, "")
        .file("/usr/sbin/minidlnad", 0o755, "")
        .file(
            "/lib/systemd/system/minidlna.service",
            0o644,
            "[Service]\nExecStart=/usr/sbin/minidlnad -S\n[Install]\nWantedBy=multi-user.target\n",
        )
        .linked(
            "/etc/systemd/system/multi-user.target.wants/minidlna.service",
            "/lib/systemd/system/minidlna.service",
        )
        .file(
            "/etc/transmission-daemon/settings.json",
            0o600,
            "{\n    \"peer-port\": 51413,\n    \"port-forwarding-enabled\": true,\n}\n",
        );
    host.processes = Some(vec![
        process(7, "/usr/sbin/sshd", 0),
        process(20, "/usr/sbin/minidlnad", 104),
        process(21, "/opt/vendor/upnpd", 0),
        process(22, "/opt/vendor/cloud", 0),
    ]);
    host.listeners = Some(vec![
        listener(Transport::Tcp, "0.0.0.0:22", 0, 7),
        listener(Transport::Tcp, "0.0.0.0:8200", 104, 20),
        listener(Transport::Udp, "0.0.0.0:1900", 104, 20),
        listener(Transport::Udp, "0.0.0.0:5351", 0, 22),
        listener(Transport::Tcp, "192.168.7.1:5000", 0, 21),
    ]);
    host
}

#[expect(clippy::use_debug, reason = "a stage has no other name")]
fn told(assessment: &Assessment) -> String {
    let mut text = String::new();
    for finding in assessment.findings() {
        let _written = writeln!(
            text,
            "{} {}: {}",
            finding.severity, finding.rule.id, finding.what
        );
    }
    for planned in Plan::of(assessment).steps {
        let _written = writeln!(text, "{:?}: {}", planned.step.stage, planned.step.says);
    }
    text
}

#[test]
fn what_speaks_upnp_is_found_stopped_and_kept_stopped() {
    let assessment = judge(&bad(), &Own::default(), PROFILE);
    insta::assert_snapshot!(told(&assessment), @r"
    high upnp/listener: minidlnad takes UPnP at tcp 0.0.0.0:8200
    high upnp/listener: minidlnad takes UPnP at udp 0.0.0.0:1900
    high upnp/listener: cloud takes UPnP at udp 0.0.0.0:5351
    high upnp/listener: upnpd takes UPnP at tcp 192.168.7.1:5000
    high upnp/program: upnpd, a UPnP gateway daemon, runs
    high upnp/program: minidlnad, a UPnP media server, runs
    low upnp/installed: /usr/sbin/minidlnad is a UPnP media server, which the device does not need
    low upnp/installed: /usr/bin/upnpc is a UPnP client that opens ports, which the device does not need
    medium upnp/settings: /etc/transmission-daemon/settings.json switches `port-forwarding-enabled` on, so transmission-daemon speaks UPnP
    Stop: Stop the service minidlna and keep it stopped
    Stop: End cloud, which speaks UPnP
    Stop: End upnpd, which speaks UPnP
    Change: Switch `port-forwarding-enabled` off in /etc/transmission-daemon/settings.json
    Restart: Have transmission-daemon read its settings again
    ");
}

#[test]
fn a_device_on_which_it_is_off_has_no_findings() {
    let assessment = judge(&clean(), &Own::default(), PROFILE);
    assert_eq!(told(&assessment), "");
    let passed = |verdict: &Verdict| matches!(verdict, Verdict::Passed(_));
    assert!(
        assessment.outcomes.iter().all(|it| passed(&it.verdict)),
        "{:?}",
        assessment.outcomes
    );
    // Its daemon is there for nothing where the profile never needs it.
    let never = PROFILE.split("[upnp]").next().expect("there is more");
    let assessment = judge(&clean(), &Own::default(), never);
    assert_eq!(
        assessment.findings().next().map(|it| it.rule.id),
        Some("upnp/installed")
    );
}

#[test]
fn while_the_owner_has_it_on_the_daemon_of_stockade_is_no_finding() {
    let mut host = clean();
    host.processes = Some(vec![process(30, "/usr/sbin/miniupnpd", 912)]);
    host.listeners = Some(vec![
        listener(Transport::Udp, "0.0.0.0:1900", 912, 30),
        listener(Transport::Tcp, "0.0.0.0:61000", 912, 30),
    ]);
    let own = |left| Own {
        users: vec![911, 912],
        upnp: left,
        ..Own::default()
    };
    assert_eq!(told(&judge(&host, &own(Some(600)), PROFILE)), "");
    let late = judge(&host, &own(Some(3601)), PROFILE);
    assert_eq!(
        late.findings().next().map(|it| it.rule.id),
        Some("upnp/window")
    );
    // When it should be over, what is left of it is found like any other.
    let over = judge(&host, &own(None), PROFILE);
    assert_eq!(
        over.findings()
            .filter(|it| it.rule.id == "upnp/listener")
            .count(),
        2
    );
    assert!(told(&over).contains("End miniupnpd"), "{}", told(&over));
}

#[test]
fn an_image_is_judged_by_its_files_and_the_rest_cannot_be_told() {
    let mut host = bad();
    host.processes = None;
    host.listeners = None;
    let assessment = judge(&host, &Own::default(), PROFILE);
    assert!(matches!(
        assessment.outcomes[0].verdict,
        Verdict::CannotTell(..)
    ));
    let program = &assessment.outcomes[1].verdict;
    assert!(
        matches!(program, Verdict::Broken(found) if found.len() == 1),
        "{program:?}"
    );
}
