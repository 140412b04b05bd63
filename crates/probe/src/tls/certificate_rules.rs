//! The rules of the certificates of servers.

use stockade_controls::engine;

engine::rules! { Comms "comms";
DATE = "certificate-date", Medium, "Certificates of servers are in date",
    "A client that still connects has been taught to look away, and will for an attacker's certificate, too.",
    "give the device a new certificate, by a means that works for as long as the device does; see that its clock is right",
    ["EN 303 645 5.5-1", "CRA I.I(2)(e)", "ISVS 4.1"];
NAME = "certificate-name", Low, "A server's certificate names the address it is reached by",
    "A client cannot tell the device from another that has any certificate of the same issuer.",
    "put the name or the address into the certificate's subjectAltName when it is issued",
    ["EN 303 645 5.5-1", "CRA I.I(2)(e)", "ISVS 4.1"];
ISSUER = "certificate-self-signed", Low, "A server's certificate is signed by somebody a client can know",
    "A self-signed certificate is known to a client only if it was given to it before; all others must take whatever comes.",
    "issue it by a CA whose certificate the clients have (`stockade device add` enrols a device)",
    ["EN 303 645 5.5-1", "EN 303 645 5.5-2", "CRA I.I(2)(e)"];
SIGNATURE = "certificate-signature", High, "Certificates are signed with SHA-256 or better",
    "Two certificates with the same MD5 or SHA-1 can be made: who has one signed has the other signed, too.",
    "issue it again, signed with SHA-256 (ECDSA P-256 or Ed25519)",
    ["EN 303 645 5.1-3", "EN 303 645 5.5-1", "CRA I.I(2)(e)", "ISVS 4.2"];
KEY = "certificate-key", High, "Keys of certificates are long enough: RSA 2048 bits, elliptic curves 224",
    "A key of 1024 bits can be computed from the certificate by who has the means, one of 512 by anybody.",
    "make a new key (ECDSA P-256 or Ed25519; RSA from 2048 bits) and issue the certificate again",
    ["EN 303 645 5.1-3", "EN 303 645 5.5-1", "CRA I.I(2)(e)", "ISVS 2.1"];
DEFAULT = "certificate-default", High, "No device shows a certificate that its maker put into all of them",
    "Its key is in every device and in every copy of the firmware: who has one of them is all of them.",
    "have every device make its own key when it is first started, and take the key out of the image",
    ["EN 303 645 5.4-1", "EN 303 645 5.4-4", "CRA I.I(2)(d)", "ISVS 2.1"];
}
