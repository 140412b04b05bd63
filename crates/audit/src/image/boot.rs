//! How an image is started: the command lines of its kernels, and whether the boot loader waits for somebody at the device.

use stockade_controls::boot::wrong;
use stockade_controls::engine::Confidence;

use super::generic::rule;
use super::scripts::Hit;

/// What the control reads itself where the root has it.
const READ_BY_CONTROL: [&str; 4] = [
    "/boot/cmdline.txt",
    "/boot/firmware/cmdline.txt",
    "/etc/kernel/cmdline",
    "/usr/lib/kernel/cmdline",
];

/// What a file says about the start; none if it is no file of a boot loader's.
pub(super) fn judge(path: &str, text: &str) -> Option<Vec<Hit>> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let keys: &[&str] = match name {
        "extlinux.conf" | "syslinux.cfg" | "isolinux.cfg" => &["append"],
        "grub.cfg" | "menu.lst" => &["linux", "linux16", "linuxefi", "kernel"],
        "uEnv.txt" | "armbianEnv.txt" | "u-boot-initial-env" | "boot.cmd" | "boot.scr"
        | "fw_env.txt" => &["bootargs", "extraargs", "setenv"],
        "cmdline.txt" | "cmdline"
            if path.contains("/boot")
                || path.starts_with("/cmdline")
                || path.contains("/kernel/") =>
        {
            &[]
        }
        _ if path.contains("/loader/entries/") && name.strip_suffix(".conf").is_some() => {
            &["options"]
        }
        _ => return None,
    };
    if READ_BY_CONTROL.contains(&path) {
        return Some(Vec::new());
    }
    let mut hits = Vec::new();
    for (number, line) in (1_usize..).zip(text.lines()) {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let (key, rest) = line
            .split_once(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or((line, ""));
        if keys.iter().any(|it| key.eq_ignore_ascii_case(it)) || (keys.is_empty() && number == 1) {
            let all = if keys.is_empty() { line } else { rest };
            let words = all.replace(['"', '\''], " ");
            hits.extend(wrong(&words).into_iter().map(|(word, why)| {
                Hit::of(
                    number,
                    rule("boot/command-line"),
                    format!(
                        "has `{}` on the kernel's command line: it {why}",
                        word.escape_debug()
                    ),
                )
            }));
        }
        hits.extend(delay(number, line));
    }
    Some(hits)
}

/// `bootdelay=3` of U-Boot (doc/usage/environment.rst): only -2 asks nobody.
fn delay(number: usize, line: &str) -> Option<Hit> {
    let (_, rest) = line
        .split_once("bootdelay=")
        .or_else(|| line.split_once("setenv bootdelay "))?;
    let value: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '-')
        .collect();
    let seconds: i32 = value.parse().ok()?;
    (seconds >= -1 && seconds != -2).then(|| {
        let what = format!(
            "says `bootdelay={seconds}`: a key on the serial line stops U-Boot and takes commands"
        );
        Hit::of(number, rule("boot/bootloader-locked"), what)
    })
}

/// The environment that is built into a boot loader, of which `bootdelay=` was seen at `at`.
pub(super) fn built_in(content: &[u8], at: usize) -> Option<Hit> {
    // A variable of an environment ends with a NUL, and so does what is before it.
    let before = at.checked_sub(1).and_then(|it| content.get(it)).copied();
    let rest = content.get(at..content.len().min(at.saturating_add(32)))?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let line = str::from_utf8(rest.get(..end)?).ok()?;
    let mut hit = delay(0, line).filter(|_| before.is_none_or(|it| it == 0))?;
    hit.sure = Confidence::Medium;
    Some(hit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_and_delays_are_found() {
        let ids = |path: &str, text: &str| {
            let hits = judge(path, text).expect("a boot loader's file");
            hits.iter().map(|hit| hit.rule.id).collect::<Vec<_>>()
        };
        assert_eq!(
            ids(
                "/boot/extlinux/extlinux.conf",
                "  APPEND root=/dev/x init=/bin/sh"
            ),
            ["boot/command-line"]
        );
        assert_eq!(
            ids(
                "/boot/grub/grub.cfg",
                "\tlinux /vmlinuz root=x selinux=0 ro"
            ),
            ["boot/command-line"]
        );
        assert_eq!(
            ids("/uEnv.txt", "bootdelay=3\nbootargs=console=ttyS0 quiet"),
            ["boot/bootloader-locked"]
        );
        assert_eq!(ids("/uEnv.txt", "bootdelay=-2"), [""; 0]);
        assert!(judge("/etc/hosts", "bootdelay=3").is_none());
        assert!(built_in(b"\0bootdelay=5\0", 1).is_some());
        assert!(built_in(b"xbootdelay=5\0", 1).is_none());
        assert!(built_in(b"\0bootdelay=-2\0", 1).is_none());
    }
}
