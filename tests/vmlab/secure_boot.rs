//! Secure Boot with keys of our own: only what they signed boots, bit for bit.

use stockade_e2e::vmlab::lab;

#[test]
fn only_a_signed_image_boots() {
    let Some(lab) = lab("Secure Boot") else {
        return;
    };
    let Some(uefi) = lab.uefi("firmware") else {
        return;
    };
    let Some(tpm) = lab.tpm("tpm") else { return };
    let machine = lab.guest("device").uefi(&uefi).tpm(&tpm);

    let guest = machine.boot();
    let variable = |name: &str| {
        guest.sh(&format!(
            "od -An -tu1 -j4 /sys/firmware/efi/efivars/{name}-*"
        ))
    };
    assert_eq!(variable("SecureBoot").trim(), "1");
    assert_eq!(variable("SetupMode").trim(), "0");
    let lockdown = guest.sh("cat /sys/kernel/security/lockdown");
    assert!(lockdown.contains("[integrity]"), "{lockdown}");
    let log = guest.sh("cat /sys/kernel/security/tpm0/binary_bios_measurements | wc -c");
    assert!(log.trim().parse::<u32>().expect("a size") > 4096, "{log}");
    guest.power_off();

    let unsigned = machine.unified();
    machine.clone().image(&unsigned).refused();

    let signed = uefi.sign(&unsigned);
    let mut changed = fs_err::read(&signed).expect("an image");
    let words = b"console=ttyS0";
    let at = changed
        .windows(words.len())
        .position(|window| window == words)
        .expect("a command line");
    changed[at] ^= 0x20;
    fs_err::write(&signed, changed).expect("written");
    machine.clone().image(&signed).refused();
}
