//! The rules of this control.

use crate::engine::rules;

rules! {
    Mac "mac";
    SYSTEM = "system", High, "The kernel confines by the system that the profile names",
        "Without it a hole in one program is a hole in everything that its user may do.",
        "Start the kernel with it (`security=apparmor` or `security=selinux` on its command line), or name the one that is there in `[mac] system`.",
        ["EN 303 645 5.6-7", "EN 303 645 5.6-8", "CRA I.I(2)(k)", "ISVS 3.3.5"];
    ENFORCING = "enforcing", High, "It refuses, and does not only watch",
        "What only watches stops nobody.",
        "AppArmor: start the kernel without `apparmor=0` and load profiles; SELinux: `SELINUX=enforcing` in /etc/selinux/config, and `setenforce 1`.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(k)", "ISVS 3.3.5"];
    CONFINED = "confined", High, "Every service that the profile names is confined",
        "These are the doors of the device: what an intruder in one of them may do is all that the kernel leaves him.",
        "Confine the service by a policy of its own: `stockade device apply` makes one from what the service is seen to do.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(k)", "ISVS 3.3.5"];
    PERMISSIVE = "permissive-domains", Medium, "No policy is left to watch only",
        "A domain or profile that is left so looks confined in every list, and is not.",
        "AppArmor: `aa-enforce PROFILE`; SELinux: `semanage permissive -d DOMAIN`.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(k)"];
    EFFECTIVE = "effective", Critical, "What is forbidden to a confined service fails when it is tried",
        "Settings say what should be; only an attempt shows what is.",
        "See which attempt succeeded, and take what allows it out of the policy.",
        ["EN 303 645 5.6-7", "CRA I.I(2)(k)", "ISVS 3.3.5"];
}
