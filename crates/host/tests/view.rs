//! A host is read whole, nothing leads out of its root, and nothing in it hangs or floods the reader.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::net::{TcpListener, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use fs_err as fs;
use stockade_controls::engine::{Host as _, HostPath, InitSystem, Kind, Transport, Unseen};
use stockade_host::view::{Live, Offline};

fn path(text: &str) -> HostPath {
    HostPath::from_bytes(text.as_bytes()).unwrap()
}

/// A root with a password file and a folder outside that no link may reach.
fn root() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("root/etc")).unwrap();
    fs::write(folder.path().join("root/etc/passwd"), "inside").unwrap();
    fs::write(folder.path().join("secret"), "outside").unwrap();
    folder
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn links_stay_in_the_root() {
    let folder = root();
    let inside = folder.path().join("root");
    symlink("/etc/passwd", inside.join("absolute")).unwrap();
    symlink("../../../../etc/passwd", inside.join("etc/up")).unwrap();
    symlink("../../secret", inside.join("etc/out")).unwrap();
    symlink(folder.path().join("secret"), inside.join("whole")).unwrap();
    symlink("../../..", inside.join("etc/top")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    symlink("/proc/self/root", inside.join("magic")).unwrap();
    let host = Offline::open(&inside).unwrap();

    for within in ["/etc/passwd", "/absolute", "/etc/up", "/etc/top/etc/passwd"] {
        assert_eq!(
            host.read(&path(within), 100),
            Ok(b"inside".to_vec()),
            "{within}"
        );
    }
    for out in ["/etc/out", "/whole", "/magic/etc/passwd"] {
        assert_eq!(host.read(&path(out), 100), Err(Unseen::Absent), "{out}");
    }
    assert!(matches!(
        host.read(&path("/loop"), 100),
        Err(Unseen::Damaged(_))
    ));
    assert_eq!(host.entry(&path("/loop")).unwrap().kind, Kind::Link);
    assert_eq!(host.link(&path("/loop")), Ok(b"loop".to_vec()));
    assert_eq!(
        host.read(&path("/etc/passwd/x"), 100),
        Err(Unseen::Absent),
        "below a file there is nothing"
    );
    assert_eq!(
        host.list(&path("/etc/top"))
            .unwrap()
            .first()
            .map(|(name, _)| name.to_vec()),
        Some(b"absolute".to_vec()),
        "the root's parent is the root"
    );
}

/// Not as root this would also pass if magic links were followed; as root `/proc` has them to try.
#[test]
fn magic_links_of_proc_are_not_followed() {
    let host = Live::open().unwrap();
    let own = format!("/proc/{}/root/etc/passwd", std::process::id());
    assert!(matches!(
        host.read(&path(&own), 1 << 20),
        Err(Unseen::Damaged(_))
    ));
}

#[test]
fn pipes_devices_and_giants_are_refused_without_waiting() {
    let folder = root();
    let inside = folder.path().join("root");
    let made = Command::new("mkfifo")
        .arg(inside.join("etc/shadow"))
        .status();
    assert!(made.unwrap().success());
    let giant = fs::File::create(inside.join("giant")).unwrap();
    giant.set_len(1 << 30).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(inside.join("socket"));
    let host = Offline::open(&inside).unwrap();

    for odd in ["/etc/shadow", "/socket", "/etc", "/"] {
        assert!(
            matches!(host.read(&path(odd), 100), Err(Unseen::Damaged(_))),
            "{odd}"
        );
    }
    assert_eq!(host.read(&path("/giant"), 1000), Err(Unseen::TooMuch(1000)));
    assert_eq!(host.read(&path("/etc/passwd"), 5), Err(Unseen::TooMuch(5)));
    assert_eq!(host.read(&path("/etc/passwd"), 6), Ok(b"inside".to_vec()));
    assert!(matches!(
        host.list(&path("/etc/passwd")),
        Err(Unseen::Damaged(_))
    ));
    drop(socket);
    let live = Live::open().unwrap();
    assert!(matches!(
        live.read(&path("/dev/zero"), 100),
        Err(Unseen::Damaged(_))
    ));
    assert!(
        live.read(&path("/proc/version"), 1000).unwrap().len() > 5,
        "files that say they are empty are read"
    );
    assert_eq!(
        live.read(&path("/proc/kallsyms"), 1000),
        Err(Unseen::TooMuch(1000)),
        "however long they are"
    );
}

#[test]
fn a_folder_of_a_hundred_thousand_names_is_too_much_and_is_said() {
    let folder = root();
    let many = folder.path().join("root/many");
    fs::create_dir(&many).unwrap();
    for number in 0..100_000 {
        symlink("x", many.join(number.to_string())).unwrap();
    }
    let host = Offline::open(&folder.path().join("root")).unwrap();
    assert_eq!(host.list(&path("/many")), Err(Unseen::TooMuch(65_536)));
    // The walk keeps nothing of them.
    let inventory = host.inventory().unwrap();
    assert!(inventory.looked_at > 100_000);
    assert_eq!(inventory.unseen, []);
}

#[test]
fn names_that_are_no_text_are_judged_as_well() {
    let folder = root();
    let inside = folder.path().join("root");
    let odd = inside.join(std::ffi::OsStr::from_bytes(b"a\xff\n.key"));
    fs::write(&odd, "x").unwrap();
    let host = Offline::open(&inside).unwrap();
    let listed = host.list(&path("/")).unwrap();
    assert!(listed.iter().any(|(name, _)| **name == *b"a\xff\n.key"));
    let [notable] = host.inventory().unwrap().notable.as_slice() else {
        panic!("one file is notable")
    };
    assert_eq!(notable.path.to_string(), r"/a\xff\x0a.key");
    assert_eq!(host.read(&notable.path, 10), Ok(b"x".to_vec()));
}

#[test]
fn the_walk_finds_what_lends_rights_and_what_anybody_may_write() {
    let folder = root();
    let inside = folder.path().join("root");
    for (name, bits) in [
        ("su", 0o4755),
        ("wall", 0o2755),
        ("plain", 0o755),
        ("open", 0o666),
        ("id_ed25519", 0o600),
        ("id_ed25519.pub", 0o644),
    ] {
        fs::write(inside.join(name), "").unwrap();
        mode(&inside.join(name), bits);
    }
    for (name, bits) in [("tmp", 0o1777), ("drop", 0o777), ("deep", 0o755)] {
        fs::create_dir(inside.join(name)).unwrap();
        mode(&inside.join(name), bits);
    }
    symlink("open", inside.join("link")).unwrap();
    fs::write(inside.join("deep/ping"), "").unwrap();
    mode(&inside.join("deep/ping"), 0o755);
    // Needs CAP_SETFCAP.
    let rights = Command::new("setcap")
        .arg("cap_net_raw+ep")
        .arg(inside.join("deep/ping"))
        .status();
    let host = Offline::open(&inside).unwrap();
    let inventory = host.inventory().unwrap();
    let found: Vec<_> = inventory
        .notable
        .iter()
        .map(|it| (it.path.to_string(), it.capability.as_ref().map(Vec::len)))
        .collect();
    let mut wanted: Vec<_> = ["/drop", "/id_ed25519", "/open", "/su", "/wall"]
        .map(|it| (it.to_owned(), None))
        .into();
    if rights.is_ok_and(|status| status.success()) {
        wanted.insert(0, ("/deep/ping".to_owned(), Some(20)));
    } else {
        println!("file capabilities are not tried: setcap can not give one here");
    }
    assert_eq!(found, wanted);
    assert_eq!(inventory.unseen, []);
}

#[test]
fn a_tree_too_deep_is_said_and_the_rest_is_seen() {
    let folder = root();
    let inside = folder.path().join("root");
    let deep = inside.join("d/".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    fs::write(inside.join("z.key"), "").unwrap();
    let host = Offline::open(&inside).unwrap();
    let inventory = host.inventory().unwrap();
    assert_eq!(inventory.unseen.len(), 1);
    assert_eq!(
        inventory.unseen.first().map(|(_, why)| why.clone()),
        Some(Unseen::TooMuch(64))
    );
    assert_eq!(inventory.notable.len(), 1);
}

#[test]
fn this_process_and_its_sockets_are_found() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("[::]:0").unwrap();
    let joined = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let host = Live::open().unwrap();
    let own = std::process::id();

    let processes = host.processes().unwrap();
    let this = processes.iter().find(|it| it.pid == own).unwrap();
    assert_eq!(this.user, rustix::process::geteuid().as_raw());
    assert!(this.started > 0);
    let program = this.program.as_ref().unwrap().to_string();
    assert_eq!(Path::new(&program), std::env::current_exe().unwrap());

    let listeners = host.listeners().unwrap();
    for (transport, address) in [
        (Transport::Tcp, tcp.local_addr().unwrap()),
        (Transport::Udp, udp.local_addr().unwrap()),
    ] {
        let found = listeners
            .iter()
            .find(|it| it.transport == transport && it.address == address)
            .unwrap();
        assert_eq!(found.processes, [own]);
    }
    let from = joined.local_addr().unwrap();
    assert!(listeners.iter().all(|it| it.address != from));
    assert!(matches!(host.firewall(), Err(Unseen::Failed(_))));
    let first = listeners.first().unwrap();
    assert!(matches!(host.tls(first), Err(Unseen::Failed(_))));
}

/// What bounds for services are made from: links of `/proc` are told, not followed.
#[test]
fn the_open_files_of_a_process_are_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let host = Live::open().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(file.as_file());
    let place = format!("/proc/{}", std::process::id());
    let open = host.list(&path(&format!("{place}/fd"))).unwrap();
    assert!(
        open.iter()
            .any(|(name, _)| **name == *number.to_string().as_bytes())
    );
    let target = host.link(&path(&format!("{place}/fd/{number}"))).unwrap();
    assert_eq!(target, file.path().as_os_str().as_bytes());
    let about = host
        .read(&path(&format!("{place}/fdinfo/{number}")), 1000)
        .unwrap();
    assert!(String::from_utf8_lossy(&about).contains("flags:\t0"));
    let world = host.link(&path(&format!("{place}/ns/mnt"))).unwrap();
    assert!(world.starts_with(b"mnt:["));
}

#[test]
fn processes_that_come_and_go_are_no_failure() {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let ended = Command::new("true").status();
                assert!(ended.unwrap().success());
            }
        });
        for _ in 0..30 {
            let host = Live::open().unwrap();
            assert!(!host.processes().unwrap().is_empty());
            host.listeners().unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn what_an_image_would_start_with_is_told_by_its_files() {
    let try_it = |make: &dyn Fn(&Path)| {
        let folder = root();
        let inside = folder.path().join("root");
        fs::create_dir(inside.join("sbin")).unwrap();
        make(&inside);
        Offline::open(&inside).unwrap().init()
    };
    assert_eq!(try_it(&|_| ()), Err(Unseen::Absent));
    assert_eq!(
        try_it(&|root| symlink("/lib/systemd/systemd", root.join("sbin/init")).unwrap()),
        Ok(InitSystem::Systemd)
    );
    assert_eq!(
        try_it(&|root| {
            symlink("/bin/busybox", root.join("sbin/init")).unwrap();
            fs::write(root.join("sbin/openrc"), "").unwrap();
        }),
        Ok(InitSystem::OpenRc)
    );
    assert_eq!(
        try_it(&|root| fs::write(root.join("sbin/procd"), "").unwrap()),
        Ok(InitSystem::Procd)
    );
    assert_eq!(
        try_it(&|root| symlink("../bin/busybox", root.join("sbin/init")).unwrap()),
        Ok(InitSystem::Busybox)
    );
    assert_eq!(
        try_it(&|root| fs::write(root.join("etc/inittab"), "").unwrap()),
        Ok(InitSystem::Busybox)
    );
    let host = Offline::open(root().path()).unwrap();
    assert_eq!(host.processes().err(), Some(Unseen::Offline));
    assert_eq!(host.listeners().err(), Some(Unseen::Offline));
}

#[test]
fn only_block_devices_and_flash_are_opened_as_devices() {
    let live = Live::open().unwrap();
    // A terminal or a watchdog acts when it is opened.
    for other in ["/dev/null", "/etc", "/proc/version"] {
        let read = live.device(&path(other), 0, 512);
        assert!(matches!(read, Err(Unseen::Damaged(_))), "{other}: {read:?}");
    }
    assert_eq!(
        live.device(&path("/dev/not-there"), 0, 512),
        Err(Unseen::Absent)
    );
}
