//! The lab itself: what a test may count on in a guest.

use stockade_e2e::tools::stockade;
use stockade_e2e::vmlab::lab;

#[test]
fn a_guest_runs_our_program_on_a_kernel_of_debians() {
    let Some(lab) = lab("a guest boots") else {
        return;
    };
    let disk = lab.disk("data", 16);
    let guest = lab.guest("first").disk(&disk).boot();

    let release = guest.sh("uname -r");
    assert!(release.trim().ends_with("-amd64"), "{release}");
    let program = stockade().expect("built");
    let version = guest.sh(&format!("{} --version", program.display()));
    assert!(version.starts_with("stockade "), "{version}");
    let failed = guest.run("echo to both; echo streams >&2; exit 7");
    assert_eq!(
        (failed.code, failed.text.as_str()),
        (7, "to both\nstreams\n")
    );
    guest.sh("echo here > /lab/told");
    assert_eq!(
        fs_err::read_to_string(guest.share().join("told")).expect("told"),
        "here\n"
    );

    // What is on a disk stays over a reboot; what is elsewhere does not.
    guest.sh("mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt && echo kept > /mnt/file && touch /var/lib/stockade/lost");
    let guest = guest.reboot();
    assert_eq!(
        guest.sh("mount /dev/vda /mnt && cat /mnt/file; ls /var/lib/stockade"),
        "kept\n"
    );

    // A power cut takes what was not synced.
    guest.sh("echo synced > /mnt/one && sync && echo lost > /mnt/two");
    let guest = guest.cut().boot();
    assert_eq!(
        guest.sh("mount /dev/vda /mnt && cat /mnt/one; cat /mnt/two 2>/dev/null; true"),
        "synced\n"
    );
    guest.power_off();
}
