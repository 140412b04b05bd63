use std::io::Write as _;

use super::*;

/// A configuration, with what is to be changed in it.
fn config(architecture: &str, version: &str, changes: &[(&str, &str)]) -> String {
    let mut text = format!(
        "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/{architecture} {version} Kernel Configuration\n#\n"
    );
    let mut settings: BTreeMap<&str, String> = BTreeMap::new();
    for it in WANTED {
        for name in it.unless {
            settings.insert(name, "y".to_owned());
        }
    }
    for it in WANTED.iter().filter(|it| it.on) {
        let value = it
            .least
            .map_or_else(|| "y".to_owned(), |least| least.to_string());
        settings.insert(it.names[0], value);
    }
    for (name, value) in changes {
        settings.insert(name, (*value).to_owned());
    }
    let lines = settings.iter().map(|(name, value)| match value.as_str() {
        "n" => format!("# CONFIG_{name} is not set\n"),
        value => format!("CONFIG_{name}={value}\n"),
    });
    text.extend(lines);
    text
}

fn broken(text: &str) -> Vec<(String, Vec<String>)> {
    let kernel = read(text.as_bytes(), "/boot/config").unwrap();
    let outcomes = judge(&[kernel]).into_iter();
    let broken = outcomes.filter_map(|outcome| match outcome.verdict {
        Verdict::Broken(findings) => {
            let seen = findings[0].evidence.iter().map(|it| it.seen.clone());
            Some((outcome.rule.id.to_owned(), seen.collect()))
        }
        _ => None,
    });
    broken.collect()
}

#[test]
fn each_setting_is_missed_where_it_exists_and_only_there() {
    for architecture in ["x86", "arm64", "arm", "mips"] {
        for version in ["2.6.38", "3.10.14", "4.4.60", "5.10.0", "6.12.1"] {
            let good = config(architecture, version, &[]);
            assert_eq!(broken(&good), [], "{architecture} {version}");
            let numbers: Vec<u32> = version.split('.').map(|it| it.parse().unwrap()).collect();
            for it in WANTED {
                let here = it.architectures.is_empty() || it.architectures.contains(&architecture);
                let now = it.versions.contains(&(numbers[0], numbers[1]));
                let name = it.names[0];
                let text = config(
                    architecture,
                    version,
                    &[(name, if it.on { "n" } else { "y" })],
                );
                let seen: Vec<_> = broken(&text)
                    .into_iter()
                    .map(|(rule, seen)| (rule, seen.len()))
                    .collect();
                let expected = (here && now).then(|| (it.rule.id.to_owned(), 1));
                assert_eq!(
                    seen,
                    Vec::from_iter(expected),
                    "{name} {architecture} {version}"
                );
            }
        }
    }
}

#[test]
fn what_can_not_happen_is_no_finding() {
    let text = config(
        "arm64",
        "6.1.0",
        &[
            ("MODULES", "n"),
            ("MODULE_SIG_FORCE", "n"),
            ("STRICT_MODULE_RWX", "n"),
        ],
    );
    assert_eq!(broken(&text), []);
    let text = config("arm64", "6.1.0", &[("DEVMEM", "n"), ("STRICT_DEVMEM", "n")]);
    assert_eq!(broken(&text), []);
    // Its older name does as well, and so does another module of the same kind.
    let text = config(
        "x86",
        "4.4.0",
        &[
            ("STRICT_KERNEL_RWX", "n"),
            ("DEBUG_RODATA", "y"),
            ("SECURITY_SELINUX", "n"),
            ("SECURITY_APPARMOR", "y"),
        ],
    );
    assert_eq!(broken(&text), []);
    assert!(
        judge(&[])
            .iter()
            .all(|it| matches!(it.verdict, Verdict::DoesNotApply(_)))
    );
}

#[test]
fn a_configuration_is_found_in_a_kernel() {
    let text = config("mips", "4.14.90", &[("DEVKMEM", "y")]);
    let mut packed = flate2::write::GzEncoder::new(vec![0; 1000], flate2::Compression::best());
    packed.get_mut().extend_from_slice(b"IKCFG_ST");
    packed.write_all(text.as_bytes()).unwrap();
    let mut kernel = packed.finish().unwrap();
    kernel.extend_from_slice(b"IKCFG_ED and more");
    let at = kernel
        .windows(EMBEDDED.len())
        .position(|it| it == EMBEDDED)
        .unwrap();
    let found = embedded(&kernel, at, "vmlinux").unwrap();
    assert_eq!(
        (found.place.as_str(), found.release.as_str()),
        ("vmlinux at 0x3e8", "4.14.90")
    );
    let found = judge(&[found.clone(), found]);
    let Verdict::Broken(findings) = &found[0].verdict else {
        panic!("{found:?}");
    };
    assert_eq!(findings.len(), 1);
    assert_eq!(
        findings[0].evidence[0].seen,
        "CONFIG_DEVKMEM=y: /dev/kmem is the kernel's memory as a file"
    );
    kernel.truncate(at + 100);
    assert_eq!(embedded(&kernel, at, "vmlinux"), None);
    assert_eq!(read(b"# a script\nCONFIG_X=y\n", "/etc/x"), None);
}
