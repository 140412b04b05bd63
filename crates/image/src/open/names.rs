//! Which files of a tree may be images.

use stockade_controls::engine::HostPath;

/// Whether a file of a tree may be an image by its name: kernels and first file systems in `/boot` and by their usual names (which
/// documents and modules have, too), and the endings that images and packages have. What else is compressed (documents, modules, fonts) is a file like others.
pub(super) fn is_image(path: &HostPath) -> bool {
    const STARTS: &[&[u8]] = &[
        b"initrd",
        b"initramfs",
        b"vmlinu",
        b"uimage",
        b"zimage",
        b"bzimage",
        b"fitimage",
        b"image",
        b"rootfs",
        b"firmware",
        b"kernel",
        b"u-boot",
        b"linux",
    ];
    const ENDS: &[&[u8]] = &[
        b".squashfs",
        b".sqsh",
        b".sqfs",
        b".img",
        b".bin",
        b".itb",
        b".fit",
        b".ubi",
        b".ubifs",
        b".jffs2",
        b".cpio",
        b".cpio.gz",
        b".ext2",
        b".ext4",
        b".tar",
        b".tar.gz",
        b".tgz",
        b".tar.xz",
        b".tar.bz2",
        b".tar.zst",
        b".zip",
        b".iso",
        b".ipk",
        b".apk",
        b".deb",
        b".trx",
        b".chk",
        b".efi",
        b".qcow2",
        b".romfs",
        b".cramfs",
    ];
    let name = path.name().to_ascii_lowercase();
    let shared = path.is_in(&HostPath::of("/usr/share"));
    let starts = !shared && STARTS.iter().any(|it| name.starts_with(it));
    path.is_in(&HostPath::of("/boot"))
        || starts && memchr::memmem::find(&name, b".ko").is_none()
        || ENDS.iter().any(|it| name.ends_with(it))
}

/// Where package managers keep the packages that they fetched, if a file is one there: what is installed of them is in the tree
/// beside, and nothing else of them runs.
pub(super) fn cache(path: &HostPath) -> Option<&'static str> {
    const CACHES: &[&str] = &[
        "/var/cache/apt/archives",
        "/var/cache/apk",
        "/etc/apk/cache",
        "/var/cache/opkg",
        "/var/cache/pacman/pkg",
    ];
    const PACKAGES: &[&[u8]] = &[b".deb", b".apk", b".ipk", b".pkg.tar.zst", b".pkg.tar.xz"];
    let package = PACKAGES.iter().any(|it| path.name().ends_with(it));
    let mut caches = CACHES.iter().filter(|_| package);
    caches.find(|it| path.is_in(&HostPath::of(it))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_were_fetched_are_known_and_others_are_not() {
        let cache = |path: &'static str| cache(&HostPath::of(path));
        assert_eq!(cache("/var/cache/apk/a.apk"), Some("/var/cache/apk"));
        let partial = cache("/var/cache/apt/archives/partial/b.deb");
        assert_eq!(partial, Some("/var/cache/apt/archives"));
        assert_eq!(cache("/var/cache/apt/archives/fw.img"), None);
        assert_eq!(cache("/opt/b.deb"), None);
    }

    #[test]
    fn kernels_and_packages_are_images_and_documents_are_not() {
        let image = |path: &'static str| is_image(&HostPath::of(path));
        for path in [
            "/boot/x",
            "/initrd.gz",
            "/a/uImage",
            "/opt/fw.IMG",
            "/usr/share/fw.img",
        ] {
            assert!(image(path), "{path}");
        }
        for path in [
            "/usr/share/doc/linux.gz",
            "/usr/share/man/kernel.7.gz",
            "/lib/firmware_class.ko.gz",
            "/boots",
            "/etc/passwd",
        ] {
            assert!(!image(path), "{path}");
        }
    }
}
