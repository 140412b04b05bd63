//! File systems of flash and of discs, likewise; compared as far as each of them keeps what was put in.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use stockade_controls::engine::Kind;
use stockade_image::{PartContent, Tree};

use super::{Facts, found, open, plant, put, there};

/// Runs a line of the shell in a folder; false if its program is missing.
fn shell(folder: &Path, line: &str) -> bool {
    let program = line.split(' ').next().unwrap();
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(folder)
        .output()
        .unwrap();
    if output.status.code() == Some(127) {
        eprintln!("skipped: {}", format_args!("{program} is not here"));
        return false;
    }
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
    true
}

fn each(before: &str, lines: &[&str], keeps: &dyn Fn(&[u8], &mut Facts)) {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root makes devices and attributes");
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    plant(&root);
    shell(&root, before);
    let mut expected = there(&root);
    for (path, facts) in &mut expected {
        keeps(path, facts);
    }
    compare(folder.path(), lines, &expected, keeps);
}

fn compare(
    folder: &Path,
    lines: &[&str],
    expected: &BTreeMap<Vec<u8>, Facts>,
    keeps: &dyn Fn(&[u8], &mut Facts),
) {
    for line in lines {
        if !shell(folder, line) {
            return;
        }
        let opened = open(&folder.join("image"));
        let mut trees = opened.parts.iter().filter_map(|part| match &part.content {
            PartContent::Tree(tree) => Some(tree),
            PartContent::NotAudited(why) => panic!("{}: {why}", part.place),
            _ => None,
        });
        let tree: &Tree = trees.next().unwrap();
        let mut found = found(tree);
        found.remove(&b"/rr_moved"[..]);
        for (path, facts) in &mut found {
            keeps(path, facts);
        }
        for (path, facts) in expected {
            let name = path.escape_ascii();
            assert_eq!(found.get(path), Some(facts), "{line}: {name}");
        }
        assert_eq!(found.len(), expected.len(), "{line}");
        fs_err::remove_file(folder.join("image")).unwrap();
    }
}

#[test]
fn ubifs_has_all_that_was_put_in_bare_and_in_a_volume_of_ubi() {
    let ubinize = "printf '[v]\\nmode=ubi\\nimage=fs\\nvol_id=3\\nvol_type=dynamic\\nvol_name=root\\nvol_size=60MiB\\nvol_flags=autoresize\\n' > ini";
    let volume = format!(
        "mkfs.ubifs -x zstd -m 2048 -e 126976 -c 2000 -r root -o fs; {ubinize}; ubinize -o image -p 128KiB -m 2048 ini"
    );
    let nor = format!(
        "mkfs.ubifs -m 8 -e 65408 -c 2000 -r root -o fs; {ubinize}; ubinize -o image -p 64KiB -m 8 ini"
    );
    let lines = [
        "mkfs.ubifs -x lzo -m 2048 -e 126976 -c 2000 -r root -o image",
        "mkfs.ubifs -x zlib -m 512 -e 15872 -c 4000 -r root -o image",
        "mkfs.ubifs -x none -m 4096 -e 253952 -c 1000 -r root -o image",
        "mkfs.ubifs -x favor_lzo -m 2048 -e 126976 -c 2000 -r root -o image",
        &volume,
        &nor,
    ];
    // mkfs.ubifs writes no extended attributes but labels that it is told.
    each("true", &lines, &|_, facts| {
        facts.attributes = BTreeMap::new();
    });
    let folder = tempfile::tempdir().unwrap();
    let line = "mkdir root; echo x > root/file; echo '/.* system_u:object_r:etc_t:s0' > labels; \
        mkfs.ubifs -m 512 -e 15872 -c 400 --selinux=labels -r root -o image";
    if shell(folder.path(), line) {
        let opened = open(&folder.path().join("image"));
        let PartContent::Tree(tree) = &opened.parts[0].content else {
            panic!("{:?}", opened.parts);
        };
        let attributes = &found(tree)[&b"/file"[..]].attributes;
        let label = attributes[&b"security.selinux"[..]].as_slice();
        assert_eq!(label, b"system_u:object_r:etc_t:s0\0");
    }
}

#[test]
fn jffs2_of_either_byte_order_has_all_that_was_put_in() {
    let lines = [
        "mkfs.jffs2 -l --with-xattr -e 128KiB -r root -o image",
        "mkfs.jffs2 -b --with-xattr -e 64KiB -p -r root -o image",
        "mkfs.jffs2 -l --with-xattr -n -m none -r root -o image",
        "mkfs.jffs2 -b --with-xattr -n -X lzo -x zlib -x rtime -r root -o image",
        "mkfs.jffs2 -l --with-xattr -x zlib -r root -o image",
    ];
    // mkfs.jffs2 writes no longer links, and devices with 16 bits only.
    let fewer = "rm long dev/disk; ln -s $(printf 't/%.0s' $(seq 127)) long; mknod dev/disk b 8 17";
    each(fewer, &lines, &|path, facts| {
        // The root has no inode of its own.
        facts.modified = if path == b"/" { 0 } else { facts.modified };
        facts.owner = (facts.owner.0 & 0xffff, facts.owner.1 & 0xffff);
    });
}

#[test]
fn cramfs_and_romfs_have_all_that_they_keep() {
    let fewer = "rm odd/nnn* dev/disk; mknod dev/disk b 8 17";
    let lines = [
        "mkfs.cramfs -N little root image",
        "mkfs.cramfs -N big root image",
    ];
    each(fewer, &lines, &|_, facts| {
        (facts.modified, facts.attributes) = (0, BTreeMap::new());
        facts.owner = (facts.owner.0 & 0xffff, facts.owner.1 & 0xff);
    });
    let lines = [
        "genromfs -d root -f image -V name",
        "genromfs -d root -f image -a 64",
    ];
    each(fewer, &lines, &|_, facts| {
        (facts.modified, facts.attributes) = (0, BTreeMap::new());
        (facts.mode, facts.owner) = (0, (0, 0));
    });
}

#[test]
fn iso_with_rock_ridge_has_all_that_it_keeps() {
    let lines = [
        "genisoimage -quiet -R -o image root",
        "genisoimage -quiet -R -D -o image root",
        "xorriso -as mkisofs -quiet -R -o image root",
    ];
    // genisoimage writes longer ones in a way that no one reads.
    each(
        "rm long; ln -s $(printf 'tt/%.0s' $(seq 30))x long",
        &lines,
        &|_, facts| {
            facts.attributes = BTreeMap::new();
        },
    );
}

/// What a file system without owners, modes and links can keep.
#[test]
fn fat_and_joliet_have_all_that_they_keep() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for (name, length) in [
        ("EFI/BOOT/BOOTX64.EFI", 70_000),
        ("a long name, with spaces and more.text", 5),
        ("ümläut und ß.txt", 4096),
        ("lower.txt", 0),
        ("Mixed.Txt", 100_000),
        ("deep/er/and/deeper/still/x", 1),
    ] {
        put(&root, name.as_bytes(), &super::noise(length));
    }
    for number in 0..300 {
        let name = format!("many/a file of many {number}");
        put(&root, name.as_bytes(), name.as_bytes());
    }
    shell(&root, "find . -exec touch -d @1700000000 {} +");
    let keeps = |_: &[u8], facts: &mut Facts| {
        (facts.mode, facts.owner) = (0, (0, 0));
        facts.attributes = BTreeMap::new();
        if facts.kind == Kind::Directory {
            facts.modified = 0;
        }
    };
    let mut expected = there(&root);
    for (path, facts) in &mut expected {
        keeps(path, facts);
    }
    let fat = [
        "mkfs.vfat -F 12 -C image 3000; mcopy -smi image root/* ::",
        "mkfs.vfat -F 16 -s 2 -C image 20000; mcopy -smi image root/* ::",
        "mkfs.vfat -F 32 -S 512 -s 1 -C image 40000; mcopy -smi image root/* ::",
        "genisoimage -quiet -J -joliet-long -o image root",
    ];
    let fat = fat.map(|line| format!("export TZ=UTC LC_ALL=C.UTF-8; {line}"));
    compare(
        folder.path(),
        &fat.each_ref().map(String::as_str),
        &expected,
        &keeps,
    );
}

/// Small images that others made.
#[test]
fn file_systems_of_others_are_read() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = here.join("../../../shared/data/firmware");
    for (name, count) in [
        ("romfs.bin", 1),
        ("cramfs.bin", 1),
        ("jffs2/jffs2_le.img", 3),
        ("ubi/test.ubifs", 3),
    ] {
        let path = shared.join(name);
        if !path.exists() {
            eprintln!(
                "skipped: {}",
                format_args!("{} is not there", path.display())
            );
            continue;
        }
        let opened = open(&path);
        let PartContent::Tree(tree) = &opened.parts[0].content else {
            panic!("{name}: {:?}", opened.parts);
        };
        let found = found(tree);
        let contents = found.values().filter_map(|it| it.content).count();
        assert_eq!(contents, count, "{name}: {:?}", tree.nodes.keys());
    }
}
