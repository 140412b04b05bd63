use super::*;
use crate::engine::MemoryHost;

fn process(pid: u32, name: &str, program: &'static str, cgroup: Option<&str>) -> Process {
    Process {
        pid,
        started: 1,
        name: name.to_owned(),
        program: Some(HostPath::of(program)),
        arguments: Vec::new(),
        user: 0,
        capabilities: 0,
        no_new_privileges: false,
        seccomp: 0,
        cgroup: cgroup.map(str::to_owned),
    }
}

fn shown(host: &MemoryHost) -> Vec<String> {
    let all = list(host).expect("services");
    all.iter()
        .map(|it| {
            format!(
                "{}{}{} {:?} {} {} {}",
                it.name,
                if it.enabled { " enabled" } else { "" },
                if it.masked { " masked" } else { "" },
                it.processes.clone().unwrap_or_default(),
                it.unit,
                it.program
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), ToString::to_string),
                it.user.as_deref().unwrap_or("-"),
            )
        })
        .collect()
}

fn off(host: &MemoryHost, name: &str, change: ServiceChange) -> Vec<String> {
    let name = name.parse().expect("a name");
    let actions = files(host, &name, change).expect("readable");
    actions
        .iter()
        .map(|action| match action {
            Action::Remove { path } => format!("remove {path}"),
            Action::Link { path, target } => format!("link {path} -> {target}"),
            Action::Mode { path, mode, .. } => format!("mode {path} {mode:o}"),
            Action::Edit { path, replace, .. } => format!("edit {path} {replace:?}"),
            other => panic!("{other:?} is not about files"),
        })
        .collect()
}

#[test]
fn systemd_is_read_with_drop_ins_aliases_instances_sockets_and_masks() {
    let mut host = MemoryHost::new()
        .file(
            "/lib/systemd/system/ssh.service",
            0o644,
            "[Unit]\nDescription=x\n[Service]\nExecStart=-/usr/sbin/sshd -D $OPTS\n[Install]\nAlias=sshd.service\n",
        )
        .linked("/etc/systemd/system/sshd.service", "/lib/systemd/system/ssh.service")
        .linked(
            "/etc/systemd/system/multi-user.target.wants/ssh.service",
            "/lib/systemd/system/ssh.service",
        )
        .file(
            "/etc/systemd/system/ssh.service.d/10-user.conf",
            0o644,
            "[Service]\nExecStart=\nExecStart=/opt/ssh \\\n  # why\n  -D\nUser=nobody\n",
        )
        .file("/lib/systemd/system/getty@.service", 0o644, "[Service]\nExecStart=-/sbin/agetty -o x\n")
        .linked("/etc/systemd/system/getty.target.wants/getty@tty1.service", "/lib/systemd/system/getty@.service")
        .file("/lib/systemd/system/telnet.socket", 0o644, "[Socket]\nListenStream=23\nAccept=yes\n")
        .file("/lib/systemd/system/telnet@.service", 0o644, "[Service]\nExecStart=/usr/sbin/telnetd\nDynamicUser=yes\n")
        .linked("/etc/systemd/system/sockets.target.wants/telnet.socket", "/lib/systemd/system/telnet.socket")
        .file("/lib/systemd/system/off.service", 0o644, "[Service]\nExecStart=/bin/off\n")
        .linked("/etc/systemd/system/off.service", "/dev/null")
        .file("/lib/systemd/system/static.service", 0o644, "[Service]\nExecStart=/bin/static\n")
        .linked("/lib/systemd/system/sysinit.target.wants/static.service", "../static.service")
        .file("/etc/init.d/old", 0o755, "#!/bin/sh\nDAEMON=/usr/sbin/old\n")
        .linked("/etc/rc2.d/S01old", "../init.d/old");
    host.init = Some(InitSystem::Systemd);
    host.processes = Some(vec![process(
        7,
        "sshd",
        "/opt/ssh",
        Some("/system.slice/ssh.service"),
    )]);
    insta::assert_snapshot!(shown(&host).join("\n"), @r#"
    getty@tty1 enabled [] /lib/systemd/system/getty@.service /sbin/agetty -
    off masked [] /etc/systemd/system/off.service - -
    old enabled [] /etc/init.d/old /usr/sbin/old -
    ssh enabled [7] /lib/systemd/system/ssh.service /opt/ssh nobody
    static enabled [] /lib/systemd/system/static.service /bin/static -
    telnet@ enabled [] /lib/systemd/system/telnet@.service /usr/sbin/telnetd (dynamic)
    "#);
    insta::assert_snapshot!(off(&host, "ssh", ServiceChange::Disable).join("\n"), @r#"
    remove /etc/systemd/system/multi-user.target.wants/ssh.service
    remove /etc/systemd/system/sshd.service
    "#);
    insta::assert_snapshot!(off(&host, "telnet", ServiceChange::Mask).join("\n"), @r#"
    link /etc/systemd/system/telnet.service -> /dev/null
    remove /etc/systemd/system/sockets.target.wants/telnet.socket
    link /etc/systemd/system/telnet.socket -> /dev/null
    "#);
    insta::assert_snapshot!(off(&host, "static", ServiceChange::Disable).join("\n"), @r#"
    link /etc/systemd/system/static.service -> /dev/null
    "#);
    insta::assert_snapshot!(off(&host, "old", ServiceChange::Mask).join("\n"), @r#"
    link /etc/systemd/system/old.service -> /dev/null
    remove /etc/rc2.d/S01old
    link /etc/rc2.d/K01old -> ../init.d/old
    "#);
    assert_eq!(off(&host, "ssh", ServiceChange::Stop), [""; 0]);
}

#[test]
fn openrc_is_read_by_its_runlevels() {
    let mut host = MemoryHost::new()
        .file(
            "/etc/init.d/telnetd",
            0o755,
            "#!/sbin/openrc-run\nname=telnetd\ncommand=\"/usr/sbin/${name}\"\ncommand_user=\"nobody:nogroup\"\n",
        )
        .linked("/etc/runlevels/default/telnetd", "/etc/init.d/telnetd")
        .file("/etc/init.d/spare", 0o644, "#!/sbin/openrc-run\n")
        .file("/run/telnetd.pid", 0o644, "12\n");
    host.init = Some(InitSystem::OpenRc);
    host.processes = Some(vec![
        process(12, "x", "/bin/x", None),
        process(13, "y", "/usr/sbin/telnetd", None),
    ]);
    insta::assert_snapshot!(shown(&host).join("\n"), @r#"
    spare masked [] /etc/init.d/spare - -
    telnetd enabled [12, 13] /etc/init.d/telnetd /usr/sbin/telnetd nobody
    "#);
    insta::assert_snapshot!(off(&host, "telnetd", ServiceChange::Mask).join("\n"), @r#"
    remove /etc/runlevels/default/telnetd
    mode /etc/init.d/telnetd 644
    "#);
}

#[test]
fn procd_is_read_by_its_links() {
    let mut host = MemoryHost::new()
        .file(
            "/etc/init.d/dropbear",
            0o755,
            "#!/bin/sh /etc/rc.common\nUSE_PROCD=1\nPROG=/usr/sbin/dropbear\nstart_service() {\n procd_set_param command \"$PROG\" -F\n procd_set_param user sshd\n}\n",
        )
        .linked("/etc/rc.d/S19dropbear", "../init.d/dropbear")
        .linked("/etc/rc.d/K50dropbear", "../init.d/dropbear");
    host.init = Some(InitSystem::Procd);
    insta::assert_snapshot!(shown(&host).join("\n"), @r#"
    dropbear enabled [] /etc/init.d/dropbear /usr/sbin/dropbear sshd
    "#);
    insta::assert_snapshot!(off(&host, "dropbear", ServiceChange::Mask).join("\n"), @r#"
    remove /etc/rc.d/S19dropbear
    mode /etc/init.d/dropbear 644
    "#);
}

#[test]
fn busybox_is_read_by_its_scripts_and_its_table() {
    let mut host = MemoryHost::new()
        .file("/etc/init.d/S50telnet", 0o755, "start-stop-daemon -S --exec /usr/sbin/telnetd -- -F\n")
        .file("/etc/init.d/S60odd.sh", 0o644, "")
        .file("/etc/init.d/rcS", 0o755, "")
        .file(
            "/etc/inittab",
            0o644,
            "# table\n::sysinit:/etc/init.d/rcS\n::respawn:-/bin/sh\n::respawn:/usr/sbin/ftpd -w /\n",
        );
    host.init = Some(InitSystem::Busybox);
    insta::assert_snapshot!(shown(&host).join("\n"), @r#"
    ftpd enabled [] /etc/inittab /usr/sbin/ftpd -
    odd.sh enabled [] /etc/init.d/S60odd.sh - -
    sh enabled [] /etc/inittab /bin/sh -
    telnet enabled [] /etc/init.d/S50telnet /usr/sbin/telnetd -
    "#);
    insta::assert_snapshot!(off(&host, "telnet", ServiceChange::Mask).join("\n"), @r#"
    mode /etc/init.d/S50telnet 644
    "#);
    insta::assert_snapshot!(off(&host, "odd.sh", ServiceChange::Disable).join("\n"), @r#"
    remove /etc/init.d/S60odd.sh
    "#);
    insta::assert_snapshot!(off(&host, "ftpd", ServiceChange::Disable).join("\n"), @r##"
    edit /etc/inittab [("::respawn:/usr/sbin/ftpd -w /", ["# off: ::respawn:/usr/sbin/ftpd -w /"])]
    "##);
}

#[test]
fn a_script_that_names_itself_does_not_keep_the_reader_busy() {
    let script = format!("A=\"{}\"\ncommand=$A\n", "$A".repeat(10_000));
    let mut host = MemoryHost::new();
    host = host.file("/etc/init.d/loop", 0o755, &script);
    host.init = Some(InitSystem::OpenRc);
    assert_eq!(list(&host).expect("services")[0].program, None);
}

#[test]
fn what_is_no_unit_is_passed_over() {
    let hostile = b"[Service\n=\n\\\n#\\\nExecStart=\xff\\\n[Service]\nUser=a\\";
    assert!(unit::parse(hostile).len() < 5);
}
