use super::*;
use crate::engine::{
    Action, Assessment, InitSystem, MemoryHost, Own, Plan, Process, Remedy, Verdict, assess,
};

const PROFILE: &str = r#"
schema = 1
[device]
manufacturer = "Acme"
model = "cam-2"
version = 7
class = "linux"
[programs]
services = ["camera"]
[mac]
system = "SYSTEM"
confine = ["camera"]
learn = "1h"
"#;
const UNIT: &str = "[Service]\nExecStart=/usr/bin/camera\nStateDirectory=camera\n[Install]\nWantedBy=multi-user.target\n";
const MAPS: &str = "55d0-55d1 r-xp 00001000 08:01 7 /usr/bin/camera\n\
    7f00-7f01 r--p 00000000 08:01 8 /opt/camera/model.bin\n\
    7f02-7f03 rw-p 00000000 00:00 0 [heap]\n\
    7f04-7f05 r-xp 00000000 08:01 9 /usr/lib/libc.so.6\n";

/// A device with a camera that runs under this label.
fn device(lsm: &str, label: &str) -> MemoryHost {
    let camera = Process {
        pid: 7,
        started: 1,
        name: "camera".to_owned(),
        program: Some(crate::engine::HostPath::of("/usr/bin/camera")),
        arguments: vec!["/usr/bin/camera".to_owned()],
        user: 998,
        capabilities: 0,
        no_new_privileges: true,
        seccomp: 0,
        cgroup: Some("/system.slice/camera.service".to_owned()),
    };
    let mut host = MemoryHost::new()
        .file("/etc/systemd/system/camera.service", 0o644, UNIT)
        .linked(
            "/etc/systemd/system/multi-user.target.wants/camera.service",
            "/etc/systemd/system/camera.service",
        )
        .file("/usr/sbin/apparmor_parser", 0o755, "")
        .file("/usr/bin/secilc", 0o755, "")
        .file("/sys/kernel/security/lsm", 0o444, lsm)
        .file("/sys/module/apparmor/parameters/mode", 0o444, "enforce\n")
        .file("/sys/fs/selinux/enforce", 0o644, "1")
        .file(
            "/sys/kernel/security/apparmor/profiles",
            0o444,
            "ntpd (complain)\nstockade.camera (complain)\n",
        )
        .file(
            "/proc/1/attr/current",
            0o666,
            "system_u:system_r:init_t:s0-s15:c0.c1023",
        )
        .file(
            "/proc/self/attr/current",
            0o666,
            "system_u:system_r:helper_t:s0",
        )
        .file("/proc/7/attr/current", 0o666, label)
        .file("/proc/7/maps", 0o444, MAPS)
        .file("/proc/7/stat", 0o444, "7 (camera) S")
        .directory("/proc/7/fd", 0o500)
        .linked("/proc/7/fd/3", "/etc/hosts")
        .linked("/proc/7/fd/4", "/var/log/camera.log")
        .file("/proc/7/fdinfo/3", 0o444, "flags:\t0100000\n")
        .file("/proc/7/fdinfo/4", 0o444, "flags:\t0100001\n");
    host.init = Some(InitSystem::Systemd);
    host.processes = Some(vec![camera]);
    host.listeners = Some(Vec::new());
    host.mac = Some(Known {
        learnt: Some(BTreeMap::new()),
        ..Known::default()
    });
    host
}

fn judged(host: &MemoryHost, system: &str, now: u64) -> Assessment {
    let profile = stockade_profile::parse(&PROFILE.replace("SYSTEM", system)).expect("a profile");
    let own = Own::default();
    let case = Case {
        host,
        profile: &profile,
        now,
        own: &own,
    };
    assess(&case, &[&Mac])
}

fn verdict<'a>(of: &'a Assessment, id: &str) -> &'a Verdict {
    let found = of.outcomes.iter().find(|it| it.rule.id == id);
    &found.expect("the rule").verdict
}

/// The texts that the only step puts there: the policy and the drop-in.
fn made(of: &Assessment) -> (String, String) {
    let plan = Plan::of(of);
    let [step] = plan.steps.as_slice() else {
        panic!("one step: {plan:?}");
    };
    match &step.step.action {
        Action::Mac {
            policy, content, ..
        } => (policy.clone(), content.clone()),
        other => panic!("{other:?}"),
    }
}

fn person(of: &Assessment) -> &str {
    let Verdict::Broken(findings) = verdict(of, "mac/confined") else {
        panic!("{of:?}");
    };
    match &findings[0].remedy {
        Remedy::Person(says) => says,
        Remedy::Steps(steps) => panic!("{steps:?}"),
    }
}

fn heard(host: &mut MemoryHost, policy: &str, records: &[&str]) {
    let learnt = host
        .mac
        .as_mut()
        .and_then(|it| it.learnt.as_mut())
        .expect("heard");
    for record in records {
        let heard = log::read(record.as_bytes()).expect("a record");
        assert!(heard.allowed && heard.policy == policy, "{heard:?}");
        learnt.entry(heard.policy).or_default().extend(heard.needs);
    }
}

#[test]
fn an_unconfined_service_is_watched_by_a_profile_of_what_was_seen() {
    let found = judged(
        &device("lockdown,apparmor,bpf", "unconfined\n"),
        "apparmor",
        9,
    );
    let (policy, drop_in) = made(&found);
    assert!(
        drop_in.ends_with("[Service]\nAppArmorProfile=stockade.camera\n"),
        "{drop_in}"
    );
    insta::assert_snapshot!("apparmor_watches", policy);
}

#[test]
fn what_was_learnt_is_added_and_enforced_when_the_time_is_over() {
    let mut host = device("apparmor", "stockade.camera (complain)\n");
    let (policy, _) = made(&judged(&device("apparmor", "unconfined\n"), "apparmor", 9));
    host = host.owned("/etc/apparmor.d/stockade.camera", 0o644, (0, 0), &policy);
    heard(
        &mut host,
        "stockade.camera",
        &[
            "apparmor=\"ALLOWED\" operation=\"open\" profile=\"stockade.camera\" name=\"/opt/camera/key\" denied_mask=\"r\"",
            "apparmor=\"ALLOWED\" operation=\"capable\" profile=\"stockade.camera\" capability=10 capname=\"net_bind_service\"",
            "apparmor=\"ALLOWED\" operation=\"create\" profile=\"stockade.camera\" family=\"inet\" sock_type=\"stream\"",
            "apparmor=\"ALLOWED\" operation=\"mknod\" profile=\"stockade.camera\" name=\"/var/lib/camera/a\" denied_mask=\"c\"",
            "apparmor=\"ALLOWED\" operation=\"exec\" profile=\"stockade.camera//null-/bin/sh\" name=\"/bin/ls\" denied_mask=\"x\"",
        ],
    );
    assert!(person(&judged(&host, "apparmor", 3599)).contains("confined in 1 minutes"));
    let (policy, _) = made(&judged(&host, "apparmor", 3600));
    insta::assert_snapshot!("apparmor_enforces", policy);
    // Without the kernel's log nobody knows what it would break.
    host.mac = Some(Known::default());
    assert!(person(&judged(&host, "apparmor", 3600)).contains("is not heard"));
    // Nothing learnt by a policy that is enforced: what it refused is refused.
    host = host.file("/proc/7/attr/current", 0o666, "stockade.camera (enforce)\n");
    assert!(matches!(
        verdict(&judged(&host, "apparmor", 9), "mac/confined"),
        Verdict::Passed(_)
    ));
}

#[test]
fn a_module_of_selinux_says_what_was_learnt() {
    let mut host = device("selinux", "system_u:system_r:stockade_camera_t:s0");
    let (policy, drop_in) = made(&judged(
        &device("selinux", "system_u:system_r:initrc_t:s0"),
        "selinux",
        9,
    ));
    assert!(
        drop_in.ends_with("\nSELinuxContext=system_u:system_r:stockade_camera_t:s0\n"),
        "{drop_in}"
    );
    host = host.file("/etc/stockade/selinux/stockade_camera.cil", 0o644, &policy);
    host.mac
        .as_mut()
        .expect("known")
        .permissive
        .insert("stockade_camera_t".to_owned());
    heard(
        &mut host,
        "stockade_camera_t",
        &[
            "avc:  denied  { read open } for pid=7 comm=\"camera\" scontext=system_u:system_r:stockade_camera_t:s0 tcontext=u:object_r:etc_t:s0 tclass=file permissive=1",
            "avc:  denied  { fork } for pid=7 comm=\"camera\" scontext=system_u:system_r:stockade_camera_t:s0 tcontext=system_u:system_r:stockade_camera_t:s0 tclass=process permissive=1",
            "avc:  denied  { load_policy } for pid=7 comm=\"camera\" scontext=system_u:system_r:stockade_camera_t:s0 tcontext=system_u:system_r:security_t:s0 tclass=security permissive=1",
        ],
    );
    let (policy, _) = made(&judged(&host, "selinux", 3600));
    insta::assert_snapshot!("selinux_enforces", policy);
    let twice = selinux::needs(&policy);
    assert_eq!(
        Some(&twice),
        host.mac
            .and_then(|it| it.learnt)
            .as_ref()
            .and_then(|it| it.get("stockade_camera_t"))
    );
}

#[test]
fn grsecurity_gets_a_text_for_a_person_and_nothing_is_claimed() {
    let host = device("capability", "unconfined\n").directory("/proc/sys/kernel/grsecurity", 0o500);
    let found = judged(&host, "grsecurity", 9);
    assert!(matches!(verdict(&found, "mac/system"), Verdict::Passed(_)));
    for rule in ["mac/enforcing", "mac/confined", "mac/effective"] {
        assert!(
            matches!(verdict(&found, rule), Verdict::CannotTell(..)),
            "{rule}"
        );
    }
    let plan = Plan::of(&found);
    let Action::Put { content, .. } = &plan.steps[0].step.action else {
        panic!("{plan:?}");
    };
    insta::assert_snapshot!("grsecurity", content);
}

#[test]
fn a_kernel_without_the_system_is_told_with_what_it_has() {
    let found = judged(
        &device("capability,smack,tomoyo", "unconfined\n"),
        "apparmor",
        9,
    );
    let Verdict::Broken(findings) = verdict(&found, "mac/system") else {
        panic!("{found:?}");
    };
    assert_eq!(
        findings[0].what,
        "The kernel has Smack and TOMOYO in force, and not AppArmor"
    );
    for rule in rules::ALL.iter().skip(1) {
        assert!(
            matches!(verdict(&found, rule.id), Verdict::CannotTell(..)),
            "{}",
            rule.id
        );
    }
    let mut image = device("apparmor", "unconfined\n");
    image.processes = None;
    for rule in rules::ALL {
        assert!(matches!(
            verdict(&judged(&image, "apparmor", 9), rule.id),
            Verdict::CannotTell(..)
        ));
    }
}

#[test]
fn a_policy_that_only_watches_is_told() {
    let found = judged(&device("apparmor", "unconfined\n"), "apparmor", 9);
    let Verdict::Broken(findings) = verdict(&found, "mac/permissive-domains") else {
        panic!("{found:?}");
    };
    let subjects: Vec<_> = findings.iter().map(|it| it.subject.as_str()).collect();
    assert_eq!(subjects, ["policy ntpd"]);
    // By a profile that is not ours, a service is not confined either.
    let found = judged(&device("apparmor", "ntpd (complain)\n"), "apparmor", 9);
    assert!(person(&found).contains("aa-enforce"));
    let host = device("selinux", "u:r:camera_t:s0").file("/sys/fs/selinux/enforce", 0o644, "0");
    assert!(matches!(
        verdict(&judged(&host, "selinux", 9), "mac/enforcing"),
        Verdict::Broken(_)
    ));
}

#[test]
fn attempts_prove_it_only_if_they_succeed_freely_and_fail_confined() {
    let attempt = |what, free, confined| Attempt {
        what,
        free,
        confined,
    };
    let came = |attempts: Result<Vec<Attempt>, String>| {
        let mut host = device("apparmor", "stockade.camera (enforce)\n").file(
            "/etc/apparmor.d/stockade.camera",
            0o644,
            "  # What it was seen to do.\n  network inet stream,\n",
        );
        let known = host.mac.as_mut().expect("known");
        known
            .attempts
            .insert("stockade.camera".to_owned(), attempts);
        let found = judged(&host, "apparmor", 9);
        match verdict(&found, "mac/effective") {
            Verdict::Passed(says) => says.clone(),
            Verdict::Broken(findings) => findings[0].what.clone(),
            Verdict::CannotTell(why, _) => format!("cannot tell: {why}"),
            Verdict::DoesNotApply(why) => why.clone(),
        }
    };
    let refused = attempt(Forbidden::Shadow, true, false);
    assert_eq!(
        came(Ok(vec![refused, attempt(Forbidden::Raw, true, false)])),
        "2 attempts were refused"
    );
    assert_eq!(
        came(Ok(vec![refused, attempt(Forbidden::Mount, true, true)])),
        "A program under `stockade.camera` can mount file systems"
    );
    // What the policy gives is no attempt, and what fails freely shows nothing.
    let nothing =
        "cannot tell: nothing that succeeds freely could be tried under `stockade.camera`";
    assert_eq!(
        came(Ok(vec![
            attempt(Forbidden::Internet, true, true),
            attempt(Forbidden::Shadow, false, false)
        ])),
        nothing
    );
    assert_eq!(came(Err("no".to_owned())), "cannot tell: no");
}
