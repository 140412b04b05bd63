//! The rules about how a kernel was configured.

use stockade_controls::engine::rules;

const STANDARDS: [&str; 5] = [
    "EN 303 645 5.6-7",
    "CRA I.I(2)(j)",
    "CRA I.I(2)(k)",
    "NISTIR 8425 product configuration",
    "ISVS 3.2",
];

rules! {
    Boot "boot";
    DOORS = "kernel-doors", Medium, "The kernel gives nobody its memory, and runs no other code",
        "Whoever becomes root reads keys out of the kernel's memory, and hides in it.",
        "Change the settings that are named, and build the kernel anew.",
        STANDARDS;
    MEMORY = "kernel-memory", Medium, "The kernel guards its own memory",
        "An error in a driver becomes a way to full control.",
        "Change the settings that are named, and build the kernel anew.",
        STANDARDS;
    CONFINES = "kernel-confines", Medium, "The kernel can confine programs",
        "Seccomp, a mandatory access control and the like can not be used if the kernel was built without.",
        "Change the settings that are named, and build the kernel anew.",
        STANDARDS;
    PROCESSOR = "kernel-processor", Medium, "The kernel makes up for what processors let slip",
        "One program reads what another left in the processor.",
        "Change the settings that are named, and build the kernel anew.",
        STANDARDS;
    SURFACE = "kernel-surface", Low, "The kernel has nothing that only debugging or old programs need",
        "Old and rarely used code has most of the holes.",
        "Change the settings that are named, and build the kernel anew.",
        STANDARDS;
}
