//! EDHOC under attack: damage, strangers, invalid points and messages, wrong credentials, reflections, replays.
#![expect(clippy::unwrap_used, reason = "a test's own handshakes")]

use stockade_link::credential::{self, Credential};
use stockade_link::crypto::{Crypto as _, Curve, PublicKey, Y};
use stockade_link::edhoc::{EdhocError, Method, Suite, SuiteSet};

use crate::edhoc::{Crypto, Naming, Pair, Party, ROOM, crypto, exported};
use crate::random::Random;

/// Damaged messages, 10,000 of each of the three that prove something, over all methods. (The fourth is the same in all of them:
/// it is damaged beside the code.)
mod damaged {
    use super::*;

    const EACH: usize = 2500;

    /// Damages a message of each method; `hold` plays it again from the beginning, by the same random numbers, with the message
    /// replaced, and says whether somebody believed it.
    fn nobody_believes(hold: impl Fn(&Pair, &mut Crypto, Option<&[u8]>) -> (Vec<u8>, bool)) {
        for (number, method) in Method::ALL.into_iter().enumerate() {
            let suites = [Suite::S0, Suite::S3];
            for suite in suites {
                let naming = if suite == Suite::S0 {
                    Naming::Kid
                } else {
                    Naming::Ccs
                };
                let pair = Pair::new(method, suite, [naming; 2]);
                let seed = u64::try_from(number).unwrap() + 1;
                let (whole, believed) = hold(&pair, &mut crypto(seed), None);
                assert!(believed, "without damage");
                let mut random = Random(seed);
                let times = if suite == Suite::S0 {
                    EACH * 4 / 5
                } else {
                    EACH / 5
                };
                for _ in 0..times {
                    let damaged = random.mutated(&whole);
                    let (_, believed) = hold(&pair, &mut crypto(seed), Some(&damaged));
                    assert!(!believed || damaged == whole, "{method:?} {damaged:02x?}");
                }
            }
        }
    }

    fn or<'a>(damaged: Option<&'a [u8]>, whole: &'a [u8]) -> &'a [u8] {
        damaged.unwrap_or(whole)
    }

    #[test]
    fn message_1_is_answered_at_most_and_its_answer_refused() {
        nobody_believes(|pair, crypto, damaged| {
            let (initiator, whole) = pair.message_1(crypto, &[]);
            let answer = pair.message_2(crypto, or(damaged, &whole), &[]);
            let believed = answer.is_ok_and(|(_, message_2)| {
                pair.message_3(crypto, initiator, &message_2, &[]).is_ok()
            });
            (whole, believed)
        });
    }

    #[test]
    fn message_2_is_refused() {
        nobody_believes(|pair, crypto, damaged| {
            let (initiator, message_1) = pair.message_1(crypto, &[]);
            let whole = if damaged.is_none() {
                pair.message_2(crypto, &message_1, &[]).unwrap().1
            } else {
                Vec::new()
            };
            let answer = pair.message_3(crypto, initiator, or(damaged, &whole), &[]);
            (whole, answer.is_ok())
        });
    }

    #[test]
    fn message_3_is_refused() {
        nobody_believes(|pair, crypto, damaged| {
            let (initiator, message_1) = pair.message_1(crypto, &[]);
            let (responder, message_2) = pair.message_2(crypto, &message_1, &[]).unwrap();
            let whole = if damaged.is_none() {
                pair.message_3(crypto, initiator, &message_2, &[])
                    .unwrap()
                    .2
            } else {
                Vec::new()
            };
            let ended = pair.end(crypto, responder, or(damaged, &whole));
            (whole, ended.is_ok())
        });
    }
}

/// An attacker on the way, who is nobody but can count: answers a `message_1` with a plaintext of any bytes.
fn forged_message_2(
    crypto: &mut Crypto,
    suite: Suite,
    message_1: &[u8],
    g_x: &[u8; 32],
    text: &[u8],
) -> Vec<u8> {
    let (y, g_y) = crypto.generate(suite.curve()).unwrap();
    let hash = crypto.sha256(&[message_1]).unwrap();
    let th_2 = crypto
        .sha256(&[&[0x58, 0x20], &g_y, &[0x58, 0x20], &hash])
        .unwrap();
    let secret = crypto.agree(&y, g_x).unwrap();
    let prk_2e = crypto.hkdf_extract(&th_2, secret.expose()).unwrap();
    let length = u8::try_from(text.len()).unwrap();
    let mut body = text.to_vec();
    let tail: &[u8] = if length < 24 {
        &[length]
    } else {
        &[0x18, length]
    };
    crypto
        .hkdf_mask(&prk_2e, &[&[0x00, 0x58, 0x20], &th_2, tail], &mut body)
        .unwrap();
    let mut message = vec![0x58, length + 32];
    message.extend(g_y);
    message.extend(body);
    message
}

/// RFC 9529, section 4: messages that a compliant implementation does not compose.
#[test]
fn invalid_messages_of_rfc_9529_are_refused() {
    let text = include_str!("../vectors/rfc9529.json");
    let all: serde_json::Value = serde_json::from_str(text).unwrap();
    let invalid: Vec<[String; 3]> = serde_json::from_value(all["invalid"].clone()).unwrap();
    assert_eq!(invalid.len(), 15);
    let mut crypto = crypto(5);
    for [why, what, hex] in invalid {
        let digits: Vec<u32> = hex.chars().map(|it| it.to_digit(16).unwrap()).collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|it| u8::try_from(it[0] * 16 + it[1]).unwrap())
            .collect();
        let expected = match why.as_str() {
            "Error in elliptic curve representation"
            | "Error in elliptic curve point"
            | "Curve point of low order" => EdhocError::BadPublicKey,
            "Error in length of ephemeral key" => EdhocError::WrongSuite(SuiteSet::ALL),
            _ => EdhocError::Malformed,
        };
        let pair = Pair::new(Method::StaticStatic, Suite::S2, [Naming::Kid; 2]);
        let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
        let g_x = message_1[4..36].try_into().unwrap();
        let error = match what.as_str() {
            "Invalid message_1" => {
                let suite = if why == "Curve point of low order" {
                    Suite::S0
                } else {
                    Suite::S2
                };
                let pair = Pair::new(Method::StaticStatic, suite, [Naming::Kid; 2]);
                pair.message_2(&mut crypto, &bytes, &[]).err()
            }
            "Invalid message_2" => pair.message_3(&mut crypto, initiator, &bytes, &[]).err(),
            "Invalid PLAINTEXT_2" => {
                let message_2 = forged_message_2(&mut crypto, Suite::S2, &message_1, g_x, &bytes);
                initiator
                    .message_2(&mut crypto, &mut message_2.clone(), &[])
                    .err()
            }
            _ => panic!("{what}"),
        };
        assert_eq!(error, Some(expected), "{why}");
    }
}

/// Nobody, with a plaintext of the right form, gets no further than its name.
#[test]
fn a_stranger_is_not_authentic() {
    for (method, suite) in [
        (Method::StaticStatic, Suite::S2),
        (Method::SignSign, Suite::S0),
    ] {
        let pair = Pair::new(method, suite, [Naming::Kid; 2]);
        let mut crypto = crypto(6);
        let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
        let g_x = message_1[4..36].try_into().unwrap();
        let proof = if method.responder_signs() { 64 } else { 8 };
        let mut text = vec![0x05, 0x41, 0x42];
        let head: &[u8] = if proof == 64 { &[0x58, 64] } else { &[0x48] };
        text.extend(head);
        text.extend(vec![0x11; proof]);
        let message_2 = forged_message_2(&mut crypto, suite, &message_1, g_x, &text);
        let error = pair
            .message_3(&mut crypto, initiator, &message_2, &[])
            .err();
        assert_eq!(error, Some(EdhocError::NotAuthentic));
    }
}

/// Points of small order of Curve25519, and numbers that are no x-coordinate of P-256 (RFC 9528, section 9.2).
#[test]
fn points_that_are_none_are_refused_wherever_they_come_from() {
    let mut crypto = crypto(7);
    let mut low = [[0; 32], [0; 32], [0xff; 32], [0xff; 32], [0xff; 32]];
    low[1][0] = 1;
    for (point, first) in low[2..].iter_mut().zip([0xec, 0xed, 0xee]) {
        (point[0], point[31]) = (first, 0x7f);
    }
    let order_8 = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    let low = low
        .iter()
        .chain([&order_8])
        .map(|point| (Suite::S1, *point));
    let none = (0..200_u8).map(|number| {
        let mut x = [0; 32];
        x[31] = number;
        (Suite::S3, x)
    });
    let none: Vec<_> = none
        .filter(|(_, x)| {
            let (key, _) = crypto.generate(Curve::P256).unwrap();
            crypto.agree(&key, x).is_err()
        })
        .collect();
    assert!(
        (70..130).contains(&none.len()),
        "half of all numbers are no x-coordinate"
    );
    let too_large = [(Suite::S2, [0xff; 32])];
    for (suite, point) in low.chain(none).chain(too_large) {
        let pair = Pair::new(Method::StaticStatic, suite, [Naming::Kid, Naming::Ccs]);
        let (initiator, mut message_1) = pair.message_1(&mut crypto, &[]);
        let (_, mut message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
        message_2[2..34].copy_from_slice(&point);
        let error = pair
            .message_3(&mut crypto, initiator, &message_2, &[])
            .err();
        assert_eq!(error, Some(EdhocError::BadPublicKey), "G_Y {point:02x?}");

        let (initiator, again) = pair.message_1(&mut crypto, &[]);
        message_1[4..36].copy_from_slice(&point);
        let error = pair.message_2(&mut crypto, &message_1, &[]).err();
        assert_eq!(error, Some(EdhocError::BadPublicKey), "G_X {point:02x?}");

        // And as the static key of a credential by value.
        let (_, message_2) = pair.message_2(&mut crypto, &again, &[]).unwrap();
        let mut message = message_2.clone();
        let got = initiator.message_2(&mut crypto, &mut message, &[]).unwrap();
        let key = match suite.curve() {
            Curve::P256 => PublicKey::P256 {
                x: point,
                y: Y::Unknown,
            },
            _ => PublicKey::X25519(point),
        };
        let mut buffer = [0; 100];
        let bytes = credential::ccs(&mut buffer, None, None, &key).unwrap();
        let peer = Credential::read(bytes).unwrap();
        let error = got
            .verify(&mut crypto, &peer, &pair.initiator.identity(), &mut [])
            .err();
        assert_eq!(error, Some(EdhocError::BadPublicKey), "G_R {point:02x?}");
    }
}

/// Somebody else's credential, a credential of another kind of key, our own: none of them is the peer's.
#[test]
fn a_wrong_credential_is_refused_by_both_sides() {
    for method in Method::ALL {
        let suite = Suite::S2;
        let pair = Pair::new(method, suite, [Naming::Kid; 2]);
        let signs = [method.initiator_signs(), method.responder_signs()];
        let both = |seeds: [u8; 2], naming| {
            [0, 1].map(|side: usize| Party::new(seeds[side], suite, signs[side], naming))
        };
        let unfit = [0x78; 2].map(|seed| Party::new(seed, Suite::S0, true, Naming::Kid));
        let mut crypto = crypto(8);
        let cases = [
            (both([0x77; 2], Naming::Kid), EdhocError::NotAuthentic),
            (unfit, EdhocError::Credential),
            (both([0x42, 0x31], Naming::X5t), EdhocError::Reflected),
        ];
        for (others, expected) in cases {
            let mut scratch = [0; ROOM];
            let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
            let (_, mut message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
            let got = initiator
                .message_2(&mut crypto, &mut message_2, &[])
                .unwrap();
            let own = pair.initiator.identity();
            let error = got
                .verify(&mut crypto, &others[1].credential(), &own, &mut scratch)
                .err();
            assert_eq!(error, Some(expected), "{method:?}, the Initiator");

            let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
            let (responder, message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
            let (_, _, mut message_3) = pair
                .message_3(&mut crypto, initiator, &message_2, &[])
                .unwrap();
            let got = responder
                .message_3(&mut crypto, &mut message_3, &[])
                .unwrap();
            let own = pair.responder.credential();
            let error = got
                .verify(&mut crypto, &others[0].credential(), &own, &mut scratch)
                .err();
            assert_eq!(error, Some(expected), "{method:?}, the Responder");
        }
    }
}

/// The same key in another credential: the key alone is not who somebody is.
#[test]
fn a_swapped_credential_of_the_right_key_is_refused() {
    for method in Method::ALL {
        let pair = Pair::new(method, Suite::S2, [Naming::Kid; 2]);
        let swapped = Party::new(0x42, Suite::S2, method.responder_signs(), Naming::X5chain);
        let mut crypto = crypto(9);
        let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
        let (_, mut message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
        let got = initiator
            .message_2(&mut crypto, &mut message_2, &[])
            .unwrap();
        let own = pair.initiator.identity();
        let error = got
            .verify(&mut crypto, &swapped.credential(), &own, &mut [0; ROOM])
            .err();
        assert_eq!(error, Some(EdhocError::NotAuthentic), "{method:?}");
    }
}

/// Two devices with one key do not speak to each other: to each, the other is a mirror. A third sees two sessions.
#[test]
fn two_devices_with_one_key_refuse_each_other() {
    for method in [Method::SignSign, Method::StaticStatic] {
        let mut pair = Pair::new(method, Suite::S2, [Naming::Kid; 2]);
        pair.responder = Party::new(0x31, Suite::S2, method.responder_signs(), Naming::Ccs);
        pair.responder.connection = vec![9];
        let mut crypto = crypto(10);
        let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
        let (_, message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
        let error = pair
            .message_3(&mut crypto, initiator, &message_2, &[])
            .err();
        assert_eq!(error, Some(EdhocError::Reflected));

        let pair = Pair::new(method, Suite::S2, [Naming::Kid; 2]);
        let keys: Vec<_> = (0..2)
            .map(|_| {
                let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
                let (wait, message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
                let (_, _, message_3) = pair
                    .message_3(&mut crypto, initiator, &message_2, &[])
                    .unwrap();
                let (ended, _) = pair.end(&mut crypto, wait, &message_3).unwrap();
                exported(&mut crypto, &ended)
            })
            .collect();
        assert_ne!(keys[0], keys[1]);
    }
}

/// Messages of one session are of no use in another, and none of them comes back as an answer.
#[test]
fn replayed_and_reflected_messages_are_refused() {
    for method in Method::ALL {
        let pair = Pair::new(method, Suite::S2, [Naming::Kid; 2]);
        let mut crypto = crypto(11);
        let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
        let (wait, message_2) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
        let (_, await_4, message_3) = pair
            .message_3(&mut crypto, initiator, &message_2, &[])
            .unwrap();
        let (_, send_4) = pair.end(&mut crypto, wait, &message_3).unwrap();
        let mut out = [0; 64];
        let message_4 = send_4
            .message_4(&mut crypto, &[], &mut out)
            .unwrap()
            .to_vec();

        // message_1 again: a session of its own, in which the old message_3 says nothing.
        let (wait, second) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
        assert_ne!(second, message_2);
        assert_eq!(
            pair.end(&mut crypto, wait, &message_3).err(),
            Some(EdhocError::NotAuthentic)
        );
        // The old message_2 to a new message_1, and message_1 itself.
        for answer in [&message_2, &message_1, &message_3, &message_4] {
            let (initiator, _) = pair.message_1(&mut crypto, &[]);
            assert!(pair.message_3(&mut crypto, initiator, answer, &[]).is_err());
        }
        // message_2 and message_4 where message_3 belongs, message_3 where message_4 does.
        for answer in [&message_1, &message_2, &message_4] {
            let (wait, _) = pair.message_2(&mut crypto, &message_1, &[]).unwrap();
            assert!(pair.end(&mut crypto, wait, answer).is_err());
        }
        let mut third = message_3.clone();
        assert!(await_4.message_4(&mut crypto, &mut third, &[]).is_err());
    }
}

#[test]
fn both_sides_refuse_one_name_for_both() {
    let mut pair = Pair::new(Method::StaticStatic, Suite::S2, [Naming::Kid; 2]);
    pair.responder.connection = pair.initiator.connection.clone();
    let mut crypto = crypto(12);
    let (initiator, message_1) = pair.message_1(&mut crypto, &[]);
    let refused = pair.message_2(&mut crypto, &message_1, &[]).err();
    assert_eq!(refused, Some(EdhocError::SameIdentifier));
    let g_x = message_1[4..36].try_into().unwrap();
    let text = [0x31, 0x05, 0x48, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut message_2 = forged_message_2(&mut crypto, Suite::S2, &message_1, g_x, &text);
    let refused = initiator.message_2(&mut crypto, &mut message_2, &[]).err();
    assert_eq!(refused, Some(EdhocError::SameIdentifier));
}
