//! The rules of this control.

use crate::engine::rules;

rules! {
    Credentials "credentials";
    EMPTY = "empty-password", Critical, "No account is open without a password",
        "Whoever reaches a log-in of the device is in.",
        "Lock the account (passwd -l NAME) or set a password (passwd NAME).",
        ["EN 303 645 5.1-1", "CRA I.I(2)(d)", "NISTIR 8425 interface access control"];
    DEFAULT = "default-password", Critical, "No account has a password that devices are shipped with",
        "Worms such as Mirai try exactly these passwords, within minutes of a device being reachable.",
        "Set a password that only this device has.",
        ["EN 303 645 5.1-1", "EN 303 645 5.1-2", "CRA I.I(2)(d)", "ISVS 2.1.10"];
    SHARED = "shared-password", High, "No two accounts have the same password",
        "One password that leaks opens all that share it; a hash without salt is the same on every device.",
        "Set a new password for each of the accounts.",
        ["EN 303 645 5.1-1", "CRA I.I(2)(d)"];
    LOGINS = "password-logins", High, "Only the accounts that the profile names have a password",
        "Every further password is a further way in that nobody watches.",
        "Lock the account (passwd -l NAME), or name it in `[credentials] password-logins` of the profile.",
        ["EN 303 645 5.6-1", "CRA I.I(2)(j)"];
    WEAK_HASH = "weak-hash", Medium, "Passwords are kept so that a thief of the file does not get them",
        "A backup, a flash chip or a hole in a web page gives the file away; the rest is computing time.",
        "Set the password again after choosing SHA-512 or yescrypt in /etc/login.defs or PAM.",
        ["EN 303 645 5.1-3", "EN 303 645 5.4-1", "CRA I.I(2)(d)"];
    IN_THE_OPEN = "hash-in-passwd", High, "No password hash stands in /etc/passwd",
        "Every program on the device can read it and guess at leisure.",
        "Move the hashes with pwconv.",
        ["EN 303 645 5.4-1", "CRA I.I(2)(d)"];
    SSH_PASSWORDS = "ssh-passwords", High, "SSH lets people in with a key only",
        "Passwords are guessed by machines, all day, from everywhere; keys are not.",
        "Set PasswordAuthentication no, KbdInteractiveAuthentication no and PermitRootLogin prohibit-password in /etc/ssh/sshd_config; start dropbear with -s.",
        ["EN 303 645 5.1-3", "EN 303 645 5.6-1", "CRA I.I(2)(d)"];
    SSH_OFF = "ssh-off", High, "SSH is off where the profile does not switch it on",
        "A way in that nobody needs is only of use to intruders.",
        "Mask the service (systemctl mask --now ssh), or set `[credentials] ssh = \"keys-only\"` in the profile.",
        ["EN 303 645 5.6-1", "EN 303 645 5.6-5", "CRA I.I(2)(j)"];
    HOST_KEYS = "host-key", High, "The SSH host keys are this device's own, and strong",
        "Whoever buys one device can pretend to be all others.",
        "Remove the keys from the image and have them made at first start: ssh-keygen -A.",
        ["EN 303 645 5.4-3", "EN 303 645 5.4-4", "CRA I.I(2)(d)", "ISVS 2.1.10"];
    AUTHORIZED = "authorized-keys", High, "Keys open only accounts that the profile means, and only their owners can add any",
        "A key that was left behind is a way in that no change of passwords closes.",
        "Remove the file of authorized keys, or name the account in `[credentials] password-logins`; make it writable by its owner only.",
        ["EN 303 645 5.6-1", "CRA I.I(2)(d)"];
    PRIVATE_KEYS = "private-key-mode", High, "Private keys can be read by their owners only",
        "Any program on the device that is taken over has the key then, and is the device.",
        "chmod go= FILE",
        ["EN 303 645 5.4-1", "CRA I.I(2)(d)", "NISTIR 8425 data protection"];
    SAVED = "saved-passwords", Medium, "Files that hold passwords can be read by their owners only",
        "The password of the wireless network or of a server is of use far beyond the device.",
        "chmod go= FILE",
        ["EN 303 645 5.4-1", "CRA I.I(2)(d)"];
    TOKENS = "token-readable", High, "No file that everybody can read holds a token or a password",
        "Any program on the device that is taken over has the maker's cloud then, often for all devices at once.",
        "chmod o= FILE, and give every device a token of its own.",
        ["EN 303 645 5.4-1", "EN 303 645 5.4-3", "CRA I.I(2)(d)"];
    UNITS = "unit-secret", High, "No unit has a secret in its environment",
        "systemctl show and /proc tell it to everybody on the device.",
        "Use LoadCredential= or an EnvironmentFile= that only root can read.",
        ["EN 303 645 5.4-1", "CRA I.I(2)(d)"];
    SSH_WEAK = "ssh-algorithms", Medium, "SSH uses no broken algorithm",
        "Who listens on the way can read along or pretend to be the device.",
        "Remove the Ciphers, MACs and KexAlgorithms lines: what the server chooses itself is right.",
        ["EN 303 645 5.5-1", "CRA I.I(2)(e)", "RFC 9142", "RFC 8758"];
    UID0 = "uid0-twin", High, "Only root is root",
        "A second name for root is how an intruder stays.",
        "Remove the account or give it a user id of its own.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(d)"];
}
