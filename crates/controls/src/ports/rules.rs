//! The rules of `ports`.

use crate::engine::rules;

rules! {
    Ports "ports";
    USB_DEFAULT = "usb-default", High,
        "The kernel uses no USB device before it is judged",
        "What is plugged in gets its driver at once otherwise: a stick that is a keyboard types before anybody looks.",
        "write 0 to /sys/bus/usb/devices/usb*/authorized_default",
        ["EN 303 645 5.6-3", "EN 303 645 5.6-4", "CRA I.I(2)(j)", "IEC 62443-4-2 CR 2.3", "ISVS 5.1.1"];
    USB = "usb", High,
        "No USB device works that the profile does not allow",
        "A keyboard types commands, a stick carries data out, a network adapter leads traffic elsewhere.",
        "unplug it, or add an entry for it to `[ports] usb`",
        ["EN 303 645 5.6-3", "CRA I.I(2)(j)", "IEC 62443-4-2 CR 2.3", "NISTIR 8425 interface access control", "ISVS 5.1.1"];
    SERIAL = "serial-console", High,
        "Nobody can log in on a serial line, unless the profile says so",
        "Three pins on the board are a way in for whoever opens the case, often as root and without a password.",
        "take `console=` with the serial line from the kernel's command line, and `systemctl mask serial-getty@NAME`",
        ["EN 303 645 5.6-3", "EN 303 645 5.6-4", "CRA I.I(2)(j)", "IEC 62443-4-2 EDR 2.13", "ISVS 5.1.6"];
    SYSRQ = "sysrq", Medium,
        "The magic key does nothing",
        "With it a keyboard or a break on a serial line kills, dumps memory and starts the system anew, without a log-in.",
        "`kernel.sysrq = 0` in /etc/sysctl.d",
        ["EN 303 645 5.6-4", "IEC 62443-4-2 EDR 2.13", "CRA I.I(2)(j)"];
    MEMORY = "kernel-memory", High,
        "The kernel's memory can not be read or written through a file",
        "Whoever is root, or has a capability too many, reads keys out of the kernel and changes what it enforces.",
        "a kernel with STRICT_DEVMEM and without DEVKMEM, and no `iomem=relaxed`; or `lockdown=integrity`",
        ["EN 303 645 5.6-7", "CRA I.I(2)(k)", "ISVS 3.2"];
    DEBUG = "debug", Medium,
        "The kernel's debugger and its debug interfaces are off, unless the profile says so",
        "They tell where the kernel is in memory, let one process read another, and load programs into the kernel.",
        "set them in /etc/sysctl.d, take `kgdboc=` from the command line, unmount debugfs",
        ["EN 303 645 5.6-4", "IEC 62443-4-2 EDR 2.13", "CRA I.I(2)(j)", "ISVS 5.1.6"];
    STORAGE = "storage", Medium,
        "Cards that are plugged in while the device runs get no driver, unless the profile says so",
        "Data goes out on a card, and what a card holds is read by file system code that trusts it.",
        "write 0 to /sys/bus/mmc/drivers_autoprobe",
        ["EN 303 645 5.6-3", "CRA I.I(2)(j)", "IEC 62443-4-2 CR 2.3"];
    NETWORK = "network", High,
        "No network interface is up that the profile does not name",
        "A spare socket is a way in past every cable that is watched.",
        "`ip link set NAME down`, or add it to `[ports] network`",
        ["EN 303 645 5.6-1", "EN 303 645 5.6-3", "CRA I.I(2)(j)", "IEC 62443-4-2 CR 7.7"];
    RADIOS = "radios", High,
        "No radio sends that the profile does not name",
        "A radio reaches through walls: what nobody uses nobody watches.",
        "`rfkill block` it, or add its kind to `[ports] radios`",
        ["EN 303 645 5.6-1", "EN 303 645 5.6-3", "CRA I.I(2)(j)", "IEC 62443-4-2 CR 2.2"];
}
