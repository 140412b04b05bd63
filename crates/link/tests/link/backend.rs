//! What every backend of cryptography must do: the same values, and refuse the same. Also a test of the gateway's.

use stockade_link::crypto::{Aead, Crypto, CryptoError, Curve, PublicKey, Secret, Y};

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let digit = |at: usize| char::from(text.as_bytes()[at]).to_digit(16).unwrap();
    std::array::from_fn(|at| u8::try_from(digit(2 * at) * 16 + digit(2 * at + 1)).unwrap())
}

/// All of it, with a maker of keys and what gives their public half.
pub(crate) fn holds<C: Crypto>(
    crypto: &mut C,
    make: Make<C::PrivateKey>,
    public: fn(&C::PrivateKey) -> PublicKey,
) {
    hashes(crypto);
    ciphers(crypto);
    agreements(crypto, make, public);
    bad_points(crypto);
    signatures(crypto, make, public);
    // Numbers that are no private key of P-256: zero, and the order.
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    for bytes in [[0; 32], order, [0xff; 32]] {
        assert!(make(Curve::P256, &Secret::new(bytes)).is_err());
    }
}

fn hashes<C: Crypto>(crypto: &mut C) {
    // FIPS 180, "abc".
    assert_eq!(
        crypto.sha256(&[b"a", b"", b"bc"]).unwrap(),
        hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    );
    // RFC 4231, test case 2.
    let mac = crypto.hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
    assert_eq!(
        *mac.unwrap().expose(),
        hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    );
    // RFC 5869, test case 1.
    let salt: [u8; 13] = hex("000102030405060708090a0b0c");
    let info: [u8; 10] = hex("f0f1f2f3f4f5f6f7f8f9");
    let key = crypto.hkdf_extract(&salt, &[0x0b; 22]).unwrap();
    let mut out = [0; 42];
    crypto.hkdf_expand(&key, &[&info], &mut out).unwrap();
    assert_eq!(
        out,
        hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    );
}

fn ciphers<C: Crypto>(crypto: &mut C) {
    // RFC 8613, appendix C.4: an OSCORE request.
    let (key, nonce) = (
        hex("f0910ed7295e6ad4b54fc793154302ff"),
        hex("4622d4dd6d944168eefb549868"),
    );
    let aad: [u8; 20] = hex("8368456e63727970743040488501810a40411440");
    let plain: [u8; 4] = hex("01b37476");
    let mut buffer = [0; 13];
    let plain_more = [&plain[..], b"1"].concat();
    buffer[..5].copy_from_slice(&plain_more);
    crypto
        .seal(Aead::Ccm16Tag64, &key, &nonce, &aad, &mut buffer)
        .unwrap();
    assert_eq!(buffer, hex("612f1092f1776f1c1668b3825e"));
    for aead in [Aead::Ccm16Tag64, Aead::Ccm16Tag128] {
        for length in [0, 1, 15, 16, 17, 100] {
            let mut sealed = vec![7; length + aead.tag_length()];
            crypto.seal(aead, &key, &nonce, &aad, &mut sealed).unwrap();
            let mut opened = sealed.clone();
            crypto.open(aead, &key, &nonce, &aad, &mut opened).unwrap();
            assert!(opened[..length].iter().all(|&byte| byte == 7));
            for at in 0..sealed.len() {
                let mut damaged = sealed.clone();
                damaged[at] ^= 0x10;
                let refused = crypto.open(aead, &key, &nonce, &aad, &mut damaged);
                assert_eq!(refused, Err(CryptoError::NotAuthentic));
                assert!(
                    damaged[..length].iter().all(|&byte| byte == 0),
                    "nothing is left"
                );
            }
        }
        let mut short = [0; 7];
        assert_eq!(
            crypto.open(aead, &key, &nonce, &aad, &mut short),
            Err(CryptoError::Length)
        );
    }
}

type Make<K> = fn(Curve, &Secret<32>) -> Result<K, CryptoError>;

fn agreements<C: Crypto>(
    crypto: &mut C,
    make: Make<C::PrivateKey>,
    public: fn(&C::PrivateKey) -> PublicKey,
) {
    for (curve, [ours, our_public, theirs, their_public, shared]) in [
        // RFC 7748, section 6.1.
        (
            Curve::X25519,
            [
                "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
                "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
                "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
            ],
        ),
        // RFC 5903, section 8.1.
        (
            Curve::P256,
            [
                "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
                "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180",
                "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
                "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63",
                "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
            ],
        ),
    ] {
        let (our_public, their_public, shared) = (hex(our_public), hex(their_public), hex(shared));
        for (key, its, peer) in [
            (ours, our_public, their_public),
            (theirs, their_public, our_public),
        ] {
            let key = make(curve, &Secret::new(hex(key))).unwrap();
            let (PublicKey::P256 { x, .. } | PublicKey::X25519(x) | PublicKey::Ed25519(x)) =
                public(&key);
            assert_eq!(x, its, "{curve:?}");
            assert_eq!(
                *crypto.agree(&key, &peer).unwrap().expose(),
                shared,
                "{curve:?}"
            );
        }
        let (one, one_public) = crypto.generate(curve).unwrap();
        let (other, other_public) = crypto.generate(curve).unwrap();
        assert_ne!(one_public, other_public);
        assert_eq!(
            crypto.agree(&one, &other_public).unwrap().expose(),
            crypto.agree(&other, &one_public).unwrap().expose()
        );
    }
}

fn bad_points<C: Crypto>(crypto: &mut C) {
    for (curve, point) in [
        // RFC 9529, section 4: no x-coordinate of a point; and one that is not less than the prime.
        (
            Curve::P256,
            "a04e73601df544a70ba7ea1e57030f7d4b4eb7f673924e58d54ca77a5e7d4d4a",
        ),
        (
            Curve::P256,
            "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
        ),
        (
            Curve::P256,
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ),
        // RFC 7748, section 6.1: points of small order, and the encodings of the same that are not canonical.
        (
            Curve::X25519,
            "0000000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            Curve::X25519,
            "0100000000000000000000000000000000000000000000000000000000000000",
        ),
        (
            Curve::X25519,
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        ),
        (
            Curve::X25519,
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ),
        (
            Curve::X25519,
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
        (
            Curve::X25519,
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
        (
            Curve::X25519,
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ),
    ] {
        let (key, _) = crypto.generate(curve).unwrap();
        let refused = crypto.agree(&key, &hex(point)).err();
        assert_eq!(refused, Some(CryptoError::BadPublicKey), "{point}");
    }
}

fn signatures<C: Crypto>(
    crypto: &mut C,
    make: Make<C::PrivateKey>,
    public: fn(&C::PrivateKey) -> PublicKey,
) {
    // RFC 6979, appendix A.2.5.
    let key = PublicKey::P256 {
        x: hex("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"),
        y: Y::Full(hex(
            "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
        )),
    };
    let signature = hex(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    );
    verifies(crypto, &key, b"sample", &signature);
    let PublicKey::P256 { x, .. } = key else {
        panic!()
    };
    verifies(
        crypto,
        &PublicKey::P256 { x, y: Y::Odd(true) },
        b"sample",
        &signature,
    );
    for (y, error) in [
        (Y::Unknown, CryptoError::BadPublicKey),
        (Y::Odd(false), CryptoError::NotAuthentic),
        (Y::Full([1; 32]), CryptoError::BadPublicKey),
    ] {
        let refused = crypto.verify(&PublicKey::P256 { x, y }, b"sample", &signature);
        assert_eq!(refused, Err(error), "{y:?}");
    }
    // RFC 8032, section 7.1, test 3.
    let key = PublicKey::Ed25519(hex(
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    ));
    let signature = hex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    );
    verifies(crypto, &key, &[0xaf, 0x82], &signature);
    // A key of small order, for which this signs everything.
    let mut one = [0; 32];
    one[0] = 1;
    let mut everything = [0; 64];
    everything[0] = 1;
    assert_eq!(
        crypto.verify(&PublicKey::Ed25519(one), b"anything", &everything),
        Err(CryptoError::BadPublicKey)
    );
    for curve in [Curve::P256, Curve::Ed25519] {
        let key = make(curve, &Secret::new([0x5a; 32])).unwrap();
        let signature = crypto.sign(&key, b"message").unwrap();
        verifies(crypto, &public(&key), b"message", &signature);
    }
    let key = make(Curve::X25519, &Secret::new([0x5a; 32])).unwrap();
    assert_eq!(crypto.sign(&key, b"message"), Err(CryptoError::Unsupported));
}

fn verifies<C: Crypto>(crypto: &mut C, key: &PublicKey, message: &[u8], signature: &[u8; 64]) {
    crypto.verify(key, message, signature).unwrap();
    for zeroed in [0..32, 32..64] {
        let mut damaged = *signature;
        damaged[zeroed].fill(0);
        let refused = crypto.verify(key, message, &damaged);
        assert_eq!(refused, Err(CryptoError::NotAuthentic));
    }
    let refused = crypto.verify(key, b"another", signature);
    assert_eq!(refused, Err(CryptoError::NotAuthentic));
}
