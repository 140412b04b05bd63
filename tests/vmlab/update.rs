//! A device with two slots: updated, its power cut at any moment, its new systems sick, its metadata old or forged.

use std::cell::Cell;
use std::process::Command;
use std::time::{Duration, Instant};

use stockade_api::update::{Errand, Job, Phase, Said, Slot, Slots, Standing};
use stockade_e2e::tools::{built, say, succeed};
use stockade_e2e::vmlab::{Guest, lab};
use stockade_update::maker::{Key, Maker};
use stockade_update::target::{FORM, Kind, System};
use time::OffsetDateTime;

const ROUNDS: u32 = 15;
const IMAGE: usize = 2 * 1024 * 1024;
const BOOT: &str = "python3 -I -S /lab/boot.py";

/// Once: what is on the disks of a new device. And at each start: its root, with its own devices and its own state.
const NEW: &str = "set -e
mkfs.ext4 -q /dev/vdd
cat /lab/system-1 >/dev/vda
python3 /lab/boot.py init
sync
";
const ROOT: &str = "set -e
mkdir -p /run/device/dev /run/device/proc /run/device/etc/stockade/update /run/device/var/lib/stockade
mount /dev/vdd /run/device/var/lib/stockade
cp -a /dev/vda /run/device/dev/a
cp -a /dev/vdb /run/device/dev/b
cp -a /dev/vdc /run/device/dev/env
[ ! -e /dev/tpmrm0 ] || cp -a /dev/tpmrm0 /run/device/dev/
printf '/dev/env 0 0x4000\\n/dev/env 0x4000 0x4000\\n' >/run/device/etc/fw_env.config
cp /lab/repository/metadata/1.root.json /run/device/etc/stockade/update/root.json
";

/// A system: its version first, its digest last.
fn image(version: u64) -> Vec<u8> {
    let mut image = format!("{version}\n").into_bytes();
    let mut seed = version;
    while image.len() < IMAGE - 32 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        image.extend(seed.to_be_bytes());
    }
    image.truncate(IMAGE - 32);
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &image);
    image.extend(sum.as_ref());
    image
}

fn job(errand: Errand, now: i64) -> String {
    let job = Job {
        errand,
        model: "cam-2".to_owned(),
        slots: Some(Slots::UbootEnv {
            a: "/dev/a".to_owned(),
            b: "/dev/b".to_owned(),
        }),
        now: u64::try_from(now).expect("a time of today"),
    };
    let job = serde_json::to_string(&job).expect("written");
    format!("echo '{job}' | /lab/stockade-update work --root /run/device")
}

fn install(version: u64, from: &str) -> Errand {
    Errand::Install {
        version: Some(version),
        bundle: Some(from.to_owned()),
    }
}

fn said(text: &str) -> Said {
    let last = text.lines().last().expect("it said something");
    serde_json::from_str(last).unwrap_or_else(|_| Said::Refused(text.to_owned()))
}

#[track_caller]
fn does(guest: &Guest, errand: Errand, now: i64) -> Standing {
    match said(
        &guest
            .run_within(&job(errand, now), Duration::from_mins(2))
            .text,
    ) {
        Said::Done(standing) => standing,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(guest: &Guest, errand: Errand, now: i64, why: &str) {
    match said(&guest.run(&job(errand, now)).text) {
        Said::Refused(said) => assert!(said.contains(why), "{said}"),
        other => panic!("{other:?}"),
    }
}

fn boots(guest: &Guest) -> u64 {
    guest.sh(BOOT).trim().parse().expect("a version")
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn a_power_cut_leaves_the_old_system_or_the_new_one_and_neither_is_ever_between() {
    let Some(lab) = lab("power cuts of an update") else {
        return;
    };
    let disks = [("a", 3), ("b", 3), ("env", 1), ("data", 16)];
    let mut machine = lab.guest("device");
    for (name, mib) in disks {
        machine = machine.disk(&lab.disk(name, mib));
    }
    if let Some(tpm) = lab.tpm("tpm") {
        machine = machine.tpm(&tpm);
    }
    let share = machine.share();
    fs_err::write(share.join("boot.py"), include_str!("update.py")).expect("written");
    fs_err::write(share.join("system-1"), image(1)).expect("written");
    // Without what is for debuggers: the guest reads it slowly.
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(share.join("stockade-update"));
    succeed(strip.arg(built().expect("a folder").join("stockade-update"))).expect("built");

    // The maker: a system for each round, and those for after it.
    let (now, last) = (OffsetDateTime::now_utc(), u64::from(ROUNDS) + 3);
    let unix = now.unix_timestamp();
    let mut maker = Maker::init(&lab.folder().join("maker"), "cam-2", 3, 2, now).expect("made");
    let key = |maker: &Maker, name: &str| {
        Key::read(&maker.keys().join(format!("{name}.pem"))).expect("a key")
    };
    let old = share.join("old");
    for version in 2..=last {
        let file = lab.folder().join("system");
        fs_err::write(&file, image(version)).expect("written");
        let keys = [key(&maker, "targets-1"), key(&maker, "targets-3")];
        let system = System {
            form: FORM,
            model: "cam-2".to_owned(),
            version,
            kind: Kind::Image,
            security: false,
            name: None,
        };
        maker
            .publish(&file, &system, &keys, now)
            .expect("published");
        if version == 2 {
            copy(&maker.repository(), &old);
        }
    }
    copy(&maker.repository(), &share.join("repository"));

    // Once without a cut, to see how long it takes.
    let guest = machine.boot();
    guest.sh(NEW);
    guest.sh(ROOT);
    assert_eq!(boots(&guest), 1);
    does(&guest, Errand::Settle, unix);
    let began = Instant::now();
    let ready = does(&guest, install(2, "/lab/repository"), unix);
    let window = began.elapsed();
    assert!(matches!(
        ready.phase,
        Phase::Ready {
            version: 2,
            slot: Slot::B
        }
    ));
    assert_eq!(boots(&guest), 2);
    does(&guest, Errand::Confirm, unix);
    guest.power_off();

    let (runs, broken_off) = (Cell::new(2), Cell::new(0));
    let check = |round: u32, guest: &Guest| {
        guest.sh(ROOT);
        let mut boot = boots(guest);
        assert!(
            (runs.get()..=runs.get() + 1).contains(&boot),
            "round {round}: {boot}"
        );
        let mut standing = does(guest, Errand::Settle, unix);
        if matches!(standing.phase, Phase::Ready { .. }) {
            boot = boots(guest);
            standing = does(guest, Errand::Settle, unix);
        }
        match standing.phase {
            Phase::Trying { version, .. } => {
                assert_eq!(version, boot, "round {round}");
                does(guest, Errand::Confirm, unix);
            }
            Phase::Idle if boot == runs.get() => broken_off.set(broken_off.get() + 1),
            Phase::Idle => (),
            other => panic!("round {round}: {other:?}"),
        }
        runs.set(boot);
    };
    let work = |round: u32, guest: &Guest| {
        if round == 0 {
            guest.sh(ROOT);
            boots(guest);
            does(guest, Errand::Settle, unix);
        }
        // The whole story of an update, over and over as far as the power lasts.
        let install = job(install(runs.get() + 1, "/lab/repository"), unix);
        guest.start(&format!(
            "{install}; {BOOT}; {}",
            job(Errand::Confirm, unix)
        ));
    };
    machine.rounds(ROUNDS, window * 3 / 2, check, work);
    let (before, after) = (broken_off.get(), runs.get() - 2);
    say(&format!(
        "{ROUNDS} power cuts: {before} before the switch, {after} after it"
    ));
    assert!(before > 0, "some cuts came before the switch");

    // A sick one goes; what is old, frozen or forged is not taken; and what is remembered can not be put back.
    let guest = machine.boot();
    guest.sh(ROOT);
    boots(&guest);
    does(&guest, Errand::Settle, unix);
    let healthy = runs.get();
    let kept = guest
        .run("test -e /dev/tpmrm0 && cp -r /run/device/var/lib/stockade/update /lab/kept")
        .code
        == 0;
    does(&guest, install(last, "/lab/repository"), unix);
    assert_eq!(boots(&guest), last);
    does(&guest, Errand::Settle, unix);
    let why = "nothing takes connections on port 443".to_owned();
    does(&guest, Errand::Fail { why }, unix);
    assert_eq!(
        boots(&guest),
        healthy,
        "the one before comes back by itself"
    );
    assert_eq!(
        does(&guest, Errand::Settle, unix).returned.expect("told").0,
        last
    );
    refused(
        &guest,
        install(healthy, "/lab/repository"),
        unix,
        "no way leads back",
    );
    refused(
        &guest,
        install(2, "/lab/old"),
        unix,
        "older than what was seen before",
    );
    refused(
        &guest,
        install(last, "/lab/repository"),
        unix + 8 * 86_400,
        "held good until",
    );
    guest.sh("cp -r /lab/repository /lab/forged && for file in /lab/forged/targets/*; do printf x | dd of=$file bs=1 seek=99 conv=notrunc; done");
    refused(&guest, install(last, "/lab/forged"), unix, "Hash mismatch");
    assert_eq!(boots(&guest), healthy);
    if kept {
        does(&guest, install(last, "/lab/repository"), unix);
        boots(&guest);
        does(&guest, Errand::Settle, unix);
        does(&guest, Errand::Confirm, unix);
        guest.sh("rm -r /run/device/var/lib/stockade/update && cp -r /lab/kept /run/device/var/lib/stockade/update");
        refused(&guest, Errand::Look, unix, "put back from a copy");
    }
    guest.power_off();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for folder in ["metadata", "targets"] {
        fs_err::create_dir_all(to.join(folder)).expect("made");
        for file in fs_err::read_dir(from.join(folder)).expect("there") {
            let file = file.expect("there");
            fs_err::copy(file.path(), to.join(folder).join(file.file_name())).expect("copied");
        }
    }
}
