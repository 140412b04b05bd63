//! What the provisions that rules cite are about, in a few words of our own: they help to find a provision, they do not replace it.
//!
//! ETSI EN 303 645 by the ids of V2.1.1 (2020-06); NIST IR 8425 and 8259A; Regulation (EU) 2024/2847 (CRA), Annex I: `I.I` is Part I,
//! `I.II` Part II; OWASP ISVS; IEC 62443-4-2; RFCs.

/// What a provision is about; of an ISVS requirement that has no line of its own, what its section is about.
pub fn title(id: &str) -> Option<&'static str> {
    let exact = |id: &str| {
        let found = TITLES.iter().find(|(known, _)| *known == id);
        found.map(|(_, title)| *title)
    };
    exact(id).or_else(|| {
        let (section, _) = id.rsplit_once('.').filter(|_| id.starts_with("ISVS "))?;
        exact(section)
    })
}

/// Sorted as the standards are.
const TITLES: &[(&str, &str)] = &[
    (
        "EN 303 645 5.1-1",
        "passwords are unique per device or set by the user",
    ),
    (
        "EN 303 645 5.1-2",
        "unique passwords from the factory resist automated guessing",
    ),
    (
        "EN 303 645 5.1-3",
        "users are authenticated by sound cryptography",
    ),
    (
        "EN 303 645 5.1-4",
        "a user can change the means of authentication with ease",
    ),
    (
        "EN 303 645 5.1-5",
        "guessing over the network is impracticable",
    ),
    (
        "EN 303 645 5.2-1",
        "a policy for reports of vulnerabilities is public",
    ),
    (
        "EN 303 645 5.2-2",
        "reported vulnerabilities are acted on in time",
    ),
    (
        "EN 303 645 5.2-3",
        "vulnerabilities are looked for as long as the product is supported",
    ),
    ("EN 303 645 5.3-1", "all software can be updated securely"),
    (
        "EN 303 645 5.3-2",
        "there is a secure way to install updates",
    ),
    ("EN 303 645 5.3-3", "an update is simple to apply"),
    ("EN 303 645 5.3-4", "updates come by themselves"),
    (
        "EN 303 645 5.3-5",
        "the device asks for updates after start and regularly",
    ),
    (
        "EN 303 645 5.3-6",
        "automatic updates are on at first, and the user decides",
    ),
    (
        "EN 303 645 5.3-7",
        "updates are protected by sound cryptography",
    ),
    ("EN 303 645 5.3-8", "security updates come in time"),
    (
        "EN 303 645 5.3-9",
        "the device verifies that an update is authentic and whole",
    ),
    (
        "EN 303 645 5.3-10",
        "updates over a network are verified by a relationship of trust",
    ),
    (
        "EN 303 645 5.3-11",
        "the user is told that a security update is needed, and why",
    ),
    (
        "EN 303 645 5.3-12",
        "the user is told when an update disturbs the device",
    ),
    (
        "EN 303 645 5.3-13",
        "how long the product is supported is published",
    ),
    (
        "EN 303 645 5.3-14",
        "for what cannot be updated, the reasons are published",
    ),
    (
        "EN 303 645 5.3-15",
        "what cannot be updated can be isolated and replaced",
    ),
    (
        "EN 303 645 5.3-16",
        "the model can be recognised on the device",
    ),
    ("EN 303 645 5.4-1", "secrets in storage are kept securely"),
    (
        "EN 303 645 5.4-2",
        "a fixed identity of the device resists tampering",
    ),
    (
        "EN 303 645 5.4-3",
        "no critical secret is hard-coded in software",
    ),
    (
        "EN 303 645 5.4-4",
        "secrets that protect updates and services are unique per device",
    ),
    ("EN 303 645 5.5-1", "communication uses sound cryptography"),
    (
        "EN 303 645 5.5-2",
        "cryptography and network code is reviewed or evaluated",
    ),
    (
        "EN 303 645 5.5-3",
        "cryptographic algorithms can be updated",
    ),
    (
        "EN 303 645 5.5-4",
        "functions are reached over the network after authentication only",
    ),
    (
        "EN 303 645 5.5-5",
        "changes that touch security need authentication",
    ),
    (
        "EN 303 645 5.5-6",
        "critical secrets are encrypted in transit",
    ),
    (
        "EN 303 645 5.5-7",
        "critical secrets stay confidential over remote interfaces",
    ),
    (
        "EN 303 645 5.5-8",
        "critical secrets are managed by secure processes",
    ),
    (
        "EN 303 645 5.6-1",
        "unused network and logical interfaces are off",
    ),
    (
        "EN 303 645 5.6-2",
        "nothing is disclosed without authentication that need not be",
    ),
    (
        "EN 303 645 5.6-3",
        "no physical interface is open without need",
    ),
    (
        "EN 303 645 5.6-4",
        "a debug interface that can be reached is off in software",
    ),
    ("EN 303 645 5.6-5", "only services that are needed are on"),
    ("EN 303 645 5.6-6", "there is no more code than needed"),
    (
        "EN 303 645 5.6-7",
        "software has no more privilege than needed",
    ),
    ("EN 303 645 5.6-8", "hardware controls access to memory"),
    ("EN 303 645 5.6-9", "software is developed securely"),
    ("EN 303 645 5.7-1", "software is verified by secure boot"),
    (
        "EN 303 645 5.7-2",
        "changed software is told of, and isolates the device",
    ),
    (
        "EN 303 645 5.8-1",
        "personal data is confidential in transit",
    ),
    (
        "EN 303 645 5.8-2",
        "sensitive personal data is protected between device and service",
    ),
    (
        "EN 303 645 5.8-3",
        "what the device can sense is told to the user",
    ),
    (
        "EN 303 645 5.9-1",
        "the device copes with outages of network and power",
    ),
    (
        "EN 303 645 5.9-2",
        "it goes on locally without a network and recovers cleanly",
    ),
    (
        "EN 303 645 5.9-3",
        "it comes back to the network in an orderly way",
    ),
    ("EN 303 645 5.10-1", "telemetry is examined for anomalies"),
    ("EN 303 645 5.11-1", "a user can erase data from the device"),
    ("EN 303 645 5.11-2", "a user can erase data from services"),
    (
        "EN 303 645 5.11-3",
        "it is told how personal data is erased",
    ),
    ("EN 303 645 5.11-4", "a user is told that data was erased"),
    (
        "EN 303 645 5.12-1",
        "set-up asks little and follows good practice",
    ),
    ("EN 303 645 5.12-2", "it is told how to set up securely"),
    (
        "EN 303 645 5.12-3",
        "it is told how to check that set-up is secure",
    ),
    ("EN 303 645 5.13-1", "input is validated"),
    (
        "EN 303 645 6-1",
        "it is told which personal data is used, by whom and for what",
    ),
    ("EN 303 645 6-2", "consent is obtained in a valid way"),
    ("EN 303 645 6-3", "consent can be withdrawn"),
    (
        "EN 303 645 6-4",
        "telemetry holds no more personal data than needed",
    ),
    (
        "EN 303 645 6-5",
        "it is told which telemetry is collected and why",
    ),
    (
        "NISTIR 8259A Cybersecurity State Awareness",
        "the device can tell how its security stands",
    ),
    (
        "NISTIR 8259A Data Protection",
        "the device protects what it stores and sends",
    ),
    (
        "NISTIR 8259A Device Configuration",
        "its configuration can be changed by those who may",
    ),
    (
        "NISTIR 8259A Device Identification",
        "the device can be told apart",
    ),
    (
        "NISTIR 8259A Logical Access to Interfaces",
        "interfaces are restricted to those who may use them",
    ),
    (
        "NISTIR 8259A Software Update",
        "software is updated by those who may, in a secure way",
    ),
    (
        "NISTIR 8425 asset identification",
        "the product and all its parts can be told apart",
    ),
    (
        "NISTIR 8425 product configuration",
        "configuration can be changed, secured and reset by those who may",
    ),
    (
        "NISTIR 8425 data protection",
        "data is protected in storage and in transit",
    ),
    (
        "NISTIR 8425 interface access control",
        "every interface, local or over the network, is restricted",
    ),
    (
        "NISTIR 8425 software update",
        "all software of the product can be updated securely",
    ),
    (
        "NISTIR 8425 cybersecurity state awareness",
        "incidents that touch the product can be detected",
    ),
    (
        "NISTIR 8425 documentation",
        "what matters for security is written down",
    ),
    (
        "NISTIR 8425 information and query reception",
        "the maker can be told of vulnerabilities",
    ),
    (
        "NISTIR 8425 information dissemination",
        "customers are told what matters for security",
    ),
    (
        "NISTIR 8425 product education and awareness",
        "customers learn to use the product securely",
    ),
    ("CRA I.I(1)", "security is appropriate to the risk"),
    (
        "CRA I.I(2)(a)",
        "no vulnerability that is known to be exploitable",
    ),
    ("CRA I.I(2)(b)", "secure by default, and can be reset"),
    ("CRA I.I(2)(c)", "vulnerabilities can be mended by updates"),
    ("CRA I.I(2)(d)", "protection against access without right"),
    (
        "CRA I.I(2)(e)",
        "data is confidential, stored and in transit",
    ),
    (
        "CRA I.I(2)(f)",
        "data, programs and configuration keep their integrity",
    ),
    ("CRA I.I(2)(g)", "no more data than needed"),
    ("CRA I.I(2)(h)", "basic functions stay available"),
    ("CRA I.I(2)(i)", "other devices and networks are not harmed"),
    (
        "CRA I.I(2)(j)",
        "small attack surface, outer interfaces too",
    ),
    (
        "CRA I.I(2)(k)",
        "an incident does little harm: mitigations against exploits",
    ),
    (
        "CRA I.I(2)(l)",
        "what matters for security is recorded and watched",
    ),
    ("CRA I.I(2)(m)", "data and settings can be removed for good"),
    (
        "CRA I.II(1)",
        "components and vulnerabilities are known: a list of software",
    ),
    ("CRA I.II(2)", "vulnerabilities are mended without delay"),
    ("CRA I.II(3)", "security is tested regularly"),
    ("CRA I.II(4)", "mended vulnerabilities are made public"),
    ("CRA I.II(5)", "a policy of coordinated disclosure"),
    ("CRA I.II(6)", "vulnerabilities can be reported"),
    (
        "CRA I.II(7)",
        "updates are distributed securely and in time",
    ),
    (
        "CRA I.II(8)",
        "security updates come at once, free, with advice",
    ),
    ("ISVS 1.1", "design of application and ecosystem"),
    ("ISVS 1.2", "supply chain"),
    (
        "ISVS 1.2.1",
        "a list of software with its known vulnerabilities",
    ),
    (
        "ISVS 1.2.3",
        "firmware is released with secure defaults, no debug build",
    ),
    ("ISVS 1.2.4", "debug interfaces are off before shipping"),
    ("ISVS 1.2.8", "third-party code is searched for back doors"),
    ("ISVS 1.3", "secure development"),
    ("ISVS 1.4", "logging"),
    ("ISVS 1.5", "incident response"),
    ("ISVS 1.6", "end of life and support of updates"),
    ("ISVS 2.1", "identification and authentication"),
    ("ISVS 2.1.1", "users and accounts can be told apart"),
    ("ISVS 2.1.3", "users and devices are authenticated strongly"),
    ("ISVS 2.1.8", "default credentials can be changed"),
    ("ISVS 2.1.9", "no credential is hard-coded"),
    ("ISVS 2.1.10", "credentials are unique per device"),
    ("ISVS 2.1.12", "guessing is slowed down"),
    ("ISVS 2.2", "authorisation"),
    ("ISVS 2.2.2", "least privilege: few services run as root"),
    ("ISVS 2.3", "data protection"),
    ("ISVS 2.4", "cryptography"),
    ("ISVS 2.4.4", "cryptographic secrets are stored securely"),
    ("ISVS 3.1", "boot loader"),
    ("ISVS 3.1.1", "the boot loader loads no code from anywhere"),
    (
        "ISVS 3.1.2",
        "the configuration of the boot loader cannot be changed",
    ),
    (
        "ISVS 3.1.3",
        "USB and serial lines are off or protected during boot",
    ),
    (
        "ISVS 3.1.4",
        "the first boot stage is verified by something that cannot be changed",
    ),
    ("ISVS 3.1.5", "each boot stage verifies the next"),
    ("ISVS 3.1.6", "boot stages hold no secrets"),
    ("ISVS 3.2", "configuration of the operating system"),
    ("ISVS 3.2.1", "the system is hardened by good practice"),
    ("ISVS 3.2.2", "only network services that are needed"),
    ("ISVS 3.2.3", "no telnet, no FTP"),
    (
        "ISVS 3.2.4",
        "kernel and software are up to date, without known vulnerabilities",
    ),
    ("ISVS 3.2.5", "storage is encrypted"),
    (
        "ISVS 3.2.6",
        "applications use the security features of the system",
    ),
    ("ISVS 3.2.7", "memory protection (ASLR, DEP) is on"),
    ("ISVS 3.2.10", "integrity is measured"),
    ("ISVS 3.3", "isolation of processes"),
    ("ISVS 3.3.3", "few capabilities"),
    ("ISVS 3.3.5", "mandatory access control"),
    ("ISVS 3.4", "software updates"),
    ("ISVS 3.4.3", "updates are signed and verified"),
    (
        "ISVS 3.4.6",
        "no way back to a version with known vulnerabilities",
    ),
    (
        "ISVS 3.4.8",
        "debug builds without signature cannot be installed",
    ),
    ("ISVS 3.4.12", "updates travel encrypted"),
    ("ISVS 3.5", "security chips"),
    ("ISVS 3.6", "kernel"),
    ("ISVS 3.6.1", "kernel modules are signed and verified"),
    ("ISVS 4.1", "communication in general"),
    ("ISVS 4.1.1", "communication uses a secure channel"),
    ("ISVS 4.1.2", "only strong cipher suites"),
    ("ISVS 4.1.3", "certificates are verified"),
    ("ISVS 4.2", "machine to machine"),
    ("ISVS 4.2.1", "only what is not sensitive goes unencrypted"),
    ("ISVS 4.2.2", "MQTT brokers let authorised devices in only"),
    ("ISVS 4.2.3", "certificates rather than passwords for MQTT"),
    ("ISVS 4.3", "Bluetooth"),
    ("ISVS 4.4", "Wi-Fi"),
    ("ISVS 5.1", "design of the hardware"),
    (
        "ISVS 5.1.1",
        "debug interfaces can be disabled or protected",
    ),
    ("ISVS 5.1.4", "hardware stores secrets"),
    ("ISVS 5.1.6", "debug headers are removed"),
    ("IEC 62443-4-2 CR 2.2", "use of radio"),
    ("IEC 62443-4-2 CR 2.3", "use of portable and mobile devices"),
    (
        "IEC 62443-4-2 CR 3.4",
        "integrity of software and information",
    ),
    ("IEC 62443-4-2 CR 7.7", "no more functions than needed"),
    (
        "IEC 62443-4-2 EDR 2.13",
        "use of physical diagnostic and test interfaces",
    ),
    (
        "IEC 62443-4-2 EDR 3.11",
        "tampering is resisted and noticed",
    ),
    (
        "IEC 62443-4-2 EDR 3.12",
        "the maker's roots of trust are provisioned",
    ),
    ("IEC 62443-4-2 EDR 3.14", "integrity of the boot process"),
    ("RFC 6176", "no SSL 2.0"),
    ("RFC 7465", "no RC4 in TLS"),
    ("RFC 7568", "no SSL 3.0"),
    ("RFC 8758", "no RC4 in SSH"),
    ("RFC 8996", "no TLS 1.0 and 1.1, no DTLS 1.0"),
    ("RFC 9142", "which key exchanges of SSH are sound"),
    ("RFC 9325", "how TLS is used securely"),
];
