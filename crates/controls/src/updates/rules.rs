//! The rules of this control.

use crate::engine::rules;

rules! {
    Updates "updates";
    LOOKED = "looked", High, "The device has looked for updates lately",
        "A device that nobody tells of a hole keeps it; who can hold a device back from looking needs no hole of his own.",
        "See why it cannot look: its log, the firewall's rule for the source, the source itself. Without a network, bring a bundle: docs/updates.md.",
        ["EN 303 645 5.3-5", "EN 303 645 5.3-6", "CRA I.I(2)(c)", "NISTIR 8425 software update", "ISVS 3.4"];
    APPLIED = "applied", Medium, "Updates that were found are installed and run",
        "An update that waits mends nothing.",
        "Install it: `stockade device update install`, or the device's page; restart where that is what it waits for.",
        ["EN 303 645 5.3-2", "EN 303 645 5.3-3", "CRA I.I(2)(c)", "NISTIR 8425 software update", "ISVS 3.4"];
    SECURITY = "security-pending", High, "No security update waits for longer than the profile allows",
        "A hole that is mended elsewhere is known to everybody: within days it is looked for in every device.",
        "Install the update now: `stockade device update install`; packages of Debian: `apt-get update`, then `apt-get --only-upgrade install` with the names.",
        ["EN 303 645 5.3-8", "CRA I.I(2)(c)", "CRA I.II(2)", "NISTIR 8425 software update", "ISVS 3.4"];
    SOURCE = "source", High, "Updates are taken from the profile's source only, and only with a right signature",
        "Whoever stands between a device and an unsigned source installs what he likes, as root.",
        "Take out what switches the check of signatures or dates off.",
        ["EN 303 645 5.3-7", "EN 303 645 5.3-9", "EN 303 645 5.3-10", "CRA I.I(2)(c)", "CRA I.I(2)(f)", "NISTIR 8425 software update", "ISVS 3.4"];
    HEALTH = "health", Medium, "The last update stayed: the device did not come back from it",
        "A device that goes back keeps the holes of the old system, and does so every time.",
        "Find out why the new system was not healthy, and publish a newer version.",
        ["EN 303 645 5.3-2", "CRA I.I(2)(c)", "NISTIR 8425 software update", "ISVS 3.4"];
    SLOTS = "slots", Medium, "There is a good system to go back to",
        "With one slot only, an update that goes wrong is the end of the device.",
        "Install the version that runs, or a newer one, once more: that writes the other slot anew.",
        ["EN 303 645 5.3-2", "CRA I.I(2)(h)", "NISTIR 8425 software update", "ISVS 3.4"];
}
