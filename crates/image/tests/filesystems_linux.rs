//! `SquashFS` and ext2/3/4 as the distributions' own tools make them, from one tree: all that was put in is found.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of a test fails as the test does, and says when it is skipped"
)]

#[path = "filesystems_linux/archives.rs"]
mod archives;
#[path = "filesystems_linux/flash.rs"]
mod flash;
#[path = "filesystems_linux/hostile.rs"]
mod hostile;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use stockade_controls::engine::{Kind, Unseen};
use stockade_image::{Image, Limits, PartContent, Tree};

/// All that is told of a file; what it holds by its length and checksum.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    modified: i64,
    device: Option<(u32, u32)>,
    link: Option<Vec<u8>>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Option<(usize, u32)>,
}

fn run(program: &str, arguments: &[&OsStr]) -> bool {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        eprintln!("skipped: {program} is not here");
        return false;
    };
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

/// Noise that does not compress, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let next = |it: &u64| Some(it.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
    let numbers = std::iter::successors(Some(7), next);
    numbers.map(|it| it.to_be_bytes()[0]).take(length).collect()
}

fn put(root: &Path, name: &[u8], content: &[u8]) {
    let path = root.join(OsStr::from_bytes(name));
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, content).unwrap();
}

/// Plants a tree with all that a file system can keep.
fn plant(root: &Path) {
    for (name, mode) in [
        ("bin/su", 0o4755),
        ("bin/wall", 0o2755),
        ("bin/both", 0o6711),
        ("etc/shadow", 0o600),
    ] {
        put(root, name.as_bytes(), name.repeat(20).as_bytes());
        let mode = std::fs::Permissions::from_mode(mode);
        fs_err::set_permissions(root.join(name), mode).unwrap();
    }
    put(root, b"empty", b"");
    put(root, b"tiny", b"x");
    put(
        root,
        b"large/text",
        &b"all work and no play\n".repeat(200_000),
    );
    put(root, b"large/noise", &noise(1_500_000));
    put(root, b"large/blocks", &vec![b'b'; 1 << 18]);
    put(root, b"large/sparse", b"begin");
    for number in 0..1200 {
        let name = format!("many/{number:04}-a-name-that-is-rather-long-for-what-it-says");
        let content = format!("file {number}\n").repeat(number % 90);
        put(root, name.as_bytes(), content.as_bytes());
    }
    let sparse = root.join("large/sparse");
    let sparse = std::fs::OpenOptions::new()
        .write(true)
        .open(sparse)
        .unwrap();
    sparse.write_all_at(b"middle", 3_000_001).unwrap();
    sparse.write_all_at(b"end", 5_000_000).unwrap();
    for name in [
        &b"odd/ \xff\xfe"[..],
        b"odd/new\nline",
        b"odd/-rf",
        b"odd/back\\slash",
    ] {
        put(root, name, name);
    }
    put(root, format!("odd/{}", "n".repeat(255)).as_bytes(), b"n");
    put(root, format!("{}end", "deep/".repeat(40)).as_bytes(), b"");
    for (name, target) in [
        ("short", "bin/su".to_owned()),
        ("long", "t/".repeat(500)),
        ("sixty", "s".repeat(60)),
        ("fifty-nine", "s".repeat(59)),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    let script = "cd \"$0\"
        ln bin/su bin/sudo; ln large/noise also; mkdir -m 1777 tmp dev
        mknod -m 600 dev/console c 5 1; mknod dev/disk b 259 300000; mkfifo dev/pipe
        chown 70000:123456 bin/wall; chmod 2755 bin/wall; chown -h 5:6 short; chown 33:33 tmp
        setcap cap_net_raw,cap_net_bind_service+ep bin/both
        setfattr -n security.selinux -v system_u:object_r:shadow_t:s0 etc/shadow
        setfattr -h -n security.selinux -v system_u:object_r:etc_t:s0 short
        setfattr -h -n security.selinux -v system_u:object_r:console_device_t:s0 dev/console
        setfattr -n security.selinux -v system_u:object_r:tmp_t:s0 tmp
        setfattr -n user.empty empty
        setfattr -n trusted.overlay.opaque -v y many
        for n in 1 2 3 4 5 6 7 8 9; do setfattr -n user.many$n -v \"value $n, and more of it to fill it\" tiny; done
        touch -h -d @1000000000 tiny short dev/console; touch -d @2100000000 empty";
    let arguments = ["-ec", script].map(OsStr::new);
    run("sh", &[arguments[0], arguments[1], root.as_os_str()]);
}

/// The tree on disk.
fn there(root: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs_err::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        if kind.is_dir() {
            for entry in fs_err::read_dir(&path).unwrap() {
                todo.push(entry.unwrap().path());
            }
        }
        let below = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
        let content = kind.is_file().then(|| fs_err::read(&path).unwrap());
        let number = metadata.rdev();
        let device = (rustix::fs::major(number), rustix::fs::minor(number));
        let link = kind
            .is_symlink()
            .then(|| fs_err::read_link(&path).unwrap().into_os_string());
        let facts = Facts {
            kind: match metadata.mode() & 0o170_000 {
                0o100_000 => Kind::File,
                0o040_000 => Kind::Directory,
                0o120_000 => Kind::Link,
                0o020_000 | 0o060_000 => Kind::Device,
                _ => Kind::Other,
            },
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            modified: metadata.mtime(),
            device: (number != 0).then_some(device),
            link: link.map(std::ffi::OsString::into_vec),
            attributes: attributes(&path),
            content: content.map(|all| (all.len(), crc32fast::hash(&all))),
        };
        found.insert([b"/", below].concat(), facts);
    }
    found
}

fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

/// The tree of an image.
fn found(tree: &Tree) -> BTreeMap<Vec<u8>, Facts> {
    assert_eq!(tree.unread, Vec::new());
    let facts = tree.nodes.iter().map(|(path, node)| {
        let file = node.entry.kind == Kind::File;
        let content = file.then(|| tree.read(path, 64 << 20).unwrap());
        if let Some(content) = &content {
            assert_eq!(content.len() as u64, node.entry.size, "{path}");
        }
        let attributes = node.attributes.iter();
        let facts = Facts {
            kind: node.entry.kind,
            mode: node.entry.mode,
            owner: (node.entry.owner, node.entry.group),
            modified: i64::try_from(node.entry.modified).unwrap(),
            device: node.device,
            link: node.link.clone(),
            attributes: attributes
                .map(|(name, value)| (name.to_vec(), value.clone()))
                .collect(),
            content: content.map(|all| (all.len(), crc32fast::hash(&all))),
        };
        (path.as_bytes().to_vec(), facts)
    });
    facts.collect()
}

fn open(path: &Path) -> Image {
    stockade_image::open(path, Limits::default(), &|_| ()).unwrap()
}

fn tree(image: &Image) -> &Tree {
    match &image.parts[0].content {
        PartContent::Tree(tree) => tree,
        other => panic!("{other:?}"),
    }
}

/// Makes an image of one tree in each of several ways, and compares.
fn each(kinds: &[&str], make: &dyn Fn(&str, &Path, &Path) -> bool) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root makes devices and attributes");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    plant(&root);
    let expected = there(&root);
    for kind in kinds {
        let image = folder.path().join("image");
        if !make(kind, &root, &image) {
            return;
        }
        let opened = open(&image);
        let mut found = found(tree(&opened));
        // mke2fs makes these itself.
        found.remove(&b"/lost+found"[..]);
        let top = &b"/"[..];
        found.get_mut(top).unwrap().modified = expected[top].modified;
        for (path, facts) in &expected {
            let name = path.escape_ascii();
            assert_eq!(found.get(path), Some(facts), "{kind}: {name}");
        }
        assert_eq!(found.len(), expected.len(), "{kind}");
        fs_err::remove_file(&image).unwrap();
    }
}

#[test]
fn squashfs_of_each_compressor_has_all_that_was_put_in() {
    let kinds = [
        "gzip",
        "gzip -b 4K",
        "gzip -noI -noD -noF -noX",
        "gzip -no-fragments",
        "lzma",
        "lzo",
        "lz4",
        "lz4 -Xhc",
        "xz",
        "xz -Xbcj x86,arm",
        "xz -b 1M -always-use-fragments",
        "zstd",
    ];
    each(&kinds, &|kind, root, image| {
        let before = [root.as_os_str(), image.as_os_str(), OsStr::new("-comp")];
        let arguments: Vec<&OsStr> = before
            .into_iter()
            .chain(kind.split(' ').map(OsStr::new))
            .chain(["-noappend", "-quiet", "-no-progress"].map(OsStr::new))
            .collect();
        run("mksquashfs", &arguments)
    });
}

#[test]
fn ext_of_each_kind_has_all_that_was_put_in() {
    let kinds = [
        "-t ext4",
        "-t ext4 -b 1024",
        "-t ext4 -b 4096 -O inline_data -I 512",
        "-t ext4 -O ^64bit,^metadata_csum,^flex_bg",
        "-t ext4 -O ea_inode",
        "-t ext3 -b 1024",
        "-t ext3 -b 4096",
        "-t ext2 -b 2048 -I 256",
    ];
    each(&kinds, &|kind, root, image| {
        let after = [root.as_os_str(), image.as_os_str(), OsStr::new("40M")];
        let arguments: Vec<&OsStr> = kind
            .split(' ')
            .chain(["-q", "-F", "-d"])
            .map(OsStr::new)
            .chain(after)
            .collect();
        run("mke2fs", &arguments)
    });
}

/// Small images of old versions and of vendors: those in `../shared/data/firmware`, and more where `STOCKADE_SQUASHFS` says.
#[test]
fn squashfs_of_old_versions_and_of_vendors_is_read() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = here.join("../../../shared/data/firmware/squashfs");
    let more = std::env::var_os("STOCKADE_SQUASHFS").map(PathBuf::from);
    for folder in [Some(shared), more].into_iter().flatten() {
        let Ok(files) = fs_err::read_dir(&folder) else {
            eprintln!("skipped: {} is not there", folder.display());
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            let opened = open(&path);
            let found = found(tree(&opened));
            let mut contents: Vec<_> = found.values().filter_map(|it| it.content).collect();
            contents.sort_unstable();
            let expected = [
                (20, 2_579_656_967),
                (28, 2_127_480_056),
                (62, 3_922_867_995),
            ];
            assert_eq!(contents, expected, "{}", path.display());
        }
    }
}

/// A file system that was not unmounted: what its journal holds is newer than what is in its place, what was revoked is not.
#[test]
fn what_a_journal_holds_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    // The first bytes of a block that begins as the journal's own do are masked there.
    let masked = [&0xc03b_3998_u32.to_be_bytes()[..], &[b'm'; 4092]].concat();
    put(folder.path(), b"root/file", &[b'o'; 8192]);
    put(folder.path(), b"first", &[b'1'; 4096]);
    put(folder.path(), b"masked", &masked);
    let script = format!(
        "mke2fs -q -F -t ext4 -b 4096 -d {root} {image} 16M
        first=$(debugfs -R 'bmap file 0' {image}); second=$(debugfs -R 'bmap file 1' {image})
        printf \"jo -c -v 3\\njw -b $first {a}\\njw -b $first {b}\\njw -b $second {a}\\njw -r $second\\njc\\n\" >{commands}
        debugfs -w -f {commands} {image}",
        root = at("root"),
        image = at("image"),
        a = at("first"),
        b = at("masked"),
        commands = at("commands"),
    );
    if !run("debugfs", &["-V"].map(OsStr::new)) {
        return;
    }
    run("sh", &["-ec", &script].map(OsStr::new));
    let opened = open(&folder.path().join("image"));
    let path = "/file".parse().unwrap();
    let content = tree(&opened).read(&path, 8192).unwrap();
    assert_eq!(content[..4096], masked);
    assert_eq!(content[4096..], [b'o'; 4096]);
}

#[test]
fn what_is_encrypted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"root/secret/file", b"content");
    put(folder.path(), b"root/plain", b"content");
    let (root, image) = (folder.path().join("root"), folder.path().join("image"));
    let script = "mke2fs -q -F -t ext4 -O encrypt -d \"$0\" \"$1\" 4M
        debugfs -w -R 'set_inode_field /secret flags 0x80800' \"$1\"";
    if !run("debugfs", &["-V"].map(OsStr::new)) {
        return;
    }
    let arguments = ["-ec", script].map(OsStr::new);
    run(
        "sh",
        &[
            arguments[0],
            arguments[1],
            root.as_os_str(),
            image.as_os_str(),
        ],
    );
    let opened = open(&image);
    let why = Unseen::Failed("its names are encrypted".to_owned());
    assert_eq!(tree(&opened).unread, [("/secret".to_owned(), why)]);
    assert!(tree(&opened).nodes.contains_key(&"/plain".parse().unwrap()));
}
