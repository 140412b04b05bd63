//! The first files of a guest: busybox, the modules its root is on, and `init.sh`. The same kernel gives the same bytes.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::debian::Kernel;
use crate::tools::succeed;

/// What it takes to reach the host's files.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "9pnet_virtio", "9p", "overlay"];
const FOLDERS: [&str; 8] = ["bin", "dev", "lib", "mnt", "new", "proc", "run", "sys"];

/// The archive, with files of the test's own.
pub(super) fn archive(kernel: &Kernel, extra: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for folder in FOLDERS {
        cpio.add(folder, 0o040_755, &[]);
    }
    // The very busybox the shell would find, and it must stand alone.
    cpio.add("bin/busybox", 0o100_755, &fs_err::read("/bin/busybox")?);
    cpio.add("init", 0o100_755, include_bytes!("init.sh"));
    let mut load = String::new();
    for path in closure(kernel)? {
        let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
        cpio.add(&format!("lib/{name}"), 0o100_644, &fs_err::read(&path)?);
        load.push_str(&name);
        load.push('\n');
    }
    cpio.add("lib/load", 0o100_644, load.as_bytes());
    for (name, content) in extra {
        cpio.add(name, 0o100_644, content);
    }
    Ok(cpio.end())
}

/// The modules and what they need, in the order they load.
fn closure(kernel: &Kernel) -> Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    for module in MODULES {
        let shown = succeed(Command::new("modprobe").arg("-d").arg(&kernel.root).args([
            "-S",
            &kernel.release,
            "--show-depends",
            module,
        ]))
        .with_context(|| format!("the kernel has no {module}"))?;
        for path in shown
            .lines()
            .filter_map(|line| line.strip_prefix("insmod "))
        {
            if !all.iter().any(|known| known == path.trim()) {
                all.push(path.trim().to_owned());
            }
        }
    }
    Ok(all)
}

/// An archive as the kernel reads one (Documentation/driver-api/early-userspace/buffer-format.rst), `newc`.
#[derive(Debug, Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: usize,
}

impl Cpio {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let fields = [
            self.entries,
            usize::try_from(mode).unwrap_or_default(),
            0, // owner
            0, // group
            1, // links
            0, // time
            content.len(),
            0, // the device it lies on, and the one it is
            0,
            0,
            0,
            name.len() + 1,
            0, // no sum
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}
