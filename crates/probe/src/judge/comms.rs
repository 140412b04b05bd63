//! Rules of `comms` about what only others see.

use stockade_controls::engine::rules;

rules! {
    Comms "comms";
    ANONYMOUS = "anonymous-mqtt", High, "No broker takes clients that do not say who they are",
        "Whoever is on the network reads every message and commands every device that listens.",
        "Have clients show a certificate, or at least a password over TLS (mosquitto: `allow_anonymous false`).",
        ["EN 303 645 5.5-5", "EN 303 645 5.6-1", "CRA I.I(2)(d)", "NISTIR 8425 interface access control", "ISVS 4.2.2"];
}
