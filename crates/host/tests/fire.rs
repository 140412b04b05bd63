//! Applying under fire: floods, deaths at every step, an nft that fails half-way, a full disk, a vanished interface.

mod common;

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::cable::{Cable, DEVICE};
use common::{listed, nft, pause, run};
use stockade_host::firewall::{Checked, Firewall, FirewallError, How, Settled, Wanted};
use stockade_host::nft::{Nft, NftError};
use stockade_host::surroundings::Told;

/// How often the rules are replaced in the flood.
const RELOADS: u32 = 400;
/// A port that both rulesets let through, one that neither does, and those that tell the two apart.
const ALLOWED: u16 = 1000;
const FORBIDDEN: u16 = 1003;
const FIRST: u16 = 1001;
const SECOND: u16 = 1002;

const HEAD: &str = "schema = 1

[device]
model = \"lamp-1\"
manufacturer = \"Acme\"
version = 1
class = \"linux\"
";

fn wanted(ports: &[(&str, u16)]) -> Wanted {
    let rule = |(protocol, port): &(&str, u16)| {
        format!(
            "\n[[firewall.in]]\nfrom = \"local-network\"\nprotocol = \"{protocol}\"\nport = {port}\n"
        )
    };
    let rules: String = ports.iter().map(rule).collect();
    let text = format!("{HEAD}{rules}");
    let checked = stockade_profile::check(&text);
    let profile = checked
        .profile
        .unwrap_or_else(|| panic!("{:?}", checked.faults));
    Wanted {
        profile,
        text,
        told: Told::default(),
        session: None,
    }
}

/// The rules themselves are judged elsewhere.
fn at(state: &Path) -> Firewall {
    Firewall::at(state).expect("nft").trusting()
}

fn with(nft: &Path, state: &Path) -> Firewall {
    Firewall::with(Nft::at(nft), state).trusting()
}

fn first() -> Wanted {
    wanted(&[("udp", ALLOWED), ("tcp", FIRST)])
}

fn second() -> Wanted {
    wanted(&[("udp", ALLOWED), ("tcp", SECOND)])
}

/// Datagrams from the peer to the two ports, and a table of its own that counts what our rules let through.
struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(cable: &Cable) -> Self {
        // Behind our chains: whatever comes here was let through.
        nft(&format!(
            "table inet witness {{ chain c {{ type filter hook input priority 100; \
             udp dport {ALLOWED} counter; udp dport {FORBIDDEN} counter; }}; }}"
        ));
        let (over, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stop, count) = (Arc::clone(&over), Arc::clone(&sent));
        let thread = cable.thread_at_peer(move || {
            while !stop.load(Ordering::Relaxed) {
                // New flows and packets of open ones.
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
                for _ in 0..20 {
                    for port in [ALLOWED, FORBIDDEN] {
                        socket.send_to(b"x", (DEVICE, port)).expect("sent");
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
                pause(Duration::from_millis(2));
            }
        });
        Self {
            over,
            sent,
            thread: Some(thread),
        }
    }

    /// How many datagrams were sent to each port, and how many came through to the allowed and the forbidden one.
    fn end(mut self) -> (u64, u64, u64) {
        self.over.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .map(std::thread::JoinHandle::join)
            .expect("once")
            .expect("a sound end");
        pause(Duration::from_millis(200));
        let through: Vec<u64> = listed("list table inet witness")
            .lines()
            .filter_map(|line| {
                line.split_once("packets ")?
                    .1
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        (self.sent.load(Ordering::Relaxed), through[0], through[1])
    }
}

#[test]
fn under_a_flood_and_400_reloads_nothing_leaks_and_nothing_allowed_is_lost() {
    let Some(cable) = Cable::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = at(&folder.path().join("firewall"));
    firewall.apply(&first(), How::AtOnce).expect("applied");
    let flood = Flood::start(&cable);
    for round in 0..RELOADS {
        let wanted = if round % 2 == 0 { second() } else { first() };
        let applied = firewall.apply(&wanted, How::AtOnce).expect("applied");
        assert_eq!(
            applied.cut.cut,
            [],
            "the flows of the flood are allowed by both"
        );
    }
    let (sent, allowed, leaked) = flood.end();
    common::say(&format!(
        "{RELOADS} reloads, {sent} datagrams to each port: {leaked} leaked, {} lost",
        sent - allowed
    ));
    assert!(sent > 1000, "a flood");
    assert_eq!((leaked, allowed), (0, sent));
}

/// An nft that kills who called it: before or after its call of a number.
fn deadly(folder: &Path, call: u32, after: bool) -> PathBuf {
    let program = folder.join("nft");
    let (before, behind) = if after {
        ("", "kill -9 $PPID")
    } else {
        ("kill -9 $PPID", "")
    };
    script(
        &program,
        &format!(
            "n=$(cat {0}/calls 2>/dev/null || echo 0); n=$((n+1)); echo $n > {0}/calls\n\
             if [ $n = {call} ]; then {before}\n/usr/sbin/nft \"$@\"; code=$?\n{behind}\nexit $code; fi\n\
             exec /usr/sbin/nft \"$@\"",
            folder.display()
        ),
    );
    program
}

fn script(program: &Path, text: &str) {
    fs_err::write(program, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs_err::set_permissions(program, std::fs::Permissions::from_mode(0o700)).expect("its mode");
}

/// Not a test: what is killed. It applies the second rules with the nft and in the way that its environment says.
#[test]
#[ignore = "it is started by the test of deaths"]
fn the_one_that_dies() {
    let variable = |name: &str| std::env::var(name).expect("set by the test of deaths");
    let firewall = with(
        Path::new(&variable("DEADLY_NFT")),
        Path::new(&variable("DEADLY_STATE")),
    );
    let how = match variable("DEADLY_HOW").as_str() {
        "now" => How::AtOnce,
        _ => How::Trial(Duration::from_secs(5)),
    };
    match variable("DEADLY_DO").as_str() {
        "confirm" => drop(firewall.confirm().expect("confirmed")),
        "undo" => drop(firewall.undo().expect("undone")),
        _ => drop(firewall.apply(&second(), how).expect("applied")),
    }
}

/// Runs it; whether it was killed.
fn dies(nft: &Path, state: &Path, what: &str, how: &str) -> bool {
    let status = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_one_that_dies", "--ignored"])
        .env("DEADLY_NFT", nft)
        .env("DEADLY_STATE", state)
        .env("DEADLY_DO", what)
        .env("DEADLY_HOW", how)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("started");
    let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    assert!(killed || status.success(), "{status}");
    killed
}

/// The first rules are in force or the second, never none and never both; whether it is the first.
fn one_of_two(cable: &Cable) -> bool {
    // A busy machine answers late, and a trial may end between the two looks.
    for _ in 0..10 {
        let (first, second) = (cable.reaches(FIRST), cable.reaches(SECOND));
        if first != second {
            return first;
        }
    }
    panic!(
        "neither of the two is in force, or both are: {}",
        listed("list ruleset")
    );
}

/// The rules without what they counted.
fn rules() -> String {
    let counted = |line: &str| match line.split_once("counter packets ") {
        Some((before, after)) => {
            format!("{before}{}", after.split(' ').skip(3).collect::<String>())
        }
        None => line.to_owned(),
    };
    listed("list ruleset").lines().map(counted).collect()
}

#[test]
fn a_death_at_any_call_of_nft_leaves_the_old_rules_or_the_new_ones_and_never_none() {
    let Some(cable) = Cable::new() else { return };
    let _listeners = cable.listen(&[FIRST, SECOND]);
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("firewall");
    let firewall = at(&state);
    firewall.apply(&first(), How::AtOnce).expect("applied");
    let flood = Flood::start(&cable);
    let mut deaths = 0;
    for (what, how) in [
        ("apply", "trial"),
        ("apply", "now"),
        ("confirm", ""),
        ("undo", ""),
    ] {
        for call in 1.. {
            let mut died = false;
            for after in [false, true] {
                if what != "apply" {
                    let trial = How::Trial(Duration::from_mins(1));
                    firewall.apply(&second(), trial).expect("on trial");
                }
                drop(fs_err::remove_file(folder.path().join("calls")));
                let nft = deadly(folder.path(), call, after);
                let killed = dies(&nft, &state, what, how);
                died |= killed;
                deaths += u32::from(killed);
                // Right after the death, and after whoever looks next has tidied up.
                one_of_two(&cable);
                let status = firewall.status().expect("it can be settled");
                if matches!(status.settled, Settled::Trial { .. }) {
                    firewall.undo().expect("back");
                    assert!(one_of_two(&cable), "the first rules are back");
                }
                if !one_of_two(&cable) {
                    firewall.apply(&first(), How::AtOnce).expect("applied");
                }
            }
            if !died {
                break;
            }
        }
    }
    let (sent, allowed, leaked) = flood.end();
    common::say(&format!(
        "{deaths} deaths, {sent} datagrams: {leaked} leaked, {} lost",
        sent - allowed
    ));
    assert!(deaths > 40, "{deaths} deaths");
    assert_eq!((leaked, allowed), (0, sent));
}

#[test]
fn a_death_at_any_moment_leaves_the_old_rules_or_the_new_ones_and_never_none() {
    let Some(cable) = Cable::new() else { return };
    let _listeners = cable.listen(&[FIRST, SECOND]);
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("firewall");
    let firewall = at(&state);
    firewall.apply(&first(), How::AtOnce).expect("applied");
    let flood = Flood::start(&cable);
    let mut killed = 0;
    for round in 0..30u64 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "the_one_that_dies", "--ignored"])
            .env("DEADLY_NFT", "/usr/sbin/nft")
            .env("DEADLY_STATE", &state)
            .env("DEADLY_DO", "apply")
            .env("DEADLY_HOW", if round % 2 == 0 { "now" } else { "trial" })
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        // Spread over its whole life, in steps that no clock of the machine shares.
        pause(Duration::from_millis(3 + round * 7 % 211));
        killed += u32::from(child.try_wait().expect("a state").is_none());
        drop(child.kill());
        child.wait().expect("its end");
        // An nft that it had started may still be at work, on rules that are whole.
        pause(Duration::from_millis(30));
        one_of_two(&cable);
        let status = firewall.status().expect("it can be settled");
        if matches!(status.settled, Settled::Trial { .. }) {
            firewall.undo().expect("back");
        }
        if !one_of_two(&cable) {
            firewall.apply(&first(), How::AtOnce).expect("applied");
        }
    }
    let (sent, allowed, leaked) = flood.end();
    common::say(&format!(
        "{killed} deaths, {sent} datagrams: {leaked} leaked, {} lost",
        sent - allowed
    ));
    assert!(killed > 5, "{killed} deaths");
    assert_eq!((leaked, allowed), (0, sent));
}

#[test]
fn an_nft_that_fails_or_lies_half_way_leaves_the_old_rules_in_force() {
    let Some(cable) = Cable::new() else { return };
    let _listeners = cable.listen(&[FIRST, SECOND]);
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("firewall");
    Firewall::at(&state)
        .expect("nft")
        .apply(&first(), How::AtOnce)
        .expect("applied");
    let before = rules();
    let program = folder.path().join("nft");
    let real = "exec /usr/sbin/nft \"$@\"";
    let fails = |text: &str| {
        script(&program, text);
        let firewall = with(&program, &state);
        let error = firewall
            .apply(&second(), How::AtOnce)
            .expect_err("it fails");
        assert!(cable.reaches(FIRST) && !cable.reaches(SECOND), "{error}");
        let status = Firewall::at(&state)
            .expect("nft")
            .status()
            .expect("a status");
        assert_eq!(
            (status.settled, status.pending),
            (Settled::Quiet, None),
            "{error}"
        );
        error
    };
    // It checks, and then does not load.
    let error = fails(&format!(
        "[ \"$1\" = --file ] && {{ echo '/dev/stdin:1:1-5: Error: out of memory' >&2; exit 1; }}\n{real}"
    ));
    assert!(
        matches!(error, FirewallError::Nft(NftError::Refused { .. })),
        "{error}"
    );
    assert_eq!(rules(), before);
    // It dies when it should load.
    let error = fails(&format!("[ \"$1\" = --file ] && kill -9 $$\n{real}"));
    assert!(
        matches!(error, FirewallError::Nft(NftError::Died { .. })),
        "{error}"
    );
    assert_eq!(rules(), before);
    // It loads something else the first time: one port more than there should be.
    let error = fails(&format!(
        "if [ \"$1\" = --file ] && [ ! -e {0}/lied ]; then touch {0}/lied; sed 's/{SECOND}/{SECOND}-{FORBIDDEN}/' | /usr/sbin/nft -f -; exit; fi\n{real}",
        folder.path().display()
    ));
    assert!(matches!(error, FirewallError::NotAsWritten(_)), "{error}");
    assert_eq!(rules(), before, "back to the byte");
    // It is gone.
    fs_err::remove_file(&program).expect("removed");
    let firewall = with(&program, &state);
    let error = firewall
        .apply(&second(), How::AtOnce)
        .expect_err("it is gone");
    assert!(
        error.to_string().contains("install the package nftables"),
        "{error}"
    );
    assert_eq!(rules(), before);
}

#[test]
fn a_full_disk_stops_a_change_before_it_begins() {
    let Some(cable) = Cable::new() else { return };
    let _listeners = cable.listen(&[FIRST, SECOND]);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let folder = tempfile::tempdir().expect("a folder");
    run("mount", "--make-rprivate /", "");
    run(
        "mount",
        &format!(
            "-t tmpfs -o size=256k,mode=700 tmpfs {}",
            folder.path().display()
        ),
        "",
    );
    let state = folder.path().join("firewall");
    let firewall = at(&state);
    firewall.apply(&first(), How::AtOnce).expect("applied");
    let before = rules();
    let filler = folder.path().join("filler");
    assert!(
        fs_err::write(&filler, vec![0; 1024 * 1024]).is_err(),
        "the disk is full"
    );
    let error = firewall
        .apply(&second(), How::Trial(Duration::from_mins(1)))
        .expect_err("full");
    assert!(matches!(error, FirewallError::State(_)), "{error}");
    assert_eq!(rules(), before);
    fs_err::remove_file(&filler).expect("room again");
    assert!(matches!(firewall.check(None), Ok(Checked::Same { .. })));
    firewall.apply(&second(), How::AtOnce).expect("applied");
    assert!(cable.reaches(SECOND));
    run("umount", &folder.path().display().to_string(), "");
}

#[test]
fn an_interface_that_vanishes_takes_no_other_rules_with_it() {
    let Some(cable) = Cable::new() else { return };
    let _listeners = cable.listen(&[FIRST]);
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = at(&folder.path().join("firewall"));
    let frame = "\n[[firewall.frame]]\ndirection = \"in\"\nethertype = 0x888e\n";
    let text = format!("{}{frame}", first().text);
    let checked = stockade_profile::check(&text);
    let wanted = Wanted {
        profile: checked
            .profile
            .unwrap_or_else(|| panic!("{:?}", checked.faults)),
        text,
        ..first()
    };
    common::ip("link add name spare type veth peer name other");
    common::ip("link set dev spare up");
    common::ip("link set dev other up");
    firewall.apply(&wanted, How::AtOnce).expect("applied");
    assert!(listed("list table netdev stockade").contains("spare"));
    common::ip("link del dev spare");
    assert!(cable.reaches(FIRST) && !cable.reaches(SECOND));
    let checked = firewall.check(None).expect("an answer");
    assert!(
        !matches!(checked, Checked::Unjudged(_) | Checked::Nothing),
        "{checked:?}"
    );
    firewall.refresh().expect("brought up to date");
    assert!(matches!(firewall.check(None), Ok(Checked::Same { .. })));
    assert!(cable.reaches(FIRST) && !cable.reaches(SECOND));
}
