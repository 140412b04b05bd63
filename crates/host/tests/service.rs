//! Rules for one service: real processes in real cgroups, inside and outside.

mod common;

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{ip, namespace, run};
use nix::sched::{CloneFlags, unshare};
use stockade_controls::firewall::policy::RuleId;
use stockade_host::cgroup::{CgroupError, Cgroups, Watch};
use stockade_host::firewall::{Firewall, How, Wanted};
use stockade_host::surroundings::Told;

const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup tree where `nft` looks for it, in a mount namespace of the calling thread; false where that can not be.
fn cgroups() -> bool {
    if !namespace() {
        return false;
    }
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    run("mount", "--make-rprivate /", "");
    run("mount", &format!("-t cgroup2 none {ROOT}"), "");
    true
}

/// A service's cgroup, under a name that nobody else has; gone when dropped.
struct Service {
    name: String,
    folder: PathBuf,
    /// Whether the slice was made by us.
    slice: bool,
}

impl Service {
    fn named(test: &str) -> Self {
        let name = format!("stockade-{test}-{}", std::process::id());
        let slice = Path::new(ROOT).join("system.slice");
        let made = fs_err::create_dir(&slice).is_ok();
        Self {
            folder: slice.join(format!("{name}.service")),
            name,
            slice: made,
        }
    }

    fn start(&self) {
        fs_err::create_dir(&self.folder).expect("a cgroup");
    }

    fn stop(&self) {
        fs_err::remove_dir(&self.folder).expect("no more cgroup");
    }

    /// Whether a process in this cgroup, or in none of ours, can send to the outside.
    fn can_send(&self, inside: bool, port: u16) -> bool {
        let join = if inside {
            format!("echo $$ > {}/cgroup.procs;", self.folder.display())
        } else {
            String::new()
        };
        let script = format!(
            "{join} exec python3 -c \"import socket; \
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('192.0.2.1', {port}))\""
        );
        let mut child: Child = Command::new("sh")
            .args(["-c", &script])
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        child.wait().expect("an end").success()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // What is left is empty and harmless.
        let _gone = fs_err::remove_dir(&self.folder);
        if self.slice {
            let _gone = fs_err::remove_dir(Path::new(ROOT).join("system.slice"));
        }
    }
}

fn wanted(service: &str) -> Wanted {
    let text = format!(
        r#"
        schema = 1
        [device]
        manufacturer = "Acme"
        model = "cam-1"
        version = 1
        class = "linux"
        [programs]
        services = ["{service}"]
        [[firewall.out]]
        to = "192.0.2.1"
        protocol = "udp"
        port = 5000
        service = "{service}"
        "#
    );
    Wanted {
        profile: stockade_profile::parse(&text).expect("a profile"),
        text,
        told: Told::default(),
        session: None,
    }
}

/// An interface with somebody at the other end, so that a packet that passes really goes.
fn cable() {
    ip("link add dev0 type veth peer name dev1");
    ip("addr add 192.0.2.10/24 dev dev0");
    ip("link set dev0 up");
    ip("link set dev1 up");
    ip("neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev dev0");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    socket.send_to(b"x", "192.0.2.1:1").expect("open before");
}

#[test]
fn only_the_service_that_a_rule_names_may_use_it() {
    if !cgroups() {
        return;
    }
    cable();
    let service = Service::named("one");
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&folder.path().join("state")).expect("nft");

    // Not started: told, and closed for everyone.
    let applied = firewall
        .apply(&wanted(&service.name), How::AtOnce)
        .expect("applied");
    let [unmet] = &applied.unmet[..] else {
        panic!("{:?}", applied.unmet);
    };
    assert_eq!(unmet.id, RuleId::Out(1));
    assert!(unmet.why.contains(&service.name), "{}", unmet.why);
    assert!(!service.can_send(false, 5_000));

    service.start();
    let applied = firewall
        .apply(&wanted(&service.name), How::AtOnce)
        .expect("applied");
    assert_eq!(applied.unmet, []);
    assert!(
        service.can_send(true, 5_000),
        "the service itself is refused"
    );
    assert!(
        !service.can_send(true, 5_001),
        "the service may do more than its rule"
    );
    assert!(
        !service.can_send(false, 5_000),
        "another program may use the rule"
    );
}

#[test]
fn a_service_started_anew_is_shut_off_until_the_rules_are_loaded_again() {
    if !cgroups() {
        return;
    }
    cable();
    let service = Service::named("anew");
    service.start();
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Firewall::at(&folder.path().join("state")).expect("nft");
    let cgroups = Cgroups::find().expect("cgroup2");
    let services = vec![service.name.parse().expect("a name")];
    let mut watch = Watch::new(cgroups, services).expect("inotify");
    firewall
        .apply(&wanted(&service.name), How::AtOnce)
        .expect("applied");
    assert!(service.can_send(true, 5_000));
    assert!(!watch.wait(Duration::from_millis(10)).expect("a look"));

    service.stop();
    service.start();
    assert!(
        !service.can_send(true, 5_000),
        "the old rule knows the new cgroup"
    );
    assert!(watch.wait(Duration::from_secs(10)).expect("a look"));
    firewall
        .apply(&wanted(&service.name), How::AtOnce)
        .expect("applied");
    assert!(service.can_send(true, 5_000));
    assert!(!service.can_send(false, 5_000));
}

#[test]
fn a_machine_whose_cgroups_are_elsewhere_is_told_where() {
    if !namespace() {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    run("mount", "--make-rprivate /", "");
    // Nothing is seen where nft looks.
    run("mount", &format!("-t tmpfs none {ROOT}"), "");
    fs_err::create_dir_all(format!("{ROOT}/unified")).expect("a folder");
    run("mount", &format!("-t cgroup2 none {ROOT}/unified"), "");
    match Cgroups::find() {
        Err(CgroupError::Elsewhere(place)) => {
            assert!(place.starts_with(ROOT), "{}", place.display());
        }
        other => panic!("{other:?}"),
    }
}
