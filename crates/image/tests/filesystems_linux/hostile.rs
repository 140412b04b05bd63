//! Archives that want to harm: what they hide, where they lead, and how much they ask for.

use stockade_controls::engine::Unseen;
use stockade_image::{Image, Limits};

use super::archives::{listed, not_audited, shell, trees};
use super::{noise, open, put, tree};

fn opened_bytes(bytes: &[u8], limits: Limits) -> Image {
    let folder = tempfile::tempdir().unwrap();
    let path: std::path::PathBuf = folder.path().join("image");
    fs_err::write(&path, bytes).unwrap();
    stockade_image::open(&path, limits, &|_| ()).unwrap()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_lies_a_thousand_deep_is_told_and_not_opened() {
    let mut bytes = noise(1000);
    for _ in 0..1000 {
        bytes = packed(&bytes);
    }
    let opened = opened_bytes(&bytes, Limits::default());
    assert_eq!(opened.parts.len(), 10);
    assert_eq!(not_audited(&opened).len(), 1);
    assert!(not_audited(&opened)[0].contains("more than 8"));
}

#[test]
fn a_bomb_is_told_and_takes_no_more_than_its_bound() {
    let limits = Limits {
        longest: 8 << 20,
        expanded: 32 << 20,
        ..Limits::default()
    };
    let bomb = packed(&vec![0; 16 << 20]);
    let told = not_audited(&opened_bytes(&bomb, limits));
    assert!(told[0].contains("there is more than 8388608"), "{told:?}");
    // Many small ones, one after another.
    let small = packed(&vec![1; 7 << 20]);
    let many: Vec<u8> = (0..9)
        .flat_map(|_| [small.clone(), vec![7]].concat())
        .collect();
    let opened = opened_bytes(&many, limits);
    let told = not_audited(&opened);
    assert!(
        told.iter()
            .any(|it| it.contains("there is more than 33554432")),
        "{told:?}"
    );
    // And many that would all stay in memory.
    let limits = Limits {
        held: 20 << 20,
        ..Limits::default()
    };
    let opened = opened_bytes(&many, limits);
    let told = not_audited(&opened);
    assert!(
        told.iter()
            .any(|it| it.contains("there is more than 20971520")),
        "{told:?}"
    );
    let nodes = Limits {
        nodes: 3,
        ..Limits::default()
    };
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"r/a/b/c/d", b"x");
    if shell(folder.path(), "tar cf image r") {
        let path = folder.path().join("image");
        let opened = stockade_image::open(&path, nodes, &|_| ()).unwrap();
        assert!(not_audited(&opened)[0].contains("there is more than 3"));
    }
}

/// Of a zip, nothing is taken that two readers could see differently.
#[test]
fn a_zip_that_says_two_things_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"r/aaaa", b"first\n");
    put(folder.path(), b"r/bbbb", b"again\n");
    if !shell(
        folder.path(),
        "cd r; zip -q0X ../image.zip aaaa bbbb; zip -q0XP secret ../closed.zip aaaa",
    ) {
        return;
    }
    let zip = fs_err::read(folder.path().join("image.zip")).unwrap();
    let places = |what: &[u8]| memchr::memmem::find_iter(&zip, what).collect::<Vec<_>>();
    let (lines, names) = (places(b"PK\x01\x02"), places(b"bbbb"));
    let unread = |bytes: &[u8]| {
        let opened = opened_bytes(bytes, Limits::default());
        let told = trees(&opened).next().map(|(_, tree)| tree.unread.clone());
        told.unwrap_or_else(|| panic!("{:#?}", listed(&opened)))
    };
    assert_eq!(unread(&zip), []);
    // The second line of the directory points at the first file.
    let mut broken = zip.clone();
    broken[lines[1] + 42..lines[1] + 46].fill(0);
    assert_eq!(unread(&broken).len(), 1);
    // And has its name and checksum: one content in two files.
    broken.copy_within(lines[0]..lines[0] + 50, lines[1]);
    assert_eq!(unread(&broken).len(), 2);
    // A name in the directory that the file itself has not.
    let mut broken = zip.clone();
    broken[names[1]] = b'x';
    assert_eq!(unread(&broken).len(), 1);
    // Names that lead out, and with a NUL.
    for bad in [b"../x", b"b\0bb"] {
        let mut broken = zip.clone();
        for at in &names {
            broken[*at..*at + 4].copy_from_slice(bad);
        }
        let told = unread(&broken);
        assert_eq!(told.len(), 1);
        assert!(matches!(told[0].1, Unseen::Damaged(_)), "{told:?}");
    }
    let closed = fs_err::read(folder.path().join("closed.zip")).unwrap();
    assert!(unread(&closed)[0].1.to_string().contains("encrypted"));
}

/// A link in an archive leads nowhere but inside of it, and a directory of this machine is not left.
#[test]
fn links_of_an_archive_do_not_lead_out() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"r/x/passwd", b"ours\n");
    let lines = "ln -s ../../../../etc r/etc; cd r; tar cf ../image etc x; tar rf ../image --transform 's,^x,etc,' x";
    if !shell(folder.path(), lines) {
        return;
    }
    let opened = open(&folder.path().join("image"));
    let path = "/etc/passwd".parse().unwrap();
    assert_eq!(tree(&opened).read(&path, 99).unwrap(), b"ours\n");
    let opened = open(&folder.path().join("r"));
    assert!(tree(&opened).read(&path, 99).is_err());
}

/// A megabyte of attributes, a file with it, and very many names of that file; and paths of two thousand directories.
#[test]
fn what_few_bytes_say_of_many_files_takes_no_more_memory_than_its_bound() {
    let entry = |kind: u8, name: &[u8], link: &[u8], content: &[u8]| {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name);
        header[157..157 + link.len()].copy_from_slice(link);
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].fill(b' ');
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header.extend(content);
        header.resize(header.len().next_multiple_of(512), 0);
        header
    };
    let limits = Limits {
        held: 8 << 20,
        ..Limits::default()
    };
    let value = vec![b'v'; 900_000];
    let text = [&b"900026 SCHILY.xattr.user.x="[..], &value, b"\n"].concat();
    let text = [text.len().to_string().as_bytes(), &text[6..]].concat();
    let mut tar = entry(b'x', b"h", b"", &text);
    tar.extend(entry(b'0', b"a", b"", b"x"));
    for number in 0..100 {
        tar.extend(entry(b'1', format!("b{number}").as_bytes(), b"a", b""));
    }
    tar.extend([0; 1024]);
    let few = Limits::default();
    let opened = opened_bytes(&tar, few);
    assert_eq!(tree(&opened).nodes.len(), 102, "{:?}", tree(&opened));
    let told = not_audited(&opened_bytes(&tar, limits));
    assert!(told[0].contains("there is more than 8388608"), "{told:?}");
    let mut tar = Vec::new();
    for letter in b'a'..b'k' {
        let name = [letter, b'/'].repeat(2040);
        tar.extend(entry(b'L', b"long", b"", &name));
        tar.extend(entry(b'5', b"short", b"", b""));
    }
    tar.extend([0; 1024]);
    let told = not_audited(&opened_bytes(&tar, limits));
    assert!(told[0].contains("there is more than 8388608"), "{told:?}");
}
