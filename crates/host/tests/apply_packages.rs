//! Packages are removed by their real managers, and come back bit for bit.
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

#[path = "common/tree.rs"]
#[expect(dead_code, reason = "each file of tests takes what it needs")]
mod tree;

use std::path::Path;
use std::process::Command;

use fs_err as fs;
use stockade_controls::engine::{Action, PackageManager};
use stockade_host::apply::{Applier, ApplyError, Moment, Which};
use tree::{digest, plan, put, root_only};

fn quiet(_: &Moment<'_>) {}

fn runs(command: &mut Command) -> bool {
    let output = command.output();
    let done = output.as_ref().is_ok_and(|it| it.status.success());
    if !done {
        let program = command.get_program().display();
        println!(
            "{program}: {}",
            output.map_or_else(
                |why| why.to_string(),
                |it| String::from_utf8_lossy(&it.stderr).into_owned()
            )
        );
    }
    done
}

/// Builds a package with two names of one file, and installs it.
fn debian(folder: &Path, root: &Path, name: &str, depends: &str) -> bool {
    let tree = folder.join(name);
    let control = format!(
        "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.invalid>\n{depends}Description: x\n"
    );
    put(&tree, "DEBIAN/control", 0o644, (0, 0), &control);
    put(&tree, &format!("usr/bin/{name}"), 0o4755, (0, 0), "program");
    put(
        &tree,
        &format!("usr/share/{name}/data"),
        0o644,
        (0, 7),
        "data",
    );
    let bin = tree.join("usr/bin");
    fs::hard_link(bin.join(name), bin.join(format!("{name}-1"))).expect("a second name");
    let package = folder.join(format!("{name}.deb"));
    runs(
        Command::new("dpkg-deb")
            .arg("--build")
            .arg(&tree)
            .arg(&package),
    ) && runs(
        Command::new("dpkg")
            .arg("--root")
            .arg(root)
            .arg("--install")
            .arg(&package),
    )
}

fn remove(name: &str, manager: PackageManager) -> Action {
    Action::RemovePackage {
        manager,
        name: name.parse().expect("a name"),
    }
}

#[test]
fn a_debian_package_goes_and_comes_back() {
    if !root_only() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (root, state) = (folder.path().join("root"), folder.path().join("state"));
    put(&root, "var/lib/dpkg/status", 0o644, (0, 0), "");
    put(
        &root,
        "etc/passwd",
        0o644,
        (0, 0),
        "root:x:0:0::/:/bin/sh\n",
    );
    for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    if !debian(folder.path(), &root, "tool", "")
        || !debian(folder.path(), &root, "user", "Depends: tool\n")
    {
        println!("skipped: no dpkg");
        return;
    }
    let before = digest(&root, true);
    let mut applier = Applier::open(&root, &state).expect("free");
    // What others need stays, and nothing is touched.
    let refused = applier
        .apply(
            &plan(vec![remove("tool", PackageManager::Dpkg)]),
            &mut quiet,
        )
        .expect_err("refused");
    assert!(
        matches!(&refused, ApplyError::Refused { why, .. } if why.to_string().contains("depends on tool")),
        "{refused}"
    );
    assert_eq!(digest(&root, true), before);
    let both = plan(vec![
        remove("user", PackageManager::Dpkg),
        remove("tool", PackageManager::Dpkg),
    ]);
    assert_eq!(applier.apply(&both, &mut quiet).expect("applied").done, 2);
    assert!(!root.join("usr/bin/tool").exists());
    assert_eq!(
        applier.apply(&both, &mut quiet).expect("applied").already,
        2
    );
    let undone = applier.undo(Which::Last, &mut quiet).expect("undone");
    assert_eq!(undone.left, [""; 0]);
    assert_eq!(digest(&root, true), before);
    // The manager agrees.
    assert!(runs(
        Command::new("dpkg")
            .arg("--root")
            .arg(&root)
            .args(["--verify", "tool", "user"])
    ));
}

#[test]
fn an_rpm_package_goes_and_comes_back() {
    if !root_only() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (root, state) = (folder.path().join("root"), folder.path().join("state"));
    fs::create_dir(&root).expect("a directory");
    let specification = "Name: tool\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n%description\nx\n%install\nmkdir -p %{buildroot}/usr/bin %{buildroot}/etc\necho tool > %{buildroot}/usr/bin/tool\necho x > %{buildroot}/etc/tool.conf\n%files\n/usr/bin/tool\n%config /etc/tool.conf\n";
    let file = folder.path().join("tool.spec");
    fs::write(&file, specification).expect("written");
    let top = format!("_topdir {}", folder.path().join("top").display());
    let built = runs(
        Command::new("rpmbuild")
            .args(["-bb", "--define", &top])
            .arg(&file),
    );
    let package = folder.path().join("top/RPMS/noarch/tool-1-1.noarch.rpm");
    let rpm = || {
        let mut command = Command::new("rpm");
        command.arg("--root").arg(&root);
        command
    };
    if !built || !runs(rpm().args(["--install", "--nodeps"]).arg(&package)) {
        println!("skipped: no rpmbuild");
        return;
    }
    // Asking changes when the database's side files were written; what is in it is asked for below.
    let shown = |times| -> String {
        let all = digest(&root, times);
        let lines = all.lines().filter(|line| !line.contains("rpmdb"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let before = shown(true);
    let mut applier = Applier::open(&root, &state).expect("free");
    let plan = plan(vec![remove("tool", PackageManager::Rpm)]);
    assert_eq!(applier.apply(&plan, &mut quiet).expect("applied").done, 1);
    assert!(!root.join("usr/bin/tool").exists());
    assert!(!runs(rpm().args(["--query", "tool"])));
    let undone = applier.undo(Which::Last, &mut quiet).expect("undone");
    assert_eq!(undone.left, [""; 0]);
    assert_eq!(shown(true), before);
    assert!(runs(rpm().args(["--verify", "--nodeps", "tool"])));
}
