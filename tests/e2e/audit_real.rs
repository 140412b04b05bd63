//! Systems that others made, read where they lie: each file, mode, owner and length as the systems' own tools see them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use stockade_controls::engine::{Host as _, HostPath, Kind};
use stockade_e2e::real;
use stockade_e2e::tools::{succeed, without};
use stockade_image::{Image, Limits, PartContent, Tree};

/// Mode with the type of the file, owner, group; length of a file, target of a link, number of a device.
type Seen = (u32, u32, u32, String);

#[test]
fn initrds_of_the_debian_installer_are_read_file_by_file_for_three_architectures() {
    for (architecture, initrd) in [
        ("armhf", "armhf/text/debian-installer/armhf/initrd.gz"),
        ("arm64", "arm64/text/debian-installer/arm64/initrd.gz"),
        ("mipsel", "mipsel/malta/initrd.gz"),
    ] {
        let package = format!("debian-installer-12-netboot-{architecture}");
        let folder = match real::debian_package(&package) {
            Ok(folder) => folder,
            Err(why) => {
                eprintln!("skipped: {package} can not be had: {why:#}");
                continue;
            }
        };
        let initrd = folder
            .join("usr/lib/debian-installer/images/12")
            .join(initrd);
        let image = open(&initrd).expect("the initrd is read");
        let tree = root(&image).expect("a root in it");
        assert!(tree.unread.is_empty(), "{:?}", tree.unread);
        let wanted = by_cpio(&initrd).expect("cpio unpacks it");
        same(&wanted, &seen(tree), &package);
        eprintln!(
            "{package}: {} files, directories and links are the same",
            wanted.len()
        );
    }
}

#[test]
fn alpine_linux_is_read_out_of_its_disk_with_sudo_as_setuid() {
    if without(&["qemu-img", "mkfs.ext4"]) {
        return;
    }
    let folder = match real::alpine() {
        Ok(folder) => folder,
        Err(why) => return eprintln!("skipped: Alpine Linux can not be had: {why:#}"),
    };
    let disk = folder.join("alpine-3.23-amd64.qcow2");
    let image = open(&disk).expect("the disk is read");
    let tree = root(&image).expect("a root in it");
    assert!(tree.unread.is_empty(), "{:?}", tree.unread);
    // unblob 26.6.4 says 0755 and 0777 here.
    let mode = |path| tree.entry(&HostPath::of(path)).expect("it is there").mode;
    assert_eq!(mode("/usr/bin/sudo"), 0o4755);
    assert_eq!(mode("/tmp"), 0o1777);
    let wanted = by_debugfs(&disk, tree).expect("debugfs lists it");
    same(&wanted, &seen(tree), "Alpine Linux");
    eprintln!(
        "Alpine Linux: {} files, directories and links are the same",
        wanted.len()
    );
}

fn open(path: &Path) -> Result<Image> {
    Ok(stockade_image::open(path, Limits::default(), &|_| {})?)
}

/// The largest tree in an image: the others are what starts it.
fn root(image: &Image) -> Result<&Tree> {
    let trees = image.parts.iter().filter_map(|part| match &part.content {
        PartContent::Tree(tree) => Some(&**tree),
        _ => None,
    });
    let largest = trees.max_by_key(|tree| tree.nodes.len());
    largest.context("no tree in it")
}

/// What our reader sees.
fn seen(tree: &Tree) -> BTreeMap<Vec<u8>, Seen> {
    let nodes = tree.nodes.iter().map(|(path, node)| {
        let entry = &node.entry;
        let (kind, more) = match (entry.kind, &node.link, node.device) {
            (Kind::File, ..) => (0o100_000, entry.size.to_string()),
            (Kind::Directory, ..) => (0o040_000, String::new()),
            (Kind::Link, Some(target), _) => (0o120_000, target.escape_ascii().to_string()),
            (Kind::Device, _, Some((major, minor))) => (0o020_000, format!("{major} {minor}")),
            other => panic!("{path} is {other:?}"),
        };
        let seen = (kind | entry.mode, entry.owner, entry.group, more);
        (path.as_bytes().to_vec(), seen)
    });
    nodes.collect()
}

/// What the system sees of what cpio unpacked.
fn by_cpio(initrd: &Path) -> Result<BTreeMap<Vec<u8>, Seen>> {
    let folder = tempfile::tempdir()?;
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .arg(initrd)
        .stdout(Stdio::piped())
        .spawn()?;
    let stream = gzip.stdout.take().context("no output")?;
    let mut cpio = Command::new("cpio");
    cpio.args(["-idm", "--quiet", "--no-absolute-filenames"]);
    let status = cpio.stdin(stream).current_dir(folder.path()).status()?;
    ensure!(
        status.success() && gzip.wait()?.success(),
        "cpio or gzip failed"
    );
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.path().to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs_err::read_dir(&directory)? {
            let path = entry?.path();
            let metadata = fs_err::symlink_metadata(&path)?;
            let more = if metadata.is_file() {
                metadata.len().to_string()
            } else if metadata.is_symlink() {
                let target = fs_err::read_link(&path)?;
                target.as_os_str().as_bytes().escape_ascii().to_string()
            } else if metadata.is_dir() {
                todo.push(path.clone());
                String::new()
            } else {
                // makedev(3), as far as device numbers of an initrd go.
                let number = metadata.rdev();
                format!("{} {}", number >> 8 & 0xfff, number & 0xff)
            };
            let inside = path.strip_prefix(folder.path())?.as_os_str().as_bytes();
            let name = [b"/".as_slice(), inside].concat();
            found.insert(
                name,
                (metadata.mode(), metadata.uid(), metadata.gid(), more),
            );
        }
    }
    Ok(found)
}

/// What e2fsprogs sees, directory by directory.
fn by_debugfs(disk: &Path, tree: &Tree) -> Result<BTreeMap<Vec<u8>, Seen>> {
    let folder = tempfile::tempdir()?;
    let raw = folder.path().join("raw");
    succeed(
        Command::new("qemu-img")
            .args(["convert", "-O", "raw"])
            .args([disk, &raw]),
    )?;
    let directories = tree
        .nodes
        .iter()
        .filter(|(_, node)| node.entry.kind == Kind::Directory);
    let directories: Vec<String> = directories.map(|(path, _)| path.to_string()).collect();
    let script = folder.path().join("script");
    let lines = directories.iter().map(|path| format!("ls -p \"{path}\"\n"));
    fs_err::write(&script, lines.collect::<String>())?;
    let said = succeed(Command::new("debugfs").arg("-f").arg(&script).arg(&raw))?;
    let (mut found, mut inside) = (BTreeMap::new(), "");
    for line in said.lines() {
        if let Some(path) = line.strip_prefix("debugfs: ls -p ") {
            inside = path.trim_matches('"').trim_end_matches('/');
            continue;
        }
        // /inode/mode/owner/group/name/length/
        let fields: Vec<&str> = line.split('/').collect();
        let [_, inode, mode, owner, group, name, length, ..] = fields.as_slice() else {
            continue;
        };
        if *inode == "0" || *name == "." || *name == ".." {
            continue;
        }
        let mode = u32::from_str_radix(mode, 8)?;
        // Of links and devices it says no more.
        let more = if mode & 0o170_000 == 0o100_000 {
            *length
        } else {
            ""
        };
        let seen = (mode, owner.parse()?, group.parse()?, more.to_owned());
        found.insert(format!("{inside}/{name}").into_bytes(), seen);
    }
    Ok(found)
}

/// Each is in both, and alike; what the other tool does not say is not compared.
fn same(wanted: &BTreeMap<Vec<u8>, Seen>, ours: &BTreeMap<Vec<u8>, Seen>, what: &str) {
    assert!(wanted.len() > 500, "{what}: {} files", wanted.len());
    for (path, (mode, owner, group, more)) in wanted {
        let name = path.escape_ascii();
        let Some(our) = ours.get(path) else {
            panic!("{what}: {name} is missing");
        };
        let special = |mode: &u32| {
            if mode & 0o170_000 == 0o060_000 {
                mode & !0o040_000
            } else {
                *mode
            }
        };
        assert_eq!(
            (our.0, our.1, our.2),
            (special(mode), *owner, *group),
            "{what}: {name}"
        );
        assert!(
            more.is_empty() || *more == our.3,
            "{what}: {name}: {more}, ours {}",
            our.3
        );
    }
    let more: Vec<_> = ours
        .keys()
        .filter(|path| !wanted.contains_key(*path) && *path != b"/")
        .collect();
    assert!(more.is_empty(), "{what}: only ours: {more:?}");
}
