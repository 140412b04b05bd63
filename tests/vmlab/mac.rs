//! Mandatory access control in kernels that have it: a service is watched, confined to what it did, and refused the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::rand::SystemRandom;
use stockade_controls::engine::{Action, Case, Framework, Own, Remedy, Verdict, assess};
use stockade_controls::mac::{Known, Mac, Need, log::Heard};
use stockade_e2e::tools::{built, eventually, pause, root, say, without};
use stockade_e2e::vmlab::{Guest, Machine, Output, lab};
use stockade_host::mac::{attempt, heard::Log, is_permissive, load, unload};
use stockade_host::view::Live;
use stockade_profile::{ServiceName, SigningKey, parse, sign};

/// Services are watched for twenty seconds, and a debug build is slow in a guest.
const PATIENCE: Duration = Duration::from_mins(4);

/// What the device is for; `SYSTEM` confines the camera.
const PROFILE: &str = r#"schema = 1
[device]
manufacturer = "Acme"
model = "porch-cam"
version = 1
class = "linux"

[[firewall.out]]
to = "gateway"
protocol = "tcp"
port = 8883

[credentials]
ssh = "keys-only"

[privileges]
root-services = ["camera", "dbus"]
setuid = [
  "/usr/bin/chage", "/usr/bin/chfn", "/usr/bin/chsh", "/usr/bin/expiry", "/usr/bin/gpasswd", "/usr/bin/mount", "/usr/bin/newgrp",
  "/usr/bin/passwd", "/usr/bin/su", "/usr/bin/umount", "/usr/lib/dbus-1.0/dbus-daemon-launch-helper", "/usr/sbin/unix_chkpwd",
]

[programs]
packages = ["base", "dbus", "systemd", "systemd-sysv", "iproute2"]
services = ["camera", "dbus"]

[mac]
system = "SYSTEM"
confine = ["camera"]
learn = "10s"

# The machine itself is the laboratory's.
[ports]
serial-console = "on"
debug = "on"
network = ["eth0"]
"#;

/// What the device in the guest is made of.
fn lay(machine: &Machine, system: &str) {
    let share = machine.share();
    let key = SigningKey::generate(&SystemRandom::new()).expect("a key");
    let profile = parse(&PROFILE.replace("SYSTEM", system)).expect("a profile");
    let put = |name: &str, bytes: &[u8]| fs_err::write(share.join(name), bytes).expect("written");
    put("profile.cose", &sign(&profile, &key));
    put("gateway.pub", key.verifying_key().to_pem().as_bytes());
    put(
        "agent.toml",
        b"gateway = \"10.0.2.2\"\ntrust-domain = \"x.example\"\ndevice = \"porch\"\nmodel = \"porch-cam\"\n",
    );
    let unit = fs_err::read_to_string(root().join("deploy/systemd/stockade-helper.service"))
        .expect("the unit");
    let users = "/usr/lib/stockade/stockade-helper --agent 61000 --keys 61001 --upnp 61002";
    put(
        "stockade-helper.service",
        unit.replace("/usr/lib/stockade/stockade-helper", users)
            .as_bytes(),
    );
    for name in ["camera", "camera.service"] {
        fs_err::copy(root().join("tests/vmlab/mac").join(name), share.join(name)).expect("copied");
    }
}

/// Boots the device in the guest; none where its Debian was not laid down.
fn boot(guest: &Guest) -> bool {
    let built = fs_err::canonicalize(built().expect("built")).expect("built");
    let debian = built.join("../labs/systemd");
    if !debian.join("lib/systemd/systemd").exists() {
        say("skipped: no Debian to boot: the test `device` lays it down");
        return false;
    }
    guest.sh("mkdir -p /run/device");
    guest.start(&format!(
        "unshare --mount --pid --uts --ipc --fork --kill-child sh {} /run/device {} {} /lab",
        root().join("tests/vmlab/mac/boot.sh").display(),
        fs_err::canonicalize(debian).expect("a Debian").display(),
        built.display(),
    ));
    until(guest, "test -S /run/stockade/helper.sock");
    true
}

/// A script on the device: its exit code and what it printed.
fn on(guest: &Guest, script: &str) -> Output {
    fs_err::write(guest.share().join("script"), script).expect("written");
    let inside = "nsenter -t $(pgrep -f 'systemd --unit=multi-user.target' | head -1) -m -p -r -w";
    guest.run_within(&format!("{inside} /bin/sh -s </lab/script"), PATIENCE)
}

fn until(guest: &Guest, holds: &str) {
    let came = eventually(holds, PATIENCE, || {
        Ok((on(guest, holds).code == 0).then_some(()))
    });
    assert!(
        came.is_ok(),
        "{}",
        on(guest, "systemctl status --no-pager camera stockade-helper").text
    );
}

fn stockade(guest: &Guest, words: &str) -> String {
    on(guest, &format!("/usr/lib/stockade/stockade device {words}")).text
}

fn label(guest: &Guest) -> String {
    let script = "cat /proc/$(systemctl show -P MainPID camera)/attr/current";
    on(guest, script)
        .text
        .trim_end_matches(['\0', '\n'])
        .to_owned()
}

#[test]
fn apparmor_confines_a_service_to_what_it_did_and_undo_frees_it() {
    let Some(lab) = lab("AppArmor") else {
        return;
    };
    if without(&["apparmor_parser"]) {
        return;
    }
    let machine = lab.guest("device").net();
    lay(&machine, "apparmor");
    let guest = machine.boot();
    if !boot(&guest) {
        return;
    }
    on(
        &guest,
        "echo work >/srv/camera/order; echo secret >/srv/secret",
    );
    assert_eq!(label(&guest), "unconfined");

    // Watched first: an intruder could take the secret still.
    let applied = stockade(&guest, "apply --yes");
    assert_eq!(label(&guest), "stockade.camera (complain)", "{applied}");
    until(
        &guest,
        "grep -q /srv/camera/order /var/lib/stockade/helper/mac.json",
    );
    guest.sh("sleep 11");

    // Then confined to what it did, and it goes on doing it.
    let applied = stockade(&guest, "apply --yes");
    assert_eq!(label(&guest), "stockade.camera (enforce)", "{applied}");
    on(&guest, "rm /var/lib/camera/picture");
    until(&guest, "test -s /var/lib/camera/picture");
    on(&guest, "echo steal >/srv/camera/order");
    until(&guest, "test -e /var/lib/camera/stolen");
    guest
        .sh("dmesg | grep 'apparmor=\"DENIED\".*profile=\"stockade.camera\" name=\"/srv/secret\"'");
    assert_eq!(
        on(&guest, "cat /var/lib/camera/stolen; echo end").text,
        "end\n"
    );
    assert_eq!(on(&guest, "cat /srv/secret").text, "secret\n");
    let report = stockade(&guest, "plan");
    assert!(
        !report.contains("mac/"),
        "nothing is wrong, and attempts were refused: {report}"
    );

    // Back to watching, and back to nothing.
    for expected in ["stockade.camera (complain)", "unconfined"] {
        let undone = stockade(&guest, "undo");
        // systemd does not wait until a program has started.
        let came = eventually(expected, PATIENCE, || {
            Ok((label(&guest) == expected).then_some(()))
        });
        assert!(came.is_ok(), "{undone}");
    }
    let left = "cat /sys/kernel/security/apparmor/profiles; ls /etc/apparmor.d /etc/systemd/system/camera.service.d";
    let left = on(&guest, left).text;
    assert!(!left.contains("stockade"), "{left}");
    guest.power_off();
}

/// A device without an init that starts services: its files, and the maker's policy, which is not loaded yet.
const PREPARE: &str = "set -e
for folder in /srv /var/lib/camera; do
    mkdir -p $folder
    mount -t tmpfs tmpfs $folder
done
mkdir -p /run/systemd/system /etc/systemd/system /etc/selinux/small/cil /etc/selinux/small/policy /etc/stockade/selinux /srv/camera
mountpoint -q /sys/fs/selinux || mount -t selinuxfs selinuxfs /sys/fs/selinux
cp MAC/camera /usr/bin/
chmod 755 /usr/bin/camera
cp MAC/camera.service /etc/systemd/system/
cp MAC/base.cil /etc/selinux/small/cil/
echo SELINUXTYPE=small >/etc/selinux/config
echo work >/srv/camera/order
echo secret >/srv/secret
IN_A_GUEST=1 PROGRAM --ignored --exact what_the_test_of_selinux_runs_in_its_guest --nocapture
";

/// As systemd starts it: in its group, and under the label that was given.
const START: &str = "mkdir -p /sys/fs/cgroup/system.slice/camera.service &&
echo $$ >/sys/fs/cgroup/system.slice/camera.service/cgroup.procs && exec ${1:+runcon $1} /usr/bin/camera";

#[test]
fn selinux_confines_a_service_to_what_it_did() {
    let Some(lab) = lab("SELinux") else {
        return;
    };
    if without(&["secilc"]) {
        return;
    }
    let machine = lab
        .guest("device")
        .cmdline("security=selinux selinux=1 enforcing=0");
    let guest = machine.boot();
    let program = std::env::current_exe().expect("this program");
    let script = PREPARE
        .replace("PROGRAM", &program.to_string_lossy())
        .replace("MAC", &root().join("tests/vmlab/mac").to_string_lossy());
    let ended = guest.run_within(&script, PATIENCE);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("1 passed"), "{}", ended.text);
    guest.sh("dmesg | grep 'avc:  denied .*scontext=u:r:stockade_camera_t:s0 tcontext=u:object_r:secret_t:s0 tclass=file permissive=0'");
    guest.power_off();
}

#[test]
#[ignore = "it loads policies into the kernel of the guest that another test starts"]
fn what_the_test_of_selinux_runs_in_its_guest() -> Result<()> {
    if std::env::var_os("IN_A_GUEST").is_none() {
        return Ok(());
    }
    let camera: ServiceName = "camera".parse()?;
    load(Framework::Selinux, &camera).context("the maker's policy")?;
    sh("chcon u:object_r:secret_t:s0 /srv/secret; echo 1 >/sys/fs/selinux/enforce")?;
    let (tell, told) = mpsc::sync_channel(1024);
    let log = Log::open()?;
    std::thread::spawn(move || {
        while let Ok(heard) = log.wait() {
            if let Some(it) = heard {
                drop(tell.send(it));
            }
        }
    });

    // Watched at its work, from which it is not kept.
    let service = start("")?;
    let label = take(&camera, &BTreeSet::new())?;
    ensure!(is_permissive(&label)?, "`{label}` is not watched");
    sh("chcon u:object_r:stockade_camera_t_own:s0 /var/lib/camera")?;
    end(service)?;
    let service = start(&label)?;
    works()?;
    let learnt: BTreeSet<Need> = heard(&told, true).collect();
    ensure!(!learnt.is_empty(), "nothing is learnt");

    // Confined to that: it goes on with it, and an intruder gets no further.
    let entered = take(&camera, &learnt)?;
    ensure!(entered == label, "`{entered}` is another label");
    ensure!(!is_permissive(&label)?, "`{label}` is only watched");
    end(service)?;
    let service = start(&label)?;
    works()?;
    sh(
        "echo steal >/srv/camera/order; sleep 3; test -e /var/lib/camera/stolen && test ! -s /var/lib/camera/stolen",
    )?;
    let refused: Vec<Need> = heard(&told, false).collect();
    let theft = |it: &Need| matches!(it, Need::Allow { to, class, .. } if to == "secret_t" && class == "file");
    ensure!(refused.iter().any(theft), "{refused:?}");
    sh("cat /srv/secret >/dev/null; echo work >/srv/camera/order")?;
    works()?;

    // Tried from inside, and judged.
    let helper = built()?.join("stockade-helper");
    let program = || {
        let mut command = Command::new(&helper);
        command.args(["--role", "attempt"]);
        command
    };
    let attempts = attempt::made(program, Framework::Selinux, &label);
    let known = Known {
        learnt: Some(BTreeMap::new()),
        attempts: BTreeMap::from([(label.clone(), attempts)]),
        permissive: BTreeSet::new(),
    };
    for outcome in judged(known)? {
        let passed = matches!(outcome.1, Verdict::Passed(_));
        ensure!(passed, "{}: {:?}", outcome.0, outcome.1);
    }

    // Without its policy there is no such label any more.
    end(service)?;
    sh("rm /etc/stockade/selinux/stockade_camera.cil")?;
    unload(Framework::Selinux, &camera)?;
    let refused = start(&label)?.try_wait()?.is_some_and(|it| !it.success());
    ensure!(refused, "it starts under `{label}`");
    Ok(())
}

/// What the control makes of the device, rule by rule, an hour from now.
fn judged(known: Known) -> Result<Vec<(&'static str, Verdict)>> {
    let profile = parse(&PROFILE.replace("SYSTEM", "selinux"))
        .ok()
        .context("a profile")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let case = Case {
        host: &Live::open()?.with_mac(Some(known)),
        profile: &profile,
        now: now.as_secs().saturating_add(3600),
        own: &Own::default(),
    };
    let outcomes = assess(&case, &[&Mac]).outcomes.into_iter();
    Ok(outcomes.map(|it| (it.rule.id, it.verdict)).collect())
}

/// Takes the step that the control wants for the camera, of which this was learnt; the label that it is to start under.
fn take(camera: &ServiceName, learnt: &BTreeSet<Need>) -> Result<String> {
    let watched = !learnt.is_empty();
    let domain = "stockade_camera_t".to_owned();
    let known = Known {
        learnt: Some(BTreeMap::from([(domain.clone(), learnt.clone())])),
        attempts: BTreeMap::new(),
        permissive: watched.then_some(domain).into_iter().collect(),
    };
    let verdicts = judged(known)?;
    let findings = verdicts.iter().flat_map(|(_, verdict)| match verdict {
        Verdict::Broken(found) | Verdict::CannotTell(_, found) => found.as_slice(),
        _ => &[],
    });
    let mut steps = findings.filter_map(|it| match &it.remedy {
        Remedy::Steps(steps) => steps.first(),
        Remedy::Person(_) => None,
    });
    let step = steps.next().with_context(|| format!("{verdicts:?}"))?;
    let Action::Mac {
        path,
        policy,
        content,
        ..
    } = &step.action
    else {
        anyhow::bail!("{step:?}");
    };
    fs_err::write(path.to_string(), policy)?;
    load(Framework::Selinux, camera)?;
    let mut lines = content.lines();
    let label = lines.find_map(|it| it.strip_prefix("SELinuxContext="));
    Ok(label.context("a label")?.to_owned())
}

fn start(label: &str) -> Result<Child> {
    let service = Command::new("sh")
        .args(["-c", START, "sh", label])
        .spawn()?;
    pause(Duration::from_secs(3));
    Ok(service)
}

/// As systemd ends it; nobody here waits for what it leaves behind, which would be of the group still.
fn end(mut service: Child) -> Result<()> {
    sh(
        "cd /sys/fs/cgroup/system.slice; echo 1 >camera.service/cgroup.kill; sleep 1; rmdir camera.service",
    )?;
    service.wait()?;
    Ok(())
}

/// Waits for the camera to make a picture.
fn works() -> Result<()> {
    sh("rm -f /var/lib/camera/picture")?;
    eventually("a picture", Duration::from_secs(20), || {
        let size = fs_err::metadata("/var/lib/camera/picture").map_or(0, |it| it.len());
        Ok((size > 0).then_some(()))
    })
}

/// What the kernel has told of the camera until now.
fn heard(told: &mpsc::Receiver<Heard>, allowed: bool) -> impl Iterator<Item = Need> {
    let ours = move |it: &Heard| it.policy == "stockade_camera_t" && it.allowed == allowed;
    told.try_iter().filter(ours).flat_map(|it| it.needs)
}

fn sh(script: &str) -> Result<()> {
    let ended = Command::new("sh").args(["-ec", script]).status()?;
    ensure!(ended.success(), "`{script}`: {ended}");
    Ok(())
}
