//! A lab of virtual machines: Debian's kernel in QEMU, with this machine's files in it, in seconds and without KVM.
//!
//! ```no_run
//! let Some(lab) = stockade_e2e::vmlab::lab("a stick is refused") else { return };
//! let guest = lab.guest("device").usb().boot();
//! assert_eq!(guest.sh("cat /proc/sys/kernel/ostype").trim(), "Linux");
//! guest.power_off();
//! ```
//!
//! A guest's root is the host's own, read-only under a layer in memory, so every program is there by its path here. Its
//! `/run`, `/tmp`, `/var/lib/stockade` and `/etc/stockade` are its own and empty at each boot, so the checkout lies elsewhere; `/lab` is [`Guest::share`].
//! What a test asks of a guest must be so, or the test ends there: these functions panic as an assertion would.

pub(crate) mod debian;
mod disk;
mod gpio;
mod guest;
mod initrd;
mod machine;
mod qmp;
mod tpm;
mod uefi;
mod variables;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use self::debian::Kernel;
pub use self::guest::{Guest, Job, Output};
pub use self::machine::Machine;
pub use self::tpm::Tpm;
pub use self::uefi::Uefi;
use crate::tools::say;

/// What every guest takes: (program, Debian's package).
const PROGRAMS: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("apt-get", "apt"),
];

/// A kernel to boot, and a folder that is gone when the test is over.
#[derive(Debug, Clone)]
pub struct Lab {
    kernel: Arc<Kernel>,
    folder: Arc<TempDir>,
}

/// The lab, or none where guests can not be had here; the line printed then is counted as a skipped test.
#[must_use = "the test is to end here without a lab"]
pub fn lab(what: &str) -> Option<Lab> {
    if std::env::consts::ARCH != "x86_64" {
        say(&format!(
            "skipped: {what}: a guest runs this machine's programs, and is an x86-64"
        ));
        return None;
    }
    if let Some((program, package)) = PROGRAMS.iter().find(|(program, _)| !there(program)) {
        say(&format!(
            "skipped: {what}: no {program} (`apt-get install {package}`)"
        ));
        return None;
    }
    let checkout = crate::tools::root();
    if let Some(hidden) = ["/tmp", "/run"].iter().find(|it| checkout.starts_with(it)) {
        say(&format!(
            "skipped: {what}: the checkout is below {hidden}, and a guest has one of its own: move it"
        ));
        return None;
    }
    let made = debian::kernel().and_then(|kernel| {
        let folder = tempfile::Builder::new().prefix("vmlab-").tempdir()?;
        Ok(Lab {
            kernel: Arc::new(kernel),
            folder: Arc::new(folder),
        })
    });
    made.map_err(|error| say(&format!("skipped: {what}: no kernel to boot: {error:#}")))
        .ok()
}

impl Lab {
    /// A machine of that name, off. One name is one machine: its folder lasts as long as the lab.
    pub fn guest(&self, name: &str) -> Machine {
        Machine::new(self, name)
    }

    /// An empty disk image of so many MiB, sparse; give it to [`Machine::disk`].
    pub fn disk(&self, name: &str, mib: u64) -> PathBuf {
        must(disk::empty(&self.folder().join(name), mib))
    }

    /// A new TPM, without a machine yet; what it holds lasts as long as the lab. None, and a line that says so, without swtpm.
    pub fn tpm(&self, name: &str) -> Option<Tpm> {
        if !there("swtpm") {
            say("skipped: no swtpm (`apt-get install swtpm`)");
            return None;
        }
        Some(must(Tpm::new(&self.folder().join(name))))
    }

    /// New firmware with keys of its own and Secure Boot on. None, and a line that says so, where a part can not be had.
    pub fn uefi(&self, name: &str) -> Option<Uefi> {
        let absent = uefi::FILES
            .iter()
            .find(|(file, _)| !Path::new(file).exists());
        if let Some((file, package)) = absent {
            say(&format!("skipped: no {file} (`apt-get install {package}`)"));
            return None;
        }
        Some(must(Uefi::new(&self.folder().join(name))))
    }

    /// Whether guests can have GPIO lines; the line printed when not is counted as a skipped test.
    #[must_use = "the test is to end here when this is false"]
    pub fn has_gpio(&self) -> bool {
        gpio::module(&self.kernel)
            .inspect_err(|error| say(&format!("skipped: no GPIO chip: {error:#}")))
            .is_ok()
    }

    /// Where the lab keeps its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Whether a program of that name is in the path, or where Debian keeps daemons.
fn there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| folder.join(program).is_file())
}

/// The value, or the end of the test.
#[track_caller]
#[expect(
    clippy::panic,
    reason = "a test that can not go on fails where it stands"
)]
fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:#}"))
}

/// A name that is safe as a file's.
fn plain(name: &str) -> Result<&str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !name.is_empty() && name.chars().all(fine),
        "`{name}` is no name for a machine"
    );
    Ok(name)
}
