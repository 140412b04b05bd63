//! Boot loaders: whether somebody at the device can tell them what to start.

use super::kernel::wrong;
use super::rules::{LOCKED, UBOOT};
use super::uboot::{Environment, MOST, places};
use super::{State, demanded, is_there};
use crate::engine::{Case, Finding, HostPath, Judged, Kind, Standing, Unseen};

const UBOOT_CONFIG: &str = "/etc/fw_env.config";

pub(super) fn judge(case: &Case<'_>, judged: &mut Judged) {
    let environment = environment(case);
    u_boot(&environment, judged);
    demanded(judged, &LOCKED, case.profile.boot.bootloader_locked, || {
        locked(case, environment)
    });
}

/// The environment of U-Boot, with how many of its copies are damaged; none where there is no U-Boot that Linux knows of.
fn environment(case: &Case<'_>) -> Result<Option<(Environment, usize)>, Unseen> {
    let config = match case.host.read(&HostPath::of(UBOOT_CONFIG), super::MOST) {
        Ok(config) => config,
        Err(Unseen::Absent) => return Ok(None),
        Err(why) => return Err(why),
    };
    let damaged = |why: super::uboot::UbootError| Unseen::Damaged(why.to_string());
    let places = places(&String::from_utf8_lossy(&config)).map_err(damaged)?;
    let mut copies = Vec::new();
    for place in &places {
        copies.push(if case.host.entry(&place.path)?.kind == Kind::File {
            let whole = case.host.read(&place.path, 16 * MOST)?;
            let skipped = usize::try_from(place.offset).unwrap_or(usize::MAX);
            whole.into_iter().skip(skipped).take(place.size).collect()
        } else {
            case.host.device(&place.path, place.offset, place.size)?
        });
    }
    let copies: Vec<&[u8]> = copies.iter().map(Vec::as_slice).collect();
    let environment = Environment::read(&copies).map_err(damaged)?;
    Ok(Some((environment, Environment::damaged(&copies))))
}

fn u_boot(environment: &Result<Option<(Environment, usize)>, Unseen>, judged: &mut Judged) {
    let (environment, damaged) = match environment {
        Ok(Some(it)) => it,
        Ok(None) => return judged.does_not_apply(&UBOOT, "there is no /etc/fw_env.config"),
        Err(Unseen::Damaged(why)) => {
            let finding = Finding::of(&UBOOT, "environment", why.as_str());
            return judged.judged(&UBOOT, "", vec![finding]);
        }
        Err(why) => return judged.unseen(&UBOOT, "the environment of U-Boot", why),
    };
    let mut findings = Vec::new();
    if *damaged > 0 {
        let what = "one of the two copies of the environment is damaged";
        findings.push(Finding::of(&UBOOT, "environment", what));
    }
    // doc/usage/environment.rst: `verify`, images are checked unless it begins so (`env_get_yesno`).
    if let Some(verify) = environment.variables.get("verify")
        && verify.starts_with(['n', 'N', 'f', 'F', '0'])
    {
        let what = format!("`verify={verify}`: U-Boot starts images that are not what they say");
        findings.push(Finding::of(&UBOOT, "verify", what));
    }
    let line = environment.variables.get("bootargs");
    for (word, why) in line.map(|it| wrong(it)).unwrap_or_default() {
        let what = format!("`{word}` in `bootargs` {why}");
        findings.push(Finding::of(&UBOOT, word, what));
    }
    let looked_at = format!("{} variables", environment.variables.len());
    judged.judged(&UBOOT, looked_at, findings);
}

/// Each boot loader by what it is told of this; one that is not known here can not be judged.
fn locked(case: &Case<'_>, environment: Result<Option<(Environment, usize)>, Unseen>) -> State {
    let bad = |what: &str| State::Bad(Finding::of(&LOCKED, "boot loader", what));
    match environment {
        Err(why) => return State::unseen("the environment of U-Boot", &why),
        Ok(Some((environment, _))) => {
            // doc/usage/environment.rst: -2 starts at once and can not be stopped; without the variable what was built in holds.
            return match environment.variables.get("bootdelay").map(String::as_str) {
                Some("-2") => State::Good("U-Boot starts without a delay".to_owned()),
                Some(delay) => bad(&format!(
                    "`bootdelay={delay}`: a key on the serial line stops U-Boot and takes commands"
                )),
                None => State::Unknown("U-Boot's environment has no `bootdelay`".to_owned()),
            };
        }
        Ok(None) => (),
    }
    let line = case.host.read(&HostPath::of("/proc/cmdline"), super::MOST);
    let line = line.unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    // Android's boot loaders tell the kernel (source.android.com, Verified Boot: device state).
    let told = line.split_whitespace().find_map(|word| {
        let flash = word
            .strip_prefix("androidboot.flash.locked=")
            .map(|it| it == "1");
        let state = word.strip_prefix("androidboot.vbmeta.device_state=");
        flash.or_else(|| state.map(|it| it == "locked"))
    });
    match told {
        Some(true) => return State::Good("the boot loader says that it is locked".to_owned()),
        Some(false) => return bad("the boot loader says that it is unlocked"),
        None => (),
    }
    configured(case).unwrap_or_else(|why| State::unseen("the boot loader", &why))
}

/// GRUB and systemd-boot, by their configuration; and an image that the firmware starts by itself.
fn configured(case: &Case<'_>) -> Result<State, Unseen> {
    let read = |path: &'static str| match case.host.read(&HostPath::of(path), MOST) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(Unseen::Absent) => Ok(None),
        Err(why) => Err(why),
    };
    for path in ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"] {
        if let Some(config) = read(path)? {
            let guarded = config.lines().any(|line| {
                let line = line.trim();
                line.strip_prefix("set superusers=")
                    .is_some_and(|users| !users.trim_matches(['"', '\'']).is_empty())
            });
            let what = "GRUB takes commands from everybody: it has no superuser";
            return Ok(if guarded {
                State::Good("GRUB asks for a password".to_owned())
            } else {
                State::Bad(Finding::of(&LOCKED, "boot loader", what).seen(path, "no superusers"))
            });
        }
    }
    for path in [
        "/efi/loader/loader.conf",
        "/boot/loader/loader.conf",
        "/boot/efi/loader/loader.conf",
    ] {
        if let Some(config) = read(path)? {
            // loader.conf(5): on unless it is switched off.
            let off = config.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some("editor")
                    && matches!(words.next(), Some("no" | "off" | "0" | "false" | "n" | "f"))
            });
            let what = "systemd-boot lets everybody edit the kernel's command line";
            return Ok(if off {
                State::Good("systemd-boot's editor is off".to_owned())
            } else {
                State::Bad(Finding::of(&LOCKED, "boot loader", what).seen(path, "no `editor no`"))
            });
        }
    }
    if case.host.standing() == Standing::Offline {
        return Err(Unseen::Offline);
    }
    // Boot loader interface (UAPI): the stub of an image says who it is, and so does a boot loader before it.
    let variable = |name: &str| {
        let path = format!("/sys/firmware/efi/efivars/{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
        let path = HostPath::from_bytes(path.as_bytes());
        path.map_or(Ok(false), |path| is_there(case.host, &path))
    };
    Ok(if variable("StubInfo")? && !variable("LoaderInfo")? {
        State::Good("the firmware starts the image by itself".to_owned())
    } else {
        State::Unknown("which boot loader there is can not be seen".to_owned())
    })
}
