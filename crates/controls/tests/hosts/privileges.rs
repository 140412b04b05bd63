use std::process::Command;

use stockade_controls::engine::{
    Action, HostPath, InitSystem, Kind, Listener, MemoryHost, Notable, Plan, Process, Transport,
    Verdict,
};
use stockade_controls::privileges::Privileges;

use super::{look, profile, told};

const PROFILE: &str = "[privileges]\nroot-services = [\"watchdog\"]\nsetuid = [\"/bin/su\", \"/usr/bin/ping\"]\n[programs]\nservices = [\"watchdog\", \"camera\"]\n";
/// `cap_net_raw+ep`, as setcap(8) of libcap 2.66 writes it.
const NET_RAW: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn process(pid: u32, name: &str, user: u32, service: &str) -> Process {
    Process {
        pid,
        started: 1000,
        name: name.to_owned(),
        program: HostPath::from_bytes(format!("/usr/bin/{name}").as_bytes()).ok(),
        arguments: Vec::new(),
        user,
        capabilities: if user == 0 { 0x01ff_ffff_ffff } else { 0 },
        no_new_privileges: false,
        seccomp: 0,
        cgroup: Some(format!("/system.slice/{service}.service")),
    }
}

/// A system as it should be: what it has set-user-ID is in the profile.
fn good() -> MemoryHost {
    let mut host = MemoryHost::new()
        .file("/etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\ncamera:x:900:900::/:/bin/false\nmail:x:8:8::/:/bin/false\n")
        .file("/etc/group", 0o644, "root:x:0:\nstaff:x:50:\nmail:x:8:\nvideo:x:44:camera\n")
        .file("/etc/profile", 0o644, "PATH=\"/usr/local/bin:/usr/bin\"\nexport PATH\n")
        .file("/etc/crontab", 0o644, "PATH=/usr/bin:/bin\n17 * * * * root /usr/bin/tidy >> /var/log/tidy\n* * * * * camera /home/camera/own\n")
        .owned("/home/camera/own", 0o755, (900, 900), "")
        .file("/usr/bin/tidy", 0o755, "")
        .file("/etc/sudoers", 0o440, "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n")
        .file("/etc/sudoers.d/README", 0o440, "# pi ALL=(ALL) NOPASSWD: ALL\n")
        .file("/usr/lib/systemd/system/cron.service", 0o644, "[Service]\nExecStart=/usr/sbin/cron\n")
        .linked("/etc/systemd/system/multi-user.target.wants/cron.service", "/usr/lib/systemd/system/cron.service")
        .linked("/etc/systemd/system/rescue.service", "/dev/null")
        .linked("/lib", "usr/lib")
        .linked("/bin", "usr/bin")
        .directory("/tmp", 0o1777)
        .directory("/usr/local/bin", 0o775)
        .notable("/usr/bin/su", 0o4755, None)
        .notable("/usr/bin/ping", 0o755, Some(NET_RAW));
    host.init = Some(InitSystem::Systemd);
    host.inventory.looked_at = 1000;
    host
}

/// A camera that runs as root and asks for a device, and one more service that asks for nothing.
fn with_services(host: MemoryHost) -> MemoryHost {
    let mut host = host
        .file("/etc/systemd/system/camera.service", 0o644, "[Service]\nExecStart=/usr/bin/camera -c /etc/camera.conf\n[Install]\nWantedBy=multi-user.target\n")
        .linked("/etc/systemd/system/multi-user.target.wants/camera.service", "/etc/systemd/system/camera.service")
        .file("/usr/bin/camera", 0o755, "")
        .linked("/proc/100/fd/0", "/dev/null")
        .linked("/proc/100/fd/3", "/dev/video0")
        .linked("/proc/100/fd/4", "socket:[77]")
        .linked("/proc/100/fd/5", "/var/lib/camera/index")
        .file("/proc/100/fdinfo/0", 0o444, "pos:\t0\nflags:\t0100002\n")
        .file("/proc/100/fdinfo/3", 0o444, "pos:\t0\nflags:\t0100002\n")
        .file("/proc/100/fdinfo/5", 0o444, "pos:\t0\nflags:\t0100002\n")
        .file("/proc/100/stat", 0o444, "100 (camera) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 0 0")
        .file("/proc/100/net/tcp", 0o444, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n");
    host.processes = Some(vec![
        process(100, "camera", 0, "camera"),
        process(101, "cron", 0, "cron"),
    ]);
    host.listeners = Some(vec![Listener {
        transport: Transport::Tcp,
        address: "0.0.0.0:8080".parse().expect("an address"),
        user: 0,
        processes: vec![100],
    }]);
    host
}

fn bad() -> MemoryHost {
    let mut host = with_services(good())
        .notable("/usr/bin/nmap", 0o4755, None)
        .notable("/usr/bin/wall", 0o2755, None)
        .notable("/usr/bin/all", 0o4777, None)
        .notable("/opt/dump", 0o755, Some(&[0, 0, 0, 2, 4, 0, 0, 0]))
        .owned("/usr/bin/helper", 0o755, (1000, 1000), "")
        .file("/etc/cron.d/backup", 0o666, "@daily root sh /opt/backup.sh; /usr/bin/tidy\n")
        .file("/opt/backup.sh", 0o666, "")
        .file("/etc/environment", 0o644, "PATH=\"/usr/bin:.:/opt/bin\"\n")
        .directory("/opt/bin", 0o777)
        .file("/etc/profile.d/lang.sh", 0o622, "")
        .file("/etc/ld.so.preload", 0o644, "/tmp/libhook.so\n/usr/lib/libarmmem.so\n")
        .owned("/tmp/libhook.so", 0o755, (1000, 1000), "")
        .file("/usr/lib/libarmmem.so", 0o644, "")
        .file("/etc/systemd/system/camera.service.d/x.conf", 0o666, "")
        .file("/etc/sudoers.d/010_pi", 0o646, "User_Alias KIDS = ann, bob\npi ALL=(ALL) NOPASSWD: ALL\nKIDS ALL = (root) /bin/a, NOPASSWD: /bin/b, \\\n  /bin/c\n")
        .file("/etc/sudoers.d/all", 0o440, "ALL ALL=(ALL) ALL\nDefaults:www !authenticate\n")
        .file("/etc/sudoers.d/old~", 0o440, "eve ALL=(ALL) NOPASSWD: ALL\n")
        .file("/etc/doas.conf", 0o400, "permit persist :wheel\npermit nopass keepenv ann as root\n");
    let mut open = |path: &'static str, kind: Kind, mode: u32| {
        let path = HostPath::of(path);
        let entry = stockade_controls::engine::Entry {
            kind,
            mode,
            owner: 0,
            group: 0,
            size: 0,
            modified: 0,
        };
        host.inventory.notable.push(Notable {
            path,
            entry,
            capability: None,
        });
    };
    open("/etc/cron.d/backup", Kind::File, 0o666);
    open("/srv/drop", Kind::Directory, 0o777);
    open("/srv/state", Kind::File, 0o666);
    open("/var/tmp", Kind::Directory, 0o777);
    host
}

#[test]
fn everything_that_is_wrong_is_found_and_mended() {
    insta::assert_snapshot!(told(&look(&Privileges, &bad(), &profile(PROFILE))));
}

#[test]
fn a_clean_host_has_no_finding() {
    let clean = look(&Privileges, &good(), &profile(PROFILE));
    assert!(Plan::of(&clean).is_empty());
    insta::assert_snapshot!(told(&clean));
}

#[test]
fn what_can_not_be_seen_is_not_fine() {
    let mut host = good();
    host.init = None;
    host.inventory.unseen.push((
        HostPath::of("/srv"),
        stockade_controls::engine::Unseen::Denied,
    ));
    let judged = look(&Privileges, &host, &profile(PROFILE));
    let doubtful: Vec<_> = judged
        .outcomes
        .iter()
        .filter(|it| matches!(it.verdict, Verdict::CannotTell(..)))
        .map(|it| it.rule.id)
        .collect();
    assert_eq!(
        doubtful,
        [
            "privileges/setuid",
            "privileges/file-capability",
            "privileges/root-service",
            "privileges/unconfined",
            "privileges/open-file",
        ]
    );
}

#[test]
fn no_step_gives_back_what_another_took() {
    let plan = Plan::of(&look(&Privileges, &bad(), &profile(PROFILE)));
    let both = HostPath::of("/usr/bin/all");
    let modes: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|it| match &it.step.action {
            Action::Mode { path, mode, .. } if *path == both => Some((*mode, it.mends.len())),
            _ => None,
        })
        .collect();
    assert_eq!(modes, [(0o755, 2)], "one step for both findings");
}

/// The bounds that the plan gives the camera: path and content.
fn bounds(host: &MemoryHost) -> (HostPath, String) {
    let plan = Plan::of(&look(&Privileges, host, &profile(PROFILE)));
    let found = plan.steps.into_iter().find_map(|it| match it.step.action {
        Action::Confine { path, content, .. } => Some((path, content)),
        _ => None,
    });
    found.expect("bounds")
}

#[test]
fn bounds_that_were_given_are_not_given_again() {
    let host = with_services(good());
    let (_, content) = bounds(&host);
    let host = host.file(
        "/etc/systemd/system/camera.service.d/50-stockade.conf",
        0o644,
        &content,
    );
    let again = look(&Privileges, &host, &profile(PROFILE));
    assert!(
        !again
            .findings()
            .any(|it| it.rule.id == "privileges/unconfined"),
        "{}",
        told(&again)
    );
}

#[test]
fn what_was_seen_in_use_is_not_taken_away() {
    let lines = |host: &MemoryHost| bounds(host).1;
    let plain = with_services(good());
    assert!(lines(&plain).contains("ProtectSystem=full"));
    assert!(!lines(&plain).contains("PrivateDevices"), "it has a camera");
    let writes = plain
        .clone()
        .linked("/proc/100/fd/6", "/etc/camera/learned")
        .file("/proc/100/fdinfo/6", 0o444, "flags:\t02\n");
    assert!(!lines(&writes).contains("ProtectSystem"));
    let reads = plain
        .clone()
        .linked("/proc/100/fd/6", "/etc/camera/learned")
        .file("/proc/100/fdinfo/6", 0o444, "flags:\t0100000\n");
    assert!(lines(&reads).contains("ProtectSystem=full"));
    let at_home = plain.clone().linked("/proc/100/fd/6", "/home/x/film");
    assert!(!lines(&at_home).contains("ProtectHome"));
    let strange = plain.clone().linked("/proc/100/fd/6", "socket:[78]");
    assert!(!lines(&strange).contains("RestrictAddressFamilies"));
    let packets = strange.file(
        "/proc/100/net/packet",
        0o444,
        "sk RefCnt Type Proto Iface R Rmem User Inode\nffff 3 3 0003 2 1 0 0 78\n",
    );
    assert!(lines(&packets).contains("AF_NETLINK AF_PACKET"));
}

/// The exposure that systemd itself finds, from 0 to 10; none without its program.
fn exposure(root: &std::path::Path) -> Option<f32> {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--root"])
        .arg(root)
        .arg("camera.service")
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|it| it.contains("Overall exposure"));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    line.split_whitespace().find_map(|it| it.parse().ok())
}

#[test]
fn systemd_itself_finds_the_bounded_service_less_exposed() {
    let root = tempfile::tempdir().expect("a folder");
    let units = root.path().join("etc/systemd/system");
    fs_err::create_dir_all(&units).expect("a folder");
    fs_err::create_dir_all(root.path().join("usr/bin")).expect("a folder");
    fs_err::write(root.path().join("usr/bin/camera"), "#!/bin/sh\n").expect("written");
    let unit = "[Unit]\nDescription=a camera\n[Service]\nExecStart=/usr/bin/camera\n";
    fs_err::write(units.join("camera.service"), unit).expect("written");
    let Some(before) = exposure(root.path()) else {
        println!("skipped: there is no systemd-analyze here");
        return;
    };
    let (path, content) = bounds(&with_services(good()));
    let path = root.path().join(path.to_string().trim_start_matches('/'));
    fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs_err::write(&path, content).expect("written");
    let after = exposure(root.path()).expect("an exposure");
    println!("exposure {before} before, {after} after");
    assert!(
        before > 9.0 && after < 6.5,
        "{before} before, {after} after"
    );
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no", "--man=no", "--root"])
        .arg(root.path())
        .arg("camera.service")
        .output()
        .expect("systemd-analyze");
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(
        !said.contains("50-stockade.conf"),
        "systemd knows every line: {said}"
    );
}
