//! Services and bounds on trial, with a real init as the first process of a container of namespaces: systemd, `BusyBox`.
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

#[path = "common/tree.rs"]
#[expect(dead_code, reason = "each file of tests takes what it needs")]
mod tree;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fs_err as fs;
use stockade_controls::engine::{Action, Health, Host as _, HostPath, InitSystem, ServiceChange};
use stockade_host::apply::{Applier, Moment, Which};
use stockade_host::init::Init;
use stockade_host::view::Live;
use tree::{child, digest, path, plan, put, root_only};

/// A Debian with systemd, made by `debootstrap`; it is copied for each run.
const SYSTEM: &str = "../../target/labs/systemd";
/// The directories in which a first process finds itself in a container.
const BOOT: &str = r#"set -e
mount --make-rprivate /
mount --bind "$R" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t tmpfs tmpfs "$R/run"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for d in null zero full random urandom tty; do touch "$R/dev/$d"; mount --bind "/dev/$d" "$R/dev/$d"; done
mkdir -p "$R/dev/pts" "$R/dev/shm"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
ip link set lo up
cd "$R"
exec env -i container=stockade PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$R" $FIRST
"#;

struct Container {
    unshare: Child,
    first: u32,
}

impl Container {
    /// Boots; `up` is what a question put inside answers once all is up.
    fn boot(root: &Path, first: &str, question: &[&str], up: &str) -> Option<Self> {
        let unshare = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"])
            .args(["--fork", "--kill-child", "sh", "-c", BOOT])
            .env("R", root)
            .env("FIRST", first)
            .stdin(std::process::Stdio::null())
            .spawn()
            .expect("unshare");
        let mut it = Self { unshare, first: 0 };
        let children = format!("/proc/{0}/task/{0}/children", it.unshare.id());
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            let number = fs::read_to_string(&children).unwrap_or_default();
            it.first = number.trim().parse().unwrap_or_default();
            let answer = it.enter(question).output().expect("nsenter").stdout;
            if it.first > 0 && String::from_utf8_lossy(&answer).contains(up) {
                return Some(it);
            }
            std::thread::yield_now();
        }
        println!("skipped: `{first}` did not come up in a container");
        None
    }

    /// A command inside.
    fn enter(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.first.to_string(),
            "--all",
            "--root",
            "--wd",
        ]);
        command.args(words);
        command
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Its first process goes with it, and all others with that.
        let _ended = self.unshare.kill();
        let _waited = self.unshare.wait();
    }
}

fn unit(root: &Path, name: &str, command: &str) {
    let text = format!(
        "[Service]\nExecStart={command}\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n"
    );
    put(
        root,
        &format!("etc/systemd/system/{name}.service"),
        0o644,
        (0, 0),
        &text,
    );
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).expect("a directory");
    std::os::unix::fs::symlink(
        format!("/etc/systemd/system/{name}.service"),
        wants.join(format!("{name}.service")),
    )
    .expect("a link");
}

/// A copy of the Debian to boot; none where there is none.
fn system(root: &Path) -> bool {
    let system = Path::new(env!("CARGO_MANIFEST_DIR")).join(SYSTEM);
    if !root_only() {
        return false;
    }
    if !system.join("lib/systemd/systemd").exists() {
        println!(
            "skipped: no {}: the tests of a device from outside make it",
            system.display()
        );
        return false;
    }
    let copied = Command::new("cp").arg("-a").arg(&system).arg(root).status();
    assert!(copied.expect("cp").success());
    fs::copy(
        std::env::current_exe().expect("this program"),
        root.join("test"),
    )
    .expect("copied");
    true
}

/// Runs a test of this program inside of a container.
fn run(container: &Container, name: &str) {
    let test = child(name, &[]);
    let words = test.get_args().map(|it| it.to_str().expect("text"));
    let words: Vec<_> = std::iter::once("/test").chain(words).collect();
    let mut inside = container.enter(&words);
    inside
        .env("STOCKADE_INSIDE", "1")
        .env("PATH", "/usr/bin:/usr/sbin");
    let output = inside.output().expect("nsenter");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("1 passed"), "{said}");
}

/// Whether this is the test inside of a container.
fn is_inside() -> bool {
    std::env::var_os("STOCKADE_INSIDE").is_some()
}

#[test]
fn services_and_trials_under_a_real_systemd() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    if !system(&root) {
        return;
    }
    unit(&root, "door", "/bin/nc -lk 127.0.0.1 7000");
    unit(&root, "tight", "/bin/nc -lk 127.0.0.1 7001");
    unit(&root, "telnet", "/bin/sleep 100000");
    unit(&root, "spare", "/bin/sleep 100000");
    let first = "/lib/systemd/systemd --unit=multi-user.target";
    let up = "systemctl is-active multi-user.target && echo it is up";
    let question = ["sh", "-c", up];
    if let Some(container) = Container::boot(&root, first, &question, "it is up\n") {
        run(&container, "inside_systemd");
    }
}

#[test]
fn services_under_a_real_busybox() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        println!("skipped: no busybox");
        return;
    }
    if !system(&root) {
        return;
    }
    fs::copy(busybox, root.join("bin/busybox")).expect("copied");
    // A Debian may have systemd without its being the first program.
    drop(fs::remove_file(root.join("sbin/init")));
    std::os::unix::fs::symlink("/bin/busybox", root.join("sbin/init")).expect("a link");
    // Programs that stay, under names of their own.
    for name in ["telnetd", "ftpd"] {
        fs::copy(root.join("bin/sleep"), root.join("usr/sbin").join(name)).expect("copied");
    }
    let script = "#!/bin/sh\ncase $1 in\nstart) start-stop-daemon -S -b --exec /usr/sbin/ftpd -- 100000 ;;\nstop) start-stop-daemon -K --exec /usr/sbin/ftpd ;;\nesac\n";
    put(&root, "etc/init.d/S50ftpd", 0o755, (0, 0), script);
    let start = "#!/bin/sh\nfor it in /etc/init.d/S??*; do [ -x $it ] && $it start; done\n";
    put(&root, "etc/init.d/rcS", 0o755, (0, 0), start);
    let table = "::sysinit:/etc/init.d/rcS\n::respawn:/usr/sbin/telnetd 100000\n";
    put(&root, "etc/inittab", 0o644, (0, 0), table);
    // Only once it is in its own root, where `/test` is.
    let question = ["sh", "-c", "test -e /test && cat /proc/[0-9]*/comm"];
    if let Some(container) = Container::boot(&root, "/bin/busybox init", &question, "telnetd\n") {
        run(&container, "inside_busybox");
    }
}

/// Init starts again after a second what it knows of.
fn moments() {
    let slept = Command::new("/bin/sleep").arg("2").status();
    assert!(slept.expect("sleep").success());
}

#[test]
#[ignore = "run by services_under_a_real_busybox"]
fn inside_busybox() {
    if !is_inside() {
        return;
    }
    assert_eq!(
        Live::open().expect("a system").init(),
        Ok(InitSystem::Busybox)
    );
    assert_eq!(["telnetd", "ftpd"].map(running), [true; 2]);
    let etc = Path::new("/etc");
    let before = digest(etc, true);
    let plan = plan(vec![
        service("telnetd", ServiceChange::Mask),
        service("ftpd", ServiceChange::Mask),
    ]);
    let mut applier = Applier::open(Path::new("/"), Path::new("/var/lib/applied")).expect("free");
    let mut quiet = |_: &Moment<'_>| {};
    assert_eq!(applier.apply(&plan, &mut quiet).expect("applied").done, 2);
    moments();
    assert_eq!(["telnetd", "ftpd"].map(running), [false; 2]);
    assert_eq!(
        applier.apply(&plan, &mut quiet).expect("applied").already,
        2
    );
    let undone = applier.undo(Which::All, &mut quiet).expect("undone");
    assert_eq!(undone.left, [""; 0]);
    moments();
    assert_eq!(["telnetd", "ftpd"].map(running), [true; 2]);
    assert_eq!(digest(etc, true), before);
}

fn running(name: &str) -> bool {
    let name = name.parse().expect("a name");
    let states = Init::detect()
        .expect("an answer")
        .expect("an init that runs")
        .states(&name)
        .expect("states");
    states.iter().any(|(_, runs)| *runs)
}

fn service(name: &str, change: ServiceChange) -> Action {
    Action::Service {
        name: name.parse().expect("a name"),
        change,
    }
}

fn confine(name: &str, bounds: &str, port: u16) -> Action {
    Action::Confine {
        service: name.parse().expect("a name"),
        path: dropped(name),
        content: format!("[Service]\n{bounds}\n"),
        health: Health {
            seconds: 2,
            tcp: vec![port],
            udp: Vec::new(),
        },
    }
}

fn dropped(name: &str) -> HostPath {
    path(&format!(
        "/etc/systemd/system/{name}.service.d/60-stockade.conf"
    ))
}

#[test]
#[ignore = "run by services_and_trials_under_a_real_systemd"]
fn inside_systemd() {
    if !is_inside() {
        return;
    }
    let live = Live::open().expect("a system");
    assert_eq!(live.init(), Ok(InitSystem::Systemd));
    let units = Path::new("/etc/systemd");
    let before = digest(units, true);
    let mut stray = Command::new("/bin/sleep")
        .arg("100000")
        .spawn()
        .expect("a process");
    let processes = Live::open().expect("a system");
    let all = processes.processes().expect("processes");
    let started = all
        .iter()
        .find(|it| it.pid == stray.id())
        .expect("it is seen")
        .started;
    let plan = plan(vec![
        service("telnet", ServiceChange::Mask),
        service("spare", ServiceChange::Disable),
        service("door", ServiceChange::Restart),
        confine("door", "NoNewPrivileges=yes\nPrivateTmp=yes", 7000),
        // What it needs is taken from it: it can not stay healthy.
        confine("tight", "SystemCallFilter=~listen", 7001),
        Action::End {
            pid: stray.id(),
            started,
            name: "sleep".to_owned(),
        },
        service("nowhere", ServiceChange::Stop),
    ]);
    let mut applier = Applier::open(Path::new("/"), Path::new("/var/lib/applied")).expect("free");
    let mut quiet = |_: &Moment<'_>| {};
    let done = applier.apply(&plan, &mut quiet).expect("applied");
    assert_eq!((done.done, done.already), (5, 1));
    assert_eq!(done.not_kept.len(), 1);
    assert_eq!(done.not_kept[0].0.as_str(), "tight");
    assert!(stray.try_wait().expect("a child").is_some(), "it ended");
    assert_eq!(
        ["telnet", "spare", "door", "tight"].map(running),
        [false, true, true, true]
    );
    let properties = |unit: &str| {
        let shown = Command::new("systemctl")
            .args([
                "show",
                "--property",
                "LoadState,UnitFileState,NoNewPrivileges,SystemCallFilter",
                unit,
            ])
            .output();
        String::from_utf8(shown.expect("systemctl").stdout).expect("text")
    };
    assert!(properties("telnet").contains("LoadState=masked"));
    assert!(properties("spare").contains("UnitFileState=disabled"));
    assert!(properties("door").contains("NoNewPrivileges=yes"));
    let tight = properties("tight");
    // How systemd writes that there is no filter differs: empty, or `~` alone.
    assert!(
        !tight.contains("listen"),
        "its bounds are the old ones: {tight}"
    );
    assert!(
        !Command::new("systemctl")
            .args(["start", "telnet"])
            .output()
            .expect("systemctl")
            .status
            .success()
    );
    let undone = applier.undo(Which::All, &mut quiet).expect("undone");
    assert_eq!(
        undone.left,
        ["the process `sleep` was ended, and is not started again"]
    );
    assert_eq!(digest(units, true), before);
    assert_eq!(["telnet", "spare", "door", "tight"].map(running), [true; 4]);
    assert!(properties("door").contains("NoNewPrivileges=no"));
    assert!(properties("spare").contains("UnitFileState=enabled"));
}
