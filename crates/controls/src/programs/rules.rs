//! The rules of this control. Packages come first: they are removed in the order in which that rule finds them.

use crate::engine::rules;

const STANDARDS: [&str; 5] = [
    "EN 303 645 5.6-5",
    "EN 303 645 5.6-6",
    "CRA I.I(2)(j)",
    "NISTIR 8425 product configuration",
    "ISVS 3.2",
];

rules! {
    Programs "programs";
    PACKAGES = "package", Low, "Only the packages that the profile names, and what they need, are installed",
        "What is not there has no holes and needs no updates.",
        "Remove the package, or name it in `[programs] packages` of the profile.",
        STANDARDS;
    SERVERS = "plain-server", High, "No server of telnet, FTP, rsh or TFTP, and no super server, is there",
        "Passwords cross the network in plain text; worms look for telnet before all else.",
        "Remove the program, or name its package in `[programs] packages` of the profile.",
        STANDARDS;
    COMPILERS = "compiler", Low, "No compiler is on the device",
        "An intruder builds there what was not brought along, for exactly this device.",
        "Build elsewhere, and remove the package.",
        STANDARDS;
    DEBUGGERS = "debugger", Medium, "No debugger is on the device",
        "A debugger reads keys and passwords out of running programs.",
        "Remove the package.",
        STANDARDS;
    SNIFFERS = "sniffer", Medium, "No program to listen on or attack networks is on the device",
        "A device that is taken over becomes the place from which its network is.",
        "Remove the package.",
        STANDARDS;
    SERVICES = "service", Medium, "Only the services that the profile names start or run",
        "Every service is code that can be attacked; one that nobody needs is never looked after.",
        "Mask the service (systemctl mask --now NAME), or name it in `[programs] services` of the profile.",
        STANDARDS;
    PROCESSES = "process", Medium, "Only programs of allowed services run",
        "What an intruder starts belongs to no service.",
        "Find out who started it; end it, or make it a service that the profile names.",
        STANDARDS;
}
