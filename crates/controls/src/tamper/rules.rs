//! The rules of `tamper`.

crate::engine::rules! {
    Tamper "tamper";
    /// Every sensor is read.
    INPUTS = "inputs", Medium, "Every sensor of the case is there and is read",
        "A sensor whose wire was cut, or that another program holds, does not notice that the case is opened.",
        "see to the sensor: is its line named in the device tree, and does no other program hold it?",
        ["EN 303 645 5.4-2", "CRA I.I(2)(k)", "IEC 62443-4-2 EDR 3.11", "NISTIR 8425 cybersecurity state awareness"];
    /// Nobody opened it.
    LATCHED = "latched", Critical, "The case was not opened, or an operator knows of it and cleared it",
        "Whoever has the device open reads its memory and its keys, and can put a program of his own there.",
        "look at the device itself; then clear it with a reason (`stockade device clear-tamper`)",
        ["EN 303 645 5.4-2", "CRA I.I(2)(k)", "IEC 62443-4-2 EDR 3.11", "NISTIR 8425 cybersecurity state awareness"];
    /// What should follow does.
    RESPONSE = "response", High, "What the profile wants to follow when the case is opened can follow and did",
        "A device that notices and goes on as before gives its keys away all the same.",
        "see what stands in the way, or change `response` in the profile",
        ["EN 303 645 5.4-1", "EN 303 645 5.11-1", "CRA I.I(2)(k)", "IEC 62443-4-2 EDR 3.11"];
}
