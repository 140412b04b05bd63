//! The rules about known vulnerabilities.

use stockade_controls::engine::rules;

rules! {
    Updates "updates";
    KNOWN = "known-vulnerability", High, "No software that is here has a known vulnerability",
        "What is wrong with it is published, often with a program that uses it: nothing has to be found out first.",
        "Update the software to the version that is named. Where it does no harm here, say so in a VEX document: docs/audit-vulnerabilities.md.",
        ["EN 303 645 5.2-3", "EN 303 645 5.3-1", "CRA I.I(2)(a)", "CRA I.II(1)", "CRA I.II(2)", "NISTIR 8425 software update", "ISVS 1.1.3"];
    EXPLOITED = "known-exploited", Critical, "No software that is here has a vulnerability that is used in the wild",
        "It is being used against devices right now; those that can be reached are found within hours.",
        "Update the software today, or take the device off the network until that is done.",
        ["EN 303 645 5.2-3", "EN 303 645 5.3-8", "CRA I.I(2)(a)", "CRA I.II(2)", "NISTIR 8425 software update", "ISVS 1.1.3"];
    END_OF_LIFE = "end-of-life", High, "The distribution is still supported",
        "Vulnerabilities that are found after its end are never mended, and soon nobody even says which they are.",
        "Move to a release that is supported.",
        ["EN 303 645 5.3-13", "CRA I.I(2)(c)", "CRA I.II(8)", "NISTIR 8425 software update", "ISVS 3.4"];
    DATA = "advisory-data", Medium, "The advisories that were asked are recent",
        "A vulnerability that was published after the data was made is not found.",
        "Bring in newer data: `stockade audit db import PATH...`.",
        ["EN 303 645 5.2-3", "CRA I.II(1)"];
}
