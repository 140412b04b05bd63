//! Rules of `firewall` about what only others see.

use stockade_controls::engine::rules;

rules! {
    Firewall "firewall";
    UNEXPECTED = "unexpected-port", High, "Only the ports of the profile answer",
        "A port that nobody expects is one that nobody looks after: worms look for exactly those.",
        "Stop the program, or load the profile's rules (`stockade device apply`); if the port is meant, name it in `[[firewall.in]]`.",
        ["EN 303 645 5.6-1", "EN 303 645 5.6-5", "CRA I.I(2)(j)", "NISTIR 8425 interface access control", "ISVS 3.2.2"];
    UNUSED = "port-unused", Info, "What the profile lets in, answers",
        "A rule that nothing uses lets in whatever takes the port next.",
        "Take the rule out of `[[firewall.in]]`, or start what it is for.",
        ["EN 303 645 5.6-1", "CRA I.I(2)(j)"];
    AMPLIFIES = "amplification", Medium, "No service answers a stranger with far more than he sent",
        "Whoever forges the sender has the device flood somebody else with its answers.",
        "Switch the service off, or let it answer its own network only.",
        ["EN 303 645 5.6-1", "CRA I.I(2)(i)", "NISTIR 8425 information dissemination"];
    RESOLVES = "open-resolver", Medium, "The device asks no names for strangers",
        "It is used to flood others, and to find out what is asked for on its network.",
        "Have the name server answer the device itself only (dnsmasq: `interface=lo`).",
        ["EN 303 645 5.6-1", "CRA I.I(2)(i)", "ISVS 3.2.2"];
    TELLS = "discovery", Low, "The device does not tell everybody what it is and has",
        "Name, model and services are the first thing that an intruder wants to know.",
        "Switch multicast DNS and WS-Discovery off where the profile does not need them.",
        ["EN 303 645 5.6-2", "CRA I.I(2)(j)"];
}
