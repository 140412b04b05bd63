use stockade_controls::engine::{
    HostPath, InitSystem, Listener, MemoryHost, Plan, Process, Transport, Verdict,
};
use stockade_controls::programs::Programs;

use super::{look, profile, told};

const PROFILE: &str =
    "[programs]\npackages = [\"base\", \"camera-app\"]\nservices = [\"camera\"]\n";

fn stanza(name: &str, more: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\n{more}\n")
}

/// A Debian with a camera's program.
fn good() -> (MemoryHost, String) {
    let status = [
        stanza("libc6", "Priority: optional\n"),
        stanza(
            "bash",
            "Essential: yes\nPriority: required\nPre-Depends: libc6 (>= 2.36)\n",
        ),
        stanza(
            "cron",
            "Priority: important\nDepends: libc6, default-mta | bash\n",
        ),
        stanza(
            "camera-app",
            "Priority: optional\nDepends: libjpeg62 | libjpeg-any, python3:any\n",
        ),
        stanza("turbo", "Provides: libjpeg-any (= 1)\n"),
        stanza("python3", "Depends: libc6\n"),
        "Package: gone\nStatus: deinstall ok config-files\n\n".to_owned(),
    ]
    .concat();
    let mut host = MemoryHost::new()
        .file(
            "/var/lib/dpkg/info/cron.list",
            0o644,
            "/.\n/lib/systemd/system/cron.service\n/usr/sbin/cron\n",
        )
        .file("/var/lib/dpkg/info/bash.list", 0o644, "/bin/bash\n")
        .file(
            "/usr/lib/systemd/system/cron.service",
            0o644,
            "[Service]\nExecStart=/usr/sbin/cron\n[Install]\nWantedBy=multi-user.target\n",
        )
        .file(
            "/usr/lib/systemd/system/camera.service",
            0o644,
            "[Service]\nExecStart=/usr/bin/camera\n[Install]\nWantedBy=multi-user.target\n",
        )
        .linked(
            "/etc/systemd/system/multi-user.target.wants/cron.service",
            "/lib/systemd/system/cron.service",
        )
        .linked(
            "/etc/systemd/system/multi-user.target.wants/camera.service",
            "/lib/systemd/system/camera.service",
        )
        .linked("/bin", "usr/bin")
        .linked("/lib", "usr/lib")
        .file("/usr/bin/bash", 0o755, "")
        .file("/usr/bin/camera", 0o755, "");
    host.init = Some(InitSystem::Systemd);
    host.processes = Some(vec![
        process(1, "systemd", "/usr/lib/systemd/systemd", "/init.scope"),
        process(
            9,
            "camera",
            "/usr/bin/camera",
            "/system.slice/camera.service",
        ),
        process(
            10,
            "bash",
            "/usr/bin/bash",
            "/user.slice/user-0.slice/session-1.scope",
        ),
    ]);
    host.listeners = Some(Vec::new());
    (host, status)
}

fn process(pid: u32, name: &str, program: &'static str, cgroup: &str) -> Process {
    Process {
        pid,
        started: 5,
        name: name.to_owned(),
        program: Some(HostPath::of(program)),
        arguments: Vec::new(),
        user: 0,
        capabilities: 0,
        no_new_privileges: false,
        seccomp: 0,
        cgroup: Some(cgroup.to_owned()),
    }
}

#[test]
fn a_clean_host_has_no_finding() {
    let (host, status) = good();
    let host = host.file("/var/lib/dpkg/status", 0o644, &status);
    insta::assert_snapshot!(told(&look(&Programs, &host, &profile(PROFILE))));
}

#[test]
fn everything_that_is_wrong_is_found_and_mended() {
    let (host, status) = good();
    let status = [
        status,
        stanza("tcpdump", "Depends: libpcap0.8, libc6\n"),
        stanza("libpcap0.8", "Depends: libc6\n"),
        stanza("telnetd", "Depends: libc6\n"),
        stanza("gcc-12", ""),
        stanza("gcc-12-base", ""),
        stanza("one", "Depends: two\n"),
        stanza("two", "Depends: one\n"),
        stanza("miniupnpd", ""),
    ]
    .concat();
    let mut host = host
        .file("/var/lib/dpkg/status", 0o644, &status)
        .file(
            "/var/lib/dpkg/info/tcpdump.list",
            0o644,
            "/usr/bin/tcpdump\n",
        )
        .file("/usr/bin/tcpdump", 0o755, "")
        .file("/usr/local/bin/gdb", 0o755, "")
        .file("/usr/local/bin/strace", 0o644, "no program")
        .linked("/usr/sbin/tftpd", "/bin/busybox")
        .file(
            "/etc/systemd/system/debug.service",
            0o644,
            "[Service]\nExecStart=/opt/debug\n[Install]\nWantedBy=multi-user.target\n",
        )
        .linked(
            "/etc/systemd/system/multi-user.target.wants/debug.service",
            "/etc/systemd/system/debug.service",
        );
    let processes = host.processes.as_mut().expect("processes");
    processes.push(process(20, "telnetd", "/usr/sbin/telnetd", "/"));
    processes.push(process(21, "x", "/tmp/x", "/"));
    processes.push(process(22, "bash", "/usr/bin/bash", "/"));
    host.listeners = Some(vec![Listener {
        transport: Transport::Tcp,
        address: "0.0.0.0:4444".parse().expect("an address"),
        user: 0,
        processes: vec![22],
    }]);
    insta::assert_snapshot!(told(&look(&Programs, &host, &profile(PROFILE))));
}

#[test]
fn a_database_that_can_not_be_read_is_named() {
    let mut host = MemoryHost::new().file("/var/lib/rpm/rpmdb.sqlite", 0o644, "SQLite format 3");
    host.init = Some(InitSystem::Systemd);
    let assessment = look(&Programs, &host, &profile(PROFILE));
    let packages = assessment
        .outcomes
        .iter()
        .find(|it| it.rule.id == "programs/package")
        .expect("a rule");
    assert!(matches!(&packages.verdict, Verdict::CannotTell(why, _) if why.contains("SQLite")));
}

#[test]
fn without_base_in_the_profile_the_base_system_is_not_removed() {
    let (host, status) = good();
    let host = host.file("/var/lib/dpkg/status", 0o644, &status);
    let assessment = look(
        &Programs,
        &host,
        &profile("[programs]\npackages = [\"camera-app\"]\nservices = [\"camera\", \"cron\"]\n"),
    );
    assert!(
        assessment
            .findings()
            .any(|it| it.subject == "the base system")
    );
    assert!(Plan::of(&assessment).is_empty());
}

#[test]
fn a_database_of_hundreds_of_megabytes_is_told_and_not_read() {
    let (host, _) = good();
    let host = host.file("/var/lib/dpkg/status", 0o644, &"x\n".repeat(20 << 20));
    let assessment = look(&Programs, &host, &profile(PROFILE));
    for rule in ["programs/package", "programs/service"] {
        let outcome = assessment
            .outcomes
            .iter()
            .find(|it| it.rule.id == rule)
            .expect("a rule");
        assert!(matches!(outcome.verdict, Verdict::CannotTell(..)), "{rule}");
    }
}
