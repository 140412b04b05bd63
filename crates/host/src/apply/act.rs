//! What the actions on files amount to: what is wanted where, whether it is so, and making it so.

use std::io::{self, Read as _};

use stockade_controls::engine::{Action, Health, Host, HostPath, ServiceChange};
use stockade_controls::services;
use stockade_profile::{AccountName, ServiceName};
use zeroize::Zeroizing;

use super::error::StepError;
use super::image::{self, About, CAPABILITY, Was};
use super::place::{Root, read_only};
use super::{account, keys};
use crate::init::InitError;

/// The longest file whose lines are changed.
const MOST: usize = 16 * 1024 * 1024;
/// What stays free on a disk that is written to.
const SPARE: u64 = 1024 * 1024;

/// What is wanted at a path. Not printed by accident: a file's content may be a secret.
pub(crate) enum Wanted {
    /// A file of this content; mode and owner as they are, or those of a new file, unless they are given.
    Content {
        path: HostPath,
        content: Zeroizing<Vec<u8>>,
        about: Option<(u32, (u32, u32))>,
    },
    Link {
        path: HostPath,
        target: Vec<u8>,
    },
    Gone {
        path: HostPath,
    },
    Mode {
        path: HostPath,
        mode: u32,
        owner: (u32, u32),
    },
    NoCapability {
        path: HostPath,
    },
}

/// What a step comes to.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) wanted: Vec<Wanted>,
    /// A password that was made for it.
    pub(crate) told: Option<(AccountName, Zeroizing<String>)>,
    /// The service that is changed, and how.
    pub(crate) service: Option<(ServiceName, ServiceChange)>,
    /// How long and for what a service is watched afterwards.
    pub(crate) health: Option<Health>,
    /// Held until the step is done.
    passwords: Option<account::Lock>,
}

/// What an action wants of files.
pub(crate) fn prepare(
    root: &Root,
    host: &dyn Host,
    action: &Action,
    scratch: &std::path::Path,
) -> Result<Prepared, StepError> {
    let mut it = Prepared::default();
    match action {
        Action::Account { name, change } => {
            it.passwords = Some(account::Lock::take(root)?);
            (it.wanted, it.told) = account::change(root, name, *change)?;
        }
        Action::SshHostKeys { directory } => it.wanted = keys::anew(host, directory, scratch)?,
        Action::Service { name, change } => {
            let files = services::files(host, name, *change).map_err(InitError::from)?;
            for action in &files {
                it.wanted.push(wanted(root, action)?);
            }
            it.service = Some((name.clone(), *change));
        }
        Action::Confine {
            service,
            path,
            content,
            health,
        } => {
            it.wanted.push(Wanted::Content {
                path: path.clone(),
                content: Zeroizing::new(content.clone().into_bytes()),
                about: Some((0o644, (0, 0))),
            });
            it.service = Some((service.clone(), ServiceChange::Restart));
            it.health = Some(health.clone());
        }
        Action::Mac {
            service,
            path,
            policy,
            drop_in,
            content,
            health,
            ..
        } => {
            let file = |path: &HostPath, text: &String| Wanted::Content {
                path: path.clone(),
                content: Zeroizing::new(text.clone().into_bytes()),
                about: Some((0o644, (0, 0))),
            };
            it.wanted = vec![file(path, policy), file(drop_in, content)];
            it.service = Some((service.clone(), ServiceChange::Restart));
            it.health = Some(health.clone());
        }
        Action::End { .. }
        | Action::Firewall
        | Action::RemovePackage { .. }
        | Action::Setting { .. } => (),
        file => it.wanted.push(wanted(root, file)?),
    }
    Ok(it)
}

fn wanted(root: &Root, action: &Action) -> Result<Wanted, StepError> {
    Ok(match action {
        Action::Put {
            path,
            content,
            mode,
            owner,
        } => Wanted::Content {
            path: path.clone(),
            content: Zeroizing::new(content.clone().into_bytes()),
            about: Some((*mode, *owner)),
        },
        Action::Link { path, target } => Wanted::Link {
            path: path.clone(),
            target: target.clone().into_bytes(),
        },
        Action::Remove { path } => Wanted::Gone { path: path.clone() },
        Action::Mode { path, mode, owner } => Wanted::Mode {
            path: real(root, path)?,
            mode: *mode,
            owner: *owner,
        },
        Action::NoCapability { path } => Wanted::NoCapability {
            path: real(root, path)?,
        },
        Action::Edit {
            path,
            replace,
            append,
        } => {
            let path = real(root, path)?;
            let now = content(root, &path)?;
            let content = edited(&now, replace, append).map_err(|line| {
                StepError::other(format!("{path} has no line `{line}` any more"))
            })?;
            Wanted::Content {
                path,
                content,
                about: None,
            }
        }
        other => return Err(StepError::other(format!("{other:?} is not about a file"))),
    })
}

/// Where a path leads, all links followed.
pub(crate) fn real(root: &Root, path: &HostPath) -> Result<HostPath, StepError> {
    let place = root.place(path, true).map_err(StepError::at(path))?;
    place.path().map_err(StepError::other)
}

/// A file's content, all of it.
pub(crate) fn content(root: &Root, path: &HostPath) -> Result<Zeroizing<Vec<u8>>, StepError> {
    let read = || {
        let place = root.place(path, true)?;
        let handle = place.handle()?.ok_or(io::ErrorKind::NotFound)?;
        let mut content = Zeroizing::new(Vec::new());
        let most = u64::try_from(MOST).unwrap_or(u64::MAX);
        handle.reader()?.take(most + 1).read_to_end(&mut content)?;
        if content.len() > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content)
    };
    read().map_err(StepError::at(path))
}

/// Lines exchanged and added; the line that is not there if one is missing.
fn edited(
    now: &[u8],
    replace: &[(String, Vec<String>)],
    append: &[String],
) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut lines: Vec<&[u8]> = now.split_inclusive(|byte| *byte == b'\n').collect();
    let bare = |line: &[u8]| line.strip_suffix(b"\n").unwrap_or(line).to_vec();
    let mut found = vec![false; replace.len()];
    let mut changed: Vec<u8> = Vec::with_capacity(now.len());
    for line in lines.drain(..) {
        let known = replace
            .iter()
            .position(|(old, _)| old.as_bytes() == bare(line));
        let Some(which) = known else {
            changed.extend_from_slice(line);
            continue;
        };
        if let Some(found) = found.get_mut(which) {
            *found = true;
        }
        for new in replace.get(which).map(|(_, new)| new).into_iter().flatten() {
            changed.extend_from_slice(new.as_bytes());
            changed.push(b'\n');
        }
    }
    let there = |line: &str| {
        now.split(|byte| *byte == b'\n')
            .any(|it| it == line.as_bytes())
    };
    for ((old, new), found) in replace.iter().zip(found) {
        // Done already is no fault.
        if !found && !new.iter().all(|line| there(line)) {
            return Err(old.clone());
        }
    }
    for line in append {
        if changed
            .split(|byte| *byte == b'\n')
            .any(|it| it == line.as_bytes())
        {
            continue;
        }
        if changed.last().is_some_and(|byte| *byte != b'\n') {
            changed.push(b'\n');
        }
        changed.extend_from_slice(line.as_bytes());
        changed.push(b'\n');
    }
    Ok(Zeroizing::new(changed))
}

impl Wanted {
    pub(crate) fn path(&self) -> &HostPath {
        match self {
            Self::Content { path, .. }
            | Self::Link { path, .. }
            | Self::Gone { path }
            | Self::Mode { path, .. }
            | Self::NoCapability { path } => path,
        }
    }

    /// Whether the host shows it.
    pub(crate) fn holds(&self, root: &Root) -> io::Result<bool> {
        let now = image::look(root, self.path(), None)?;
        Ok(match self {
            Self::Content { content, about, .. } => match &now {
                Was::File {
                    about: is,
                    size,
                    crc,
                    ..
                } => {
                    let same = u64::try_from(content.len()) == Ok(*size)
                        && crc32fast::hash(content) == *crc;
                    same && about.is_none_or(|about| about == (is.mode, is.owner))
                }
                _ => false,
            },
            Self::Link { target, .. } => {
                matches!(&now, Was::Link { target: is, .. } if is == target)
            }
            Self::Gone { .. } => now == Was::Absent,
            Self::Mode { mode, owner, .. } => match &now {
                // What is gone can not be misused.
                Was::Absent => true,
                now => now
                    .about()
                    .is_some_and(|is| (is.mode, is.owner) == (*mode, *owner)),
            },
            Self::NoCapability { .. } => now
                .about()
                .is_none_or(|is| !is.xattrs.contains_key(CAPABILITY)),
        })
    }

    /// Why it may not be done here, if so.
    pub(crate) fn refusal(&self, root: &Root) -> io::Result<Option<String>> {
        let place = match root.place(self.path(), false) {
            // The directory is made first, in one that is looked at below.
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            place => place?,
        };
        let now = image::look_at(&place, None)?;
        let shared = matches!(
            now,
            Was::File {
                shared: Some(_),
                ..
            }
        );
        let why = match self {
            Self::Mode { .. } | Self::NoCapability { .. } if matches!(now, Was::Link { .. }) => {
                "it is a link"
            }
            // Somebody may have put another file's second name here.
            Self::Mode { .. } | Self::NoCapability { .. } if shared && !place.safe => {
                "it has more than one name, and others than root can exchange it"
            }
            Self::Mode { mode, .. } if mode & 0o6000 != 0 && !place.safe => {
                "others than root can exchange it, so it gets no rights"
            }
            Self::Content { .. } | Self::Link { .. } | Self::Gone { .. } if shared => {
                "it has more than one name, and the others would stay as they are"
            }
            Self::Content { .. } | Self::Link { .. } | Self::Gone { .. }
                if matches!(now, Was::Directory { .. }) =>
            {
                "it is a directory"
            }
            _ => return Ok(None),
        };
        Ok(Some(why.to_owned()))
    }

    /// What is looked at and kept before it is done: path, and whether its content is.
    pub(crate) fn touches(&self, root: &Root) -> io::Result<Vec<(HostPath, bool)>> {
        if matches!(self, Self::Mode { .. } | Self::NoCapability { .. }) {
            return Ok(vec![(self.path().clone(), false)]);
        }
        let mut all = vec![(self.path().clone(), true)];
        // The directories that have to be made, and the one that is there: its times change.
        let mut directory = self.path().parent();
        while image::look(root, &directory, None)? == Was::Absent {
            all.push((directory.clone(), false));
            directory = directory.parent();
        }
        all.push((directory, false));
        Ok(all)
    }

    /// Makes it so.
    pub(crate) fn make(&self, root: &Root) -> io::Result<()> {
        if !matches!(self, Self::Gone { .. }) {
            make_directories(root, &self.path().parent())?;
        }
        let place = root.place(self.path(), false)?;
        let now = image::look_at(&place, None)?;
        match self {
            Self::Content { content, about, .. } => {
                let mut to = match &now {
                    Was::File { about, .. } => about.clone(),
                    _ => About::fresh(0o644, (0, 0)),
                };
                if let Some((mode, owner)) = about {
                    (to.mode, to.owner) = (*mode, *owner);
                }
                // Rights were given to the content that was there.
                to.xattrs.remove(CAPABILITY);
                to.modified = About::NOW;
                image::write(&place, &mut content.as_slice(), &to)
            }
            Self::Link { target, .. } => {
                place.fresh_link(target)?;
                place.settle()
            }
            Self::Gone { .. } => place.remove(),
            Self::Mode { mode, owner, .. } => match now.about() {
                Some(about) => {
                    let mut about = about.clone();
                    (about.mode, about.owner) = (*mode, *owner);
                    image::set_about(&place, &about)
                }
                None => Ok(()),
            },
            Self::NoCapability { .. } => match now.about() {
                Some(about) => {
                    let mut about = about.clone();
                    about.xattrs.remove(CAPABILITY);
                    image::set_about(&place, &about)
                }
                None => Ok(()),
            },
        }
    }
}

/// Makes a directory and those on the way, root's and 0755.
fn make_directories(root: &Root, path: &HostPath) -> io::Result<()> {
    if image::look(root, path, None)? != Was::Absent {
        return Ok(());
    }
    make_directories(root, &path.parent())?;
    let place = root.place(path, false)?;
    place.make_directory()?;
    image::set_about(&place, &About::fresh(0o755, (0, 0)))
}

/// Why nothing can be written at a path, if so: asked before anything is changed.
pub(crate) fn no_room(root: &Root, path: &HostPath, length: u64) -> io::Result<Option<String>> {
    let mut directory = path.clone();
    let place = loop {
        match root.place(&directory, false) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => directory = directory.parent(),
            place => break place?,
        }
    };
    let space = place.space()?;
    if read_only(&space) {
        return Ok(Some(format!(
            "{path} is on a file system that can only be read"
        )));
    }
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < length.saturating_add(SPARE) {
        return Ok(Some(format!("the disk of {path} is full")));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(now: &str, replace: &[(&str, &[&str])], append: &[&str]) -> Result<String, String> {
        let owned = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        let replace: Vec<_> = replace
            .iter()
            .map(|(old, new)| ((*old).to_owned(), owned(new)))
            .collect();
        let content = edited(now.as_bytes(), &replace, &owned(append))?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    #[test]
    fn lines_are_exchanged_and_the_rest_is_kept_byte_for_byte() {
        assert_eq!(
            edit("a \r\nb\nb\nc", &[("b", &["x", "y"]), ("c", &[])], &["z"]),
            Ok("a \r\nx\ny\nx\ny\nz\n".to_owned())
        );
        assert_eq!(edit("a", &[], &["a", "b"]), Ok("a\nb\n".to_owned()));
    }

    #[test]
    fn a_line_that_is_gone_is_told_unless_it_was_exchanged_already() {
        assert_eq!(edit("x\n", &[("b", &["x"])], &[]), Ok("x\n".to_owned()));
        assert_eq!(edit("a\n", &[("b", &["x"])], &[]), Err("b".to_owned()));
    }
}
