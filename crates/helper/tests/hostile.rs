//! Hostile code that runs as the agent, in its sandbox and without it, gets nothing: each attempt is made for real, against the
//! real helper and the real key process, and is made once by root to show that it can succeed.
//!
//! What else needs a whole helper is tried here too: what it tells of refused packets, and what becomes of it without its parts.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails as it does, and says what it skips"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use stockade_api::events::Came;
use stockade_api::helper::{Answer, Request};
use stockade_api::signed::{Command as Order, Order as Do};
use stockade_api::{Blob, Places};
use stockade_host::local::Channel;
use stockade_profile::{Profile, SigningKey, parse, sign};

const AGENT: u32 = 61_000;
const KEYS: u32 = 61_001;
const UPNP: u32 = 61_002;
const SOON: Duration = Duration::from_secs(20);

fn built(name: &str) -> PathBuf {
    let helper = Path::new(env!("CARGO_BIN_EXE_stockade-helper"));
    let path = helper.with_file_name(name);
    assert!(path.is_file(), "{} is not there: build it", path.display());
    path
}

fn profile(model: &str, version: u64) -> Profile {
    let text = format!(
        "schema = 1\n[device]\nmodel = \"{model}\"\nmanufacturer = \"Acme\"\nversion = {version}\nclass = \"linux\"\n\
         [upnp]\nallow-enable = true\nmax-duration = \"1h\"\n[[firewall.out]]\nto = \"gateway\"\nprotocol = \"tcp\"\nport = 8883\n"
    );
    parse(&text).expect("a profile")
}

fn key() -> SigningKey {
    SigningKey::generate(&SystemRandom::new()).unwrap()
}

fn order(device: &str, number: u64, expires: u64) -> Order {
    Order {
        form: Order::FORM,
        device: device.to_owned(),
        number,
        issued: expires - 3600,
        expires,
        order: Do::UpnpOff,
    }
}

/// A device in a folder and in a network namespace, with its helper and its key process.
struct Bench {
    folder: tempfile::TempDir,
    places: Places,
    signer: SigningKey,
    helper: Child,
    keys: Child,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for child in [&mut self.helper, &mut self.keys] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let places = Places::below(folder.path());
        let open = |path: &Path, mode| {
            fs_err::create_dir_all(path).unwrap();
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open(folder.path(), 0o755);
        for path in [
            "etc/systemd/system",
            "etc/cron.d",
            "usr/lib/stockade",
            "tmp",
            "run/stockade",
            "etc/stockade/trust",
        ] {
            open(&folder.path().join(path), 0o755);
        }
        for (path, user) in [(places.agent_state(), AGENT), (places.keys_state(), KEYS)] {
            open(&path, 0o700);
            chown(&path, Some(user), Some(user)).unwrap();
        }
        let signer = key();
        let public = signer.verifying_key().to_pem();
        fs_err::write(places.trust().join("gateway.pub"), public).unwrap();
        let settings = "gateway = \"10.9.0.1\"\ntrust-domain = \"x.example\"\ndevice = \"porch\"\nmodel = \"cam-2\"\n";
        fs_err::write(places.settings(), settings).unwrap();
        fs_err::write(folder.path().join("usr/lib/stockade/stockade-helper"), "x").unwrap();
        fs_err::write(places.keys_state().join("device.p8"), "a key").unwrap();
        let keys = Self::start_keys(&places);
        let helper = Self::start_helper(&places);
        Self {
            folder,
            places,
            signer,
            helper,
            keys,
        }
    }

    fn start_helper(places: &Places) -> Child {
        let child = Command::new(env!("CARGO_BIN_EXE_stockade-helper"))
            .arg("--root")
            .arg(places.root())
            .args([
                "--agent",
                &AGENT.to_string(),
                "--keys",
                &KEYS.to_string(),
                "--upnp",
                &UPNP.to_string(),
            ])
            .spawn()
            .unwrap();
        there(&places.helper_socket());
        child
    }

    fn start_keys(places: &Places) -> Child {
        let child = Command::new(built("stockade-keys"))
            .arg("--root")
            .arg(places.root())
            .args(["--user", &KEYS.to_string(), "--agent", &AGENT.to_string()])
            .spawn()
            .unwrap();
        there(&places.keys_socket());
        child
    }

    fn ask(&self, request: &Request) -> Answer {
        let mut channel = Channel::connect(&self.places.helper_socket(), SOON).unwrap();
        channel.call(request).unwrap()
    }

    /// A file that the hostile program finds.
    fn lay(&self, name: &str, bytes: &[u8]) {
        fs_err::write(self.folder.path().join("tmp").join(name), bytes).unwrap();
    }

    fn hostile(&self, user: u32, how: &str) -> Command {
        let helper = Path::new(env!("CARGO_BIN_EXE_stockade-helper"));
        let program = helper.with_file_name("examples").join("hostile");
        let mut command = Command::new(program);
        command
            .arg(self.places.root())
            .args([&user.to_string(), how])
            .args([self.helper.id(), self.keys.id(), self.part("runner")].map(|it| it.to_string()));
        command
    }

    /// The process of one of the helper's parts.
    fn part(&self, role: &str) -> u32 {
        let helper = self.helper.id();
        let parts = format!("/proc/{helper}/task/{helper}/children");
        let parts = fs_err::read_to_string(parts).unwrap();
        let is_it = |part: &&str| {
            let words = fs_err::read(format!("/proc/{part}/cmdline")).unwrap();
            words
                .split(|byte| *byte == 0)
                .any(|word| word == role.as_bytes())
        };
        let part = parts.split_whitespace().find(is_it).unwrap();
        part.parse().unwrap()
    }

    /// What came of each attempt: whether it was done, and what was said.
    fn attempts(&self, user: u32, how: &str) -> BTreeMap<String, (bool, String)> {
        let ended = self.hostile(user, how).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let text = String::from_utf8(ended.stdout).unwrap();
        let line = |line: &str| {
            let mut parts = line.splitn(3, '\t').map(str::to_owned);
            let (name, done) = (parts.next().unwrap(), parts.next().unwrap() == "done");
            (name, (done, parts.next().unwrap_or_default()))
        };
        text.lines().map(line).collect()
    }
}

fn there(path: &Path) {
    let begun = Instant::now();
    while std::os::unix::net::UnixStream::connect(path).is_err() {
        assert!(begun.elapsed() < SOON, "{} is not there", path.display());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A network of our own, with a way to the gateway; or not, and why.
fn apart() -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: users and network namespaces need root");
        return false;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let commands = "link set lo up\nlink add wan type veth peer name far\nlink set wan up\nlink set far up\n\
                    addr add 10.9.0.2/24 dev wan\nroute add default via 10.9.0.1\n";
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut ip.stdin.take().unwrap(), commands.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success());
    true
}

/// Signed things for the agent to try.
fn lay_all(bench: &Bench) {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    let other = key();
    let good = sign(&profile("cam-2", 7), &bench.signer);
    bench.lay("profile", &good);
    bench.lay("unsigned", &profile("cam-2", 9).canonical());
    bench.lay("other-signer", &sign(&profile("cam-2", 9), &other));
    bench.lay("other-model", &sign(&profile("siren-1", 9), &bench.signer));
    bench.lay("older", &sign(&profile("cam-2", 6), &bench.signer));
    let mut changed = sign(&profile("cam-2", 9), &bench.signer);
    let at = changed.windows(5).position(|it| it == b"cam-2").unwrap();
    changed[at + 4] = b'3';
    bench.lay("changed", &changed);
    let later = now + 3600;
    bench.lay(
        "command-other-device",
        &order("attic", 50, later).sign(&bench.signer),
    );
    bench.lay(
        "command-expired",
        &order("porch", 51, now - 10).sign(&bench.signer),
    );
    bench.lay(
        "command-other-signer",
        &order("porch", 52, later).sign(&other),
    );
    let done = order("porch", 5, later).sign(&bench.signer);
    bench.lay("command-done", &done);
    // The controls of the experiment: what is right is taken.
    let installed = bench.ask(&Request::InstallProfile { signed: Blob(good) });
    assert!(
        matches!(installed, Answer::Installed { version: 7, .. }),
        "{installed:?}"
    );
    let did = bench.ask(&Request::Command { signed: Blob(done) });
    assert!(matches!(did, Answer::Done), "{did:?}");
}

/// What each attempt ends with when it is refused, and why that is the right reason.
const REASONS: &[(&str, &[&str])] = &[
    ("nft", &["EPERM", "Operation not permitted"]),
    ("key file", &["Permission denied"]),
    ("password file", &["Permission denied"]),
    ("settings of the firewall", &["Permission denied"]),
    ("memory of ", &["Permission denied"]),
    ("vm of ", &["EPERM"]),
    ("trace ", &["EPERM"]),
    ("descriptor of ", &["Operation not permitted"]),
    ("environment of ", &["Permission denied"]),
    ("write ", &["Permission denied"]),
    ("take the helper's socket away", &["Permission denied"]),
    ("port 80", &["Permission denied"]),
    ("become root", &["EPERM"]),
    ("apply as root", &["Forbidden"]),
    ("undo as root", &["Forbidden"]),
    ("reset the password", &["Forbidden"]),
    ("no such front", &["Profile"]),
    (
        "a name of its own",
        &["Profile: the profile says nothing of `evil.example`"],
    ),
    ("profile unsigned", &["Signature"]),
    (
        "profile by another",
        &["Signature: the profile is signed with the key"],
    ),
    (
        "profile of another model",
        &["Signature: this profile is for the model `siren-1`"],
    ),
    ("profile changed", &["Signature: the signature by the key"]),
    (
        "profile older",
        &["Stale: version 6 is older than version 7"],
    ),
    (
        "command for another",
        &["Signature: this command is for `attic`"],
    ),
    ("command expired", &["Stale: command 51 is out of date"]),
    (
        "command by another",
        &["Signature: it is signed with the key"],
    ),
    ("command replayed", &["Stale: command 5 was done before"]),
    (
        "a profile as a command",
        &["Signature: this is another message"],
    ),
    ("upnp without a password", &["Password"]),
    ("upnp with a wrong one", &["Password"]),
    ("apply with a wrong one", &["Password"]),
    ("evidence of its own", &["root"]),
];

#[test]
fn hostile_code_as_the_agent_gets_nothing_that_root_would_not_give() {
    if !apart() {
        return;
    }
    let bench = Bench::new();
    assert!(matches!(
        bench.ask(&Request::ResetPassword),
        Answer::Password { .. }
    ));
    lay_all(&bench);
    let mut wrong = Vec::new();
    for how in ["sandbox", "bare"] {
        let came = bench.attempts(AGENT, how);
        for (name, (done, said)) in &came {
            // Looking at routes is nobody's secret, outside of the sandbox.
            if name == "netlink" && how == "bare" {
                continue;
            }
            if *done {
                wrong.push(format!("{how}: {name} was done: {said}"));
            }
            let reasons = REASONS.iter().find(|(start, _)| name.starts_with(start));
            let right = reasons.is_none_or(|(_, texts)| texts.iter().any(|it| said.contains(it)));
            if !done && !right {
                wrong.push(format!("{how}: {name} failed for another reason: {said}"));
            }
        }
        assert!(came.len() > 40, "{came:?}");
        // Tries cost time, and none is left for the next round.
        assert!(matches!(
            bench.ask(&Request::ResetPassword),
            Answer::Password { .. }
        ));
    }
    // The same attempts can succeed: root makes them.
    let came = bench.attempts(0, "bare");
    for (name, (done, said)) in &came {
        let direct = !REASONS
            .iter()
            .skip_while(|(it, _)| *it != "apply as root")
            .any(|(it, _)| name == it);
        if direct && !done {
            wrong.push(format!("root: {name}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_flood_by_the_agent_does_not_keep_root_out() {
    if !apart() {
        return;
    }
    let bench = Bench::new();
    lay_all(&bench);
    let mut floods: Vec<Child> = (0..3)
        .map(|_| {
            bench
                .hostile(AGENT, "flood")
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    std::thread::park_timeout(Duration::from_secs(2));
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = bench.ask(&Request::Status);
        assert!(matches!(answer, Answer::Status(_)), "{answer:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
    for flood in &mut floods {
        assert!(flood.try_wait().unwrap().is_none(), "it still floods");
        drop(flood.kill());
        drop(flood.wait());
    }
}

#[test]
fn what_the_helper_knows_outlives_a_kill_and_nothing_is_done_twice() {
    if !apart() {
        return;
    }
    let mut bench = Bench::new();
    lay_all(&bench);
    drop(bench.helper.kill());
    drop(bench.helper.wait());
    bench.helper = Bench::start_helper(&bench.places);
    let Answer::Status(status) = bench.ask(&Request::Status) else {
        panic!("no status");
    };
    assert_eq!((status.profile_version, status.done), (Some(7), 5));
    let done = fs_err::read(bench.folder.path().join("tmp/command-done")).unwrap();
    let again = bench.ask(&Request::Command { signed: Blob(done) });
    assert!(matches!(again, Answer::Refused(_)), "{again:?}");
    // Whatever becomes of the profile's file, none from before it is taken.
    let file = bench.places.helper_state().join("profile.cose");
    let laid = |name: &str| fs_err::read(bench.folder.path().join("tmp").join(name)).unwrap();
    let (older, good) = (laid("older"), laid("profile"));
    for put_back in [false, true] {
        drop(bench.helper.kill());
        drop(bench.helper.wait());
        fs_err::remove_file(&file).unwrap();
        if put_back {
            fs_err::write(&file, &older).unwrap();
        }
        bench.helper = Bench::start_helper(&bench.places);
        let Answer::Status(status) = bench.ask(&Request::Status) else {
            panic!("no status");
        };
        assert_eq!(status.profile_version, None);
        let told = status.troubles.iter().any(|it| it.contains("is older"));
        assert_eq!(told, put_back, "{status:?}");
        let install = |signed: &[u8]| {
            bench.ask(&Request::InstallProfile {
                signed: Blob(signed.to_vec()),
            })
        };
        let stale = install(&older);
        assert!(
            matches!(&stale, Answer::Refused(why) if why.why.starts_with("version 6 is older than version 7")),
            "{stale:?}"
        );
        let again = install(&good);
        assert!(
            matches!(again, Answer::Installed { version: 7, .. }),
            "{again:?}"
        );
    }
    // What came of each thing is told, in a form that the gateway reads.
    let Answer::Events { events, .. } = bench.ask(&Request::Events { after: 0 }) else {
        panic!("no events");
    };
    let came: Vec<Came> = events.iter().filter_map(Came::read).collect();
    let says = "it is done".to_owned();
    let (number, done) = (5, true);
    assert!(
        came.contains(&Came::Command { number, done, says }),
        "{came:?}"
    );
    let older = Came::name(&older);
    let refused = |it: &Came| matches!(it, Came::Profile { name, .. } if *name == older);
    assert_eq!(came.iter().filter(|it| refused(it)).count(), 2, "{came:?}");
    // A key that root takes away counts no more, at the next start.
    fs_err::remove_file(bench.places.trust().join("gateway.pub")).unwrap();
    drop(bench.helper.kill());
    drop(bench.helper.wait());
    bench.helper = Bench::start_helper(&bench.places);
    let Answer::Status(status) = bench.ask(&Request::Status) else {
        panic!("no status");
    };
    assert_eq!(status.profile_version, None);
    assert!(
        status.troubles.iter().any(|it| it.contains("not trusted")),
        "{status:?}"
    );
}

#[test]
fn what_the_firewall_refuses_is_an_event_with_the_rule_that_is_missing() {
    if !apart() {
        return;
    }
    let bench = Bench::new();
    lay_all(&bench);
    let socket = std::net::UdpSocket::bind("10.9.0.2:0").unwrap();
    let begun = Instant::now();
    let told = loop {
        // The kernel itself says no: that is how a program notices it.
        let sent = socket.send_to(b"x", "10.9.0.9:9999");
        assert!(sent.is_err(), "the rules are not in force");
        let Answer::Events { events, .. } = bench.ask(&Request::Events { after: 0 }) else {
            panic!("no events");
        };
        let blocked: Vec<String> = events
            .into_iter()
            .filter(|it| it.kind == "blocked" && it.says.contains("10.9.0.9"))
            .map(|it| it.says)
            .collect();
        if !blocked.is_empty() {
            break blocked;
        }
        assert!(begun.elapsed() < SOON, "nothing was told");
        std::thread::park_timeout(Duration::from_millis(200));
    };
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("Refused udp port 9999 to 10.9.0.9"));
    assert!(
        told[0].contains(": no rule allows it; this rule would allow it: [[firewall.out]] to =")
    );
}

#[test]
fn a_helper_without_one_of_its_parts_ends_and_answers_again_after_a_start() {
    if !apart() {
        return;
    }
    let mut bench = Bench::new();
    let launcher = i32::try_from(bench.part("launcher")).unwrap();
    let launcher = nix::unistd::Pid::from_raw(launcher);
    let page = Request::Listen {
        what: stockade_api::helper::Socket::Page,
    };
    assert!(matches!(bench.ask(&page), Answer::Listening));
    nix::sys::signal::kill(launcher, nix::sys::signal::Signal::SIGKILL).unwrap();
    let mut channel = Channel::connect(&bench.places.helper_socket(), SOON).unwrap();
    let answer = channel.call::<_, Answer>(&page);
    assert!(answer.is_err(), "{answer:?}");
    let ended = bench.helper.wait().unwrap();
    assert!(!ended.success(), "{ended:?}");
    bench.helper = Bench::start_helper(&bench.places);
    assert!(matches!(bench.ask(&page), Answer::Listening));
}
