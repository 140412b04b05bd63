//! UEFI with Secure Boot and keys of our own: firmware, its variables, signed images, and the disk they lie on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::machine::Machine;
use super::{must, variables};
use crate::tools::succeed;

/// What it takes beside a guest's programs: (file, Debian's package).
pub(super) const FILES: [(&str, &str); 6] = [
    (CODE, "ovmf"),
    (STUB, "systemd-boot-efi"),
    ("/usr/bin/sbsign", "sbsigntool"),
    ("/usr/bin/objcopy", "binutils"),
    ("/usr/bin/mcopy", "mtools"),
    ("/usr/sbin/mkfs.vfat", "dosfstools"),
];
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// Firmware with a platform key, a key exchange key and a `db` of its own: Secure Boot is on.
#[derive(Debug, Clone)]
pub struct Uefi {
    folder: PathBuf,
}

impl Uefi {
    pub(super) fn new(folder: &Path) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        let uefi = Self {
            folder: folder.to_owned(),
        };
        let mut certificates = Vec::new();
        for name in ["PK", "KEK", "db"] {
            let subject = format!("/CN=Stockade test {name}/");
            let key = uefi.folder.join(format!("{name}.key"));
            let words = "req -newkey rsa:2048 -nodes -new -x509 -sha256 -days 3650 -subj";
            succeed(
                Command::new("openssl")
                    .args(words.split(' '))
                    .arg(subject)
                    .arg("-keyout")
                    .arg(key)
                    .arg("-out")
                    .arg(uefi.certificate(name)),
            )?;
            let der = uefi.folder.join(format!("{name}.der"));
            succeed(
                Command::new("openssl")
                    .args(["x509", "-outform", "DER", "-in"])
                    .arg(uefi.certificate(name))
                    .arg("-out")
                    .arg(&der),
            )?;
            certificates.push((name, fs_err::read(der)?));
        }
        let empty = fs_err::read(VARIABLES)?;
        fs_err::write(
            uefi.variables(),
            variables::with_keys(&empty, &certificates)?,
        )?;
        Ok(uefi)
    }

    /// The certificate of `PK`, `KEK` or `db`, PEM.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// Signs an image with the key in `db`; where the signed one is.
    #[track_caller]
    pub fn sign(&self, image: &Path) -> PathBuf {
        let signed = image.with_extension("signed.efi");
        must(succeed(
            Command::new("sbsign")
                .arg("--key")
                .arg(self.folder.join("db.key"))
                .arg("--cert")
                .arg(self.certificate("db"))
                .arg("--output")
                .arg(&signed)
                .arg(image),
        ));
        signed
    }

    /// What the firmware keeps, over power cuts too.
    fn variables(&self) -> PathBuf {
        self.folder.join("variables.fd")
    }

    /// Puts the image where the firmware looks, on a disk made for it.
    fn esp(&self, image: &Path) -> Result<PathBuf> {
        let esp = super::disk::empty(&self.folder.join("esp"), 64)?;
        succeed(Command::new("mkfs.vfat").args(["-F", "32"]).arg(&esp))?;
        succeed(
            Command::new("mmd")
                .arg("-i")
                .arg(&esp)
                .args(["::/EFI", "::/EFI/BOOT"]),
        )?;
        succeed(
            Command::new("mcopy")
                .arg("-i")
                .arg(&esp)
                .arg(image)
                .arg("::/EFI/BOOT/BOOTX64.EFI"),
        )?;
        Ok(esp)
    }

    /// Adds firmware and the disk it boots from, which is the last one.
    pub(super) fn start_of(&self, image: &Path, command: &mut Command) -> Result<()> {
        let esp = self.esp(image)?;
        command.args(["-machine", "q35,smm=off"]);
        let flash = "if=pflash,format=raw";
        command.args(["-drive", &format!("{flash},unit=0,readonly=on,file={CODE}")]);
        command.args([
            "-drive",
            &format!("{flash},unit=1,file={}", self.variables().display()),
        ]);
        command.args([
            "-drive",
            &format!("if=none,id=esp,format=raw,file={}", esp.display()),
        ]);
        command.args(["-device", "virtio-blk-pci,drive=esp,bootindex=0"]);
        Ok(())
    }
}

/// A unified kernel image of the machine's kernel, initrd and command line (systemd-stub(7)), not signed.
pub(super) fn unified(machine: &Machine) -> Result<PathBuf> {
    let folder = machine.folder();
    let (cmdline, initrd) = (folder.join("cmdline"), folder.join("initrd"));
    fs_err::create_dir_all(&folder)?;
    fs_err::write(&cmdline, machine.words())?;
    fs_err::write(&initrd, machine.initrd()?)?;
    let parts = [
        (".osrel", Path::new("/usr/lib/os-release")),
        (".cmdline", &cmdline),
        (".linux", &machine.lab.kernel.image),
        (".initrd", &initrd),
    ];
    let mut at = end_of_sections(&succeed(Command::new("objdump").args(["-h", STUB]))?)?;
    let mut command = Command::new("objcopy");
    for (section, file) in parts {
        let mut place = String::new();
        write!(place, "{section}={at:#x}")?;
        command
            .arg("--add-section")
            .arg(format!("{section}={}", file.display()));
        command.args(["--change-section-vma", &place]);
        at = (at + fs_err::metadata(file)?.len()).next_multiple_of(PAGE);
    }
    let image = folder.join("unified.efi");
    succeed(command.arg(STUB).arg(&image))?;
    Ok(image)
}

const PAGE: u64 = 4096;

/// The first page after the last section in what `objdump -h` prints: number, name, size, address, …
fn end_of_sections(printed: &str) -> Result<u64> {
    let ends = printed.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, size, address, _, _, _] = words.as_slice() else {
            return None;
        };
        Some(u64::from_str_radix(size, 16).ok()? + u64::from_str_radix(address, 16).ok()?)
    });
    let end = ends.max().context("the stub has no sections")?;
    ensure!(end > PAGE, "the stub ends at {end}");
    Ok(end.next_multiple_of(PAGE))
}
