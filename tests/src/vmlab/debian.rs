//! Kernels from Debian's archive: taken apart, never installed, kept beside what cargo builds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};

use crate::tools::{built, finish, succeed, text};

/// A download of 70 MB, or its unpacking, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// A kernel of Debian's and its modules.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// The bzImage, as firmware starts it.
    pub(super) image: PathBuf,
    /// The same kernel unpacked: QEMU starts it at once, where the unpacking takes seconds without KVM.
    pub(super) unpacked: PathBuf,
    /// The folder that holds `lib/modules`.
    pub(super) root: PathBuf,
}

impl Kernel {
    /// Its folder of modules.
    pub(super) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }
}

/// The kernel that Debian's `linux-image-amd64` stands for now.
pub(super) fn kernel() -> Result<Kernel> {
    // Asking apt takes two seconds, and every test asks: its answer holds until its lists change.
    let lists = fs_err::metadata("/var/lib/apt/lists")?.modified()?;
    let lists = lists.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    let note = labs()?.join("vmlab.kernel");
    let noted = fs_err::read_to_string(&note).unwrap_or_default();
    let (release, listed) = match noted.split_whitespace().collect::<Vec<_>>().as_slice() {
        [of, release, name, version, sha256] if *of == lists.to_string() => {
            let [name, version, sha256] = [name, version, sha256].map(|word| (*word).to_owned());
            (
                (*release).to_owned(),
                Listed {
                    name,
                    version,
                    sha256,
                },
            )
        }
        _ => {
            let depends =
                succeed(Command::new("apt-cache").args(["depends", "linux-image-amd64"]))?;
            let release = depends
                .lines()
                .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
                .context("apt knows no kernel: `apt-get update` first")?;
            let listed = Listed::of(&format!("linux-image-{release}"))?;
            let Listed {
                name,
                version,
                sha256,
            } = &listed;
            fs_err::write(
                &note,
                format!("{lists} {release} {name} {version} {sha256}"),
            )?;
            (release.to_owned(), listed)
        }
    };
    let root = kept(&listed.folder(), |part| {
        let archive = listed.download(part)?;
        succeed(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(part))?;
        fs_err::remove_file(archive)?;
        let depmod = finish(
            Command::new("depmod").arg("-b").arg(part).arg(&release),
            PATIENCE,
        )?;
        ensure!(depmod.status.success(), "depmod: {}", text(&depmod));
        Ok(())
    })?;
    let image = root.join("boot").join(format!("vmlinuz-{release}"));
    let unpacked = kept(&format!("vm{}", listed.folder()), |part| {
        unpack(&image, &part.join("vmlinux"))
    })?;
    Ok(Kernel {
        release,
        image,
        unpacked: unpacked.join("vmlinux"),
        root,
    })
}

/// Takes the ELF out of a bzImage (Documentation/x86/boot.rst: `setup_sects`, `payload_offset`, `payload_length`).
fn unpack(image: &Path, to: &Path) -> Result<()> {
    let bytes = fs_err::read(image)?;
    let number = |at: usize| -> Option<usize> {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(word)).ok()
    };
    let payload = || {
        let start = (usize::from(*bytes.get(0x1f1)?) + 1) * 512 + number(0x248)?;
        bytes.get(start..start + number(0x24c)?)
    };
    let packed = to.with_extension("xz");
    fs_err::write(&packed, payload().context("this is no bzImage")?)?;
    // What follows the stream is its length when unpacked.
    let mut xz = Command::new("xz");
    xz.args(["--decompress", "--stdout", "--single-stream"]);
    let status = xz
        .stdin(fs_err::File::open(&packed)?.into_parts().0)
        .stdout(fs_err::File::create(to)?.into_parts().0)
        .status()
        .context("cannot run xz")?;
    ensure!(status.success(), "xz ended with {status}");
    fs_err::remove_file(packed)?;
    Ok(())
}

/// A package as apt's signed index lists it.
#[derive(Debug)]
pub(crate) struct Listed {
    name: String,
    version: String,
    sha256: String,
}

impl Listed {
    pub(crate) fn of(name: &str) -> Result<Self> {
        let shown = succeed(Command::new("apt-cache").args(["show", "--no-all-versions", name]))?;
        let field = |field: &str| {
            shown
                .lines()
                .find_map(|line| line.strip_prefix(field))
                .map(|value| value.trim().to_owned())
                .with_context(|| format!("apt's index gives {name} no `{field}`"))
        };
        Ok(Self {
            name: name.to_owned(),
            version: field("Version:")?,
            sha256: field("SHA256:")?,
        })
    }

    /// A folder's name that is another one for another file.
    pub(crate) fn folder(&self) -> String {
        format!("{}-{}", self.name, self.sha256.get(..8).unwrap_or_default())
    }

    /// Fetches the package into the folder; what comes must be what the index lists.
    pub(crate) fn download(&self, folder: &Path) -> Result<PathBuf> {
        let wanted = format!("{}={}", self.name, self.version);
        let mut command = Command::new("apt-get");
        command
            .args(["download", "-o", "APT::Sandbox::User=root", &wanted])
            .current_dir(folder);
        let got = finish(&mut command, PATIENCE)?;
        ensure!(
            got.status.success(),
            "apt-get download {wanted}: {}",
            text(&got)
        );
        let archive = fs_err::read_dir(folder)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|its| its == "deb"))
            .with_context(|| format!("apt-get left no {wanted}"))?;
        let sum = succeed(Command::new("sha256sum").arg(&archive))?;
        ensure!(
            sum.starts_with(&self.sha256),
            "{wanted} has the SHA-256 {sum}, apt's index lists {}",
            self.sha256
        );
        Ok(archive)
    }
}

/// A folder beside what cargo builds, made once: whole, or not there.
pub(crate) fn kept(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let labs = labs()?;
    let done = labs.join(name);
    if done.is_dir() {
        return Ok(done);
    }
    let lock = fs_err::File::create(labs.join("vmlab.lock"))?;
    lock.file()
        .lock()
        .context("cannot lock the folder of labs")?;
    if !done.is_dir() {
        let part = tempfile::tempdir_in(&labs)?;
        make(part.path())?;
        fs_err::rename(part.keep(), &done)?;
    }
    Ok(done)
}

/// The folder for what the tests make once.
fn labs() -> Result<PathBuf> {
    let labs = fs_err::canonicalize(built()?)?.join("../labs");
    fs_err::create_dir_all(&labs)?;
    Ok(fs_err::canonicalize(labs)?)
}
