//! A mended copy of a root directory or a tar. What was given is only read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stockade_controls::engine::{Account, Action, Assessment, Plan};
use stockade_host::apply::{Applier, ApplyError, Event, Moment};
use stockade_host::program::{find, succeed};
use stockade_profile::Profile;

use crate::audited::{AuditError, Audited};
use crate::image::{Options, image};

/// How long it may take to copy, to unpack and to pack.
const PATIENCE: Duration = Duration::from_mins(30);

/// The most times that what is left is planned anew.
const ROUNDS: usize = 4;

/// What was made.
#[derive(Debug)]
pub struct Hardened {
    /// How many steps were done.
    pub done: usize,
    /// Steps that could not be done, with why.
    pub left: BTreeMap<String, String>,
    /// The audit of the copy: what is left.
    pub after: Audited,
}

/// The plan that would mend what an audit found.
pub fn plan(audited: &Audited) -> Plan {
    let outcomes = audited.outcomes.clone();
    Plan::of(&Assessment { outcomes })
}

/// Copies a root directory or a tar to where nothing is yet, and carries out in the copy what the plan has. Nothing of it is run:
/// packages are left to whoever builds the image, since removing one runs its scripts.
pub fn harden(
    path: &Path,
    out: &Path,
    profile: Option<&Profile>,
    options: &Options,
    progress: &dyn Fn(&str),
) -> Result<Hardened, AuditError> {
    if out.symlink_metadata().is_ok() {
        let out = out.display();
        return Err(AuditError::Usage(format!(
            "{out} is there already: a mended copy goes where nothing is"
        )));
    }
    if !rustix::process::geteuid().is_root() {
        let why = "only root can copy owners, devices and attributes: run it as root";
        return Err(AuditError::Usage(why.to_owned()));
    }
    let copy = Copy::of(path, out)?;
    progress("copying");
    copy.fill(path)?;
    let (done, left) = mend(&copy, profile, options, progress)?;
    let mut after = image(&copy.root, profile, options, progress)?;
    after.target.name = out.display().to_string();
    copy.done(out)?;
    Ok(Hardened { done, left, after })
}

/// Carries out the plan for a root until nothing is left to do; how many steps that were, and those that could not be done. What
/// waits for another step ([`Plan::of`]) comes in the next round.
fn mend(
    copy: &Copy,
    profile: Option<&Profile>,
    options: &Options,
    progress: &dyn Fn(&str),
) -> Result<(usize, BTreeMap<String, String>), AuditError> {
    let mut applier = Applier::open(&copy.root, &copy.undo).map_err(incomplete)?;
    let mut tell = |moment: &Moment<'_>| {
        if moment.event == Event::Begun {
            progress(moment.says);
        }
    };
    let (mut all, mut left) = (0_usize, BTreeMap::new());
    for _ in 0..ROUNDS {
        let mut plan = plan(&image(&copy.root, profile, options, progress)?);
        plan.steps.retain(|planned| {
            in_files(&planned.step.action) && !left.contains_key(&planned.step.says)
        });
        // A step that cannot be done takes all others back: they are done without it.
        let done = loop {
            match applier.apply(&plan, &mut tell) {
                Ok(done) => break done.done,
                Err(
                    ApplyError::TakenBack { says, why, .. } | ApplyError::Refused { says, why },
                ) => {
                    let before = plan.steps.len();
                    plan.steps.retain(|planned| planned.step.says != says);
                    if plan.steps.len() == before {
                        return Err(incomplete(why));
                    }
                    left.insert(says, why.to_string());
                }
                Err(why) => return Err(incomplete(why)),
            }
        };
        if done == 0 {
            break;
        }
        all = all.saturating_add(done);
    }
    Ok((all, left))
}

/// Whether files are all that an action changes.
fn in_files(action: &Action) -> bool {
    match action {
        Action::Put { .. }
        | Action::Mode { .. }
        | Action::NoCapability { .. }
        | Action::Remove { .. }
        | Action::Link { .. }
        | Action::Edit { .. }
        | Action::Service { .. } => true,
        // A new password in an image would be that of every device.
        Action::Account { change, .. } => *change != Account::NewPassword,
        Action::SshHostKeys { .. }
        | Action::End { .. }
        | Action::RemovePackage { .. }
        | Action::Confine { .. }
        | Action::Mac { .. }
        | Action::Firewall
        | Action::Setting { .. } => false,
    }
}

/// A copy in the making, beside where it will be; gone with this value unless it is done.
struct Copy {
    /// All of it.
    folder: PathBuf,
    /// The root in it.
    root: PathBuf,
    /// What taking steps back needs, while they are taken.
    undo: PathBuf,
    /// Whether a tar was given, and is made.
    tar: bool,
}

impl Copy {
    fn of(path: &Path, out: &Path) -> Result<Self, AuditError> {
        let usage = |why: String| AuditError::Usage(why);
        let name = out
            .file_name()
            .ok_or_else(|| usage(format!("{} is no name for a copy", out.display())))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".unfinished");
        let folder = out.with_file_name(hidden);
        let metadata = fs_err::metadata(path).map_err(|why| usage(why.to_string()))?;
        let tar = metadata.is_file() && is_tar(path)?;
        if !tar && !metadata.is_dir() {
            return Err(usage(format!(
                "{}: only a root directory or a tar is mended",
                path.display()
            )));
        }
        fs_err::create_dir(&folder).map_err(|why| usage(why.to_string()))?;
        // Nobody else may look in while it is made.
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let copy = Self {
            root: folder.join("root"),
            undo: folder.join("undo"),
            folder,
            tar,
        };
        fs_err::set_permissions(&copy.folder, closed).map_err(incomplete)?;
        Ok(copy)
    }

    fn fill(&self, from: &Path) -> Result<(), AuditError> {
        let mut command;
        if self.tar {
            fs_err::create_dir(&self.root).map_err(incomplete)?;
            command = Command::new(find("tar").map_err(incomplete)?);
            command.args([
                "--extract",
                "--numeric-owner",
                "--same-owner",
                "--preserve-permissions",
                "--xattrs",
                "--xattrs-include=*",
            ]);
            command
                .arg("--file")
                .arg(from)
                .arg("--directory")
                .arg(&self.root);
        } else {
            command = Command::new(find("cp").map_err(incomplete)?);
            command.args([
                "--archive",
                "--one-file-system",
                "--no-target-directory",
                "--",
            ]);
            command.arg(from).arg(&self.root);
        }
        succeed(command, PATIENCE).map_err(incomplete)?;
        Ok(())
    }

    /// Puts it where it belongs, if still nothing is there.
    fn done(self, out: &Path) -> Result<(), AuditError> {
        let made = if self.tar {
            let made = self.folder.join("made.tar");
            let mut command = Command::new(find("tar").map_err(incomplete)?);
            command.args([
                "--create",
                "--numeric-owner",
                "--xattrs",
                "--xattrs-include=*",
                "--sort=name",
            ]);
            command
                .arg("--file")
                .arg(&made)
                .arg("--directory")
                .arg(&self.root)
                .arg(".");
            succeed(command, PATIENCE).map_err(incomplete)?;
            made
        } else {
            self.root.clone()
        };
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(rustix::fs::CWD, &made, rustix::fs::CWD, out, flags)
            .map_err(|why| AuditError::Incomplete(format!("{}: {why}", out.display())))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What is left of it is in the way of nothing but the next try, which says so.
        let _gone = fs_err::remove_dir_all(&self.folder);
    }
}

/// A tar, by its magic (POSIX `ustar`, GNU): compressed ones are unpacked by whoever has them.
fn is_tar(path: &Path) -> Result<bool, AuditError> {
    use std::io::Read as _;
    let mut head = Vec::new();
    let file = fs_err::File::open(path).map_err(|why| AuditError::Usage(why.to_string()))?;
    file.take(512).read_to_end(&mut head).map_err(incomplete)?;
    Ok(head.get(257..262) == Some(b"ustar"))
}

fn incomplete(why: impl std::error::Error) -> AuditError {
    AuditError::Incomplete(why.to_string())
}
