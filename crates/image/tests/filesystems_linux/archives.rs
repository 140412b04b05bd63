//! Directories, archives and containers as the usual tools make them, compared with what was put in.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use stockade_controls::engine::Kind;
use stockade_image::{Image, Part, PartContent};

use super::{Facts, found, noise, open, plant, put, there, tree};

/// Runs lines of the shell in a folder; false, with a line, if a program is missing.
pub(super) fn shell(folder: &Path, lines: &str) -> bool {
    let output = Command::new("sh")
        .args(["-ec", lines])
        .current_dir(folder)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(127) {
        eprintln!("skipped: {}", error.trim());
        return false;
    }
    assert!(output.status.success(), "{lines}: {error}");
    true
}

/// A folder with the tree that all tests pack, and what is in it; none, with a line, without the right to make it.
fn planted(fewer: &str) -> Option<(tempfile::TempDir, BTreeMap<Vec<u8>, Facts>)> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root makes devices and attributes");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    plant(&folder.path().join("root"));
    shell(&folder.path().join("root"), fewer);
    let expected = there(&folder.path().join("root"));
    Some((folder, expected))
}

fn same(
    what: &str,
    mut found: BTreeMap<Vec<u8>, Facts>,
    expected: &BTreeMap<Vec<u8>, Facts>,
    keeps: &dyn Fn(&mut Facts),
) {
    found.values_mut().for_each(keeps);
    for (path, facts) in expected {
        let name = path.escape_ascii();
        assert_eq!(found.remove(path).as_ref(), Some(facts), "{what}: {name}");
    }
    assert_eq!(found, BTreeMap::new(), "{what}");
}

/// Each line of the shell makes `image` of `root`; the only tree in it has what was put in.
fn each(fewer: &str, lines: &[&str], keeps: &dyn Fn(&mut Facts)) {
    let Some((folder, mut expected)) = planted(fewer) else {
        return;
    };
    expected.values_mut().for_each(keeps);
    for line in lines {
        if !shell(folder.path(), line) {
            continue;
        }
        let opened = open(&folder.path().join("image"));
        let trees: Vec<_> = trees(&opened).map(|(_, tree)| found(tree)).collect();
        let [one] = trees
            .try_into()
            .unwrap_or_else(|_| panic!("{line}: {opened:?}"));
        assert_eq!(not_audited(&opened), [""; 0], "{line}");
        same(line, one, &expected, keeps);
        fs_err::remove_file(folder.path().join("image")).unwrap();
    }
}

pub(super) fn trees(image: &Image) -> impl Iterator<Item = (&str, &stockade_image::Tree)> {
    image.parts.iter().filter_map(|part| match &part.content {
        PartContent::Tree(tree) => Some((part.place.as_str(), &**tree)),
        _ => None,
    })
}

pub(super) fn not_audited(image: &Image) -> Vec<String> {
    let parts = image.parts.iter();
    let told = parts.filter_map(|part| match &part.content {
        PartContent::NotAudited(why) => Some(format!("{}: {}: {why}", part.place, part.format)),
        _ => None,
    });
    told.collect()
}

/// Places and formats, one a line.
pub(super) fn listed(image: &Image) -> Vec<String> {
    let line = |part: &Part| {
        let kind = match &part.content {
            PartContent::Tree(tree) => format!("{} nodes", tree.nodes.len()),
            PartContent::Container => "container".to_owned(),
            PartContent::Data(_) => "data".to_owned(),
            PartContent::NotAudited(why) => why.to_string(),
        };
        format!("{} | {} | {kind}", part.place, part.format)
    };
    image.parts.iter().map(line).collect()
}

#[test]
fn a_directory_has_all_that_is_in_it() {
    let Some((folder, expected)) = planted("true") else {
        return;
    };
    let opened = open(&folder.path().join("root"));
    assert_eq!(opened.digest, None);
    same("a directory", found(tree(&opened)), &expected, &|_| ());
}

#[test]
fn cpio_of_each_kind_has_all_that_was_put_in() {
    let lines = [
        "cd root; find . -print0 | cpio --quiet -0oH newc >../image",
        "cd root; find . -print0 | cpio --quiet -0oH crc >../image",
        "cd root; find . -print0 | cpio --quiet -0oH newc | gzip -1 >../image",
        "cd root; find . -print0 | cpio --quiet -0oH newc | lzop >../image",
        "cd root; find . -print0 | cpio --quiet -0oH newc | lz4 -l >../image",
    ];
    each("true", &lines, &|facts| facts.attributes = BTreeMap::new());
    // Its numbers are of eighteen bits, and a device's are packed as of old.
    let line = "cd root; find . -print0 | cpio --quiet -0oH odc >../image";
    let fewer = "rm dev/disk";
    each(fewer, &[line], &|facts| facts.attributes = BTreeMap::new());
}

#[test]
fn tar_of_each_kind_has_all_that_was_put_in() {
    let line = "tar -C root --xattrs --xattrs-include='*' --format=pax -cf image .";
    each("true", &[line], &|_| ());
    let lines = [
        "tar -C root --format=gnu -cf image .",
        "tar -C root --format=gnu -cf - . | bzip2 -1 >image",
    ];
    each("true", &lines, &|facts| facts.attributes = BTreeMap::new());
    let fewer = "rm -r long deep odd/nnn*; chown 7:9 bin/wall; chmod 2755 bin/wall";
    let line = "tar -C root --format=ustar -cf image .";
    each(fewer, &[line], &|facts| facts.attributes = BTreeMap::new());
}

#[test]
fn zip_has_all_that_it_keeps() {
    let keeps = |facts: &mut Facts| {
        facts.attributes = BTreeMap::new();
        if facts.kind == Kind::Directory {
            (facts.modified, facts.owner, facts.mode) = (0, (0, 0), 0);
        }
        facts.modified = facts.modified.min(0x7fff_ffff);
    };
    let lines = [
        "cd root; zip -qry ../image.zip . ; mv ../image.zip ../image",
        "cd root; zip -qryZ bzip2 ../image.zip . ; mv ../image.zip ../image",
    ];
    // No devices and no pipes; nor what stands for the top.
    let fewer = "rm dev/* odd/new*";
    each(fewer, &lines, &keeps);
    // As a stream, with the lengths behind the files. `zip` refuses to write links into a pipe: it would store them.
    let fewer = format!("{fewer}; find . -type l -delete");
    each(&fewer, &["cd root; zip -qry - . | cat >../image"], &keeps);
}

#[test]
fn a_package_of_debian_is_opened_to_the_bottom() {
    let folder = tempfile::tempdir().unwrap();
    let control = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.invalid>\nDescription: x\n";
    put(folder.path(), b"x/DEBIAN/control", control.as_bytes());
    put(folder.path(), b"x/usr/bin/x", b"#!/bin/sh\n");
    for packing in ["xz", "gzip", "none"] {
        let line = format!("dpkg-deb --root-owner-group -Z{packing} -b x image");
        if !shell(folder.path(), &line) {
            return;
        }
        let opened = open(&folder.path().join("image"));
        assert_eq!(not_audited(&opened), [""; 0]);
        let trees: Vec<_> = trees(&opened).map(|(_, tree)| tree).collect();
        let read = |tree: usize, path: &str| trees[tree].read(&path.parse().unwrap(), 999).unwrap();
        assert_eq!(read(0, "/control"), control.as_bytes());
        assert_eq!(read(1, "/usr/bin/x"), b"#!/bin/sh\n");
    }
}

/// As boot loaders hand it to Linux: microcode, padding, then the packed archive.
#[test]
fn a_first_file_system_behind_microcode_is_found() {
    let folder = tempfile::tempdir().unwrap();
    put(
        folder.path(),
        b"a/kernel/x86/microcode/GenuineIntel.bin",
        &noise(3000),
    );
    put(folder.path(), b"b/init", b"#!/bin/sh\n");
    let line = "for d in a b; do (cd $d; find . -print0 | cpio --quiet -0oH newc >../$d.cpio); done
        cp a.cpio image; gzip -9c b.cpio >>image; cat a.cpio b.cpio >both";
    if !shell(folder.path(), line) {
        return;
    }
    let opened = open(&folder.path().join("image"));
    let lines = listed(&opened);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].ends_with("| cpio | 5 nodes"), "{lines:#?}");
    assert!(lines[2].ends_with("| cpio | 2 nodes"), "{lines:#?}");
    let opened = open(&folder.path().join("both"));
    assert_eq!(listed(&opened), ["both | cpio | 6 nodes"]);
}

/// A disk with three primary partitions and two logical ones, and one of EFI; as it is, and as virtual machines and phones have it.
#[test]
fn partitions_are_found_on_disks_of_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"root/etc/hostname", b"device\n");
    put(folder.path(), b"root/large", &noise(100_000));
    let sfdisk = "mksquashfs root fs -quiet -no-progress -noappend >/dev/null
        truncate -s 8M dos efi
        printf 'label: dos\\n2048,2048,83\\n4096,1024,83\\n6144,8000,5\\n6400,1024,83\\n8192,1024,83\\n' | sfdisk -q dos
        printf 'label: gpt\\nstart=2048,size=2048,name=\"root A\"\\nstart=6144,size=2048,name=kernel\\n' | sfdisk -q efi
        for at in 2048 4096 6400 8192; do dd if=fs of=dos bs=512 seek=$at conv=notrunc status=none; done
        for at in 2048 6144; do dd if=fs of=efi bs=512 seek=$at conv=notrunc status=none; done
        cp efi copy; dd if=/dev/zero of=copy bs=512 seek=1 count=1 conv=notrunc status=none
        printf 'EFI PART' | dd of=copy bs=512 seek=1 conv=notrunc status=none";
    if !shell(folder.path(), sfdisk) {
        return;
    }
    let disks = [
        ("true", "dos", 4),
        ("true", "efi", 2),
        ("true", "copy", 2),
        ("qemu-img convert -O qcow2 efi q3", "q3", 2),
        ("qemu-img convert -c -O qcow2 efi q3c", "q3c", 2),
        (
            "qemu-img convert -c -O qcow2 -o compression_type=zstd dos q3z",
            "q3z",
            4,
        ),
        (
            "qemu-img convert -c -O qcow2 -o compat=0.10,cluster_size=4k dos q2",
            "q2",
            4,
        ),
        ("img2simg dos sparse", "sparse", 4),
    ];
    for (line, name, count) in disks {
        if !shell(folder.path(), line) {
            continue;
        }
        let opened = open(&folder.path().join(name));
        assert_eq!(not_audited(&opened), [""; 0], "{name}");
        let places: Vec<_> = trees(&opened).map(|(place, _)| place).collect();
        assert_eq!(places.len(), count, "{name}: {:#?}", listed(&opened));
        for (place, tree) in trees(&opened) {
            let content = tree.read(&"/etc/hostname".parse().unwrap(), 99);
            assert_eq!(content.unwrap(), b"device\n", "{name}: {place}");
        }
        if count == 2 {
            assert_eq!(places[0], format!("{name}, partition 1 (root A)"));
        }
    }
    // One that leans on another is refused.
    if shell(
        folder.path(),
        "qemu-img create -q -b efi -F raw -f qcow2 lean",
    ) {
        let opened = open(&folder.path().join("lean"));
        let told = not_audited(&opened);
        assert!(told[0].contains("leans on another file"), "{told:?}");
    }
}

/// Images of both kinds as U-Boot's own tools make and sign them; none, with a line, without those.
fn made_by_u_boot() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"r/init", b"#!/bin/sh\n");
    put(
        folder.path(),
        b"kernel",
        &[&b"Linux version 6.1\n"[..], &noise(9000)].concat(),
    );
    let its = r#"/dts-v1/; / { description = "x"; #address-cells = <1>;
        images {
            kernel-1 { data = /incbin/("kernel.gz"); type = "kernel"; arch = "arm"; os = "linux"; compression = "gzip";
                load = <0x8000>; entry = <0x8000>; hash-1 { algo = "sha256"; }; hash-2 { algo = "crc32"; }; };
            ramdisk-1 { data = /incbin/("r.cpio"); type = "ramdisk"; arch = "arm"; os = "linux"; compression = "none";
                hash-1 { algo = "sha1"; }; };
        };
        configurations { default = "conf-1";
            conf-1 { kernel = "kernel-1"; ramdisk = "ramdisk-1";
                signature-1 { algo = "sha256,rsa2048"; key-name-hint = "dev"; sign-images = "kernel", "ramdisk"; }; };
            conf-2 { kernel = "kernel-1"; };
        }; };"#;
    put(folder.path(), b"x.its", its.as_bytes());
    put(
        folder.path(),
        b"u.dts",
        b"/dts-v1/; / { model = \"board\"; };",
    );
    let lines = "mkimage -V >/dev/null; dtc -v >/dev/null; mkdir keys
        (cd r; find . -print0 | cpio --quiet -0oH newc >../r.cpio); gzip -k kernel
        openssl req -batch -new -x509 -newkey rsa:2048 -nodes -keyout keys/dev.key -out keys/dev.crt -days 9 2>/dev/null
        dtc -q u.dts -o u.dtb
        mkimage -f x.its -k keys -K u.dtb -r inside >/dev/null 2>&1
        mkimage -E -f x.its -k keys outside >/dev/null 2>&1
        mkimage -A arm -T ramdisk -C gzip -n 'first one' -d r.cpio plain >/dev/null && gzip -k r.cpio
        mkimage -A arm -T ramdisk -C gzip -n 'first one' -d r.cpio.gz old >/dev/null
        mkimage -A arm -T multi -C none -d kernel:r.cpio several >/dev/null";
    if !shell(folder.path(), lines) {
        return None;
    }
    Some(folder)
}

#[test]
fn images_of_u_boot_are_opened_and_their_hashes_and_signatures_told() {
    let Some(folder) = made_by_u_boot() else {
        return;
    };
    for name in ["inside", "outside"] {
        let opened = open(&folder.path().join(name));
        assert_eq!(not_audited(&opened), [""; 0], "{name}");
        let notes = &opened.parts[0].notes;
        let note = |key: &str| {
            let found = notes.iter().find(|(it, _)| it == key);
            found
                .unwrap_or_else(|| panic!("{key}: {notes:#?}"))
                .1
                .as_str()
        };
        assert_eq!(note("image kernel-1, hash-1"), "sha256, right");
        assert_eq!(note("image kernel-1, hash-2"), "crc32, right");
        assert_eq!(note("image ramdisk-1, hash-1"), "sha1, right");
        assert_eq!(note("configuration conf-2"), "not signed");
        let signed = note("configuration conf-1, signature-1");
        assert!(
            signed.starts_with("signed by key dev, sha256,rsa2048, over"),
            "{signed}"
        );
        let kernel = opened.parts.iter().find_map(|part| match &part.content {
            PartContent::Data(data) => data.all(99_999).ok(),
            _ => None,
        });
        assert_eq!(
            kernel,
            fs_err::read(folder.path().join("kernel")).ok(),
            "{name}"
        );
        let read = |(_, tree): (_, &stockade_image::Tree)| tree.read(&"/init".parse().unwrap(), 99);
        assert_eq!(
            trees(&opened).map(read).collect::<Vec<_>>(),
            [Ok(b"#!/bin/sh\n".to_vec())]
        );
    }
}

#[test]
fn what_u_boot_checks_and_what_is_broken_is_told() {
    let Some(folder) = made_by_u_boot() else {
        return;
    };
    let boot = open(&folder.path().join("u.dtb"));
    let key = (
        "key dev".to_owned(),
        "sha256,rsa2048, required: conf".to_owned(),
    );
    assert!(
        boot.parts[0].notes.contains(&key),
        "{:?}",
        boot.parts[0].notes
    );
    let opened = open(&folder.path().join("old"));
    assert_eq!(trees(&opened).count(), 1, "{:#?}", listed(&opened));
    assert_eq!(
        opened.parts[0].notes[0],
        ("name".to_owned(), "first one".to_owned())
    );
    let opened = open(&folder.path().join("several"));
    assert_eq!(not_audited(&opened), [""; 0]);
    assert_eq!(trees(&opened).count(), 1, "{:#?}", listed(&opened));
    // One bit of the data turned: it is told.
    for (name, key) in [("inside", "sha256, wrong"), ("old", "checksum is wrong")] {
        let mut bytes = fs_err::read(folder.path().join(name)).unwrap();
        let at = memchr::memmem::find(&bytes, b"\x1f\x8b\x08").unwrap() + 5;
        bytes[at] ^= 1;
        fs_err::write(folder.path().join("broken"), bytes).unwrap();
        let told = format!("{:?}", open(&folder.path().join("broken")).parts);
        assert!(told.contains(key), "{told}");
    }
}

/// From a vendor, and from Android's own tools (`../shared/data/firmware`).
#[test]
fn images_of_others_are_opened() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/firmware");
    // The header of the third was changed and its checksum was not; of the last, most lies behind the image.
    let expected = [
        ("android_simg/simg.img", "Android sparse", 1, 0),
        ("uboot/fit.itb", "device tree", 1, 0),
        ("uboot/uboot.dtb", "U-Boot image", 0, 1),
        ("uboot/uboot.image_with_header", "U-Boot image", 0, 1),
    ];
    for (name, format, count, unread) in expected {
        let path = shared.join(name);
        if !path.exists() {
            eprintln!("skipped: {} is not there", path.display());
            continue;
        }
        let opened = open(&path);
        assert_eq!(opened.parts[0].format, format, "{name}");
        assert_eq!(
            trees(&opened).count(),
            count,
            "{name}: {:#?}",
            listed(&opened)
        );
        let told = not_audited(&opened);
        assert_eq!(told.len(), unread, "{name}: {:#?}", listed(&opened));
    }
}

#[test]
fn programs_written_as_text_are_read_with_their_checksums() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"root/etc/hostname", b"device\n");
    let lines = "mksquashfs root fs -quiet -no-progress -noappend >/dev/null
        srec_cat fs -binary -offset 0x08010000 -o hex -intel
        srec_cat fs -binary -offset 0x08010000 -o srec -motorola";
    if !shell(folder.path(), lines) {
        return;
    }
    for name in ["hex", "srec"] {
        let opened = open(&folder.path().join(name));
        let lines = listed(&opened);
        assert_eq!(trees(&opened).count(), 1, "{lines:#?}");
        assert!(
            lines[1].starts_with(&format!("{name}, 0x08010000 |")),
            "{lines:#?}"
        );
        let mut text = fs_err::read(folder.path().join(name)).unwrap();
        let at = text.len() / 2;
        text[at] = if text[at] == b'0' { b'1' } else { b'0' };
        fs_err::write(folder.path().join("broken"), text).unwrap();
        let told = not_audited(&open(&folder.path().join("broken")));
        assert!(told[0].contains("hexadecimal text"), "{told:?}");
    }
}

/// Headers as `firmware-utils` of `OpenWrt` writes them, before what its own tools made.
#[test]
fn what_vendors_put_before_images_is_read() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"root/etc/hostname", b"device\n");
    put(
        folder.path(),
        b"kernel",
        &b"Linux version 4.14 of mips".repeat(999),
    );
    let lines =
        "mksquashfs root fs -quiet -no-progress -noappend >/dev/null; xz --format=lzma -k kernel";
    if !shell(folder.path(), lines) {
        return;
    }
    let of = |name: &str| fs_err::read(folder.path().join(name)).unwrap();
    let (kernel, fs) = (of("kernel.lzma"), of("fs"));
    let word = |number: usize| u32::try_from(number).unwrap();
    let begin = (28 + kernel.len()).next_multiple_of(4096);
    let mut trx = vec![0; begin];
    trx[28..28 + kernel.len()].copy_from_slice(&kernel);
    trx.extend(&fs);
    let length = word(trx.len());
    for (at, number) in [
        (0, 0x3052_4448),
        (4, length),
        (12, 1 << 16),
        (16, 28),
        (20, word(begin)),
    ] {
        trx[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    let sum = !crc32fast::hash(&trx[12..]);
    trx[8..12].copy_from_slice(&sum.to_le_bytes());
    let mut old = vec![0; 512];
    let rest = 512 + kernel.len().next_multiple_of(65536);
    old[..24].copy_from_slice(b"\x01\0\0\0TP-LINK Technologies");
    old.extend(&kernel);
    old.resize(rest, 0xff);
    old.extend(&fs);
    let length = word(old.len());
    let places = [length, 512, word(kernel.len()), word(rest), word(fs.len())];
    for (number, at) in places.into_iter().zip([124, 128, 132, 136, 140]) {
        old[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    // Behind the firmware, flash is empty.
    old.resize(old.len() + 70_000, 0xff);
    for (name, image) in [("TRX", &trx), ("TP-Link", &old)] {
        fs_err::write(folder.path().join("image"), image).unwrap();
        let opened = open(&folder.path().join("image"));
        assert_eq!(opened.parts[0].format, name);
        assert_eq!(trees(&opened).count(), 1, "{:#?}", listed(&opened));
        if name == "TP-Link" {
            assert!(not_audited(&opened).iter().all(|it| it.contains("kernel")));
        }
        let mut broken = image.clone();
        broken.truncate(rest.min(begin) + 10);
        fs_err::write(folder.path().join("image"), broken).unwrap();
        let told = not_audited(&open(&folder.path().join("image")));
        assert!(!told.is_empty(), "{name}");
    }
}

#[test]
fn a_boot_image_of_android_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"r/init", b"#!/bin/sh\n");
    put(folder.path(), b"kernel", &noise(9000));
    let lines = "(cd r; find . -print0 | cpio --quiet -0oH newc | gzip >../r.gz)
        for v in 0 1 2 3; do dtb=; [ $v != 2 ] || dtb='--dtb kernel'
        mkbootimg --header_version $v --kernel kernel --ramdisk r.gz --cmdline 'console=ttyS0 quiet' $dtb -o image$v; done";
    if !shell(folder.path(), lines) {
        return;
    }
    for version in 0..=3 {
        let opened = open(&folder.path().join(format!("image{version}")));
        let lines = listed(&opened);
        assert_eq!(trees(&opened).count(), 1, "{version}: {lines:#?}");
        let mut notes = opened.parts[0].notes.iter();
        let line = notes.find(|(_, value)| value == "console=ttyS0 quiet");
        assert!(line.is_some(), "{version}: {:?}", opened.parts[0].notes);
    }
}

/// Small ones that the fuzzer begins with: headers as the formats' documents have them, around a packed archive.
#[test]
fn small_images_are_opened_as_they_were() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image_open");
    let names = [
        "android2", "android3", "arm64", "blob", "bzimage", "dtb", "fit", "fite", "gpt", "initrd",
        "mbr", "qcow2", "qcow2old", "tplink", "trx", "uikernel", "uimulti", "uki", "zboot",
        "zimage", "zips",
    ];
    let mut told = Vec::new();
    for name in names {
        let opened = open(&corpus.join(name));
        for (line, part) in listed(&opened).into_iter().zip(&opened.parts) {
            let length = part.length.unwrap_or_default();
            told.push(format!("{line} | {:#x}+{length:#x}", part.at));
            told.extend(
                part.notes
                    .iter()
                    .map(|(key, value)| format!("    {key}: {value}")),
            );
        }
    }
    insta::assert_snapshot!(told.join("\n"));
}

/// One kernel with all that it needs, as systemd's stub carries it.
#[test]
fn a_unified_kernel_image_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image_open");
    for name in ["bzimage", "initrd"] {
        fs_err::copy(corpus.join(name), folder.path().join(name)).unwrap();
    }
    let line = "stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub; [ -e $stub ] || exit 127
        printf 'quiet ro' >cmdline; printf 'ID=test\\nVERSION_ID=1\\n' >osrel
        objcopy --add-section .osrel=osrel --change-section-vma .osrel=0x20000 \\
            --add-section .cmdline=cmdline --change-section-vma .cmdline=0x30000 \\
            --add-section .linux=bzimage --change-section-vma .linux=0x2000000 \\
            --add-section .initrd=initrd --change-section-vma .initrd=0x3000000 $stub image";
    if !shell(folder.path(), line) {
        return;
    }
    let opened = open(&folder.path().join("image"));
    assert_eq!(not_audited(&opened), [""; 0]);
    assert_eq!(trees(&opened).count(), 2, "{:#?}", listed(&opened));
    let notes = &opened.parts[0].notes;
    for (key, value) in [
        ("cmdline", "quiet ro"),
        ("osrel", "ID=test; VERSION_ID=1"),
        ("signature", "none"),
    ] {
        assert!(
            notes.contains(&(key.to_owned(), value.to_owned())),
            "{notes:?}"
        );
    }
}

/// What a scan finds between other bytes, and what it says of the rest.
#[test]
fn everything_in_a_blob_is_told() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"root/etc/hostname", b"device\n");
    put(
        folder.path(),
        b"root/etc/initrd.img",
        b"no image at all, and too short",
    );
    put(folder.path(), b"r/init", &noise(2000));
    let lines = "mkdir root/boot; (cd r; find . -print0 | cpio --quiet -0oH newc | gzip >../root/boot/initrd.gz)
        mksquashfs root fs -quiet -no-progress -noappend >/dev/null";
    if !shell(folder.path(), lines) {
        return;
    }
    let fs = fs_err::read(folder.path().join("fs")).unwrap();
    let mut blob = noise(100_000);
    blob.resize(131_072, 0xff);
    blob.extend(&fs);
    blob.extend([0; 300]);
    blob.extend(b"trailer");
    blob.resize(blob.len() + 10_000, 0);
    let at = blob.len();
    blob.extend(&fs[..1500]);
    fs_err::write(folder.path().join("blob"), blob).unwrap();
    let opened = open(&folder.path().join("blob"));
    let lines = listed(&opened);
    assert_eq!(
        lines[0],
        "blob | unknown | it is not what it should be: no format that is known here"
    );
    assert!(
        lines[1].starts_with("blob, squashfs at 0x20000 | squashfs |"),
        "{lines:#?}"
    );
    assert_eq!(
        lines[2],
        "blob, squashfs at 0x20000, /boot/initrd.gz | gzip | container"
    );
    assert_eq!(
        lines[3],
        "blob, squashfs at 0x20000, /boot/initrd.gz | cpio | 2 nodes"
    );
    let told = format!("{:?}", opened.parts);
    assert!(told.contains(&format!("squashfs at {at:#x}")), "{told}");
    let digest = opened.digest.unwrap();
    let line = format!("echo '{}  blob' | sha256sum -c -", hex(&digest));
    assert!(shell(folder.path(), &line));
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Packages of `OpenWrt` and of Alpine: a packed tar of packed tars, and packed tars in a row that are one.
#[test]
fn packages_of_small_distributions_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), b"c/control", b"Package: x\n");
    put(folder.path(), b"d/usr/bin/x", b"#!/bin/sh\n");
    let line = "echo 2.0 >debian-binary; for d in c d; do tar -C $d -czf $d.tar.gz .; done; mv c.tar.gz control.tar.gz
        mv d.tar.gz data.tar.gz; tar -czf x.ipk ./debian-binary ./control.tar.gz ./data.tar.gz
        (tar -C c -c control | head -c 1024 | gzip; tar -C d -c usr | gzip) >x.apk";
    if !shell(folder.path(), line) {
        return;
    }
    for (name, count) in [("x.ipk", 3), ("x.apk", 1)] {
        let opened = open(&folder.path().join(name));
        assert_eq!(not_audited(&opened), [""; 0], "{name}");
        assert_eq!(trees(&opened).count(), count, "{:#?}", listed(&opened));
        let path = "/usr/bin/x".parse().unwrap();
        let found = trees(&opened).filter_map(|(_, tree)| tree.read(&path, 99).ok());
        assert_eq!(found.count(), 1, "{name}");
    }
}
