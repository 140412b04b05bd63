//! Rules of `upnp` about what only others see.

use stockade_controls::engine::rules;

rules! {
    Upnp "upnp";
    GATEWAY = "port-mapping", High, "Nobody on the network can have ports opened",
        "A web page or a program that was taken over opens a way in from the internet, to any device, without being asked who it is.",
        "Switch UPnP, NAT-PMP and PCP off.",
        ["EN 303 645 5.5-5", "EN 303 645 5.6-1", "CRA I.I(2)(b)", "CRA I.I(2)(j)", "NISTIR 8425 interface access control"];
    EVENTS = "event-callback", High, "Events are sent to the device's own network only",
        "Strangers have the device send data anywhere, past what keeps data in, and flood others (CVE-2020-12695, CallStranger).",
        "Update the program to one that follows UPnP Device Architecture 2.0 §4.1.1 (April 2020), or switch UPnP off.",
        ["EN 303 645 5.6-1", "CRA I.I(2)(a)", "CRA I.I(2)(i)"];
    LOCATION = "location", Medium, "A device announces its own address only",
        "Who believes the announcement is led to another host; addresses of other networks are nobody's business here.",
        "Have the program use one interface only.",
        ["EN 303 645 5.6-2", "CRA I.I(2)(j)"];
    GIVES_AWAY = "gives-away", Low, "A description names no serial number and no hardware address",
        "They tell one device from all others for good, and passwords have been derived from them.",
        "Leave the serial number out, and use a random name (UUID version 4).",
        ["EN 303 645 5.6-2", "CRA I.I(2)(j)"];
}
