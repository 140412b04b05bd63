//! Rules of `credentials` about what only others see.

use stockade_controls::engine::rules;

rules! {
    Credentials "credentials";
    OPEN = "open-service", High, "No service lets anybody in without asking who he is",
        "Nothing has to be guessed: the files, the picture, the switches or a shell are there for whoever comes by.",
        "Switch the service off, or have it ask for a password that only this device has, over TLS.",
        ["EN 303 645 5.5-5", "EN 303 645 5.6-1", "CRA I.I(2)(d)", "NISTIR 8425 interface access control", "ISVS 2.1.3"];
}
