//! A machine that is off: what it is made of.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::guest::Guest;
use super::{Lab, Tpm, Uefi, gpio, initrd, must, plain, uefi};
use crate::tools::{pause, say};

/// A machine, off. Its folder and disks last as long as the lab, so the same machine can be booted again.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) lab: Lab,
    pub(super) name: String,
    pub(super) tpm: Option<Tpm>,
    uefi: Option<Uefi>,
    image: Option<PathBuf>,
    cmdline: String,
    memory: u32,
    usb: bool,
    net: bool,
    modules: Vec<String>,
    disks: Vec<PathBuf>,
    lines: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Machine {
    pub(super) fn new(lab: &Lab, name: &str) -> Self {
        Self {
            lab: lab.clone(),
            name: must(plain(name)).to_owned(),
            tpm: None,
            uefi: None,
            image: None,
            cmdline: String::new(),
            memory: 1024,
            usb: false,
            net: false,
            modules: Vec::new(),
            disks: Vec::new(),
            lines: Vec::new(),
            files: Vec::new(),
        }
    }

    /// More for the kernel's command line.
    #[must_use]
    pub fn cmdline(mut self, words: &str) -> Self {
        self.cmdline = format!("{} {words}", self.cmdline);
        self
    }

    /// With this TPM, at `/dev/tpmrm0`.
    #[must_use]
    pub fn tpm(mut self, tpm: &Tpm) -> Self {
        self.tpm = Some(tpm.clone());
        self
    }

    /// Boots by this firmware: a unified kernel image, signed, unless [`Machine::image`] gives another.
    #[must_use]
    pub fn uefi(mut self, uefi: &Uefi) -> Self {
        self.uefi = Some(uefi.clone());
        self
    }

    /// What the firmware finds as `/EFI/BOOT/BOOTX64.EFI`.
    #[must_use]
    pub fn image(mut self, image: &Path) -> Self {
        self.image = Some(image.to_owned());
        self
    }

    /// A unified kernel image of the kernel, the initrd and the command line, not signed; the next one takes its place.
    #[track_caller]
    pub fn unified(&self) -> PathBuf {
        must(uefi::unified(self))
    }

    /// With a disk: the first is `/dev/vda`. What is on it stays; what the guest did not sync is lost at a [`Guest::cut`].
    #[must_use]
    pub fn disk(mut self, image: &Path) -> Self {
        self.disks.push(image.to_owned());
        self
    }

    /// Loads these modules (and what they need) before the first script runs.
    #[must_use]
    pub fn modules(mut self, names: &[&str]) -> Self {
        self.modules
            .extend(names.iter().map(|&name| name.to_owned()));
        self
    }

    /// With a USB controller, whose drivers and those of storage and keyboards are loaded.
    #[must_use]
    pub fn usb(mut self) -> Self {
        self.usb = true;
        self.modules(&["xhci_pci", "usb_storage", "sd_mod", "usbhid", "hid_generic"])
    }

    /// With a GPIO chip that has lines of these names, all low; [`Guest::gpio_line`] moves them. Ask [`Lab::has_gpio`] before.
    #[must_use]
    pub fn gpio(mut self, lines: &[&str]) -> Self {
        self.lines = lines.iter().map(|&line| line.to_owned()).collect();
        self
    }

    /// With a network of its own: the guest is 10.0.2.15 on `eth0`, this machine's loopback is 10.0.2.2.
    #[must_use]
    pub fn net(mut self) -> Self {
        self.net = true;
        self
    }

    /// So many MiB of memory instead of 1024.
    #[must_use]
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory = mib;
        self
    }

    /// One more file in the initrd.
    #[must_use]
    pub fn initrd_file(mut self, name: &str, content: &[u8]) -> Self {
        self.files.push((name.to_owned(), content.to_vec()));
        self
    }

    /// Power on; returns when the guest takes scripts.
    #[track_caller]
    pub fn boot(&self) -> Guest {
        must(Guest::boot(self))
    }

    /// Power on; the firmware must refuse to boot. What it says then.
    #[track_caller]
    pub fn refused(&self) -> String {
        must(Guest::refused(self))
    }

    /// Cuts the power so many times. Each boot first checks what the last cut left (`check`), then starts the work that the
    /// next one meets (`work`) at a random moment within `window`; after the last cut it is checked once more.
    #[track_caller]
    pub fn rounds(
        &self,
        count: u32,
        window: Duration,
        mut check: impl FnMut(u32, &Guest),
        mut work: impl FnMut(u32, &Guest),
    ) {
        let seed = std::process::id();
        say(&format!("the moments of the cuts come from seed {seed}"));
        let mut random = Random(u64::from(seed) | 1);
        for round in 0..count {
            let guest = self.boot();
            if round > 0 {
                check(round, &guest);
            }
            work(round, &guest);
            pause(window.mul_f64(random.share()));
            guest.cut();
        }
        let guest = self.boot();
        check(count, &guest);
        guest.power_off();
    }

    /// The folder the guest sees as `/lab`, both ways; it is there before the first boot and after the last.
    pub fn share(&self) -> PathBuf {
        let share = self.folder().join("share");
        must(fs_err::create_dir_all(&share).map_err(Into::into));
        share
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.lab.folder().join(&self.name)
    }

    /// What the guest's first process reads from `/lab`.
    pub(super) fn settings(&self) -> Result<String> {
        let gpio = if self.lines.is_empty() {
            String::new()
        } else {
            gpio::module(&self.lab.kernel)?.display().to_string()
        };
        Ok(format!(
            "NAME={}\nMODULES={}\nLOAD='{}'\nNET={}\nGPIO={gpio}\nLINES='{}'\n",
            self.name,
            self.lab.kernel.modules().display(),
            self.modules.join(" "),
            if self.net { "yes" } else { "" },
            self.lines.join(" "),
        ))
    }

    /// The whole command line.
    pub(super) fn words(&self) -> String {
        format!(
            "console=ttyS0 quiet loglevel=4 panic=-1 rdinit=/init{}",
            self.cmdline
        )
    }

    pub(super) fn initrd(&self) -> Result<Vec<u8>> {
        initrd::archive(&self.lab.kernel, &self.files)
    }

    /// Adds what the machine boots.
    pub(super) fn start_of(&self, command: &mut Command) -> Result<()> {
        if let Some(uefi) = &self.uefi {
            let image = match &self.image {
                Some(image) => image.clone(),
                None => uefi.sign(&self.unified()),
            };
            return uefi.start_of(&image, command);
        }
        let initrd = self.folder().join("initrd");
        fs_err::write(&initrd, self.initrd()?)?;
        command
            .args(["-machine", "q35", "-kernel"])
            .arg(&self.lab.kernel.unpacked);
        command
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", &self.words()]);
        Ok(())
    }

    /// QEMU with everything but what it boots.
    pub(super) fn qemu(&self) -> Command {
        let folder = self.folder();
        let inside = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new("qemu-system-x86_64");
        // Never KVM: a host may have the device and still not run a kernel of Debian's with it.
        command.args(
            "-accel tcg,thread=multi -cpu max -display none -nodefaults -no-user-config -no-reboot"
                .split(' '),
        );
        command.args(["-m", &self.memory.to_string()]);
        command.args(["-serial", &format!("file:{}", inside("console"))]);
        for (id, socket) in [("jobs", "jobs.sock"), ("qmp", "qmp.sock")] {
            let path = inside(socket);
            command.args([
                "-chardev",
                &format!("socket,id={id},path={path},server=on,wait=off"),
            ]);
        }
        command.args([
            "-serial",
            "chardev:jobs",
            "-mon",
            "chardev=qmp,mode=control",
        ]);
        let share = self.share();
        let mounts = [
            ("hostroot", "/,readonly=on,multidevs=remap".to_owned()),
            ("lab", share.display().to_string()),
        ];
        for (tag, path) in mounts {
            command.args([
                "-fsdev",
                &format!("local,id={tag},security_model=none,path={path}"),
            ]);
            command.args([
                "-device",
                &format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
            ]);
        }
        for (number, disk) in self.disks.iter().enumerate() {
            let file = disk.display();
            command.args([
                "-drive",
                &format!("if=none,id=disk{number},format=raw,file={file}"),
            ]);
            command.args(["-device", &format!("virtio-blk-pci,drive=disk{number}")]);
        }
        if self.usb {
            command.args(["-device", "qemu-xhci,id=usb"]);
        }
        if self.net {
            command.args([
                "-netdev",
                "user,id=net",
                "-device",
                "virtio-net-pci,netdev=net",
            ]);
        }
        if let Some(tpm) = &self.tpm {
            command.args([
                "-chardev",
                &format!("socket,id=tpm,path={}", tpm.socket().display()),
            ]);
            command.args([
                "-tpmdev",
                "emulator,id=tpm0,chardev=tpm",
                "-device",
                "tpm-crb,tpmdev=tpm0",
            ]);
        }
        command
    }
}

/// Enough randomness to choose moments with, repeatable from its seed (xorshift64).
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        for shift in [13, -7, 17] {
            self.0 ^= if shift > 0 {
                self.0 << shift
            } else {
                self.0 >> -shift
            };
        }
        f64::from(u16::try_from(self.0 >> 48).unwrap_or_default()) / f64::from(u16::MAX)
    }
}
