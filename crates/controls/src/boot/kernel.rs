//! What keeps the running kernel as it was started: lockdown, signatures of modules, its command line, no other kernel after it.

use super::rules::{COMMAND_LINE, KEXEC, LOCKDOWN, MODULES};
use super::{State, demanded, is_there, text};
use crate::engine::{
    Action, Case, Finding, HostPath, Judged, Remedy, Stage, Standing, Step, Unseen,
};

/// Where images keep the command line that their boot loader gives to the kernel.
const KEPT: [&str; 4] = [
    "/boot/cmdline.txt",
    "/boot/firmware/cmdline.txt",
    "/etc/kernel/cmdline",
    "/usr/lib/kernel/cmdline",
];
const COMMAND_LINE_OF: &str = "/proc/cmdline";

pub(super) fn judge(case: &Case<'_>, judged: &mut Judged) {
    let lockdown = lockdown(case);
    let boot = &case.profile.boot;
    let locked = lockdown
        .as_ref()
        .is_ok_and(|it| it.as_deref().is_some_and(|it| it != "none"));
    demanded(judged, &MODULES, boot.module_signatures, || {
        modules(case, locked)
    });
    demanded(judged, &LOCKDOWN, boot.lockdown, || match lockdown {
        Err(why) => State::unseen("lockdown", &why),
        Ok(Some(mode)) if mode != "none" => State::Good(format!("lockdown is {mode}")),
        Ok(mode) => {
            let what = match mode {
                Some(_) => "lockdown is off: root can change the running kernel",
                None => "the kernel was built without lockdown: root can change it",
            };
            State::Bad(Finding::of(&LOCKDOWN, "kernel", what))
        }
    });
    command_line(case, judged);
    kexec(case, locked, judged);
}

/// The mode of lockdown; none if the kernel has none.
fn lockdown(case: &Case<'_>) -> Result<Option<String>, Unseen> {
    match text(case, &HostPath::of("/sys/kernel/security/lockdown"))? {
        // `none [integrity] confidentiality`: the mode is the one in brackets.
        Some(modes) => {
            let mode = modes.split(['[', ']']).nth(1);
            let wrong = || Unseen::Damaged("/sys/kernel/security/lockdown".to_owned());
            mode.map(|it| Some(it.to_owned())).ok_or_else(wrong)
        }
        // `lsm` is there as soon as securityfs is mounted.
        None if is_there(case.host, &HostPath::of("/sys/kernel/security/lsm"))? => Ok(None),
        None => Err(Unseen::Failed("securityfs is not mounted".to_owned())),
    }
}

fn modules(case: &Case<'_>, locked: bool) -> State {
    let read = |path: &'static str| text(case, &HostPath::of(path));
    let enforced = read("/sys/module/module/parameters/sig_enforce");
    let over = read("/proc/sys/kernel/modules_disabled");
    match (enforced, over) {
        (Ok(Some(enforced)), _) if enforced == "Y" => {
            State::Good("signatures of modules are enforced".to_owned())
        }
        (_, Ok(Some(over))) if over == "1" => State::Good("no more modules are loaded".to_owned()),
        (_, Ok(None)) => State::Good("the kernel has no modules".to_owned()),
        // security/lockdown/lockdown.c: `unsigned module loading` is refused.
        (Ok(_), Ok(_)) if locked => State::Good("lockdown refuses unsigned modules".to_owned()),
        (Ok(_), Ok(_)) => {
            let what = "the kernel loads modules that nobody signed";
            State::Bad(Finding::of(&MODULES, "kernel", what))
        }
        (Err(why), _) | (_, Err(why)) => State::unseen("whether signatures are enforced", &why),
    }
}

/// The words of a command line that open a back door, and what they do.
pub fn wrong(line: &str) -> Vec<(&str, &'static str)> {
    // What follows `--` is for init alone.
    let words = line.split_whitespace().take_while(|word| *word != "--");
    words
        .filter_map(|word| wrong_word(word).map(|why| (word, why)))
        .collect()
}

fn wrong_word(word: &str) -> Option<&'static str> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let off = || matches!(value, "0" | "no" | "off" | "false");
    let on = || !off();
    Some(match key {
        "single" | "s" | "S" | "1" | "emergency" | "rescue" if value.is_empty() => {
            "starts a root shell instead of the system"
        }
        "systemd.unit" | "rd.systemd.unit"
            if value.starts_with("rescue") || value.starts_with("emergency") =>
        {
            "starts a root shell instead of the system"
        }
        "systemd.debug_shell" | "systemd.debug-shell" | "rd.systemd.debug_shell" if on() => {
            "opens a root shell on a terminal"
        }
        "rd.break" | "break" => "stops the start and opens a root shell",
        "rd.shell" if on() => "opens a root shell when the start fails",
        "init" | "rdinit" if !is_init(value) => "starts another program instead of the system",
        "module.sig_enforce" if off() => "lets unsigned modules in",
        "lockdown" if value == "none" => "switches lockdown off",
        "systemd.verity" | "rd.systemd.verity" if off() => "leaves files unchecked",
        "ima_appraise" if matches!(value, "off" | "log" | "fix") => {
            "lets files in whose signature is wrong"
        }
        "selinux" | "apparmor" | "enforcing" if off() => "switches mandatory access control off",
        "iomem" if value == "relaxed" => "lets root read and write memory",
        "kgdboc" | "kgdbwait" | "ekgdboc" => "lets a serial line stop and change the kernel",
        "mitigations" if value == "off" => "lets programs read what the processor left behind",
        "nokaslr" => "puts the kernel where everybody knows",
        _ => return None,
    })
}

fn is_init(path: &str) -> bool {
    const INITS: [&str; 7] = [
        "/init",
        "/sbin/init",
        "/bin/init",
        "/lib/systemd/systemd",
        "/usr/lib/systemd/systemd",
        "/usr/sbin/init",
        "/etc/preinit",
    ];
    INITS.contains(&path)
}

fn command_line(case: &Case<'_>, judged: &mut Judged) {
    let live = case.host.standing() == Standing::Live;
    let places = if live {
        &[COMMAND_LINE_OF][..]
    } else {
        &KEPT[..]
    };
    let (mut seen, mut findings) = (Vec::new(), Vec::new());
    for place in places {
        let line = match case.host.read(&HostPath::of(place), super::MOST) {
            Ok(line) => line,
            Err(Unseen::Absent) if !live => continue,
            Err(why) => return judged.unseen(&COMMAND_LINE, place, &why),
        };
        seen.push(*place);
        for (word, why) in wrong(&String::from_utf8_lossy(&line)) {
            let what = format!("`{word}` on the kernel's command line {why}");
            findings.push(Finding::of(&COMMAND_LINE, word, what).seen(*place, word));
        }
    }
    if seen.is_empty() {
        let why = "the image does not say where its boot loader takes the command line from";
        return judged.cannot_tell(&COMMAND_LINE, why, findings);
    }
    judged.judged(&COMMAND_LINE, seen.join(", "), findings);
}

/// Asked for as soon as the profile asks for anything of the kernel that was started.
fn kexec(case: &Case<'_>, locked: bool, judged: &mut Judged) {
    const SETTING: &str = "/proc/sys/kernel/kexec_load_disabled";
    const FILE: &str = "/etc/sysctl.d/90-stockade-boot.conf";
    const OFF: &str = "kernel.kexec_load_disabled = 1\n";
    let boot = &case.profile.boot;
    let demands = [boot.secure_boot, boot.lockdown, boot.verity];
    if demands.iter().all(Option::is_none) && boot.measured.is_empty() {
        return judged.does_not_apply(&KEXEC, "the profile asks for no kernel in particular");
    }
    let says = match text(case, &HostPath::of(SETTING)) {
        Ok(Some(value)) if value == "1" => "it is switched off",
        Ok(None) => "the kernel can not do it",
        // An image with a signature is still started (`kexec_file_load`), which the kernel checks.
        Ok(_) if locked => "lockdown allows signed kernels only",
        Ok(_) => {
            let what = "another kernel can be started from the running one";
            let mut finding = Finding::of(&KEXEC, "kernel", what);
            // A running kernel never takes this switch back, and a plan must be one that can be undone: so from the next start on.
            finding.remedy = if case.host.read(&HostPath::of(FILE), super::MOST).as_deref()
                == Ok(OFF.as_bytes())
            {
                Remedy::Person("start the device again: kexec is off from then on".to_owned())
            } else {
                let keep = Action::Put {
                    path: HostPath::of(FILE),
                    content: OFF.to_owned(),
                    mode: 0o644,
                    owner: (0, 0),
                };
                let risk = "A crash of the kernel leaves no dump any more";
                let says = "Switch kexec off from the next start on";
                Remedy::Steps(vec![Step::risky(Stage::Change, keep, says, risk)])
            };
            return judged.judged(&KEXEC, "", vec![finding]);
        }
        Err(why) => return judged.unseen(&KEXEC, "kexec", &why),
    };
    judged.judged(&KEXEC, says, Vec::new());
}
