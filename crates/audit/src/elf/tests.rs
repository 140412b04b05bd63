use std::path::Path;
use std::process::Command;

use serde_json::Value;
use stockade_controls::engine::Verdict;

use super::*;
use random::Random;

#[path = "../../../../fuzz/random.rs"]
mod random;

fn of(path: &Path) -> Option<Elf> {
    facts(&fs_err::read(path).ok()?)?.ok()
}

/// What checksec says of a file; none if it is not here.
fn checksec(path: &Path) -> Option<Value> {
    let file = format!("--file={}", path.display());
    let output = Command::new("checksec")
        .args(["--format=json", &file])
        .output()
        .ok()?;
    let all: Value = serde_json::from_slice(&output.stdout).ok()?;
    all.as_object()?.values().next().cloned()
}

#[test]
fn programs_of_this_system_are_judged_as_checksec_does() {
    let mut count = 0;
    let programs = [
        "/usr/bin/sudo",
        "/bin/busybox",
        "/bin/ls",
        "/usr/bin/python3",
        "/usr/sbin/nft",
        "/usr/bin/perl",
        "/usr/bin/openssl",
        "/usr/sbin/dropbear",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libz.so.1",
        "/usr/sbin/ldconfig",
        "/lib/x86_64-linux-gnu/libm.so.6",
        "/usr/sbin/vsftpd",
        "/usr/bin/gdb",
        "/usr/bin/qemu-img",
    ];
    for path in programs.map(Path::new) {
        let Some(ours) = of(path) else {
            eprintln!("skipped: {} is not here", path.display());
            continue;
        };
        let Some(theirs) = checksec(path) else {
            return eprintln!("skipped: checksec is not here (Debian: checksec)");
        };
        let told = |what: &str| theirs[what].as_str().unwrap().to_owned();
        let relro = match ours.relro {
            Relro::Full => "full",
            Relro::Partial => "partial",
            Relro::None => "no",
        };
        let pie = match ours.what {
            What::Program { anywhere, .. } => {
                if anywhere {
                    "yes"
                } else {
                    "no"
                }
            }
            What::Library => "dso",
            _ => "rel",
        };
        let yes = |it| if it { "yes" } else { "no" };
        let all = [
            ("relro", relro),
            ("pie", pie),
            ("nx", yes(!ours.stack_runs)),
            ("canary", yes(ours.canary == Some(true))),
            ("fortify_source", yes(ours.fortified.0 > 0)),
        ];
        for (what, ours) in all {
            assert_eq!(told(what), ours, "{what} of {}", path.display());
        }
        count += 1;
    }
    eprintln!("{count} files as checksec judges them");
}

/// Builds a program; none if there is no compiler.
fn built(folder: &Path, name: &str, flags: &[&str]) -> Option<Elf> {
    let (source, program) = (folder.join("x.c"), folder.join(name));
    let text = "#include <string.h>\n#include <stdio.h>\n
        int main(int count, char **all) { char to[64]; strcpy(to, all[0]); puts(to); return count; }";
    fs_err::write(&source, text).unwrap();
    let output = Command::new("cc")
        .args(["-O2", "-o"])
        .args([&program, &source])
        .args(flags)
        .output()
        .ok()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{flags:?}: {error}");
    of(&program)
}

const GOOD: [&str; 5] = [
    "-fPIE",
    "-pie",
    "-fstack-protector-all",
    "-D_FORTIFY_SOURCE=2",
    "-Wl,-z,relro,-z,now",
];

#[test]
fn each_flag_of_the_compiler_is_seen_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let with = |more: &[&str]| {
        let flags: Vec<_> = GOOD.iter().chain(more).copied().collect();
        built(folder.path(), "x", &flags)
    };
    let Some(best) = with(&[]) else {
        return eprintln!("skipped: there is no compiler (Debian: gcc)");
    };
    let broken = |elf: Elf, mode| {
        let place = "/bin/x".to_owned();
        let outcomes = judge(&[Built { place, mode, elf }], None).into_iter();
        let found = outcomes.filter_map(|it| match it.verdict {
            Verdict::Broken(found) if it.rule.id != "programs/guarded-jumps" => {
                Some(format!("{} {}", found[0].severity, it.rule.id))
            }
            _ => None,
        });
        found.collect::<Vec<_>>()
    };
    assert_eq!(broken(best, 0o4755), [""; 0]);
    let cases: [(&[&str], &str); 8] = [
        (&["-no-pie", "-fno-pie"], "medium programs/pie"),
        (&["-fno-stack-protector"], "medium programs/stack-protector"),
        (&["-U_FORTIFY_SOURCE"], "low programs/fortify"),
        (&["-Wl,-z,norelro"], "low programs/relro"),
        (&["-Wl,-z,lazy"], "low programs/relro"),
        (&["-Wl,-z,execstack"], "medium programs/executable-stack"),
        (&["-Wl,-rpath,lib"], "high programs/library-path"),
        (
            &["-Wl,-rpath,/usr/lib:/tmp/build/lib"],
            "high programs/library-path",
        ),
    ];
    for (flags, rule) in cases {
        let found = broken(with(flags).unwrap(), 0o755);
        assert_eq!(found, [rule], "{flags:?}");
    }
    let worse = broken(with(&["-no-pie", "-fno-pie"]).unwrap(), 0o4755);
    assert_eq!(worse, ["high programs/pie"]);
    // All in it; what is stripped of its symbols says nothing of canaries.
    let whole = built(folder.path(), "x", &["-static-pie", "-s"]).unwrap();
    assert_eq!(
        whole.what,
        What::Program {
            whole: true,
            anywhere: true
        }
    );
    assert_eq!(whole.canary, None);
}

#[test]
fn broken_files_are_told_and_nothing_else_happens() {
    let Ok(program) = fs_err::read("/bin/true") else {
        return eprintln!("skipped: /bin/true is not here");
    };
    let mut random = Random(9);
    for _ in 0..5000 {
        let mut broken = random.mutated(&program);
        // The head and the tables are where it matters.
        let at = random.below(1024).min(broken.len().saturating_sub(1));
        if let Some(byte) = broken.get_mut(at) {
            *byte = 0xff;
        }
        let _ = facts(&broken);
    }
    assert!(facts(b"\x7fELF").unwrap().is_err());
    assert_eq!(facts(b"#!/bin/sh"), None);
}

/// The rules that are broken, with what was seen where first.
fn of_root(root: &Path) -> Vec<(&'static str, String, String)> {
    let options = crate::image::Options {
        now: 1_795_392_000,
        limits: stockade_image::Limits::default(),
    };
    let audited = crate::image::image(root, None, &options, &|_| ()).unwrap();
    let mine: Vec<_> = rules().iter().chain(crate::kernel::rules()).collect();
    let broken = audited.outcomes.iter().filter_map(|it| match &it.verdict {
        Verdict::Broken(found) if mine.iter().any(|rule| rule.id == it.rule.id) => {
            let first = &found[0].evidence[0];
            let seen = format!("{}: {}", first.place, first.seen);
            Some((it.rule.id, found[0].what.clone(), seen))
        }
        _ => None,
    });
    broken.collect()
}

#[test]
fn programs_modules_and_the_kernel_of_a_root_are_judged() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| {
        let path = root.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    fs_err::write(at("etc/passwd"), "root:*:0:0::/:/bin/sh\n").unwrap();
    let (good, bad) = (at("bin/good"), at("sbin/bad"));
    let all = GOOD
        .into_iter()
        .chain(["-no-pie", "-fno-pie", "-fcf-protection"]);
    let Some(_) = built(root.path(), "bin/good", &GOOD) else {
        return eprintln!("skipped: there is no compiler (Debian: gcc)");
    };
    built(root.path(), "sbin/bad", &all.collect::<Vec<_>>()).unwrap();
    assert!(good.exists() && bad.exists());
    let source = "static const char v[] __attribute__((used, section(\".modinfo\"))) = \"vermagic=5.10.0 SMP\";";
    fs_err::write(root.path().join("x.c"), source).unwrap();
    let module = at("lib/modules/5.10.0/x.ko");
    let mut compiler = Command::new("cc");
    compiler.arg("-c").arg(root.path().join("x.c")).arg("-o");
    assert!(compiler.arg(&module).status().unwrap().success());
    assert!(Command::new("xz").arg(&module).status().unwrap().success());
    let config = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/arm 5.10.0 Kernel Configuration\n#\nCONFIG_DEVKMEM=y\n";
    fs_err::write(at("boot/config-5.10.0"), config).unwrap();

    let broken = of_root(root.path());
    let of = |id: &str| {
        let found = broken.iter().find(|(rule, ..)| *rule == id);
        found.map(|(_, what, seen)| format!("{what}; {seen}"))
    };
    let expected = [
        (
            "programs/pie",
            "a program that always lies in one place of memory: /sbin/bad; /sbin/bad: no PIE",
        ),
        (
            "programs/module-signature",
            "a kernel module without a signature: /lib/modules/5.10.0/x.ko.xz; /lib/modules/5.10.0/x.ko.xz: not signed; for 5.10.0 SMP",
        ),
        (
            "boot/kernel-doors",
            "2 of 9 settings of kernel 5.10.0 are not as they should be: /dev/kmem is the kernel's memory as a file; /boot/config-5.10.0: CONFIG_DEVKMEM=y: /dev/kmem is the kernel's memory as a file",
        ),
    ];
    for (rule, text) in expected {
        assert_eq!(of(rule).as_deref(), Some(text));
    }
    assert_eq!(of("programs/relro"), None);
}
