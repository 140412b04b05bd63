//! The kernel's own doors: the magic key, its memory as a file, its debugger.

use stockade_profile::Switch;

use super::rules::{DEBUG, MEMORY, SYSRQ};
use super::{set, text};
use crate::engine::{
    Action, Case, Confidence, Finding, Host, HostPath, InitSystem, Judged, Rule, Severity, Stage,
    Step, Unseen,
};

/// What keeps the settings over a start (sysctl.d(5)).
const FILE: &str = "/etc/sysctl.d/90-stockade-ports.conf";

/// The terminal of the kernel's debugger.
const KGDB: &str = "/sys/module/kgdboc/parameters/kgdboc";

/// A setting of the kernel: its name, the lowest value that is right, the rule, and what is wrong below it.
struct Setting {
    name: &'static str,
    least: i64,
    says: &'static str,
}

const SYSRQ_SETTING: Setting = Setting {
    name: "kernel/sysrq",
    least: 0,
    says: "the magic key works",
};

/// `Documentation/admin-guide/sysctl/kernel.rst`; for ptrace `Documentation/admin-guide/LSM/Yama.rst`.
const SETTINGS: [Setting; 5] = [
    Setting {
        name: "kernel/dmesg_restrict",
        least: 1,
        says: "everybody reads the kernel's log",
    },
    Setting {
        name: "kernel/kptr_restrict",
        least: 1,
        says: "everybody sees where the kernel is in memory",
    },
    Setting {
        name: "kernel/perf_event_paranoid",
        least: 2,
        says: "everybody measures the kernel",
    },
    Setting {
        name: "kernel/unprivileged_bpf_disabled",
        least: 1,
        says: "everybody loads programs into the kernel",
    },
    Setting {
        name: "kernel/yama/ptrace_scope",
        least: 1,
        says: "a process reads the memory of others of its user",
    },
];

pub(super) fn judge(case: &Case<'_>, judged: &mut Judged) {
    if case.profile.ports.debug == Switch::On {
        for rule in [&SYSRQ, &DEBUG] {
            judged.does_not_apply(rule, "the profile allows debug ports");
        }
    } else {
        match setting(case.host, &SYSRQ, &SYSRQ_SETTING) {
            Ok(found) => judged.judged(&SYSRQ, "kernel.sysrq", found.into_iter().collect()),
            Err(why) => judged.unseen(&SYSRQ, "kernel.sysrq", &why),
        }
        match debug(case) {
            Ok(found) => judged.judged(&DEBUG, "the kernel's settings", found),
            Err(why) => judged.unseen(&DEBUG, "the kernel's settings", &why),
        }
    }
    memory(case, judged);
}

/// What is wrong with a setting. What the kernel does not have is not wrong; for the magic key, 0 is right and nothing else.
fn setting(host: &dyn Host, rule: &'static Rule, it: &Setting) -> Result<Option<Finding>, Unseen> {
    let path = format!("/proc/sys/{}", it.name);
    let Some(value) = text(host, &path)? else {
        return Ok(None);
    };
    let is: i64 = value
        .parse()
        .map_err(|_| Unseen::Damaged(format!("{path} is `{value}`")))?;
    let right = if it.least == 0 {
        is == 0
    } else {
        is >= it.least
    };
    if right {
        return Ok(None);
    }
    let name = it.name.replace('/', ".");
    let wanted = it.least.to_string();
    let put = Action::Put {
        path: HostPath::of(FILE),
        content: kept(),
        mode: 0o644,
        owner: (0, 0),
    };
    let mut steps = vec![Step::safe(
        Stage::Change,
        put,
        "Keep the kernel's debug settings over a start",
    )];
    steps.extend(set(
        Stage::Change,
        &path,
        &wanted,
        format!("Set {name} to {wanted}"),
        None,
    ));
    let what = format!("{}: {name} is {value}", it.says);
    Ok(Some(
        Finding::of(rule, name, what)
            .seen(&path, &value)
            .mended_by(steps),
    ))
}

/// The file that keeps all of them; a leading `-` passes over what a kernel does not have.
fn kept() -> String {
    let lines = SETTINGS.iter().chain([&SYSRQ_SETTING]);
    let lines = lines.map(|it| format!("-{} = {}\n", it.name.replace('/', "."), it.least));
    format!(
        "# Stockade: nobody looks into the kernel.\n{}",
        lines.collect::<String>()
    )
}

fn debug(case: &Case<'_>) -> Result<Vec<Finding>, Unseen> {
    let mut findings = Vec::new();
    for it in &SETTINGS {
        findings.extend(setting(case.host, &DEBUG, it)?);
    }
    let line = text(case.host, "/proc/cmdline")?.unwrap_or_default();
    let debugger = ["kgdboc=", "kgdbwait", "kgdbcon", "ekgdboc=", "kdb="];
    for word in line
        .split_whitespace()
        .filter(|it| debugger.iter().any(|known| it.starts_with(known)))
    {
        let what = format!("the kernel is started with its debugger (`{word}`)");
        let finding = Finding::of(&DEBUG, "kernel debugger", what).seen("/proc/cmdline", word);
        findings.push(finding.with(Severity::High, Confidence::High));
    }
    if let Some(terminal) = text(case.host, KGDB)?.filter(|it| !it.is_empty()) {
        let says = "Take the kernel's debugger off the line".to_owned();
        let step = set(Stage::Change, KGDB, "", says, None);
        let what = format!("the kernel's debugger answers on {terminal}");
        let finding = Finding::of(&DEBUG, "kernel debugger", what).seen(KGDB, terminal);
        let finding = finding.with(Severity::High, Confidence::High);
        findings.push(finding.mended_by(step.into_iter().collect()));
    }
    // JTAG itself is not to be seen by the kernel; the units that it drives are.
    if case
        .host
        .entry(&HostPath::of("/sys/bus/coresight/devices"))
        .is_ok()
    {
        let what = "the processor's trace units can be reached (CoreSight): whether its debug port is shut, fuses tell";
        let finding =
            Finding::of(&DEBUG, "CoreSight", what).seen("/sys/bus/coresight/devices", "is there");
        findings.push(finding.with(Severity::Low, Confidence::Low));
    }
    let mounts = text(case.host, "/proc/self/mounts")?.unwrap_or_default();
    let mut mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        matches!(words.next()?, "debugfs" | "tracefs").then_some(place)
    });
    if let Some(place) = mounted.next() {
        let what = format!("debugfs is mounted at {place}");
        let finding = Finding::of(&DEBUG, "debugfs", what).seen("/proc/self/mounts", place);
        let finding = finding.with(Severity::Low, Confidence::High);
        findings.push(match case.host.init() {
            Ok(InitSystem::Systemd) => finding.mended_by(unmounted()),
            _ => finding,
        });
    }
    Ok(findings)
}

/// From the next start on systemd mounts none of them.
fn unmounted() -> Vec<Step> {
    let units = ["sys-kernel-debug.mount", "sys-kernel-tracing.mount"];
    let steps = units.iter().filter_map(|unit| {
        let action = Action::Link {
            path: HostPath::from_bytes(format!("/etc/systemd/system/{unit}").as_bytes()).ok()?,
            target: "/dev/null".to_owned(),
        };
        let says = format!("Keep {unit} from being mounted, from the next start on");
        Some(Step::safe(Stage::Change, action, says))
    });
    steps.collect()
}

fn memory(case: &Case<'_>, judged: &mut Judged) {
    let is_there = |path| match case.host.entry(&HostPath::of(path)) {
        Ok(_) => Ok(true),
        Err(Unseen::Absent) => Ok(false),
        Err(why) => Err(why),
    };
    let seen = || -> Result<_, Unseen> {
        let line = text(case.host, "/proc/cmdline")?.unwrap_or_default();
        let relaxed = line.split_whitespace().any(|word| word == "iomem=relaxed");
        let lockdown = text(case.host, "/sys/kernel/security/lockdown")?.unwrap_or_default();
        let locked = ["[integrity]", "[confidentiality]"]
            .iter()
            .any(|it| lockdown.contains(it));
        Ok((
            is_there("/dev/kmem")?,
            is_there("/dev/mem")?,
            relaxed,
            locked,
        ))
    };
    let (kmem, mem, relaxed, locked) = match seen() {
        Ok(seen) => seen,
        Err(why) => return judged.unseen(&MEMORY, "the kernel's memory", &why),
    };
    let mut findings = Vec::new();
    if kmem {
        let what = "/dev/kmem is there: the kernel's memory as a file";
        findings.push(Finding::of(&MEMORY, "/dev/kmem", what).seen("/dev/kmem", "is there"));
    }
    if relaxed && !locked {
        let what = "the kernel is started with `iomem=relaxed`: /dev/mem reaches what drivers use";
        findings.push(Finding::of(&MEMORY, "iomem", what).seen("/proc/cmdline", "iomem=relaxed"));
    }
    if locked || !mem || !findings.is_empty() {
        return judged.judged(&MEMORY, "/dev/mem, /dev/kmem and lockdown", findings);
    }
    match strict(case.host) {
        Ok(Some(true)) => judged.judged(&MEMORY, "the kernel's configuration", findings),
        Ok(Some(false)) => {
            let what = "/dev/mem reaches the kernel's memory: it was built without STRICT_DEVMEM";
            let finding = Finding::of(&MEMORY, "/dev/mem", what).seen("/dev/mem", "is there");
            judged.judged(&MEMORY, "the kernel's configuration", vec![finding]);
        }
        Ok(None) => judged.cannot_tell(
            &MEMORY,
            "/dev/mem is there, and how the kernel was built is not to be seen in /boot",
            findings,
        ),
        Err(why) => judged.unseen(&MEMORY, "the kernel's configuration", &why),
    }
}

/// Whether the kernel that runs was built to keep its memory out of /dev/mem; none if its configuration is not there.
fn strict(host: &dyn Host) -> Result<Option<bool>, Unseen> {
    let Some(release) = text(host, "/proc/sys/kernel/osrelease")? else {
        return Ok(None);
    };
    for path in [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
    ] {
        let path = HostPath::from_bytes(path.as_bytes());
        let path = path.map_err(|why| Unseen::Damaged(why.to_string()))?;
        match host.read(&path, 1024 * 1024) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                return Ok(Some(
                    text.lines().any(|line| line == "CONFIG_STRICT_DEVMEM=y"),
                ));
            }
            Err(Unseen::Absent) => (),
            Err(why) => return Err(why),
        }
    }
    Ok(None)
}
