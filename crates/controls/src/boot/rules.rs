//! The rules of `boot`.

use crate::engine::rules;

rules! {
    Boot "boot";
    SECURE_BOOT = "secure-boot", High,
        "The firmware starts signed code only",
        "Whoever can write the disk once has a boot loader of theirs below everything that could notice.",
        "switch Secure Boot on in the firmware, with the maker's own keys",
        ["EN 303 645 5.7-1", "CRA I.I(2)(f)", "IEC 62443-4-2 EDR 3.14", "NISTIR 8425 software update", "ISVS 3.1"];
    SETUP_MODE = "setup-mode", High,
        "The firmware's keys can not be exchanged by whoever asks",
        "In setup mode any program enrols a key of its own, and is signed from then on.",
        "enrol a platform key (PK): that ends setup mode",
        ["EN 303 645 5.7-1", "CRA I.I(2)(f)", "ISVS 3.1"];
    MEASURED = "measured", High,
        "The TPM has measured what the device started",
        "Without measurements the gateway has the device's word only, and a changed device lies.",
        "switch the TPM on in the firmware, with its SHA-256 registers; or take the register from `[boot] measured`",
        ["EN 303 645 5.7-1", "EN 303 645 5.7-2", "CRA I.I(2)(f)", "IEC 62443-4-2 EDR 3.12"];
    EVENT_LOG = "event-log", High,
        "The event log leads to what the TPM's registers hold",
        "A log that was changed hides which part of the start was.",
        "start the device again; if it stays so, take it out of service and look at its firmware",
        ["EN 303 645 5.7-1", "EN 303 645 5.7-2", "CRA I.I(2)(l)"];
    VERITY = "verity", High,
        "The system's files are checked as they are read",
        "What is checked at the start only can be changed on the disk right after.",
        "build the system's image with dm-verity, and its root hash into the signed command line",
        ["EN 303 645 5.7-1", "CRA I.I(2)(f)", "IEC 62443-4-2 EDR 3.14", "ISVS 3.1"];
    VERITY_INTACT = "verity-intact", Critical,
        "Every block of a checked volume is what its root hash says",
        "Somebody wrote to the system's disk, or it is failing: a volume opens with a wrong root hash too, and only reading tells.",
        "take the device out of service, write its system anew, and find out who could write to its disk",
        ["EN 303 645 5.7-1", "EN 303 645 5.7-2", "CRA I.I(2)(f)", "IEC 62443-4-2 CR 3.4"];
    LOCKDOWN = "lockdown", Medium,
        "Root can not change the running kernel",
        "Whoever becomes root loads code into the kernel, past everything that is enforced.",
        "add `lockdown=integrity` to the kernel's command line; with Secure Boot Debian's kernel does it by itself",
        ["EN 303 645 5.6-7", "CRA I.I(2)(k)", "ISVS 3.1"];
    MODULES = "module-signatures", Medium,
        "The kernel loads signed modules only",
        "A module is the kernel: one of somebody else's hides processes, files and traffic.",
        "add `module.sig_enforce=1` to the kernel's command line",
        ["EN 303 645 5.7-1", "CRA I.I(2)(f)", "ISVS 3.1"];
    COMMAND_LINE = "command-line", High,
        "The kernel's command line opens no back door",
        "One word on it gives a root shell without a password, or switches off what protects the system.",
        "take the parameter from the boot loader's configuration, or from the image's own command line",
        ["EN 303 645 5.6-4", "EN 303 645 5.7-1", "CRA I.I(2)(b)", "ISVS 3.1"];
    KEXEC = "kexec", Medium,
        "No other kernel can be started from the running one",
        "kexec starts a kernel that nobody measured and no firmware checked.",
        "`kernel.kexec_load_disabled = 1` in /etc/sysctl.d",
        ["EN 303 645 5.7-1", "CRA I.I(2)(f)"];
    LOCKED = "bootloader-locked", High,
        "The boot loader takes no commands from whoever is at the device",
        "A key pressed at the right moment on a serial line changes the command line, and with it everything.",
        "U-Boot: `CONFIG_AUTOBOOT_KEYED` or `bootdelay=-2`; GRUB: a superuser with a password; systemd-boot: `editor no`",
        ["EN 303 645 5.6-4", "EN 303 645 5.7-1", "IEC 62443-4-2 EDR 2.13", "ISVS 5.1.1"];
    UBOOT = "u-boot-environment", Medium,
        "The environment of U-Boot is whole and switches no check off",
        "It is a script with the rights of the boot loader: whoever writes it decides what is started.",
        "write it anew by fw_setenv, and build U-Boot with a list of the variables that may be changed",
        ["EN 303 645 5.7-1", "CRA I.I(2)(f)", "ISVS 3.1"];
    IMA = "ima", High,
        "The kernel's list of measured files leads to what the TPM's register 10 holds",
        "A list that was changed hides which program was started.",
        "start the device with `ima_policy=tcb` and a TPM; if the list still differs, take it out of service",
        ["EN 303 645 5.7-2", "CRA I.I(2)(l)", "IEC 62443-4-2 CR 3.4"];
}
