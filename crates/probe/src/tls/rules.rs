//! The rules of ciphers, which only an answer over the network can break.

use stockade_controls::engine;

engine::rules! { Protocols "protocols";
WEAK = "weak-cipher", High, "No port accepts a cipher that is broken",
    "Whoever listens can read what is sent under it, or change it unseen: RC4, DES, export keys, no encryption, nobody authenticated (RFC 7465, RFC 9325 section 4.1).",
    "name the ciphers in the server's settings: those with ECDHE and with GCM, CCM or ChaCha20 only (OpenSSL: `ECDHE+AESGCM:ECDHE+CHACHA20`)",
    ["EN 303 645 5.1-3", "EN 303 645 5.5-1", "CRA I.I(2)(e)", "NISTIR 8425 data protection", "ISVS 4.2"];
DATED = "dated-cipher", Low, "Every accepted cipher has forward secrecy and authenticates what it encrypts",
    "Without forward secrecy, who gets the key one day reads all that was recorded before; CBC has been broken by timing again and again (RFC 9325 section 4.1).",
    "name the ciphers in the server's settings: those with ECDHE and with GCM, CCM or ChaCha20 only, or TLS 1.3 alone",
    ["EN 303 645 5.5-1", "CRA I.I(2)(e)", "ISVS 4.2"];
}
