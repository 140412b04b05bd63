//! The rules of this control.

use crate::engine::rules;

rules! {
    Privileges "privileges";
    SETUID = "setuid", High, "No program lends its owner's rights unless the profile names it",
        "Every such program is a door from any account to root: one bug in it is enough.",
        "Take the bit away (chmod u-s,g-s FILE), or name the program in `[privileges] setuid` of the profile.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(j)", "ISVS 2.2.2"];
    CAPABILITY = "file-capability", High, "No program has a file capability unless the profile names it",
        "A file capability gives whoever starts the program a part of root's rights.",
        "Take it away (setcap -r FILE), or name the program in `[privileges] setuid` of the profile.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(j)"];
    ROOT_SERVICE = "root-service", Medium, "Only the services that the profile names run as root",
        "A hole in a service that runs as root gives the whole device away.",
        "Give it a user of its own (User= in its unit), or name it in `[privileges] root-services` of the profile.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(j)", "NISTIR 8425 interface access control"];
    UNCONFINED = "unconfined", Low, "Every service is bounded to what it needs",
        "What a service can not do, an intruder in it can not do either.",
        "Write a drop-in with NoNewPrivileges=, ProtectSystem=, CapabilityBoundingSet= and SystemCallFilter=; `systemd-analyze security NAME` shows what is left.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(k)", "ISVS 3.2.6"];
    ROOT_PATH = "root-path", High, "Only root may change the programs that root starts by name",
        "Whoever may write there waits for root to type `ls`.",
        "Give it to root and take the others' right to write (chown root FILE; chmod go-w FILE).",
        ["EN 303 645 5.6-7", "CRA I.I(2)(d)"];
    UNIT = "service-file", Critical, "Only root may change how services start and the programs that run as root",
        "Whoever may write there is root after the next start.",
        "Give it to root and take the others' right to write (chown root FILE; chmod go-w FILE).",
        ["EN 303 645 5.6-7", "CRA I.I(2)(d)"];
    CRON = "cron", Critical, "Only root may change what cron runs as root",
        "Whoever may write there is root within a day.",
        "Give it to root and take the others' right to write (chown root FILE; chmod go-w FILE).",
        ["EN 303 645 5.6-7", "CRA I.I(2)(d)"];
    LOGIN_SCRIPT = "login-script", High, "Only root may change what root's shell runs and what every program loads",
        "Whoever may write there acts as root as soon as root logs in.",
        "Give it to root and take the others' right to write (chown root FILE; chmod go-w FILE).",
        ["EN 303 645 5.6-7", "CRA I.I(2)(d)"];
    PRELOAD = "preload", High, "Nothing is put into every program",
        "A library in /etc/ld.so.preload is in every process, root's too: it is how rootkits of user space hide.",
        "Find out what brought the library, and remove its line from /etc/ld.so.preload.",
        ["EN 303 645 5.7-1", "CRA I.I(2)(f)"];
    SUDO_FILE = "sudo-file", Critical, "Only root may change who may become root",
        "Whoever may write there writes himself in.",
        "Give it to root and take the others' right to write (chown root FILE; chmod 0440 FILE).",
        ["EN 303 645 5.6-7", "CRA I.I(2)(d)"];
    SUDO_PASSWORD = "sudo-no-password", High, "Nobody becomes root without a password",
        "Whatever runs as that user, a hole in a program too, is root.",
        "Remove `NOPASSWD:` (visudo), or `nopass` in /etc/doas.conf.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(d)", "NISTIR 8425 interface access control"];
    SUDO_ALL = "sudo-everybody", High, "Not everybody may do everything as root",
        "A rule for all users, or one more user with all rights, is one more root to lose.",
        "Name the commands that are needed instead of `ALL` (visudo), or use the group sudo.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(d)"];
    OPEN_FILE = "open-file", Medium, "No file may be written by everybody",
        "Any program on the device can change it, and what reads it believes it.",
        "Take the right away (chmod o-w FILE).",
        ["EN 303 645 5.6-7", "CRA I.I(2)(f)"];
}
