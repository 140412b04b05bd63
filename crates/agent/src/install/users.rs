//! System users, in the files that every system has (passwd(5), group(5), shadow(5)).

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::identity::replace;

/// System users that we make get ids from here down: distributions count upwards from 100.
const HIGHEST: u32 = 989;
const LOWEST: u32 = 700;

/// Makes a user that nobody can log in as, with a group of its name, unless it is there; its ids.
pub(super) fn make(root: &Path, name: &str) -> anyhow::Result<(u32, u32)> {
    let (passwd, group) = (root.join("etc/passwd"), root.join("etc/group"));
    let users = read(&passwd)?;
    if let Some(found) = ids(&users, name) {
        return Ok(found);
    }
    let groups = read(&group)?;
    let taken: Vec<u32> = users
        .lines()
        .chain(groups.lines())
        .filter_map(|line| line.split(':').nth(2)?.parse().ok())
        .collect();
    let id = (LOWEST..=HIGHEST).rev().find(|id| !taken.contains(id));
    let id = id.context("there is no free id for a system user")?;
    if groups.lines().all(|line| !is(line, name)) {
        append(&group, &groups, &format!("{name}:x:{id}:"))?;
    }
    let shadow = root.join("etc/shadow");
    if shadow.exists() {
        let text = read(&shadow)?;
        if text.lines().all(|line| !is(line, name)) {
            append(&shadow, &text, &format!("{name}:!*:::::::"))?;
        }
    }
    // Last: with its line here the user is there.
    append(
        &passwd,
        &users,
        &format!("{name}:x:{id}:{id}:Stockade:/nonexistent:/usr/sbin/nologin"),
    )?;
    ids(&read(&passwd)?, name).context("the user is not there although it was made")
}

/// Takes a user and its group back.
pub(super) fn remove(root: &Path, name: &str) -> anyhow::Result<()> {
    for file in ["etc/passwd", "etc/group", "etc/shadow"] {
        let path = root.join(file);
        let Ok(text) = fs_err::read_to_string(&path) else {
            continue;
        };
        let others: String = text
            .split_inclusive('\n')
            .filter(|line| !is(line, name))
            .collect();
        if others != text {
            write(&path, &others)?;
        }
    }
    Ok(())
}

fn is(line: &str, name: &str) -> bool {
    line.split(':').next() == Some(name)
}

fn ids(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| is(line, name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn read(path: &Path) -> anyhow::Result<String> {
    Ok(fs_err::read_to_string(path)?)
}

fn append(path: &Path, text: &str, line: &str) -> anyhow::Result<()> {
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    write(path, &format!("{text}{end}{line}\n"))
}

/// Replaces the file, with the mode and owner that it had.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let before = fs_err::metadata(path)?;
    ensure!(before.is_file(), "{} is no file", path.display());
    replace(path, text.as_bytes())?;
    std::os::unix::fs::chown(path, Some(before.uid()), Some(before.gid()))?;
    let mode = std::fs::Permissions::from_mode(before.mode() & 0o7777);
    Ok(fs_err::set_permissions(path, mode)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_made_once_and_go_without_a_trace() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs_err::create_dir(&etc).unwrap();
        let before = [
            (
                "passwd",
                "root:x:0:0::/root:/bin/sh\nlast:x:989:989::/:/bin/sh",
            ),
            ("group", "root:x:0:\nothers:x:988:\n"),
            ("shadow", "root:*:1::::::\n"),
        ];
        for (name, text) in before {
            fs_err::write(etc.join(name), text).unwrap();
        }
        let mode = std::fs::Permissions::from_mode(0o640);
        fs_err::set_permissions(etc.join("shadow"), mode).unwrap();
        let made = make(root.path(), "stockade-keys").unwrap();
        assert_eq!(
            made,
            (987, 987),
            "what is taken as user or group is left alone"
        );
        assert_eq!(make(root.path(), "stockade-keys").unwrap(), made);
        let shadow = fs_err::read_to_string(etc.join("shadow")).unwrap();
        assert!(shadow.ends_with("stockade-keys:!*:::::::\n"), "{shadow}");
        let mode = fs_err::metadata(etc.join("shadow"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
        remove(root.path(), "stockade-keys").unwrap();
        for (name, text) in before {
            let after = fs_err::read_to_string(etc.join(name)).unwrap();
            assert_eq!(after.trim_end(), text.trim_end());
        }
    }
}
