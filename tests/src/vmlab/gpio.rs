//! A GPIO chip that is simulated: the kernel's own `gpio-sim`, which Debian does not build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::debian::{Kernel, Listed, kept};
use crate::tools::{finish, succeed, text};

/// What the module is made of.
const SOURCES: [&str; 3] = [
    "drivers/gpio/gpio-sim.c",
    "drivers/gpio/gpiolib.h",
    "kernel/irq/irq_sim.c",
];
/// `irq_sim` is not built either, so it is part of the module.
const KBUILD: &str =
    "obj-m := gpio-lab.o\ngpio-lab-objs := gpio-sim.o irq_sim.o\nccflags-y := -DCONFIG_IRQ_SIM=1\n";
/// A function modules may not call, and the two that do the same.
const EDIT: (&str, &str) = (
    "irq_to_desc(irqnum)",
    "irq_data_to_desc(irq_get_irq_data(irqnum))",
);
/// The source is 139 MB, packed.
const PATIENCE: Duration = Duration::from_mins(4);

/// The module for this kernel, built once.
pub(super) fn module(kernel: &Kernel) -> Result<PathBuf> {
    let name = kernel
        .root
        .file_name()
        .context("a kernel's folder has a name")?;
    let folder = kept(&format!("gpio-{}", name.display()), |part| {
        build(kernel, part)
    })?;
    Ok(folder.join("gpio-lab.ko"))
}

fn build(kernel: &Kernel, part: &Path) -> Result<()> {
    let release = &kernel.release;
    let version: Vec<&str> = release.splitn(3, '.').take(2).collect();
    let version = version.join(".");
    let flavour = release.rsplit('-').next().unwrap_or_default();
    let common = release.replace(flavour, "common");
    let work = tempfile::tempdir_in(part.parent().unwrap_or(part))?;
    for package in [
        format!("linux-headers-{release}"),
        format!("linux-headers-{common}"),
        format!("linux-kbuild-{version}"),
        format!("linux-source-{version}"),
    ] {
        let archive = Listed::of(&package)?.download(work.path())?;
        succeed(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(&archive)
                .arg(work.path()),
        )?;
        fs_err::remove_file(archive)?;
    }
    let usr = work.path().join("usr/src");
    let module = work.path().join("module");
    fs_err::create_dir(&module)?;
    let mut unpack = Command::new("tar");
    unpack
        .arg("-xJf")
        .arg(usr.join(format!("linux-source-{version}.tar.xz")));
    unpack.arg("-C").arg(&module).arg("--strip-components=3");
    unpack.args(SOURCES.map(|file| format!("linux-source-{version}/{file}")));
    let unpacked = finish(&mut unpack, PATIENCE)?;
    ensure!(unpacked.status.success(), "tar: {}", text(&unpacked));
    let irq = fs_err::read_to_string(module.join("irq_sim.c"))?;
    ensure!(irq.contains(EDIT.0), "irq_sim.c is not as it was in 6.1");
    fs_err::write(module.join("irq_sim.c"), irq.replace(EDIT.0, EDIT.1))?;
    fs_err::write(module.join("Kbuild"), KBUILD)?;
    // Debian's headers are told where they are, as they are not installed.
    let headers = usr.join(format!("linux-headers-{release}"));
    let makefile = fs_err::read_to_string(headers.join("Makefile"))?;
    let moved = makefile.replace("/usr/src", &usr.display().to_string());
    fs_err::write(headers.join("Makefile"), moved)?;
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(headers)
        .arg(format!("M={}", module.display()))
        .arg("modules");
    let made = finish(&mut make, PATIENCE)?;
    ensure!(made.status.success(), "make: {}", text(&made));
    fs_err::copy(module.join("gpio-lab.ko"), part.join("gpio-lab.ko"))?;
    Ok(())
}
