//! Power goes while a plan is carried out or undone: afterwards the device is as it was or as it should be, never between.

use std::cell::Cell;
use std::time::{Duration, Instant};

use stockade_e2e::tools::{eventually, say, stockade};
use stockade_e2e::vmlab::{Guest, Job, lab};

const ROUNDS: u32 = 15;

const PROFILE: &str = r#"schema = 1

[device]
manufacturer = "Acme"
model = "power-1"
version = 1
class = "linux"

[credentials]
ssh = "keys-only"

[privileges]
root-services = []
setuid = []

[programs]
packages = ["base"]
services = []
"#;

/// A small system on a disk, with faults that many steps mend.
const SYSTEM: &str = r"set -e
mkfs.ext4 -q /dev/vda
mount /dev/vda /mnt
mkdir /mnt/root
cd /mnt/root
mkdir -p sbin lib/systemd/system etc/ssh etc/cron.d etc/systemd/system/multi-user.target.wants usr/bin usr/sbin srv root var/lib
echo program | tee sbin/init >usr/sbin/nologin
: >lib/systemd/systemd
printf 'root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n' >etc/passwd
printf 'root:*:19000:0:99999:7:::\ntoor:*:19000:0:99999:7:::\n' >etc/shadow
printf 'root:x:0:\n' >etc/group
: >etc/.pwd.lock
chmod 640 etc/shadow
chmod 600 etc/.pwd.lock
for number in 1 2 3 4 5 6 7 8 9 10 11 12; do
    echo program >usr/bin/lends$number
    chmod 4755 usr/bin/lends$number
    echo x >srv/open$number
    echo '* * * * * root true' >etc/cron.d/job$number
    chmod 666 srv/open$number etc/cron.d/job$number
done
for name in telnet ftp tftp; do
    printf '[Service]\nExecStart=/usr/sbin/in.%s\n[Install]\nWantedBy=multi-user.target\n' $name >lib/systemd/system/$name.service
    ln -s /lib/systemd/system/$name.service etc/systemd/system/multi-user.target.wants/
done
sync
";

/// Everything about every file, but when it was written.
const WHAT: &str = "cd /mnt/root && find . -printf '%p %y %m %U:%G %l\\n' | sort && find . -type f | sort | xargs sha256sum";
/// When they were written.
const WHEN: &str = "cd /mnt/root && find . -printf '%p %T@\\n' | sort";

#[test]
fn a_power_cut_leaves_the_old_or_the_new_never_what_is_between() {
    let Some(lab) = lab("power cuts of `apply`") else {
        return;
    };
    let machine = lab.guest("device").disk(&lab.disk("disk", 64));
    fs_err::write(machine.share().join("profile.toml"), PROFILE).expect("written");
    let program = stockade().expect("built");
    let device = |what: &str| {
        let program = program.display();
        format!(
            "{program} device {what} --root /mnt/root --keep /mnt/keep --profile /lab/profile.toml"
        )
    };
    let work = format!("{}; {}", device("apply --yes"), device("undo"));
    let begin = |guest: &Guest| -> Job {
        let job = guest.start(&work);
        let begun = eventually("the first step is done", Duration::from_mins(2), || {
            Ok(guest.so_far(job).contains("  1/").then_some(()))
        });
        assert!(begun.is_ok(), "it does not begin: {}", guest.so_far(job));
        job
    };

    // Once without a cut: what is old, what is new, and how long it takes.
    let guest = machine.boot();
    guest.sh(SYSTEM);
    let old = guest.sh(WHAT);
    let times = guest.sh(WHEN);
    let applied = guest.run(&device("apply --yes"));
    assert!(applied.text.contains(" steps done"), "{}", applied.text);
    let new = guest.sh(WHAT);
    guest.sh(&device("undo"));
    let back = |guest: &Guest, round: &str| {
        assert_eq!(differences(&guest.sh(WHAT), &old), [""; 0], "{round}");
        assert_eq!(differences(&guest.sh(WHEN), &times), [""; 0], "{round}");
    };
    back(&guest, "without a cut");
    let job = begin(&guest);
    let begun = Instant::now();
    guest.wait(job, Duration::from_mins(2));
    let window = begun.elapsed();
    guest.power_off();

    let (between, whole) = (Cell::new(0), Cell::new(0));
    let check = |round: u32, guest: &Guest| {
        guest.sh("mount /dev/vda /mnt");
        let found = guest.sh(WHAT);
        let undone = guest.run(&device("undo"));
        if undone.text.contains("cut short") {
            between.set(between.get() + 1);
        } else {
            let from_new = differences(&found, &new);
            assert!(
                found == old || from_new.is_empty(),
                "round {round}: {from_new:#?}\n{}",
                undone.text
            );
            whole.set(whole.get() + 1);
        }
        back(guest, &format!("round {round}: {}", undone.text));
    };
    machine.rounds(ROUNDS, window, check, |round, guest| {
        if round == 0 {
            guest.sh("mount /dev/vda /mnt");
        }
        begin(guest);
    });
    let (between, whole) = (between.get(), whole.get());
    say(&format!(
        "{ROUNDS} power cuts within {window:?}: {between} between two steps, {whole} before or after all of them"
    ));
    assert!(
        between > ROUNDS / 4,
        "only {between} cuts met a plan half done"
    );
}

/// Lines that only one of them has.
fn differences<'a>(one: &'a str, other: &'a str) -> Vec<&'a str> {
    let alone = |a: &'a str, b: &'a str| {
        a.lines()
            .filter(move |line| !b.lines().any(|known| known == *line))
    };
    alone(one, other).chain(alone(other, one)).collect()
}
